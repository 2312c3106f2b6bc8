//! `/health` for the front end, `/livez` and `/readyz` for whoever watches the server.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
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
    let mut reasons = reasons_against(&health);
    if health.database
        && let Err(error) = app.files.store().recognise().await
    {
        reasons.push(error.to_string());
    }
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
        "head": health.head, "projectors": projectors});
    (code, Json(body))
}

fn reasons_against(health: &Health) -> Vec<String> {
    if !health.database {
        // Nothing else can go on either, and need not be told.
        return vec!["the database does not answer".to_owned()];
    }
    let mut reasons = Vec::new();
    if health.read_only {
        reasons.push(
            "the database takes no changes (it is a replica or read-only): DATABASE_URL must name the writer"
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
        if let Some(failure) = &projector.failure {
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
            let failure = failure.map(str::to_owned);
            let lp =
                ProjectorHealth { name: "lp", position: 5, lag, beyond: 0, failure, parked: 1 };
            let projectors = vec![lp];
            let health = Health { database, read_only: false, head: 5 + lag, projectors };
            assert_eq!(reasons_against(&health), expected);
        };
        check(true, 10_000, None, &[]);
        check(true, 10_001, None, &["read model lp is 10001 events behind"]);
        check(true, 0, Some("x"), &["read model lp does not go on: x"]);
        check(false, 10_001, Some("x"), &["the database does not answer"]);
        let read_only = Health { database: true, read_only: true, head: 5, projectors: vec![] };
        assert!(reasons_against(&read_only)[0].contains("takes no changes"));
    }
}
