//! A rebuild that is killed or called off in each of its phases: the live tables are as they were, and the next rebuild completes.

use std::process::Stdio;
use std::time::{Duration, Instant};

use api::embedded::Cluster;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::server::{Home, Server};

/// A phase, and what holds a rebuild up in it, so that it cannot be in the next one when the kill comes.
#[derive(Clone, Copy, Debug)]
struct Phase {
    name: &'static str,
    hold: &'static str,
}

const PHASES: [Phase; 3] = [
    // Its workers open what is sealed, and the reader is only some batches ahead of them.
    Phase { name: "loading", hold: "lock table stream_key in access exclusive mode" },
    Phase { name: "indexing", hold: "select pg_advisory_xact_lock(1)" },
    // In the middle of the very transaction that swaps.
    Phase { name: "tailing", hold: "select pg_advisory_xact_lock(2)" },
];

/// Has whoever makes an index wait for the first of these locks, and whoever makes a generation live for the second.
pub const HOLDS: &str = "
    create function hold_index() returns event_trigger language plpgsql as
        'begin perform pg_advisory_xact_lock_shared(1); end';
    create event trigger hold_index on ddl_command_start when tag in ('CREATE INDEX')
        execute function hold_index();
    create function hold_swap() returns trigger language plpgsql as
        'begin perform pg_advisory_xact_lock_shared(2); return new; end';
    create trigger hold_swap before update on generation for each row
        when (old.state = 'building' and new.state = 'live') execute function hold_swap()";

/// A rebuild of everything, killed as soon as it says that it is in this phase, which it cannot leave.
async fn kill_in(home: &Home, phase: Phase) {
    let command = home.crm(&["rebuild", "--all", "--json"]).stdout(Stdio::piped()).spawn();
    let mut rebuild = command.unwrap();
    let mut lines = BufReader::new(rebuild.stdout.take().unwrap()).lines();
    loop {
        let line = lines.next_line().await.unwrap();
        let line = line.unwrap_or_else(|| panic!("it ended before it was {}", phase.name));
        let said: Value = serde_json::from_str(&line).unwrap();
        let (done, total) = (said["done"].as_i64().unwrap(), said["total"].as_i64().unwrap());
        if said["phase"] == json!(phase.name) && done > 0 {
            assert_eq!(done < total, phase.name == "loading", "{line}");
            break;
        }
    }
    rebuild.kill().await.unwrap();
}

/// How far the killed rebuild of the LPs came, by what it has left behind.
async fn assert_left_in(db: &mut PgConnection, phase: &str) {
    let (said, state, position): (String, String, i64) = sqlx::query_as(
        "select phase, state, position from rebuild join generation using (projector, number)
         where projector = 'lp'",
    )
    .fetch_one(&mut *db)
    .await
    .unwrap();
    assert_eq!((said.as_str(), state.as_str()), (phase, "building"));
    assert_eq!(position > 0, phase == "tailing", "it has been loaded");
}

/// A server with some thousand records, whose rebuilds can be held up.
async fn with_holds(home: &Home) -> (Server, Cluster) {
    let file = crate::import::legacy(home.path(), "--lps 200 --notes 3000 --todos 3000");
    let imported = home.crm(&["import", file.to_str().unwrap()]).output().await.unwrap();
    assert!(imported.status.success());
    let server = Server::start(home, &[]).await;
    let cluster = Cluster::open(home.path()).await.unwrap();
    let mut connection = cluster.options("crm").connect().await.unwrap();
    sqlx::raw_sql(HOLDS).execute(&mut connection).await.unwrap();
    (server, cluster)
}

/// Holds rebuilds up in a phase for as long as the connection is open.
async fn hold(cluster: &Cluster, phase: &Phase) -> PgConnection {
    let mut holding = cluster.options("crm").connect().await.unwrap();
    sqlx::query("begin").execute(&mut holding).await.unwrap();
    sqlx::query(phase.hold).execute(&mut holding).await.unwrap();
    holding
}

async fn answer(server: &Server, path: &str) -> String {
    reqwest::get(format!("{}{path}", server.url)).await.unwrap().text().await.unwrap()
}

