//! `/people/{id}/erase` and `/hold`, and the same of notes: what administrators do when the law asks for it.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use domain::Holds;
use domain::note::{Note, NoteCommand};
use domain::person::{Person, PersonCommand};
use serde_json::json;

use crate::app::App;
use crate::body::{Body, Ids, Parameters, Shape};
use crate::caller::Caller;
use crate::describe::{Content, Endpoint, Routes, delete, get, post, put};
use crate::json::Json;
use crate::problem::{Fault, Problem};
use crate::resource::record_of;
use crate::writes::{Resource, condition, execute, kind_of};

/// A kind of record that is erased and held.
trait Erasable: Resource {
    /// What erasing, holding, lifting a hold and looking for holds do, in the documentation of the API.
    const SUMMARIES: [&'static str; 4];

    fn erase(reason: String) -> Self::Command;
    fn hold(reason: String) -> Self::Command;
    fn lift(reason: String, of: Option<String>) -> Self::Command;
    /// What the record is held by, as far as the events of its stream can be read; `None` if it was erased.
    fn holds(events: Vec<(String, Option<Self::Event>)>) -> Option<Holds>;
}

macro_rules! erasable {
    ($Aggregate:ty, $Command:ident, $what:literal) => {
        impl Erasable for $Aggregate {
            const SUMMARIES: [&'static str; 4] = [
                concat!("Destroys all that a ", $what, " ever said; the reason stays readable"),
                concat!("Protects a ", $what, " from erasure; the reason stays readable"),
                concat!("Ends the protection of a ", $what, "; the reason stays readable"),
                concat!("Tells whether legal holds are on a ", $what, ", and why"),
            ];
            fn erase(reason: String) -> $Command {
                $Command::Erase { reason }
            }
            fn hold(reason: String) -> $Command {
                $Command::Hold { reason }
            }
            fn lift(reason: String, of: Option<String>) -> $Command {
                $Command::LiftHold { reason, of }
            }
            fn holds(events: Vec<(String, Option<Self::Event>)>) -> Option<Holds> {
                <$Aggregate>::in_plain(events).record().map(|record| record.hold.clone())
            }
        }
    };
}

erasable!(Person, PersonCommand, "person");
erasable!(Note, NoteCommand, "note");

/// The routes of erasures and legal holds.
pub fn routes() -> Routes {
    Routes::tagged("Erasure")
        .at("/people/{person_id}/erase", [erasing::<Person>()])
        .at("/people/{person_id}/hold", holding::<Person>())
        .at("/notes/{note_id}/erase", [erasing::<Note>()])
        .at("/notes/{note_id}/hold", holding::<Note>())
}

fn reason() -> Content {
    Content::Example(json!({"reason": "Request 2025-17"}))
}

/// What `of` is for, in the documentation of the API.
const OF: &str = "Which hold ends (also in the body), by its reason as it was given; * ends all. Needed where there are several (else 409, which lists them)";

fn erasing<A: Erasable>() -> Endpoint {
    let done = json!({"status": "erased", "scrub": "pending"});
    post(A::SUMMARIES[0], Content::Example(done), erase::<A>).takes(reason())
}

fn holding<A: Erasable>() -> [Endpoint; 3] {
    let held = Content::Example(json!({"status": "held"}));
    let lifted = Content::Example(json!({"status": "lifted"}));
    let holds = Content::Example(json!({"held": true, "holds": ["Request 2025-17"]}));
    [
        get(A::SUMMARIES[3], holds, tell::<A>),
        put(A::SUMMARIES[1], held, hold::<A>).takes(reason()),
        delete(A::SUMMARIES[2], lifted, lift::<A>)
            .takes(reason())
            .query("reason", false, "Why; in place of that in the body")
            .query("of", false, OF),
    ]
}

async fn erase<A: Erasable>(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    let command = A::erase(reason_in(body)?);
    let version = condition(&app, &caller, record_of::<A>(id)).await?;
    let written = execute::<A>(&app, &caller, id, "Erase", command, version).await?;
    app.erasures.wake();
    Ok(written.answer(json!({"status": "erased", "scrub": "pending"})))
}

async fn hold<A: Erasable>(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    let command = A::hold(reason_in(body)?);
    let version = condition(&app, &caller, record_of::<A>(id)).await?;
    let written = execute::<A>(&app, &caller, id, "Hold", command, version).await?;
    Ok(written.answer(json!({"status": "held"})))
}

async fn lift<A: Erasable>(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    parameters: Parameters,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    parameters.expect(&["reason", "of"])?;
    // Many clients send no body with DELETE.
    let members = members_of(body)?;
    let said = |name| match parameters.get(name) {
        Some(_) => parameters.required(name).map(Some),
        None => text_in(&members, name),
    };
    let command = A::lift(said("reason")?.ok_or_else(no_reason)?, said("of")?);
    let version = condition(&app, &caller, record_of::<A>(id)).await?;
    let written = execute::<A>(&app, &caller, id, "LiftHold", command, version).await?;
    Ok(written.answer(json!({"status": "lifted"})))
}

/// The holds on a record, also where not all of its events can be read.
async fn tell<A: Erasable>(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.expect(&["min_position"])?;
    app.log.database().check()?;
    let entries = app.reader.life(record_of::<A>(id)).await?;
    if entries.is_empty() {
        return Err(Problem::NotFound(kind_of::<A>()));
    }
    let events = entries.into_iter().map(|it| (it.event_type, it.event.ok().and_then(A::event_of)));
    let holds = A::holds(events.collect()).ok_or(Problem::Erased(kind_of::<A>()))?;
    let reasons = holds.reasons();
    Ok(axum::Json(json!({"held": !reasons.is_empty(), "holds": reasons})).into_response())
}

/// The reason, which must be a text. Whether it says anything the record's rules judge.
fn reason_in(body: Body) -> Result<String, Problem> {
    text_in(&members_of(body)?, "reason")?.ok_or_else(no_reason)
}

fn no_reason() -> Problem {
    Problem::invalid(Fault::missing(["body".into(), "reason".into()]))
}

fn members_of(body: Body) -> Result<Vec<(String, Json)>, Problem> {
    match body {
        Body::Nothing => Ok(vec![]),
        body => body.into_members(Shape::Model),
    }
}

/// A member that must be a text if it is there.
fn text_in(members: &[(String, Json)], name: &'static str) -> Result<Option<String>, Problem> {
    match members.iter().find(|(member, _)| member == name).map(|(_, value)| value) {
        None => Ok(None),
        Some(Json::Text(text)) if !text.contains('\0') => Ok(Some(text.clone())),
        Some(other) => {
            let fault = Fault::field(name, "string_type", "Input should be a valid string");
            Err(Problem::invalid(fault.with_input(other.shown())))
        }
    }
}
