//! `/funds`: what GPs raise, and the sales funnel of each.

use axum::extract::State;
use axum::response::Response;
use domain::fund::{Fund, FundCommand, FundRecord, Interest};
use domain::lp::Lp;
use domain::{FundId, Kind, LpId, Verbatim};
use projections::read::Query;
use serde_json::json;

use crate::app::App;
use crate::as_of::Asked;
use crate::body::{Body, Ids, Parameters, Shape};
use crate::caller::Caller;
use crate::describe::{Content, Routes, delete, post, put, read};
use crate::form::{Form, Occasion};
use crate::problem::Problem;
use crate::resource::{archive, list, notes, record_of, search, show};
use crate::writes::{self, attribute, check_exist, condition, current, execute};

/// The routes of funds.
pub fn routes() -> Routes {
    let deleted = || Content::Example(json!({"status": "deleted"}));
    let funnel = json!([{"fund_id": 1, "lp_id": 1, "lp_name": "Profuturo", "interest": "meeting",
        "last_contact_date": "2025-01-31T15:04:05", "latest_note_id": 1, "aum_billions": 12.5,
        "location": "Mexico City", "priority": "1", "advisor": null, "type_of_group": "Afore",
        "investment_low": 10.0, "investment_high": 50.0}]);
    let interest = json!({"fund_id": 1, "lp_id": 1, "interest": "meeting",
        "last_contact_date": "2025-01-31T15:04:05", "latest_note_id": 1});
    let stages = "A stage of the funnel, such as commitment, due_diligence, interested or meeting";
    Routes::tagged("Funds")
        .at(
            "/funds",
            [
                read("All funds, by name", Content::List(Kind::Fund), list::<Fund>),
                post("Registers a fund", Content::Record(Kind::Fund), register)
                    .takes(Content::Attributes(Kind::Fund)),
            ],
        )
        .at(
            "/funds/search",
            [read(
                "The first ten funds whose name contains q",
                Content::List(Kind::Fund),
                search::<Fund>,
            )
            .query("q", false, "Part of the name; % and _ are wildcards")],
        )
        .at(
            "/funds/{fund_id}",
            [
                read("One fund", Content::Record(Kind::Fund), show::<Fund>),
                put("Changes a fund", Content::Record(Kind::Fund), revise)
                    .takes(Content::Attributes(Kind::Fund)),
                delete("Removes a fund from use", deleted(), archive::<Fund>),
            ],
        )
        .at(
            "/funds/{fund_id}/notes",
            [read("The notes about it, newest first", Content::List(Kind::Note), notes::<Fund>)],
        )
        .at(
            "/funds/{fund_id}/sales-funnel",
            [read("How every LP stands to it", Content::Example(funnel), sales_funnel)],
        )
        .at(
            "/funds/{fund_id}/lps/{lp_id}/interest",
            [put("Moves an LP in the funnel", Content::Example(interest), record_interest)
                .query("interest", true, stages)],
        )
}

async fn register(State(app): State<App>, caller: Caller, body: Body) -> Result<Response, Problem> {
    let members = body.into_members(Shape::Model)?;
    let form = Form::read::<FundRecord>(&members, Occasion::Register)?;
    let command = FundCommand::Register {
        fund_name: form.require("fund_name")?,
        details: form.changes()?,
        legacy: Verbatim::default(),
    };
    writes::register::<Fund>(&app, &caller, command, &form).await
}

async fn revise(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    let members = body.into_members(Shape::Model)?;
    let form = Form::read::<FundRecord>(&members, Occasion::Revise)?;
    let (row, version) = current(&app, &caller, record_of::<Fund>(id)).await?;
    let command = FundCommand::Revise {
        fund_name: form.get("fund_name")?,
        changes: form.changes()?,
        shown_roadshow_date: attribute(row.as_ref(), "roadshow_date")?,
    };
    execute::<Fund>(&app, &caller, id, "Revise", command, version)
        .await?
        .row::<Fund>(&app, &form)
        .await
}

async fn sales_funnel(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    asked: Asked,
) -> Result<Response, Problem> {
    asked.answer(&app, Query::SalesFunnel(FundId(id))).await
}

/// Its body, if there is one, never counted.
async fn record_interest(
    State(app): State<App>,
    Ids([fund, lp]): Ids<2>,
    parameters: Parameters,
    caller: Caller,
) -> Result<Response, Problem> {
    let interest = parameters.required("interest")?;
    check_exist(&app, &caller, &[record_of::<Fund>(fund), record_of::<Lp>(lp)]).await?;
    let version = condition(&app, &caller, record_of::<Fund>(fund)).await?;
    let contact = writes::contact(&app, FundId(fund).into(), LpId(lp)).await?;
    let command = FundCommand::RecordInterest {
        lp: LpId(lp),
        interest: Interest::from(interest.as_str()),
        contact,
        legacy: None,
    };
    let written = execute::<Fund>(&app, &caller, fund, "RecordInterest", command, version).await?;
    let seen = app.reader.interest(FundId(fund), LpId(lp)).await;
    let sent = json!({"fund_id": fund, "lp_id": lp, "interest": interest});
    Ok(written.standing(seen, sent, contact))
}
