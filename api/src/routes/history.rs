//! `/{records}/{id}/history` and `/audit`: what has happened, told; what led to what; and what was refused.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use domain::RecordRef;
use domain::distributor::Distributor;
use domain::fund::Fund;
use domain::gp::Gp;
use domain::lp::Lp;
use domain::note::Note;
use domain::person::Person;
use domain::roadshow::Roadshow;
use domain::todo::Todo;
use projections::history::{Page, RefusalFilter, Selection};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answers::{PATIENCE, READ_MODEL};
use crate::app::App;
use crate::body::Ids;
use crate::describe::{Content, Endpoint, Routes, get};
use crate::history::export::{Export, What};
use crate::history::wanted::{ACROSS, Format, MOST, OF_RECORD, Paging, REFUSALS, Wanted};
use crate::history::{causation, check_origin, entries_of, entry, refusal, time};
use crate::pages::escaped;
use crate::problem::Problem;
use crate::resource::record_of;
use crate::writes::Resource;

/// The routes of histories.
pub fn routes() -> Routes {
    Routes::tagged("History")
        .at("/lps/{lp_id}/history", [of_record::<Lp>()])
        .at("/gps/{gp_id}/history", [of_record::<Gp>()])
        .at("/distributors/{distributor_id}/history", [of_record::<Distributor>()])
        .at("/people/{person_id}/history", [of_record::<Person>()])
        .at("/funds/{fund_id}/history", [of_record::<Fund>()])
        .at("/notes/{note_id}/history", [of_record::<Note>()])
        .at("/todos/{todo_id}/history", [of_record::<Todo>()])
        .at("/roadshows/{roadshow_id}/history", [of_record::<Roadshow>()])
        .at("/audit", [described(get("What has happened to all records, newest first", page(), across), ACROSS)])
        .at(
            "/audit/causation/{id}",
            [get(
                "What led to a command, event or conversation, and what followed from it",
                Content::Example(json!({"commands": [{"command_id": "0198c0de-0000-7000-8000-000000000002",
                    "causation_id": null, "command": "Revise", "events": [], "led_to": []}],
                    "refusals": [], "complete": true})),
                hangs_together,
            )
            .strict()],
        )
        .at("/audit/refusals", [described(
            get("Changes that were refused or failed, newest first", Content::Example(json!({"refusals": [
                {"id": 3, "refused_at": "2025-01-31T15:04:05.000123Z", "actor": "anonymous", "method": "PUT",
                    "path": "/lps/7", "command": "Revise", "kind": "lp", "record": {"kind": "lp", "id": 7},
                    "status": 404, "why": "LP not found", "correlation_id": "0198c0de-0000-7000-8000-000000000003",
                    "causation_id": null, "client": "127.0.0.1", "user_agent": "curl/8.5"}], "next": null})), refused),
            REFUSALS,
        )])
}

fn of_record<A: Resource>() -> Endpoint {
    described(get("What has happened to it, newest first", page(), one::<A>), OF_RECORD)
}

fn described(endpoint: Endpoint, parameters: &[&str]) -> Endpoint {
    let described = |endpoint: Endpoint, name: &&str| endpoint.query(name, false, meaning(name));
    let endpoint = endpoint
        .strict()
        .tells("Link", "Where the next page is, as `rel=\"next\"`")
        .tells("Content-Disposition", "As CSV or NDJSON: its name as a file")
        .tells(
            "X-Missing",
            "As CSV or NDJSON: how many streams it lacks in part, since they cannot be read",
        );
    parameters.iter().fold(endpoint, described)
}

fn meaning(parameter: &str) -> &'static str {
    match parameter {
        "actor" => "Only what this actor asked for",
        "kind" => {
            "Only of this kind of record, such as lp; across all changes also import: rows of a legacy file that belong to no record"
        }
        "record" => {
            "Only of this record, such as lp/7; among the changes of a fund is also what roadshows brought to it"
        }
        "related" => {
            "true: also what happened to other records and speaks of it, such as notes that were linked to it"
        }
        "event" => "Only events of this name, such as Renamed",
        "field" => "Only what may have changed this field",
        "from" => {
            "Recorded then or later: a time, in UTC without an offset, or a date, which begins at midnight UTC"
        }
        "to" => "Recorded before then",
        "source" => "Only from this source, such as api",
        "address" => {
            "Only from this network address, such as 10.1.2.3, or from this network, such as 10.1.0.0/16"
        }
        "program" => "Only from this program, by all that `user_agent` says, such as curl/8.5.0",
        "correlation" => "Only of this conversation, by the X-Request-Id of its request",
        "q" => "Only what says all of these words",
        "refused" => {
            "true: also what was refused, in `refusals`; if that is more than 500, `refusals_next` has the address of the rest. Not with event, field, source, address, program or q"
        }
        "status" => "Only what was answered with this status",
        "limit" => "How many at most, 1 to 500; usually 50",
        "cursor" => "Goes on after an earlier page: its `next`",
        "format" => {
            "json, csv or ndjson; goes before Accept. CSV and NDJSON are sent whole; in CSV a text that begins like a formula gets an apostrophe before it, and `format=csv`, but not Accept, begins with a byte order mark"
        }
        _ => "Wait until this position can be seen",
    }
}

