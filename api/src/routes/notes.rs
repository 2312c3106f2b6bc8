//! `/notes`: what was said in meetings, and with whom.

use axum::extract::State;
use axum::response::Response;
use domain::distributor::Distributor;
use domain::fund::Fund;
use domain::gp::Gp;
use domain::lp::Lp;
use domain::note::{Note, NoteCommand, NoteRecord};
use domain::person::Person;
use domain::roadshow::Roadshow;
use domain::{Kind, Verbatim};
use serde_json::json;

use crate::app::App;
use crate::body::{Body, Ids, Shape};
use crate::caller::Caller;
use crate::describe::{Content, Endpoint, Routes, delete, post, put, read};
use crate::form::{Form, Occasion};
use crate::links::{link, unlink, wanted};
use crate::problem::{Problem, title};
use crate::resource::{archive, linked, list, record_of, show};
use crate::writes::{self, Resource, condition, execute, kind_of, without_known_nulls, writable};

/// The routes of notes.
pub fn routes() -> Routes {
    let deleted = || Content::Example(json!({"status": "deleted"}));
    Routes::tagged("Notes")
        .at("/notes", [
            read("All notes, newest first", Content::List(Kind::Note), list::<Note>),
            post("Registers a note", Content::Record(Kind::Note), register)
                .takes(Content::Attributes(Kind::Note)),
        ])
        .at("/notes/{note_id}", [
            read("One note", Content::Record(Kind::Note), show::<Note>),
            put("Changes a note", Content::Record(Kind::Note), revise)
                .takes(Content::Attributes(Kind::Note)),
            delete("Removes a note from use", deleted(), archive::<Note>),
        ])
        .at("/notes/{note_id}/relationships", [post(
            "Replaces the links to LPs, GPs and funds, and those to the other kinds whose list is there",
            Content::Example(json!({"success": true, "note_id": 1})),
            relate,
        )
        .takes(Content::Example(json!({"lp_ids": [1], "gp_ids": [], "fund_ids": [1], "roadshow_ids": [],
            "participant_ids": [1], "distributor_ids": []})))])
        .at("/notes/{note_id}/lps", [read("Its LPs", Content::List(Kind::Lp), linked::<Note, Lp>)])
        .at("/notes/{note_id}/gps", [read("Its GPs", Content::List(Kind::Gp), linked::<Note, Gp>)])
        .at("/notes/{note_id}/funds", [read("Its funds", Content::List(Kind::Fund), linked::<Note, Fund>)])
        .at("/notes/{note_id}/roadshows", [read("Its roadshows", Content::List(Kind::Roadshow), linked::<Note, Roadshow>)])
        .at("/notes/{note_id}/distributors", [
            read("Its distributors", Content::List(Kind::Distributor), linked::<Note, Distributor>),
        ])
        .at("/notes/{note_id}/participants", [
            read("Who was there", Content::List(Kind::Person), linked::<Note, Person>),
        ])
        .at("/notes/{note_id}/lps/{lp_id}", link_endpoints::<Lp>())
        .at("/notes/{note_id}/gps/{gp_id}", link_endpoints::<Gp>())
        .at("/notes/{note_id}/funds/{fund_id}", link_endpoints::<Fund>())
        .at("/notes/{note_id}/roadshows/{roadshow_id}", link_endpoints::<Roadshow>())
        .at("/notes/{note_id}/distributors/{distributor_id}", link_endpoints::<Distributor>())
        .at("/notes/{note_id}/participants/{person_id}", link_endpoints::<Person>())
}

fn link_endpoints<To: Resource>() -> [Endpoint; 2] {
    let done = |what: &str| {
        let message = format!("{} {what} note", title(kind_of::<To>()));
        Content::Example(json!({"success": true, "message": message}))
    };
    [
        post("Links the note to it", done("linked to"), link::<Note, To>),
        delete("Takes the link away", done("unlinked from"), unlink::<Note, To>),
    ]
}

async fn register(State(app): State<App>, caller: Caller, body: Body) -> Result<Response, Problem> {
    let members = body.into_members(Shape::Model)?;
    let form = Form::read::<NoteRecord>(&members, Occasion::Register)?;
    let command = NoteCommand::Register { details: form.changes()?, legacy: Verbatim::default() };
    writes::register::<Note>(&app, &caller, command, &form).await
}

async fn revise(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    let members =
        without_known_nulls::<Note>(&app, &caller, id, body.into_members(Shape::Model)?).await?;
    let form = Form::read::<NoteRecord>(&members, Occasion::Revise)?;
    let version = condition(&app, &caller, record_of::<Note>(id)).await?;
    let command = NoteCommand::Revise { changes: form.changes()? };
    execute::<Note>(&app, &caller, id, "Revise", command, version)
        .await?
        .row::<Note>(&app, &form)
        .await
}

/// Links to LPs, GPs and funds are always replaced: a client that leaves their lists out means none. The other kinds
/// came later, and clients that do not know them must not clear them.
async fn relate(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    let [lps, gps, participants, funds, roadshows, distributors] = body.into_lists([
        "lp_ids",
        "gp_ids",
        "participant_ids",
        "fund_ids",
        "roadshow_ids",
        "distributor_ids",
    ])?;
    let version = writable(&app, &caller, record_of::<Note>(id)).await?;
    let wanted = wanted(
        &app,
        &caller,
        [
            ("lp_ids", Kind::Lp, Some(lps.unwrap_or_default())),
            ("gp_ids", Kind::Gp, Some(gps.unwrap_or_default())),
            ("participant_ids", Kind::Person, participants),
            ("fund_ids", Kind::Fund, Some(funds.unwrap_or_default())),
            ("roadshow_ids", Kind::Roadshow, roadshows),
            ("distributor_ids", Kind::Distributor, distributors),
        ],
    )
    .await?;
    let command = NoteCommand::Relink { kinds: wanted.kinds, to: wanted.to };
    let written = execute::<Note>(&app, &caller, id, "Relink", command, version).await?;
    Ok(written.answer(json!({"success": true, "note_id": id})))
}
