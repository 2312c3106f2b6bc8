//! `/gps`: managers of funds.

use axum::extract::State;
use axum::response::Response;
use domain::gp::{Gp, GpCommand, GpRecord};
use domain::lp::Lp;
use domain::person::Person;
use domain::{Kind, Verbatim};
use serde_json::json;

use crate::app::App;
use crate::body::{Body, Ids, Shape};
use crate::caller::Caller;
use crate::describe::{Content, Routes, delete, post, put, read};
use crate::form::{Form, Occasion};
use crate::links::{link, unlink};
use crate::problem::Problem;
use crate::resource::{archive, linked, list, notes, record_of, search, show, tasks};
use crate::writes::{self, condition, execute};

/// The routes of GPs.
pub fn routes() -> Routes {
    let deleted = || Content::Example(json!({"status": "deleted"}));
    let done = |message: &str| Content::Example(json!({"success": true, "message": message}));
    Routes::tagged("GPs")
        .at(
            "/gps",
            [
                read("All GPs, by id", Content::List(Kind::Gp), list::<Gp>),
                post("Registers a GP", Content::Record(Kind::Gp), register)
                    .takes(Content::Attributes(Kind::Gp)),
            ],
        )
        .at(
            "/gps/search",
            [read(
                "The first ten GPs whose name contains q",
                Content::List(Kind::Gp),
                search::<Gp>,
            )
            .query("q", false, "Part of the name; % and _ are wildcards")],
        )
        .at(
            "/gps/{gp_id}",
            [
                read("One GP", Content::Record(Kind::Gp), show::<Gp>),
                put("Changes a GP", Content::Record(Kind::Gp), revise)
                    .takes(Content::Attributes(Kind::Gp)),
                delete("Removes a GP from use", deleted(), archive::<Gp>),
            ],
        )
        .at(
            "/gps/{gp_id}/people",
            [read("Its people", Content::List(Kind::Person), linked::<Gp, Person>)],
        )
        .at(
            "/gps/{gp_id}/notes",
            [read("The notes about it, newest first", Content::List(Kind::Note), notes::<Gp>)],
        )
        .at(
            "/gps/{gp_id}/tasks",
            [read("The todos from notes about it", Content::List(Kind::Todo), tasks::<Gp>)],
        )
        .at(
            "/gps/{gp_id}/lps",
            [read("The LPs it has a relationship with", Content::List(Kind::Lp), linked::<Gp, Lp>)],
        )
        .at(
            "/gps/{gp_id}/lps/{lp_id}",
            [
                post("Records a relationship with an LP", done("LP linked to GP"), link::<Gp, Lp>),
                delete("Ends it", done("LP unlinked from GP"), unlink::<Gp, Lp>),
            ],
        )
}

async fn register(State(app): State<App>, caller: Caller, body: Body) -> Result<Response, Problem> {
    let members = body.into_members(Shape::Model)?;
    let form = Form::read::<GpRecord>(&members, Occasion::Register)?;
    let command = GpCommand::Register {
        name: form.require("name")?,
        details: form.changes()?,
        legacy: Verbatim::default(),
    };
    writes::register::<Gp>(&app, &caller, command, &form).await
}

async fn revise(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    let members = body.into_members(Shape::Model)?;
    let form = Form::read::<GpRecord>(&members, Occasion::Revise)?;
    let version = condition(&app, &caller, record_of::<Gp>(id)).await?;
    let command = GpCommand::Revise { name: form.get("name")?, changes: form.changes()? };
    execute::<Gp>(&app, &caller, id, "Revise", command, version).await?.row::<Gp>(&app, &form).await
}