fn page() -> Content {
    Content::Example(
        json!({"entries": [{"position": 1659, "recorded_at": "2025-01-31T15:04:05.000123Z",
        "occurred_at": null, "actor": "anonymous", "source": "api", "client": "127.0.0.1", "user_agent": "curl/8.5",
        "command": "Revise", "command_id": "0198c0de-0000-7000-8000-000000000002",
        "correlation_id": "0198c0de-0000-7000-8000-000000000003", "causation_id": null, "event": "Prioritised",
        "event_id": "0198c0de-0000-7000-8000-000000000001",
        "record": {"kind": "lp", "id": 7, "name": "Afore XXI"},
        "sentence": "Priority of Afore XXI moved from B to A",
        "changes": [{"field": "priority", "label": "Priority", "from": "B", "to": "A"}]}], "next": 1659}),
    )
}

async fn one<A: Resource>(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let record = record_of::<A>(id);
    let wanted = Wanted::of(&uri, OF_RECORD)?;
    let (selection, with_refusals) = (wanted.selection()?, wanted.flag("refused")?);
    let (format, paging) = (wanted.format(&headers)?, wanted.paging()?);
    if format != Format::Json && with_refusals {
        let what = "The parameter \"refused\" is for pages of JSON; see /audit/refusals";
        return Err(Problem::Parameter(what.to_owned()));
    }
    if let Some(name) = of_events_alone(&selection).filter(|_| with_refusals) {
        return Err(Problem::Parameter(format!(
            "The parameter \"refused\" does not go with {name:?}, by which only changes are found; see /audit/refusals"
        )));
    }
    let needs_search = selection.needs_search();
    let is_behind = needs_search && !is_searchable(&app).await?;
    if needs_search {
        check_origin(&app, &selection)?;
    }
    let history = app.reader.history();
    if !history.knows(record).await? {
        return Err(Problem::NotFound(record.kind()));
    }
    let mut response = match format {
        Format::Json => {
            let Paging { cursor, limit } = paging;
            let page = history.of_record(record, &selection, cursor, limit).await?;
            let mut body = told(&app, &page).await?;
            if with_refusals {
                let (refusals, next) =
                    refused_meanwhile(&app, record, &selection, cursor, &page).await?;
                (body["refusals"], body["refusals_next"]) = (refusals, next.into());
            }
            paged(&uri, body, page.next)
        }
        format => Export { what: What::OfRecord(record, selection), format }.send(history).await?,
    };
    finish(&mut response, is_behind);
    Ok(response)
}

/// The page for people is at the same path: whoever asks for `text/html` is answered before it comes here.
async fn across(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let wanted = Wanted::of(&uri, ACROSS)?;
    let (selection, format) = (wanted.selection()?, wanted.format(&headers)?);
    let Paging { cursor, limit } = wanted.paging()?;
    if selection.related && selection.record.is_none() {
        let what = "The parameter \"related\" needs a record that it is about";
        return Err(Problem::Parameter(what.to_owned()));
    }
    let is_behind = !is_searchable(&app).await?;
    check_origin(&app, &selection)?;
    let history = app.reader.history();
    let mut response = match format {
        Format::Json => {
            let page = history.across(&selection, cursor, limit).await?;
            paged(&uri, told(&app, &page).await?, page.next)
        }
        format => Export { what: What::Across(selection), format }.send(history).await?,
    };
    finish(&mut response, is_behind);
    Ok(response)
}

