//! Comparing a record with what it was, and taking it back to that. `wish` is what is asked for, `told` what that would do, `refused`
//! why it is not done.

mod refused;
mod told;
mod wish;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, Uri};
use axum::response::{IntoResponse, Response};
use domain::telling::{Part, Sentence};
use domain::{FactChange, Kind, RecordRef, Subject, differences};
use projections::history::Names;
use projections::log::{CommandError, CommandRequest, EventLog};
use projections::read::Time;
use projections::undo::{Goal, Plan, plan, stood};
use serde_json::{Value, json};

pub use self::refused::problem;
use self::told::Told;
pub use self::told::{announced, follow_ups, missing};
pub use self::wish::fields_in;
use self::wish::{Wish, is_rehearsal, wish};

use crate::answers::POSITION;
use crate::app::App;
use crate::as_of::position;
use crate::body::{Body, Ids, Parameters};
use crate::caller::Caller;
use crate::history;
use crate::problem::Problem;
use crate::resource::record_of;
use crate::writes::{Outcome, Resource, Written, condition};

/// What a record said at two positions, and every fact in which they differ.
pub async fn compare<A: Resource>(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.expect(&["from", "to", "min_position"])?;
    parameters.once("from")?;
    let from = parameters.required("from")?;
    let from = position(&app, &from, ["query", "from"]).await?;
    let to = match parameters.once("to")? {
        Some(to) => position(&app, to, ["query", "to"]).await?,
        None => app.reader.head().await?,
    };
    let record = record_of::<A>(id);
    let life = app.reader.life(record).await?;
    if life.is_empty() {
        return Err(Problem::NotFound(record.kind()));
    }
    let stand = |position| stood(record, &life, position).map_err(|it| problem(it, record));
    if stand(i64::MAX)?.is_erased() {
        return Err(Problem::Erased(record.kind()));
    }
    let (before, after) = (stand(from)?, stand(to)?);
    let changes = differences(&before.facts(), &after.facts());
    let names = Names::of(app.log.database(), spoken_of(record, &changes, [])).await?;
    let side = async |position, subject: &Subject| {
        let Time { recorded_at, .. } = app.reader.time_at(position).await?;
        let recorded_at = recorded_at.map(history::time);
        Ok::<_, Problem>(
            json!({"position": position, "recorded_at": recorded_at, "state": state(subject)}),
        )
    };
    let body = json!({
        "record": history::record(record, &names),
        "from": side(from, &before).await?,
        "to": side(to, &after).await?,
        "changes": told(&changes, &names),
    });
    Ok(([(POSITION, HeaderValue::from(to))], Json(body)).into_response())
}

fn state(subject: &Subject) -> &'static str {
    match (subject.is_there(), subject.is_archived()) {
        (false, _) => "absent",
        (true, true) => "archived",
        (true, false) => "active",
    }
}

/// The record, and all that these changes and sentences speak of.
fn spoken_of<'a>(
    record: RecordRef,
    changes: impl IntoIterator<Item = &'a FactChange>,
    sentences: impl IntoIterator<Item = &'a Sentence>,
) -> Vec<RecordRef> {
    let changed = changes.into_iter().filter_map(|change| change.about);
    let said = sentences.into_iter().flat_map(|sentence| &sentence.0);
    let said = said.filter_map(|part| match part {
        Part::Record(record) => Some(*record),
        Part::Text(_) | Part::Value(_) => None,
    });
    [record].into_iter().chain(changed).chain(said).collect()
}

fn told(changes: &[FactChange], names: &Names) -> Vec<Value> {
    changes.iter().map(|change| history::change(change, names)).collect()
}

