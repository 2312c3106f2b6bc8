//! What a rebuild takes in memory does not depend on how long the log is.

use std::process::Stdio;

use api::embedded::Cluster;
use serde_json::Value;
use tests::{generate, memory};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::server::Home;

/// Events in the log.
const EVENTS: i64 = 1_000_000;

/// Records that they change. There are many events of each, since a debug build makes the texts to be searched of so many
/// records slowly; the read model of histories has a row for each event.
const RECORDS: i64 = 20_000;

/// What a rebuild of all read models may take, in MB.
const MOST: f64 = 400.0;

/// Rebuilds everything in a process of its own; tells the most that it took in memory, in MB.
async fn rebuild(home: &Home) -> f64 {
    let command = home.crm(&["rebuild", "--all", "--json"]).stdout(Stdio::piped()).spawn();
    let mut process = command.unwrap();
    let pid = process.id().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let (mut most, mut last) = (None, Value::Null);
    while let Some(line) = lines.next_line().await.unwrap() {
        // It says something four times a second, and once more before it closes its connections and ends.
        most = memory(pid, "VmHWM").ok().or(most);
        last = serde_json::from_str(&line).unwrap();
    }
    assert!(process.wait().await.unwrap().success());
    assert_eq!(last["phase"], "done");
    most.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_a_million_events_is_rebuilt_in_400_mb() {
    let home = Home::new();
    let cluster = Cluster::open(home.path()).await.unwrap();
    let options = cluster.options("crm");
    api::backend::migrate(&options).await.unwrap();
    let db = crate::harness::connect(options, 2);
    for sequence in 1..=EVENTS / RECORDS {
        let statement = generate(sequence);
        let events = sqlx::query(&statement).bind(1_i64).bind(RECORDS).bind(sequence);
        events.execute(&db.pool).await.unwrap();
    }
    let most = rebuild(&home).await;
    assert!(most < MOST, "{most:.0} MB");
    let (rows, told): (i64, i64) = sqlx::query_as(
        "select (select count(*) from read_lp_2.lp), (select count(*) from read_audit_2.audit)",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert_eq!((rows, told), (RECORDS, EVENTS));
    db.pool.close().await;
    cluster.close().await.unwrap();
}
