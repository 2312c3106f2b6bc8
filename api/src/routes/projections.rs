//! `/projections`: how read models stand, and their rebuilds.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures::Stream;
use projections::search::sets;
use projections::search::vector_status::{self, VectorStatus};
use projections::status::Status;
use replay::RebuildError;
use serde_json::{Value, json};
use tokio_stream::wrappers::ReceiverStream;

use crate::app::App;
use crate::commands::rebuild::VECTORS;
use crate::describe::{Content, Routes, SERVER, delete, get, post};
use crate::once::Lone;
use crate::problem::Problem;
use crate::rebuilds::News;

/// How long a request waits for a rollback: the generation may be far behind the log.
const ROLLBACK: Duration = Duration::from_secs(5);

/// The routes of read models.
pub fn routes() -> Routes {
    let rebuild = json!({"generation": 2, "holder": "a server, process 7 on crm-1", "phase": "done", "done": 42, "total": 42,
        "parked": 0, "rate": 90000.0, "eta_seconds": null, "started_at": "2025-01-31T15:04:05Z",
        "finished_at": "2025-01-31T15:04:06Z", "error": null});
    let one = json!({"name": "lp", "version": 1, "generation": 2, "previous": 1, "position": 42, "lag": 0,
        "beyond": 0, "lag_seconds": 0.0, "rate": 0.5, "size": 172032, "parked": [], "skipped": 0, "skipped_events": [], "rebuild": rebuild});
    let vectors = json!({"set": 1, "model": "multilingual-e5-small", "state": "live", "engine": "memory", "position": 42,
        "lag": 0, "points": 1800, "waiting": 0, "at_work": true, "rate": 14.2, "eta_seconds": 0.0, "untold": 0, "error": null});
    let all = json!({"head": 42, "projections": [one], "reactors": [{"name": "recordings", "position": 42, "lag": 0, "lag_seconds": 0.0, "workers": 1,
            "jobs": {"waiting": 0, "running": 1, "postponed": 0, "suspended": 0, "oldest_seconds": 12.5, "failure": null}}],
        "webhooks": [{"id": 1, "state": "enabled", "reason": null, "position": 42, "lag": 0, "lag_seconds": 0.0, "attempts": 0}],
        "keys": {"present": 120, "destroyed": 1, "unscrubbed": 0}, "verification": null, "later_checks": [],
        "seal": {"number": 3, "position": 42, "events": 40, "sealed_at": "2025-01-31T15:04:05Z", "lag_seconds": 0.0},
        "seal_doubt": null, "vectors": [vectors], "vectors_lack": null, "writes": null,
        "files": {"troubles": [], "garbage": null}});
    let accepted = json!({"status": "accepted", "projection": "lp"});
    Routes::tagged(SERVER)
        .at("/projections", [get("How every read model stands", Content::Example(all), list)])
        .at(
            "/projections/{name}",
            [get(
                "How one stands, or `vectors`; with `Accept: text/event-stream` also whenever that changes",
                Content::Example(one),
                show,
            )],
        )
        .at(
            "/projections/{name}/rebuild",
            [
                post("Begins to build it anew", Content::Example(accepted.clone()), rebuild_it)
                    .succeeds("202")
                    .tells("Location", "Where to look how far it is"),
                delete("Calls its rebuild off", Content::Example(accepted.clone()), cancel)
                    .succeeds("202")
                    .tells("Location", "Where to look how far it is"),
            ],
        )
        .at(
            "/projections/{name}/rollback",
            [post(
                "Makes its previous generation live; accepted if that takes more than 5 s",
                Content::Example(accepted),
                roll_back,
            )
            .tells("Location", "Where to look how it goes on")
            .or("202", "It goes on; the place in Location tells how.")],
        )
}

/// How everything stands, as this server sees it too: whether its installation trusts the seals, and what it lacks.
async fn ask(app: &App) -> Result<Status, Problem> {
    let mut status = app.rebuilds.status().await?;
    let database = &app.rebuilds.database;
    let asking = async {
        let mut connection = database.pool.acquire().await?;
        app.trust.doubt(&mut connection).await
    };
    let doubt = database.ask(asking).await?;
    status.seal_doubt =
        doubt.map(|doubt| format!("{}; `crm seal status` says more", doubt.in_short()));
    status.lack_for_vectors(app.search.meaning().lacking());
    (status.writes, status.files) = (database.write_trouble(), app.keeper.status());
    Ok(status)
}

async fn ask_one(app: &App, name: &str) -> Result<Value, Problem> {
    let told = match name {
        VECTORS => Ok(json!({"name": VECTORS, "vectors": vectors(app).await?})),
        name => {
            let found = app.rebuilds.status_of(name).await?;
            serde_json::to_value(found.ok_or(Problem::NoSuchProjection)?)
        }
    };
    told.map_err(|error| Problem::Internal(error.into()))
}

