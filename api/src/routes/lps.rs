//! `/lps`: institutions that may commit capital.

use axum::extract::State;
use axum::response::Response;
use domain::gp::Gp;
use domain::lp::{Lp, LpCommand, LpRecord};
use domain::person::Person;
use domain::{Kind, Verbatim};
use serde_json::json;

use crate::app::App;
use crate::body::{Body, Ids, Shape};
use crate::caller::Caller;
use crate::describe::{Content, Routes, delete, post, put, read};
use crate::form::{Form, Occasion};
use crate::problem::Problem;
use crate::resource::{archive, linked, list, notes, record_of, search, show, tasks};
use crate::writes::{self, condition, execute};

/// The routes of LPs.
pub fn routes() -> Routes {
    let deleted = || Content::Example(json!({"status": "deleted"}));
    Routes::tagged("LPs")
        .at(
            "/lps",
            [
                read("All LPs, by id", Content::List(Kind::Lp), list::<Lp>),
                post("Registers an LP", Content::Record(Kind::Lp), register)
                    .takes(Content::Attributes(Kind::Lp)),
            ],
        )
        .at(
            "/lps/search",
            [read(
                "The first ten LPs whose name contains q",
                Content::List(Kind::Lp),
                search::<Lp>,
            )
            .query("q", false, "Part of the name; % and _ are wildcards")],
        )
        .at(
            "/lps/{lp_id}",
            [
                read("One LP", Content::Record(Kind::Lp), show::<Lp>),
                put("Changes an LP", Content::Record(Kind::Lp), revise)
                    .takes(Content::Attributes(Kind::Lp)),
                delete("Removes an LP from use", deleted(), archive::<Lp>),
            ],
        )
        .at(
            "/lps/{lp_id}/people",
            [read("Its people", Content::List(Kind::Person), linked::<Lp, Person>)],
        )
        .at(
            "/lps/{lp_id}/gps",
            [read("The GPs it has a relationship with", Content::List(Kind::Gp), linked::<Lp, Gp>)],
        )
        .at(
            "/lps/{lp_id}/notes",
            [read("The notes about it, newest first", Content::List(Kind::Note), notes::<Lp>)],
        )
        .at(
            "/lps/{lp_id}/tasks",
            [read("The todos from notes about it", Content::List(Kind::Todo), tasks::<Lp>)],
        )
}

async fn register(State(app): State<App>, caller: Caller, body: Body) -> Result<Response, Problem> {
    let members = body.into_members(Shape::Model)?;
    let form = Form::read::<LpRecord>(&members, Occasion::Register)?;
    let command = LpCommand::Register {
        name: form.require("name")?,
        details: form.changes()?,
        legacy: Verbatim::default(),
    };
    writes::register::<Lp>(&app, &caller, command, &form).await
}

async fn revise(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    let members = body.into_members(Shape::Model)?;
    let form = Form::read::<LpRecord>(&members, Occasion::Revise)?;
    let version = condition(&app, &caller, record_of::<Lp>(id)).await?;
    let command = LpCommand::Revise { name: form.get("name")?, changes: form.changes()? };
    execute::<Lp>(&app, &caller, id, "Revise", command, version).await?.row::<Lp>(&app, &form).await
}
