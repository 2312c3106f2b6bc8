//! `/people`: somebody at an LP, a GP, a distributor or elsewhere.

use axum::extract::State;
use axum::response::Response;
use domain::distributor::Distributor;
use domain::gp::Gp;
use domain::lp::Lp;
use domain::person::{Person, PersonCommand, PersonRecord};
use domain::{Kind, Verbatim};
use serde_json::json;

use crate::app::App;
use crate::body::{Body, Ids, Shape};
use crate::caller::Caller;
use crate::describe::{Content, Endpoint, Routes, delete, post, put, read};
use crate::form::{Form, Occasion};
use crate::links::{link, unlink};
use crate::problem::{Problem, title};
use crate::resource::{archive, linked, list, record_of, search, show};
use crate::writes::{self, Resource, condition, execute, kind_of};

/// The routes of people.
pub fn routes() -> Routes {
    let deleted = || Content::Example(json!({"status": "deleted"}));
    Routes::tagged("People")
        .at(
            "/people",
            [
                read("All people, by id", Content::List(Kind::Person), list::<Person>),
                post("Registers a person", Content::Record(Kind::Person), register)
                    .takes(Content::Attributes(Kind::Person)),
            ],
        )
        .at(
            "/people/search",
            [read(
                "The first ten people whose name contains q",
                Content::List(Kind::Person),
                search::<Person>,
            )
            .query("q", false, "Part of the name; % and _ are wildcards")],
        )
        .at(
            "/people/{person_id}",
            [
                read("One person", Content::Record(Kind::Person), show::<Person>),
                put("Changes a person", Content::Record(Kind::Person), revise)
                    .takes(Content::Attributes(Kind::Person)),
                delete("Removes a person from use", deleted(), archive::<Person>),
            ],
        )
        .at(
            "/people/{person_id}/lps",
            [read("The LPs somebody belongs to", Content::List(Kind::Lp), linked::<Person, Lp>)],
        )
        .at(
            "/people/{person_id}/gps",
            [read("The GPs somebody belongs to", Content::List(Kind::Gp), linked::<Person, Gp>)],
        )
        .at(
            "/people/{person_id}/distributors",
            [read(
                "The distributors somebody belongs to",
                Content::List(Kind::Distributor),
                linked::<Person, Distributor>,
            )],
        )
        .at("/people/{person_id}/lps/{lp_id}", affiliation::<Lp>())
        .at("/people/{person_id}/gps/{gp_id}", affiliation::<Gp>())
        .at("/people/{person_id}/distributors/{distributor_id}", affiliation::<Distributor>())
}

fn affiliation<To: Resource>() -> [Endpoint; 2] {
    let done = |what: &str| {
        let message = format!("{} {what} person", title(kind_of::<To>()));
        Content::Example(json!({"success": true, "message": message}))
    };
    [
        post("Records that somebody belongs to it", done("linked to"), link::<Person, To>),
        delete("Records that somebody has left it", done("unlinked from"), unlink::<Person, To>),
    ]
}

async fn register(State(app): State<App>, caller: Caller, body: Body) -> Result<Response, Problem> {
    let members = body.into_members(Shape::Model)?;
    let form = Form::read::<PersonRecord>(&members, Occasion::Register)?;
    let command = PersonCommand::Register {
        name: form.require("name")?,
        details: form.changes()?,
        legacy: Verbatim::default(),
    };
    writes::register::<Person>(&app, &caller, command, &form).await
}

async fn revise(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    let members = body.into_members(Shape::Model)?;
    let form = Form::read::<PersonRecord>(&members, Occasion::Revise)?;
    let version = condition(&app, &caller, record_of::<Person>(id)).await?;
    let command = PersonCommand::Revise { name: form.get("name")?, changes: form.changes()? };
    let written = execute::<Person>(&app, &caller, id, "Revise", command, version).await?;
    written.row::<Person>(&app, &form).await
}
