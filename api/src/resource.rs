//! What the routes of all kinds of records truly share: reading them, and removing them from use.

use axum::extract::State;
use axum::response::Response;
use domain::RecordRef;
use projections::read::Query;
use serde_json::json;

use crate::app::App;
use crate::as_of::Asked;
use crate::body::{Ids, Parameters};
use crate::caller::Caller;
use crate::problem::Problem;
use crate::writes::{Resource, Written, condition, execute, kind_of};

/// The record of this aggregate with this id.
pub fn record_of<A: Resource>(id: i64) -> RecordRef {
    kind_of::<A>().record(id)
}

/// All records of a kind.
pub async fn list<A: Resource>(State(app): State<App>, asked: Asked) -> Result<Response, Problem> {
    asked.answer(&app, Query::List(kind_of::<A>())).await
}

/// One record.
pub async fn show<A: Resource>(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    asked: Asked,
) -> Result<Response, Problem> {
    asked.answer(&app, Query::Show(record_of::<A>(id))).await
}

/// The first records whose name contains `q`.
pub async fn search<A: Resource>(
    State(app): State<App>,
    parameters: Parameters,
    asked: Asked,
) -> Result<Response, Problem> {
    let text = parameters.get("q").unwrap_or_default().to_owned();
    asked.answer(&app, Query::Search { kind: kind_of::<A>(), text }).await
}

/// The records of kind `To` that are linked with one of kind `Of`; none for a record that does not exist.
pub async fn linked<Of: Resource, To: Resource>(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    asked: Asked,
) -> Result<Response, Problem> {
    let query = Query::Linked { of: record_of::<Of>(id), kind: kind_of::<To>() };
    asked.answer(&app, query).await
}

/// The notes about a record.
pub async fn notes<Of: Resource>(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    asked: Asked,
) -> Result<Response, Problem> {
    asked.answer(&app, Query::NotesOf(record_of::<Of>(id))).await
}

/// The todos that came out of the notes about a record.
pub async fn tasks<Of: Resource>(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    asked: Asked,
) -> Result<Response, Problem> {
    asked.answer(&app, Query::TasksOf(record_of::<Of>(id))).await
}

/// Removes a record from use.
pub async fn archive<A: Resource>(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
) -> Result<Response, Problem> {
    let written = remove_from_use::<A>(&app, &caller, id).await?;
    Ok(written.answer(json!({"status": "deleted"})))
}

/// As [`archive`], for those that answer in their own words.
///
/// # Errors
/// [`Problem::NotFound`], or [`Problem::Outdated`] when the client knows another state.
pub async fn remove_from_use<A: Resource>(
    app: &App,
    caller: &Caller,
    id: i64,
) -> Result<Written, Problem> {
    let version = condition(app, caller, record_of::<A>(id)).await?;
    execute::<A>(app, caller, id, "Archive", A::archive(), version).await
}
