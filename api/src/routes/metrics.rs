//! `/metrics`: what Prometheus collects.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;

use crate::app::App;
use crate::describe::{Content, Routes, SERVER, get};
use crate::measures;

/// The route of the measurements.
pub fn routes() -> Routes {
    let summary = "What crm measures of itself, in Prometheus's text format";
    Routes::tagged(SERVER).at("/metrics", [get(summary, Content::Text, show)])
}

async fn show(State(app): State<App>) -> impl IntoResponse {
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, format)], measures::report(&app).await)
}
