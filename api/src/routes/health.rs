//! `/health` for the front end, `/livez` and `/readyz` for whoever watches the server.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use projections::database::WriteTrouble;
use projections::read::Health;
use serde_json::{Value, json};

use crate::app::App;
use crate::describe::{Content, Routes, SERVER, get};

/// A read model that lags further behind than this shows a past that nobody expects.
const TOLERATED_LAG: i64 = 10_000;

/// The routes about the server itself.
pub fn routes() -> Routes {
    let well = Content::Example(json!({"status": "ok", "timestamp": "2025-01-31T15:04:05.000123"}));
    let ready = Content::Example(
        json!({"status": "ready", "reasons": [], "database": true, "head": 42,
        "parts": {"files": {"status": "ok", "reasons": []}, "writes": {"status": "ok", "reasons": []}},
        "projectors": [{"name": "lp", "position": 42, "lag": 0, "beyond": 0, "failure": null, "parked": 0}]}),
    );
    Routes::tagged(SERVER)
        .at("/health", [get("Whether the server runs", well, health)])
        .at(
            "/livez",
            [get("Whether the process lives", Content::Example(json!({"status": "ok"})), livez)],
        )
        .at("/readyz", [get("Whether it can do its work; 503 with reasons if not", ready, readyz)])
}

async fn health() -> Json<Value> {
    let now = chrono::Local::now().naive_local().format("%Y-%m-%dT%H:%M:%S%.6f");
    Json(json!({"status": "ok", "timestamp": now.to_string()}))
}

async fn livez() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

async fn readyz(State(app): State<App>) -> (StatusCode, Json<Value>) {
    let health = app.reader.health().await;
    let writes = app.rebuilds.database.write_trouble();
    let reasons = reasons_against(&health, writes.is_none());
    let parts = parts(&app, health.database, writes).await;
    let projectors: Vec<Value> = health
        .projectors
        .iter()
        .map(|projector| {
            json!({"name": projector.name, "position": projector.position, "lag": projector.lag,
                "beyond": projector.beyond, "failure": projector.failure, "parked": projector.parked})
        })
        .collect();
    let (code, status) = match reasons.is_empty() {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    let body = json!({"status": status, "reasons": reasons, "database": health.database,
        "head": health.head, "parts": parts, "projectors": projectors});
    (code, Json(body))
}

/// What a server does without, and goes on: to be sent no more requests for it would stop the rest as well, and most of all where
/// all servers lack the same.
async fn parts(app: &App, database: bool, writes: Option<WriteTrouble>) -> Value {
    let mut files: Vec<String> = app.files.troubles().iter().map(ToString::to_string).collect();
    // A disk that is not mounted is seen at once.
    if database && let Err(error) = app.files.store().recognise().await {
        let error = error.to_string();
        if !files.iter().any(|told| told.contains(&error)) {
            files.push(error);
        }
    }
    let writes = writes.map(|trouble| trouble.error);
    json!({"files": part(&files), "writes": part(writes.as_slice())})
}

fn part(reasons: &[String]) -> Value {
    let status = if reasons.is_empty() { "ok" } else { "degraded" };
    json!({"status": status, "reasons": reasons})
}

fn reasons_against(health: &Health, takes_writes: bool) -> Vec<String> {
    if !health.database {
        // Nothing else can go on either, and need not be told.
        return vec!["the database does not answer".to_owned()];
    }
    let mut reasons = Vec::new();
    if health.replica {
        reasons.push(
            "the database takes no changes (it is a replica): DATABASE_URL must name the writer"
                .to_owned(),
        );
    }
    for projector in &health.projectors {
        let (name, lag) = (projector.name, projector.lag);
        if lag > TOLERATED_LAG {
            reasons.push(format!("read model {name} is {lag} events behind"));
        }
        if projector.beyond > 0 {
            reasons.push(format!(
                "read model {name} stands at position {}, the log ends at {}: an older log was put back; `crm rebuild {name}` \
                 builds it anew",
                projector.position, health.head
            ));
        }
        // That nothing can be written is a matter of the database, not of this server.
        if let Some(failure) = projector.failure.as_ref().filter(|_| takes_writes) {
            reasons.push(format!("read model {name} does not go on: {failure}"));
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use projections::read::ProjectorHealth;

    use super::*;

    #[test]
    fn a_server_is_ready_when_its_database_answers_and_its_read_models_keep_up() {
        let check = |database: bool, lag: i64, failure: Option<&str>, expected: &[&str]| {
            let said = failure.map(str::to_owned);
            let lp = ProjectorHealth {
                name: "lp",
                position: 5,
                lag,
                beyond: 0,
                failure: said,
                parked: 1,
            };
            let projectors = vec![lp];
            let health = Health { database, replica: false, head: 5 + lag, projectors };
            assert_eq!(reasons_against(&health, true), expected);
            let unwritten = failure.is_some() && database;
            assert_eq!(
                reasons_against(&health, false).is_empty(),
                unwritten || expected.is_empty()
            );
        };
        check(true, 10_000, None, &[]);
        check(true, 10_001, None, &["read model lp is 10001 events behind"]);
        check(true, 0, Some("x"), &["read model lp does not go on: x"]);
        check(false, 10_001, Some("x"), &["the database does not answer"]);
        let replica = Health { database: true, replica: true, head: 5, projectors: vec![] };
        assert!(reasons_against(&replica, true)[0].contains("takes no changes"));
    }
}
