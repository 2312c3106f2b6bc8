//! `/{kind}/{id}/compare` and `/{kind}/{id}/revert`, the same for all kinds of records.

use domain::distributor::Distributor;
use domain::fund::Fund;
use domain::gp::Gp;
use domain::lp::Lp;
use domain::note::Note;
use domain::person::Person;
use domain::roadshow::Roadshow;
use domain::todo::Todo;
use serde_json::json;

use crate::describe::{Content, Endpoint, Routes, get, post};
use crate::undo::{compare, revert};
use crate::writes::{Resource, kind_of};

/// The routes.
pub fn routes() -> Routes {
    Routes::tagged("Time travel and undo")
        .at("/lps/{lp_id}/compare", [comparing::<Lp>()])
        .at("/lps/{lp_id}/revert", [reverting::<Lp>()])
        .at("/gps/{gp_id}/compare", [comparing::<Gp>()])
        .at("/gps/{gp_id}/revert", [reverting::<Gp>()])
        .at("/distributors/{distributor_id}/compare", [comparing::<Distributor>()])
        .at("/distributors/{distributor_id}/revert", [reverting::<Distributor>()])
        .at("/people/{person_id}/compare", [comparing::<Person>()])
        .at("/people/{person_id}/revert", [reverting::<Person>()])
        .at("/funds/{fund_id}/compare", [comparing::<Fund>()])
        .at("/funds/{fund_id}/revert", [reverting::<Fund>()])
        .at("/notes/{note_id}/compare", [comparing::<Note>()])
        .at("/notes/{note_id}/revert", [reverting::<Note>()])
        .at("/todos/{todo_id}/compare", [comparing::<Todo>()])
        .at("/todos/{todo_id}/revert", [reverting::<Todo>()])
        .at("/roadshows/{roadshow_id}/compare", [comparing::<Roadshow>()])
        .at("/roadshows/{roadshow_id}/revert", [reverting::<Roadshow>()])
}

fn comparing<A: Resource>() -> Endpoint {
    let example = json!({
        "record": {"kind": "lp", "id": 1, "name": "Profuturo"},
        "from": {"position": 12, "recorded_at": "2025-01-31T15:04:05.000000Z", "state": "active"},
        "to": {"position": 1659, "recorded_at": "2025-06-30T09:00:00.000000Z", "state": "archived"},
        "changes": [{"field": "priority", "label": "Priority", "from": "B", "to": "A"}],
    });
    get(
        "What it said at two positions, and where they differ; state is active, archived or absent",
        Content::Example(example),
        compare::<A>,
    )
    .query("from", true, "A position, or a time as for as_of")
    .query("to", false, "Likewise; without it, now")
    .strict()
}

fn reverting<A: Resource>() -> Endpoint {
    let summary = "Takes it back to what it was at a position (to), or takes one event back (event) or all that a command did to it (command), \
                   wholly or what that did to some fields. 409 lists what stands \
                   against it, unless force is true: of an event or a command, later changes of the same; of a position, all later \
                   changes, unless If-Match or seen (a position) says that the caller knows them. Answers with the record, with status \
                   deleted if there is none then, and to dry_run with what would be done";
    post(summary, Content::RecordOrOther(kind_of::<A>()), revert::<A>)
        .takes(Content::Example(json!({"to": 12, "seen": 1659, "force": false})))
        .query("dry_run", false, "true: tell what would change, and which fields the event or command changed, and record nothing")
        .query("fields", false, "With event or command: take back only what it did to these fields, by commas; or as a list in the body")
        .strict()
}
