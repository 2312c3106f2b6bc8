//! What becomes of a request that the server cannot finish: it is told so in JSON that the page may read.

use std::time::Duration;

use api::app::App;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use projections::log::APPEND_LOCK;
use serde_json::{Value, json};

use super::{app, ask, ids, json_request, request, send};
use crate::harness::Database;

#[tokio::test]
async fn a_handler_that_panics_is_a_500_with_a_name_to_look_for_in_the_log() {
    async fn panics() {
        panic!("on purpose");
    }
    let db = Database::new().await;
    let backend = db.backend().await;
    let app = App::from(app(&db, &backend, 1 << 20));
    let envelope = from_fn_with_state(app, api::envelope::envelope);
    let router = Router::new().route("/panics", get(panics).put(panics)).layer(envelope);
    for method in [Method::GET, Method::PUT] {
        let request = request(method.clone(), "/panics").header("x-correlation-id", CORRELATION);
        let answer = ask(&router, request.body(Body::empty()).unwrap()).await;
        let told = json!({"detail": "Internal Server Error", "correlation_id": CORRELATION});
        assert_eq!(answer.expect(500, method.as_str()), told);
    }
}

const CORRELATION: &str = "0190c0de-0000-7000-8000-000000000001";

/// A router that gives up soon, and one that does not.
async fn impatient(db: &Database) -> (Router, Router) {
    let mut app = app(db, &db.backend().await, 1 << 20);
    let patient = api::server::router(app.clone());
    app.limits.time = Duration::from_millis(50);
    (api::server::router(app), patient)
}

fn too_long() -> Value {
    json!({"detail": "The request took too long"})
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_all_the_same() {
    let db = Database::new().await;
    let (impatient, _) = impatient(&db).await;
    let early = request(Method::GET, "/lps?min_position=1000").body(Body::empty()).unwrap();
    assert_eq!(ask(&impatient, early).await.expect(504, "not there yet"), too_long());
    let endless = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let endless = request(Method::POST, "/lps").body(endless).unwrap();
    assert_eq!(ask(&impatient, endless).await.expect(504, "an endless body"), too_long());
}

#[tokio::test]
async fn a_write_that_takes_too_long_is_carried_out_and_answered_when_it_is_repeated() {
    let db = Database::new().await;
    let (impatient, patient) = impatient(&db).await;
    let keyed = || -> Request<Body> {
        let mut request = json_request(Method::POST, "/lps", &json!({"name": "x"}));
        request.headers_mut().insert("idempotency-key", "k".parse().unwrap());
        request
    };
    let mut others_turn = db.pool.begin().await.unwrap();
    sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(APPEND_LOCK)
        .execute(&mut *others_turn)
        .await
        .unwrap();
    assert_eq!(ask(&impatient, keyed()).await.expect(504, "no turn"), too_long());
    others_turn.rollback().await.unwrap();
    let row = send(&patient, keyed()).await.expect(200, "again");
    let list = request(Method::GET, "/lps").body(Body::empty()).unwrap();
    assert_eq!(ids(&send(&patient, list).await.body), [row["id"].as_i64().unwrap()]);
}
