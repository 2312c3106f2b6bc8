//! `/distributors`: houses that place funds with the LPs of their market.

use axum::extract::State;
use axum::response::Response;
use domain::distributor::{Distributor, DistributorCommand, DistributorRecord};
use domain::person::Person;
use domain::{Kind, Verbatim};
use serde_json::json;

use crate::app::App;
use crate::body::{Body, Ids, Shape};
use crate::caller::Caller;
use crate::describe::{Content, Routes, delete, post, put, read};
use crate::form::{Form, Occasion};
use crate::problem::Problem;
use crate::resource::{archive, linked, list, notes, record_of, search, show};
use crate::writes::{self, condition, execute};

const KIND: Kind = Kind::Distributor;

/// The routes of distributors.
pub fn routes() -> Routes {
    let deleted = || Content::Example(json!({"status": "deleted"}));
    Routes::tagged("Distributors")
        .at(
            "/distributors",
            [
                read("All distributors, by id", Content::List(KIND), list::<Distributor>),
                post("Registers a distributor", Content::Record(KIND), register)
                    .takes(Content::Attributes(KIND)),
            ],
        )
        .at(
            "/distributors/search",
            [read(
                "The first ten distributors whose name contains q",
                Content::List(KIND),
                search::<Distributor>,
            )
            .query("q", false, "Part of the name; % and _ are wildcards")],
        )
        .at(
            "/distributors/{distributor_id}",
            [
                read("One distributor", Content::Record(KIND), show::<Distributor>),
                put("Changes a distributor", Content::Record(KIND), revise)
                    .takes(Content::Attributes(KIND)),
                delete("Removes a distributor from use", deleted(), archive::<Distributor>),
            ],
        )
        .at(
            "/distributors/{distributor_id}/people",
            [read("Its people", Content::List(Kind::Person), linked::<Distributor, Person>)],
        )
        .at(
            "/distributors/{distributor_id}/notes",
            [read(
                "The notes about it, newest first",
                Content::List(Kind::Note),
                notes::<Distributor>,
            )],
        )
}

async fn register(State(app): State<App>, caller: Caller, body: Body) -> Result<Response, Problem> {
    let members = body.into_members(Shape::Model)?;
    let form = Form::read::<DistributorRecord>(&members, Occasion::Register)?;
    let command = DistributorCommand::Register {
        name: form.require("name")?,
        details: form.changes()?,
        legacy: Verbatim::default(),
    };
    writes::register::<Distributor>(&app, &caller, command, &form).await
}

async fn revise(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    let members = body.into_members(Shape::Model)?;
    let form = Form::read::<DistributorRecord>(&members, Occasion::Revise)?;
    let version = condition(&app, &caller, record_of::<Distributor>(id)).await?;
    let command = DistributorCommand::Revise { name: form.get("name")?, changes: form.changes()? };
    let written = execute::<Distributor>(&app, &caller, id, "Revise", command, version).await?;
    written.row::<Distributor>(&app, &form).await
}