/// The sets of vectors, which are no read model but rebuilt like one.
async fn vectors(app: &App) -> Result<Vec<VectorStatus>, Problem> {
    let database = &app.rebuilds.database;
    let asking = async {
        let mut connection = database.pool.acquire().await?;
        vector_status::status(&mut connection).await
    };
    Ok(database.ask(asking).await?)
}

async fn list(State(app): State<App>) -> Result<Json<Status>, Problem> {
    Ok(Json(ask(&app).await?))
}

async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // Before the first look, so that nothing is missed after it.
    let news = app.rebuilds.news();
    let now = ask_one(&app, &name).await?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    match accept.is_some_and(|accept| accept.contains("text/event-stream")) {
        true => Ok(Sse::new(watch(app, name, now, news))
            .keep_alive(KeepAlive::default())
            .into_response()),
        false => Ok(Json(now).into_response()),
    }
}

/// Tells how a projection stands, now and whenever that is different, until the client goes away.
fn watch(
    app: App,
    name: String,
    first: Value,
    mut news: News,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let (sender, events) = tokio::sync::mpsc::channel(4);
    tokio::spawn(async move {
        let (mut now, mut told) = (first, String::new());
        loop {
            let text = now.to_string();
            if text != told {
                let event = Event::default().event("projection").data(&text);
                if sender.send(Ok(event)).await.is_err() {
                    return;
                }
                told = text;
            }
            tokio::select! {
                () = sender.closed() => return,
                () = app.rebuilds.dismissal().cancelled() => return,
                () = news.next() => {}
            }
            // While the database is away there is no news.
            if let Ok(next) = ask_one(&app, &name).await {
                now = next;
            }
        }
    });
    ReceiverStream::new(events)
}

async fn rebuild_it(State(app): State<App>, Path(name): Path<String>) -> Result<Response, Problem> {
    if name == VECTORS {
        return rebuild_vectors(&app).await;
    }
    app.rebuilds.begin(&name).await.map_err(problem)?;
    Ok(accepted(&name))
}

/// Has whoever embeds fill a new set of vectors beside the live one.
async fn rebuild_vectors(app: &App) -> Result<Response, Problem> {
    let database = &app.rebuilds.database;
    let meaning = app.search.meaning();
    let Some(model) = meaning.model() else {
        return Err(Problem::NoMeaning(meaning.missing().unwrap_or_default()));
    };
    let asking = async {
        let mut connection = database.pool.acquire().await?;
        sets::begin_anew(&mut connection, model).await
    };
    match database.ask(asking).await? {
        Some(_) => Ok(accepted(VECTORS)),
        None => Err(Problem::Conflict("there are no vectors yet".into())),
    }
}

async fn cancel(State(app): State<App>, Path(name): Path<String>) -> Result<Response, Problem> {
    if name != VECTORS {
        app.rebuilds.find(&name).map_err(problem)?;
    }
    let database = &app.rebuilds.database;
    let asking = async {
        let mut connection = database.pool.acquire().await?;
        match name == VECTORS {
            true => Ok(sets::give_up_all(&mut connection).await? > 0),
            false => replay::cancel(&mut connection, &name).await,
        }
    };
    match database.ask(asking).await? {
        true => Ok(accepted(&name)),
        false => Err(Problem::Conflict("it is not being rebuilt".into())),
    }
}

async fn roll_back(State(app): State<App>, Path(name): Path<String>) -> Result<Response, Problem> {
    match tokio::time::timeout(ROLLBACK, app.rebuilds.roll_back(&name)).await {
        Ok(done) => {
            done.map_err(problem)?;
            let body = json!({"status": "done", "projection": name});
            Ok((Extension(Lone), Json(body)).into_response())
        }
        Err(_) => Ok(accepted(&name)),
    }
}

fn accepted(name: &str) -> Response {
    let body = json!({"status": "accepted", "projection": name});
    let location = [(header::LOCATION, format!("/projections/{name}"))];
    (StatusCode::ACCEPTED, Extension(Lone), location, Json(body)).into_response()
}

fn problem(error: RebuildError) -> Problem {
    match error {
        RebuildError::Unknown { .. } => Problem::NoSuchProjection,
        RebuildError::Held { .. }
        | RebuildError::Taken(_)
        | RebuildError::Busy(_)
        | RebuildError::NoPrevious(_)
        | RebuildError::OtherVersion { .. }
        | RebuildError::Beyond { .. }
        | RebuildError::InUse { .. }
        | RebuildError::Read { .. }
        | RebuildError::Cancelled => Problem::Conflict(error.to_string().into()),
        RebuildError::Database(error) if projections::database::is_passing(&error) => {
            Problem::Unavailable(error.to_string())
        }
        RebuildError::Follow(error) if error.is_passing() => {
            Problem::Unavailable(error.to_string())
        }
        error => Problem::Internal(error.into()),
    }
}