async fn hangs_together(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = Uuid::try_parse(&id).map_err(|_| {
        Problem::Parameter("The id of a command, event or conversation is a UUID".to_owned())
    })?;
    let is_behind = !is_searchable(&app).await?;
    let history = app.reader.history();
    let tree = history.causation(id).await?.ok_or(Problem::NoSuchCause)?;
    let entries: Vec<_> = entries_of(&tree.roots).into_iter().cloned().collect();
    let names = history.names(&entries).await?;
    let mut response = Json(causation(&tree, &names)).into_response();
    finish(&mut response, is_behind);
    Ok(response)
}

async fn refused(
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wanted = Wanted::of(&uri, REFUSALS)?;
    let (filter, format) = (wanted.refusals()?, wanted.format(&headers)?);
    let Paging { cursor, limit } = wanted.paging()?;
    let history = app.reader.history();
    let mut response = match format {
        Format::Json => {
            let page = history.refusals(&filter, cursor, limit).await?;
            let refusals: Vec<Value> = page.refusals.iter().map(refusal).collect();
            paged(&uri, json!({"refusals": refusals, "next": page.next}), page.next)
        }
        format => Export { what: What::Refusals(filter), format }.send(history).await?,
    };
    finish(&mut response, false);
    Ok(response)
}

/// Waits until everything that is in the log by now can be searched. Tells whether it can.
async fn is_searchable(app: &App) -> Result<bool, Problem> {
    let head = app.live.head().await?;
    Ok(app.reader.audited(head, PATIENCE).await)
}

async fn told(app: &App, page: &Page) -> Result<Value, Problem> {
    let names = app.reader.history().names(&page.entries).await?;
    let entries: Vec<Value> = page.entries.iter().map(|one| entry(one, &names)).collect();
    let mut body = json!({"entries": entries, "next": page.next});
    if !page.missing.is_empty() {
        body["missing"] = json!(page.missing);
    }
    Ok(body)
}

/// A filter that is set and that refusals are not found by.
fn of_events_alone(selection: &Selection) -> Option<&'static str> {
    [
        ("event", selection.event.is_some()),
        ("field", selection.field.is_some()),
        ("source", selection.source.is_some()),
        ("address", selection.address.is_some()),
        ("program", selection.program.is_some()),
        ("q", selection.text.is_some()),
    ]
    .into_iter()
    .find_map(|(name, is_set)| is_set.then_some(name))
}

/// What was refused about a record in the time that a page covers, so that all pages together show each once; and the address
/// of the rest, if it is more than a page holds.
async fn refused_meanwhile(
    app: &App,
    record: RecordRef,
    selection: &Selection,
    cursor: Option<i64>,
    page: &Page,
) -> Result<(Value, Option<String>), Problem> {
    let history = app.reader.history();
    let end: Option<DateTime<Utc>> = match cursor {
        Some(cursor) => history.recorded_at(cursor).await?,
        None => None,
    };
    let begin = page.next.and(page.entries.last()).map(|entry| entry.recorded_at);
    let filter = RefusalFilter {
        actor: selection.actor.clone(),
        record: Some(record),
        from: selection.from.max(begin),
        to: [selection.to, end].into_iter().flatten().min(),
        correlation: selection.correlation,
        ..RefusalFilter::default()
    };
    let found = history.refusals(&filter, None, MOST).await?;
    let rest = found.next.map(|next| refusals_at(record, &filter, next));
    Ok((found.refusals.iter().map(refusal).collect(), rest))
}

/// Where refusals of a record go on.
fn refusals_at(record: RecordRef, filter: &RefusalFilter, cursor: i64) -> String {
    let mut address = format!("/audit/refusals?record={}/{}", record.kind(), record.id());
    let more = [
        ("actor", filter.actor.as_deref().map(escaped)),
        ("from", filter.from.map(time)),
        ("to", filter.to.map(time)),
        ("correlation", filter.correlation.map(|id| id.to_string())),
        ("limit", Some(MOST.to_string())),
        ("cursor", Some(cursor.to_string())),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            address.push_str(&format!("&{name}={value}"));
        }
    }
    address
}

/// A page that says in its headers as well where the next one is.
pub(super) fn paged(uri: &Uri, body: Value, next: Option<i64>) -> Response {
    let mut response = Json(body).into_response();
    if let Some(next) = next {
        let query = uri.query().unwrap_or_default().split('&');
        let kept = query.filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
        let query: String = kept.map(|pair| format!("{pair}&")).collect();
        let link = format!("<{}?{query}cursor={next}>; rel=\"next\"", uri.path());
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    response
}

fn finish(response: &mut Response, is_behind: bool) {
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Origin"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if is_behind {
        headers.insert(READ_MODEL, HeaderValue::from_static("behind"));
    }
}
