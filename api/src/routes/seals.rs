//! `/seals`: the chain by which a change of the log is noticed, for those who keep checkpoints elsewhere.

use axum::Json;
use axum::extract::State;
use projections::seal::{Link, store};
use serde_json::{Value, json};

use crate::app::App;
use crate::body::{Parameters, parse_id};
use crate::describe::{Content, Routes, SERVER, get};
use crate::problem::Problem;

/// The most seals of one answer.
const PAGE: i64 = 1_000;

/// The routes of seals.
pub fn routes() -> Routes {
    let checkpoint = "crm/5b3c…\n40\nAgICAgIC…=\nseal 3\nposition 42\nat 2025-01-31T15:04:05.000000Z\n\n— crm/5b3c… djJ0…=\n";
    let link = json!({"number": 3, "after": 30, "position": 42, "events": 12, "batch": "9f86d081…", "before": "3a7bd3e2…", "checkpoint": checkpoint});
    let page = json!({"seals": [link], "next": null});
    let key = "crm/5b3c…+76366e3e+AddamAGC…";
    let keys =
        json!({"log": "5b3c…", "keys": [{"key": key, "introduced_at": "2025-01-31T15:04:05Z"}]});
    let status = json!({"number": 3, "position": 42, "events": 40, "sealed_at": "2025-01-31T15:04:05Z", "lag_seconds": 0.0});
    let latest = json!({"checkpoint": checkpoint, "key": key, "seal": status});
    Routes::tagged(SERVER)
        .at(
            "/seals",
            [get(
                "The hash chain over the log, oldest first, in pages",
                Content::Example(page),
                list,
            )
            .query("after", false, "The number of the seal behind which to begin")],
        )
        .at(
            "/seals/latest",
            [get(
                "The newest signed checkpoint, and how far it reaches",
                Content::Example(latest),
                latest_one,
            )],
        )
        .at(
            "/seals/key",
            [get(
                "The public keys that ever signed checkpoints",
                Content::Example(keys),
                keys_of_log,
            )],
        )
}

async fn list(State(app): State<App>, parameters: Parameters) -> Result<Json<Value>, Problem> {
    parameters.expect(&["after", "min_position"])?;
    let after = match parameters.get("after") {
        Some(text) => parse_id(text).map_err(|fault| {
            Problem::invalid(fault.at(["query".into(), "after".into()]).with_input(text))
        })?,
        None => 0,
    };
    let database = app.log.database();
    database.check()?;
    let asking = async {
        let mut connection = database.pool.acquire().await?;
        store::links(&mut connection, after, PAGE).await
    };
    let seals = database.ask(asking).await?;
    let is_full = i64::try_from(seals.len()) == Ok(PAGE);
    let next = seals.last().map(|seal| seal.number).filter(|_| is_full);
    Ok(Json(json!({"seals": seals, "next": next})))
}

async fn latest_one(State(app): State<App>) -> Result<Json<Value>, Problem> {
    let database = app.log.database();
    database.check()?;
    let asking = async {
        let mut connection = database.pool.acquire().await?;
        let log = store::log_id(&mut connection).await?;
        let last = store::last(&mut connection).await?;
        Ok((log, last, store::status(&mut connection).await?))
    };
    let (log, last, status) = database.ask(asking).await?;
    let checkpoint = last.as_ref().map(|seal| Link::of(log, seal, None).checkpoint);
    let key = last.map(|seal| projections::seal::PublicKey::of(log, seal.key).to_string());
    Ok(Json(json!({"checkpoint": checkpoint, "key": key, "seal": status})))
}

async fn keys_of_log(State(app): State<App>) -> Result<Json<Value>, Problem> {
    let database = app.log.database();
    database.check()?;
    let asking = async {
        let mut connection = database.pool.acquire().await?;
        let log = store::log_id(&mut connection).await?;
        Ok((log, store::keys(&mut connection).await?))
    };
    let (log, keys) = database.ask(asking).await?;
    let keys: Vec<Value> =
        keys.iter().map(|(key, at)| json!({"key": key.to_string(), "introduced_at": at})).collect();
    Ok(Json(json!({"log": log, "keys": keys})))
}
