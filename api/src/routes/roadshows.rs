//! `/roadshows`: trips on which a fund's GP meets LPs, and how each LP stands to them.

use axum::extract::State;
use axum::response::Response;
use domain::lp::Lp;
use domain::roadshow::{LpStatus, Roadshow, RoadshowCommand, RoadshowRecord};
use domain::{Change, Document, FundId, Kind, LpId, Moment, RoadshowId, Verbatim};
use projections::read::{Query, StoredRecord};
use serde_json::json;

use crate::app::App;
use crate::as_of::{Asked, record_then};
use crate::body::{Body, Ids, Parameters, Shape};
use crate::caller::Caller;
use crate::describe::{Content, Routes, delete, post, put, read};
use crate::form::{Form, Occasion};
use crate::problem::Problem;
use crate::resource::{archive, list, notes, record_of, show};
use crate::writes::{
    self, attribute, check_exist, check_shown, condition, current, execute, standing,
    without_known_nulls,
};

/// The routes of roadshows.
pub fn routes() -> Routes {
    let deleted = Content::Example(json!({"status": "deleted"}));
    let statuses = json!([{"roadshow_id": 1, "lp_id": 1, "lp_name": "Profuturo", "status": "confirmed",
        "last_contact_date": "2025-01-31T15:04:05", "latest_note_id": 1, "aum_billions": 12.5,
        "location": "Mexico City", "priority": "1", "advisor": null, "type_of_group": "Afore",
        "investment_low": 10.0, "investment_high": 50.0}]);
    let status = json!({"roadshow_id": 1, "lp_id": 1, "status": "confirmed",
        "last_contact_date": "2025-01-31T15:04:05", "latest_note_id": 1});
    Routes::tagged("Roadshows")
        .at(
            "/roadshows",
            [
                read("All roadshows, by id", Content::List(Kind::Roadshow), list::<Roadshow>),
                post("Registers a roadshow", Content::Record(Kind::Roadshow), register)
                    .takes(Content::Attributes(Kind::Roadshow)),
            ],
        )
        .at(
            "/roadshows/{roadshow_id}",
            [
                read("One roadshow", Content::Record(Kind::Roadshow), show::<Roadshow>),
                put(
                    "Changes a roadshow; its arrival becomes its fund's roadshow date",
                    Content::Record(Kind::Roadshow),
                    revise,
                )
                .takes(Content::Attributes(Kind::Roadshow)),
                delete("Removes a roadshow from use", deleted, archive::<Roadshow>),
            ],
        )
        .at(
            "/roadshows/{roadshow_id}/notes",
            [read(
                "The notes about it, newest first",
                Content::List(Kind::Note),
                notes::<Roadshow>,
            )],
        )
        .at(
            "/roadshows/{roadshow_id}/lp-status",
            [read("How every LP stands to it", Content::Example(statuses), lp_status)],
        )
        .at(
            "/roadshows/{roadshow_id}/lps/{lp_id}/status",
            [put("Records how an LP stands to it", Content::Example(status), record_status).query(
                "status",
                true,
                "confirmed, interested, offered, declined or inactive",
            )],
        )
}

async fn register(State(app): State<App>, caller: Caller, body: Body) -> Result<Response, Problem> {
    let members = body.into_members(Shape::Dict)?;
    let mut form = Form::read::<RoadshowRecord>(&members, Occasion::Register)?;
    store_flight_images(&app, &mut form).await?;
    let command = RoadshowCommand::Register {
        name: form.require("name")?,
        fund_id: Some(form.require("fund_id")?),
        details: form.changes()?,
        legacy: Verbatim::default(),
    };
    writes::register::<Roadshow>(&app, &caller, command, &form).await
}

async fn revise(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    let members = body.into_members(Shape::Dict)?;
    let members = without_known_nulls::<Roadshow>(&app, &caller, id, members).await?;
    let mut form = Form::read::<RoadshowRecord>(&members, Occasion::Revise)?;
    let (row, version) = current(&app, &caller, record_of::<Roadshow>(id)).await?;
    store_flight_images(&app, &mut form).await?;
    let fund_id: Option<FundId> = form.get("fund_id")?;
    let command = RoadshowCommand::Revise {
        name: form.get("name")?,
        fund_id: fund_id.map_or(Change::Keep, Change::Set),
        changes: form.changes()?,
        fund_date: fund_date(&app, row.as_ref(), fund_id).await?,
    };
    let written = execute::<Roadshow>(&app, &caller, id, "Revise", command, version).await?;
    written.row::<Roadshow>(&app, &form).await
}

/// Pasted images are megabytes of text: they go into a file, and the event names it.
async fn store_flight_images(app: &App, form: &mut Form) -> Result<(), Problem> {
    let Some(images) = form.text("flight_images") else { return Ok(()) };
    if images.len() > Document::INLINE_LIMIT {
        let stored = app.files.put(images.as_bytes(), "application/json").await?;
        let stored = serde_json::to_value(stored).map_err(anyhow::Error::from)?;
        form.set("flight_images", stored);
    }
    Ok(())
}

/// The roadshow date that readers see at the fund which the roadshow is for after the change.
async fn fund_date(
    app: &App,
    row: Option<&StoredRecord>,
    new: Option<FundId>,
) -> Result<Option<Moment>, Problem> {
    let fund = match new {
        Some(fund) => Some(fund),
        None => attribute(row, "fund_id")?,
    };
    let Some(fund) = fund else { return Ok(None) };
    match standing(app, fund.into()).await? {
        Some(fund) => attribute(Some(&fund), "roadshow_date"),
        None => Ok(None),
    }
}

/// Unlike the funnel of a fund, it needs a roadshow that exists.
async fn lp_status(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    asked: Asked,
) -> Result<Response, Problem> {
    let roadshow = record_of::<Roadshow>(id);
    match asked.position(&app).await? {
        Some(position) => _ = record_then(&app, roadshow, position).await?,
        None => check_shown(&app, roadshow).await?,
    }
    asked.answer(&app, Query::LpStatus(RoadshowId(id))).await
}

/// Its body, if there is one, never counted.
async fn record_status(
    State(app): State<App>,
    Ids([roadshow, lp]): Ids<2>,
    parameters: Parameters,
    caller: Caller,
) -> Result<Response, Problem> {
    let status = parameters.required("status")?;
    check_exist(&app, &caller, &[record_of::<Roadshow>(roadshow), record_of::<Lp>(lp)]).await?;
    let version = condition(&app, &caller, record_of::<Roadshow>(roadshow)).await?;
    let contact = writes::contact(&app, RoadshowId(roadshow).into(), LpId(lp)).await?;
    let command = RoadshowCommand::RecordStatus {
        lp: LpId(lp),
        status: LpStatus::from(status.as_str()),
        contact,
        legacy: None,
    };
    let written =
        execute::<Roadshow>(&app, &caller, roadshow, "RecordStatus", command, version).await?;
    let seen = app.reader.lp_status(RoadshowId(roadshow), LpId(lp)).await;
    let sent = json!({"roadshow_id": roadshow, "lp_id": lp, "status": status});
    Ok(written.standing(seen, sent, contact))
}
