//! `/people/{id}/erase` and `/hold`, and the same of notes: what administrators do when the law asks for it.

use axum::extract::State;
use axum::response::Response;
use domain::note::{Note, NoteCommand};
use domain::person::{Person, PersonCommand};
use serde_json::json;

use crate::app::App;
use crate::body::{Body, Ids, Parameters, Shape};
use crate::caller::Caller;
use crate::describe::{Content, Endpoint, Routes, delete, post, put};
use crate::json::Json;
use crate::problem::{Fault, Problem};
use crate::resource::record_of;
use crate::writes::{Resource, condition, execute};

/// A kind of record that is erased and held.
trait Erasable: Resource {
    /// What erasing, holding and lifting a hold do, in the documentation of the API.
    const SUMMARIES: [&'static str; 3];

    fn erase(reason: String) -> Self::Command;
    fn hold(reason: String) -> Self::Command;
    fn lift(reason: String) -> Self::Command;
}

macro_rules! erasable {
    ($Aggregate:ty, $Command:ident, $what:literal) => {
        impl Erasable for $Aggregate {
            const SUMMARIES: [&'static str; 3] = [
                concat!("Destroys all that a ", $what, " ever said; the reason stays readable"),
                concat!("Protects a ", $what, " from erasure; the reason stays readable"),
                concat!("Ends the protection of a ", $what, "; the reason stays readable"),
            ];
            fn erase(reason: String) -> $Command {
                $Command::Erase { reason }
            }
            fn hold(reason: String) -> $Command {
                $Command::Hold { reason }
            }
            fn lift(reason: String) -> $Command {
                $Command::LiftHold { reason }
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

fn erasing<A: Erasable>() -> Endpoint {
    let done = json!({"status": "erased", "scrub": "pending"});
    post(A::SUMMARIES[0], Content::Example(done), erase::<A>).takes(reason())
}

fn holding<A: Erasable>() -> [Endpoint; 2] {
    let held = Content::Example(json!({"status": "held"}));
    let lifted = Content::Example(json!({"status": "lifted"}));
    [
        put(A::SUMMARIES[1], held, hold::<A>).takes(reason()),
        delete(A::SUMMARIES[2], lifted, lift::<A>).takes(reason()).query(
            "reason",
            false,
            "Why; in place of the body",
        ),
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
    parameters.expect(&["reason"])?;
    // Many clients send no body with DELETE.
    let command = A::lift(match parameters.get("reason") {
        Some(_) => parameters.required("reason")?,
        None => reason_in(body)?,
    });
    let version = condition(&app, &caller, record_of::<A>(id)).await?;
    let written = execute::<A>(&app, &caller, id, "LiftHold", command, version).await?;
    Ok(written.answer(json!({"status": "lifted"})))
}

/// The reason, which must be a text. Whether it says anything the record's rules judge.
fn reason_in(body: Body) -> Result<String, Problem> {
    let members = match body {
        Body::Nothing => vec![],
        body => body.into_members(Shape::Model)?,
    };
    let reason = members.into_iter().find(|(name, _)| name == "reason").map(|(_, value)| value);
    match reason {
        Some(Json::Text(reason)) if !reason.contains('\0') => Ok(reason),
        Some(other) => {
            let fault = Fault::field("reason", "string_type", "Input should be a valid string");
            Err(Problem::invalid(fault.with_input(other.shown())))
        }
        None => Err(Problem::invalid(Fault::missing(["body".into(), "reason".into()]))),
    }
}