/// Waits until the locks of a killed rebuild have gone, as they do when Postgres notices that it has gone.
async fn rebuild_all(home: &Home) {
    loop {
        let done = home.crm(&["rebuild", "--all", "--json"]).output().await.unwrap();
        if done.status.success() {
            let said = String::from_utf8(done.stdout).unwrap();
            let last: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
            assert_eq!(last["phase"], json!("done"));
            return;
        }
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(said.contains("is being rebuilt by") || said.contains("try again"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_killed_in_any_phase_leaves_the_live_tables_alone_and_the_next_one_completes() {
    let home = Home::new();
    let (server, cluster) = with_holds(&home).await;
    let notes = answer(&server, "/notes").await;
    let mut looking = cluster.options("crm").connect().await.unwrap();
    for phase in PHASES {
        let holding = hold(&cluster, &phase).await;
        kill_in(&home, phase).await;
        assert_left_in(&mut looking, phase.name).await;
        assert_eq!(answer(&server, "/notes").await, notes, "{}", phase.name);
        holding.close().await.unwrap();
        let lp = json!({"name": phase.name});
        let written = Client::new().post(format!("{}/lps", server.url)).json(&lp).send().await;
        assert_eq!(written.unwrap().status(), 200, "{}", phase.name);
        rebuild_all(&home).await;
        assert_eq!(answer(&server, "/notes").await, notes, "{}", phase.name);
        assert!(answer(&server, "/lps").await.contains(phase.name));
    }
    looking.close().await.unwrap();
    assert!(server.stop().await);
    cluster.close().await.unwrap();
    crate::crash::assert_everything_is_right(&home).await;
}

async fn projection(server: &Server, name: &str) -> Value {
    serde_json::from_str(&answer(server, &format!("/projections/{name}")).await).unwrap()
}

/// Waits until the rebuild of notes is in this phase, and has read something. The server itself may be held up by what holds
/// the rebuild up.
async fn until_phase(looking: &mut PgConnection, phase: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let now: Option<(String, i64)> =
            sqlx::query_as("select phase, done from rebuild where projector = 'note'")
                .fetch_optional(&mut *looking)
                .await
                .unwrap();
        if now.as_ref().is_some_and(|(now, done)| now == phase && *done > 0) {
            return;
        }
        assert!(Instant::now() < deadline, "{phase}: {now:?}");
    }
}

async fn ask(server: &Server, method: Method) -> u16 {
    let url = format!("{}/projections/note/rebuild", server.url);
    Client::new().request(method, url).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_called_off_in_any_phase_ends_and_leaves_the_live_tables_alone() {
    let home = Home::new();
    let (server, cluster) = with_holds(&home).await;
    let notes = answer(&server, "/notes").await;
    let mut looking = cluster.options("crm").connect().await.unwrap();
    for phase in PHASES {
        let holding = hold(&cluster, &phase).await;
        assert_eq!(ask(&server, Method::POST).await, 202, "{}", phase.name);
        until_phase(&mut looking, phase.name).await;
        assert_eq!(ask(&server, Method::DELETE).await, 202, "{}", phase.name);
        // What holds it up is still there.
        until_phase(&mut looking, "cancelled").await;
        holding.close().await.unwrap();
        let now = projection(&server, "note").await;
        assert_eq!((&now["generation"], &now["previous"]), (&json!(1), &Value::Null));
        assert_eq!(now["rebuild"]["error"], Value::Null);
        assert_eq!(answer(&server, "/notes").await, notes, "{}", phase.name);
    }
    assert_eq!(ask(&server, Method::POST).await, 202);
    until_phase(&mut looking, "done").await;
    assert_eq!(answer(&server, "/notes").await, notes);
    looking.close().await.unwrap();
    assert!(server.stop().await);
    cluster.close().await.unwrap();
    crate::crash::assert_everything_is_right(&home).await;
}

/// The nice values of the threads of a process that load read models.
fn loading_threads(process: u32) -> Vec<i64> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let stats =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
    let loading = stats.filter_map(|stat| {
        let (name, rest) = stat.split_once(") ")?;
        let is_it = name.ends_with("(load");
        // The third of proc_pid_stat(5) is the first after the name.
        let nice = rest.split(' ').nth(19 - 3)?.parse().ok()?;
        is_it.then_some(nice)
    });
    loading.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_release_builds_its_read_models_behind_everybody_else() {
    let home = Home::new();
    assert!(Server::start(&home, &["--demo"]).await.stop().await);
    let cluster = Cluster::open(home.path()).await.unwrap();
    let mut looking = cluster.options("crm").connect().await.unwrap();
    sqlx::raw_sql(HOLDS).execute(&mut looking).await.unwrap();
    // As if an earlier release had filled it.
    let earlier = "update generation set version = version - 1 where projector = 'note'";
    sqlx::query(earlier).execute(&mut looking).await.unwrap();
    let mut holding = cluster.options("crm").connect().await.unwrap();
    sqlx::query("begin").execute(&mut holding).await.unwrap();
    sqlx::query("select pg_advisory_xact_lock(1)").execute(&mut holding).await.unwrap();
    let server = Server::start(&home, &[]).await;
    until_phase(&mut looking, "indexing").await;
    assert_eq!(loading_threads(server.process()), [19]);
    holding.close().await.unwrap();
    until_phase(&mut looking, "done").await;
    looking.close().await.unwrap();
    assert!(server.stop().await);
    cluster.close().await.unwrap();
}
