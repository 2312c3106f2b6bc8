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
    let ready =
        Content::Example(json!({"status": "ready", "reasons": [], "database": true, "head": 42,
        "projectors": [{"name": "records", "position": 42, "lag": 0, "failure": null}]}));
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
    let reasons = reasons_against(&health);
    let projectors: Vec<Value> = health
        .projectors
        .iter()
        .map(|projector| {
            json!({"name": projector.name, "position": projector.position, "lag": projector.lag,
                "failure": projector.failure})
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
    let mut reasons = Vec::new();
    if !health.database {
        reasons.push("the database does not answer".to_owned());
    }
    for projector in &health.projectors {
        let (name, lag) = (projector.name, projector.lag);
        if lag > TOLERATED_LAG {
            reasons.push(format!("read model {name} is {lag} events behind"));
        }
        if let Some(failure) = &projector.failure {
            reasons.push(format!("read model {name} does not go on: {failure}"));
        }
    }
    reasons
}
