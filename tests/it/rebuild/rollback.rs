//! Going back to the previous generation of read models.

use std::time::{Duration, Instant};

use domain::Kind;
use projections::{generation, read};
use replay::{Rebuild, RebuildError};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{generations, import_demo, list, rebuild, register};
use crate::check::assert_read_models_match_the_log;
use crate::contract::Api;
use crate::harness::Database;

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_brings_the_previous_generation_back_with_what_was_written_since() {
    let db = Database::new().await;
    import_demo(&db).await;
    let backend = db.backend().await;
    backend.settle().await.unwrap();
    let lp = replay::find(read::projectors(), &["lp".to_owned()]).unwrap();
    let refused =
        replay::roll_back(&db.connections, &lp, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(refused, RebuildError::NoPrevious("lp")), "{refused}");
    rebuild(&db, &["lp"]).await.unwrap();
    let position = register(&backend, "since").await;
    assert!(backend.reader.reached(position, Duration::from_secs(10)).await);
    assert_eq!(
        replay::roll_back(&db.connections, &lp, &CancellationToken::new()).await.unwrap(),
        [1]
    );
    assert_eq!(generations(&db, "lp").await, (Some(1), Some(2)));
    let position = register(&backend, "after").await;
    assert!(backend.reader.reached(position, Duration::from_secs(10)).await);
    let names: Vec<Value> =
        list(&backend, Kind::Lp).await.into_iter().map(|row| row["name"].clone()).collect();
    assert!(names.contains(&json!("since")) && names.contains(&json!("after")));
    assert_read_models_match_the_log(&db.pool).await;
    assert_eq!(replay::drop_old(&db.connections, &lp[0]).await.unwrap(), [2]);
    assert_eq!(generations(&db, "lp").await, (Some(1), None));
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_rebuild_left_behind_is_dropped_with_the_old_generations() {
    let db = Database::new().await;
    let lp = replay::find(read::projectors(), &["lp".to_owned()]).unwrap();
    rebuild(&db, &["lp"]).await.unwrap();
    let mut connection = db.pool.acquire().await.unwrap();
    assert_eq!(generation::begin(&mut connection, &*lp[0]).await.unwrap(), 3);
    let stop = CancellationToken::new();
    let another = Rebuild::admit(&db.connections, lp.clone(), "a test", stop).await.unwrap();
    let refused = replay::drop_old(&db.connections, &lp[0]).await.unwrap_err();
    assert!(matches!(refused, RebuildError::Held { .. }), "{refused}");
    assert_eq!(
        generation::all(&mut connection)
            .await
            .unwrap()
            .iter()
            .filter(|it| it.projector == "lp")
            .count(),
        3
    );
    drop(another);
    let deadline = Instant::now() + Duration::from_secs(20);
    let dropped = loop {
        match replay::drop_old(&db.connections, &lp[0]).await {
            Err(RebuildError::Held { .. }) if Instant::now() < deadline => {
                tokio::task::yield_now().await
            }
            dropped => break dropped.unwrap(),
        }
    };
    assert_eq!(dropped, [3, 1]);
    assert_eq!(generations(&db, "lp").await, (Some(2), None));
    let left: Option<String> = sqlx::query_scalar("select to_regnamespace('read_lp_3')::text")
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    assert_eq!(left, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_of_several_read_models_goes_back_with_all_of_them_or_with_none() {
    let db = Database::new().await;
    import_demo(&db).await;
    let backend = db.backend().await;
    backend.settle().await.unwrap();
    let find = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        replay::find(read::projectors(), &names).unwrap()
    };
    let stop = CancellationToken::new();
    rebuild(&db, &["lp", "note"]).await.unwrap();
    let refused = replay::roll_back(&db.connections, &find(&["lp", "note", "todo"]), &stop).await;
    assert!(matches!(refused, Err(RebuildError::NoPrevious("todo"))), "{refused:?}");
    assert_eq!(generations(&db, "lp").await, (Some(2), Some(1)));
    let mut all = find(&[]);
    replay::retain_with_previous(&db.connections, &mut all).await.unwrap();
    let mut names: Vec<&str> = all.iter().map(|projector| projector.name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["lp", "note"]);
    assert_eq!(replay::roll_back(&db.connections, &all, &stop).await.unwrap(), [1, 1]);
    for name in names {
        assert_eq!(generations(&db, name).await, (Some(1), Some(2)));
    }
    let position = register(&backend, "after").await;
    assert!(backend.reader.reached(position, Duration::from_secs(10)).await);
    assert_read_models_match_the_log(&db.pool).await;
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_somebody_is_in_the_way_of_says_so() {
    let db = Database::new().await;
    import_demo(&db).await;
    let backend = db.backend().await;
    backend.settle().await.unwrap();
    rebuild(&db, &["lp"]).await.unwrap();
    let lp = replay::find(read::projectors(), &["lp".to_owned()]).unwrap();
    let mut forgotten = db.pool.begin().await.unwrap();
    sqlx::query("select from generation where projector = 'lp' for update")
        .execute(&mut *forgotten)
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let first = tokio::spawn({
        let (database, lp, stop) = (db.connections.clone(), lp.clone(), stop.clone());
        async move { replay::roll_back(&database, &lp, &stop).await }
    });
    crate::verify::waits_for_a_lock(&db).await;
    let second = replay::roll_back(&db.connections, &lp, &stop).await.unwrap_err();
    assert!(matches!(second, RebuildError::Taken("lp")), "{second}");
    let first = first.await.unwrap().unwrap_err();
    assert!(matches!(first, RebuildError::Busy(_)), "{first}");
    assert_eq!(generations(&db, "lp").await, (Some(2), Some(1)));
    forgotten.rollback().await.unwrap();
    replay::roll_back(&db.connections, &lp, &stop).await.unwrap();
    assert_eq!(generations(&db, "lp").await, (Some(1), Some(2)));
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_takes_long_goes_on_when_the_request_has_been_answered() {
    let api = Api::new().await;
    rebuild(&api.db, &["lp"]).await.unwrap();
    // What the earlier generation has to catch up with takes longer than anybody waits.
    sqlx::raw_sql(
        "create function slowly() returns trigger language plpgsql as
             'begin perform pg_sleep(6); return new; end';
         create trigger slowly before insert on read_lp_1.lp for each row execute function slowly()",
    )
    .execute(&api.db.pool)
    .await
    .unwrap();
    api.made("lps", json!({"name": "since"})).await;
    let accepted = api.post("/projections/lp/rollback", Value::Null).await;
    assert_eq!(accepted.header("location"), Some("/projections/lp"));
    assert_eq!(accepted.expect(202, "rollback")["status"], json!("accepted"));
    assert_eq!(generations(&api.db, "lp").await, (Some(2), Some(1)));
    let mut checkpoints = api.backend.runner().checkpoints().clone();
    checkpoints.wait_for(|all| all["lp"].revision >= 2).await.unwrap();
    assert_eq!(generations(&api.db, "lp").await, (Some(1), Some(2)));
    assert_eq!(api.read("/lps").await[0]["name"], json!("since"));
    api.backend.stop().await;
}
