//! A Notion id is one record's, whoever gives it.

use api::backend::Backend;
use domain::Verbatim;
use domain::gp::{Gp, GpCommand};
use domain::lp::{Lp, LpCommand};
use projections::log::{CommandError, Receipt};
use serde_json::{Value, json};

use crate::harness::Database;
use crate::log::request;

fn revised(changes: Value) -> LpCommand {
    LpCommand::Revise { name: None, changes: serde_json::from_value(changes).unwrap() }
}

/// An LP that has this Notion id.
fn with_notion_id(notion_id: &str) -> LpCommand {
    LpCommand::Register {
        name: "Profuturo".into(),
        details: serde_json::from_value(json!({ "notion_id": notion_id })).unwrap(),
        legacy: Verbatim::default(),
    }
}

/// Who has the Notion id that a command was to give.
fn owner(result: Result<Receipt, CommandError>) -> i64 {
    match result {
        Err(CommandError::NotionIdTaken { owner, .. }) => owner.id(),
        other => panic!("it was free: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_all_that_want_a_notion_id_in_several_processes_one_gets_it() {
    let db = Database::new().await;
    let servers = [db.backend().await, db.backend().await, db.backend().await];
    for round in 0..20 {
        let command = with_notion_id(&format!("page-{round}"));
        let rivals = servers.iter().cycle().take(9).map(|server| {
            let (log, command) = (server.log.clone(), command.clone());
            tokio::spawn(async move { log.register::<Lp>(command, &request("Register")).await })
        });
        let rivals: Vec<_> = rivals.collect();
        let (mut got, mut refused) = (Vec::new(), Vec::new());
        for rival in rivals {
            match rival.await.unwrap() {
                Ok(receipt) => got.push(receipt.id),
                refusal => refused.push(owner(refusal)),
            }
        }
        assert_eq!((got.len(), refused), (1, vec![got[0]; 8]), "round {round}");
    }
    let registered: i64 =
        sqlx::query_scalar("select count(*) from events").fetch_one(&db.pool).await.unwrap();
    assert_eq!(registered, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notion_id_is_free_when_no_record_in_use_has_it() {
    let db = Database::new().await;
    let (here, there) = (db.backend().await, db.backend().await);
    let register = async |server: &Backend| {
        server.log.register::<Lp>(with_notion_id("page"), &request("Register")).await
    };
    let change = async |id, command| {
        here.log.execute::<Lp>(id, command, &request("Revise")).await.map(|receipt| receipt.id)
    };
    let first = register(&here).await.unwrap().id;
    // Its own is no other's.
    change(first, revised(json!({"notion_id": "page", "location": "Lima"}))).await.unwrap();
    assert_eq!(owner(register(&there).await), first);
    change(first, revised(json!({"notion_id": "elsewhere"}))).await.unwrap();
    let second = register(&there).await.unwrap().id;
    change(second, LpCommand::Archive).await.unwrap();
    change(first, revised(json!({"notion_id": "page"}))).await.unwrap();
    let back = here.log.execute::<Lp>(second, LpCommand::Restore, &request("Restore")).await;
    assert_eq!(owner(back), first);
    // Another kind has ids of its own.
    let gp = GpCommand::Register {
        name: "Blackwood".into(),
        details: serde_json::from_value(json!({"notion_id": "page"})).unwrap(),
        legacy: Verbatim::default(),
    };
    there.log.register::<Gp>(gp, &request("Register")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_earlier_releases_recorded_is_claimed_by_the_migration() {
    let db = Database::new().await;
    let backend = db.backend().await;
    for (page, is_archived) in [("page-1", false), ("págína-2", false), ("page-3", true)] {
        let lp =
            backend.log.register::<Lp>(with_notion_id(page), &request("Register")).await.unwrap();
        if is_archived {
            backend
                .log
                .execute::<Lp>(lp.id, LpCommand::Archive, &request("Archive"))
                .await
                .unwrap();
        }
    }
    backend.settle().await.unwrap();
    let claims = async || -> Vec<(String, Vec<u8>, i64)> {
        sqlx::query_as("select kind, digest, id from notion_claim order by id")
            .fetch_all(&db.pool)
            .await
            .unwrap()
    };
    let recorded = claims().await;
    assert_eq!(
        recorded.iter().map(|(kind, _, id)| (kind.as_str(), *id)).collect::<Vec<_>>(),
        [("lp", 1), ("lp", 2)]
    );
    let migration = include_str!("../../migrations/0018_notion_claims.sql");
    let filling = &migration[migration.find("do $$").unwrap()..];
    sqlx::raw_sql(&format!("truncate notion_claim; {filling}")).execute(&db.pool).await.unwrap();
    assert_eq!(claims().await, recorded);
}