/// Takes a record back to what it was, or one event or command back.
pub async fn revert<A: Resource>(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    uri: Uri,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    let parameters = Parameters::of(&uri);
    let is_rehearsal = is_rehearsal(&parameters)?;
    if !is_rehearsal {
        caller.attempts("Revert");
    }
    let Wish { goal, fields, seen, is_forced } = wish(&app, &parameters, body).await?;
    let record = record_of::<A>(id);
    if let Some(earlier) = caller.earlier() {
        return Ok(done(&app, Written::of::<A>(&app, earlier).await).await);
    }
    let tables: Vec<&'static str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    for _ in 0..EventLog::ATTEMPTS {
        // What a plan speaks of has the names that it was given last.
        app.level(&tables).await?;
        let life = app.reader.life(record).await?;
        let plan =
            plan(record, &life, goal, fields.as_ref()).map_err(|error| problem(error, record))?;
        check_version(&app, &caller, record, &plan).await?;
        let told = Told::of(&app, record, &plan).await?;
        if is_rehearsal {
            check_notion_id(&app, record, &plan).await?;
            return Ok(told.rehearsed(&app, &plan));
        }
        if !is_forced && (told.is_lacking || is_news(&caller, goal, seen, &plan)) {
            return Err(told.contested(goal));
        }
        let Plan { version, present, target, cause, .. } = plan;
        let (Some(present), Some(target)) = (A::of(present), A::of(target)) else {
            return Err(Problem::NotFound(record.kind()));
        };
        let request = CommandRequest {
            if_match: Some(version),
            causation_id: cause,
            ..caller.request("Revert")
        };
        match app.log.execute::<A>(id, present.revert(target), &request).await {
            Ok(receipt) => {
                return Ok(done(&app, Written::of::<A>(&app, receipt).await).await);
            }
            // What was planned was planned for another state.
            Err(CommandError::VersionMismatch { .. }) if caller.if_match.is_none() => {}
            Err(error) => return Err(Problem::of_command(error, record)),
        }
    }
    Err(Problem::of_command(CommandError::Conflict, record))
}

/// Whether a plan takes something back that the caller has not said to know: of one event or command, whatever changed the same since;
/// of all that came after a position, what is newer than what the caller has seen.
fn is_news(caller: &Caller, goal: Goal, seen: Option<i64>, plan: &Plan) -> bool {
    match goal {
        // The tag is that of the record as it stands; `*` is any, so that it says nothing.
        Goal::To(_) if caller.if_match.as_deref().is_some_and(|tags| !tags.contains('*')) => false,
        Goal::To(_) => plan.later.iter().any(|later| seen.is_none_or(|seen| later.position > seen)),
        _ => !plan.later.is_empty(),
    }
}

/// The row, or that there is none any more.
async fn done(app: &App, written: Written) -> Response {
    match written.outcome(app).await {
        Outcome::Seen(row) => written.seen_row(row),
        Outcome::Recorded(row) => written.recorded_row(row),
        Outcome::Gone => written.answer(json!({"status": "deleted"})),
        Outcome::Unknown => {
            let id = written.record.id();
            written.provisional(json!({"id": id}))
        }
    }
}

/// `If-Match` is about what readers see, a plan about what is in the log: both must be the same state.
async fn check_version(
    app: &App,
    caller: &Caller,
    record: RecordRef,
    plan: &Plan,
) -> Result<(), Problem> {
    // A deleted record has no tag that could match.
    if plan.present.is_archived() {
        return match caller.if_match {
            Some(_) => Err(Problem::Outdated),
            None => Ok(()),
        };
    }
    match condition(app, caller, record).await? {
        Some(version) if version != plan.version => Err(Problem::Outdated),
        _ => Ok(()),
    }
}

/// Makes sure that nobody else has the Notion id that the record would get back, as readers see it. When a plan is carried out,
/// the log decides.
async fn check_notion_id(app: &App, record: RecordRef, plan: &Plan) -> Result<(), Problem> {
    let (now, then) = (plan.present.notion_id(), plan.target.notion_id());
    let Some(notion_id) = then.filter(|_| now != then) else { return Ok(()) };
    match app.reader.notion_id_owner(record.kind(), notion_id).await? {
        Some(owner) => {
            let owner = record.kind().record(owner);
            Err(Problem::notion_id_taken(notion_id, owner))
        }
        None => Ok(()),
    }
}
