//! `/search`, and what is similar: records by what they say.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse as _, Response};
use domain::RecordRef;
use domain::lp::Lp;
use domain::note::Note;
use serde_json::json;

use crate::answers::{READ_MODEL, not_found};
use crate::app::App;
use crate::body::Ids;
use crate::describe::{Content, Endpoint, Routes, get};
use crate::history::wanted::Wanted;
use crate::problem::Problem;
use crate::resource::record_of;
use crate::search::{self, PARAMETERS, SIMILAR};

/// The routes of search.
pub fn routes() -> Routes {
    Routes::tagged("Search")
        .at(
            "/search",
            [described(
                get("What says what was asked for, the best first", page(), find),
                PARAMETERS,
            )],
        )
        .at(
            "/notes/{note_id}/similar",
            [described(
                get("Notes that say something like it", similar_notes(), like_note),
                SIMILAR,
            )],
        )
        .at(
            "/lps/{lp_id}/similar",
            [described(
                get("LPs with whom was said something like it", similar_lps(), like_lp),
                SIMILAR,
            )],
        )
}

fn page() -> Content {
    Content::Example(
        json!({"hits": [{"kind": "note", "id": 7, "title": "2025_01_31_Call", "detail": "Video Call",
        "date": "2025-01-31T00:00:00Z", "passage": {"part": "text", "ordinal": 0,
            "text": "The pension fund asked about currency hedging.", "starts_ms": null,
            "highlights": [[29, 37], [38, 45]]}, "score": 0.0931,
        "parts": {"word": 0.0476, "name": 0.0, "meaning": 0.0455}, "why": ["word", "meaning"], "link": "/notes/7"}],
        "facets": {"note": 1}, "cut": false, "next": null, "mode": "hybrid", "missing": null, "corrected": {}}),
    )
}

fn similar_notes() -> Content {
    let passage = json!({"part": "text", "ordinal": 0, "text": "They asked about hedging.", "starts_ms": null, "highlights": []});
    Content::Example(
        json!({"hits": [{"kind": "note", "id": 12, "title": "2025_02_03_Call", "detail": null,
        "date": "2025-02-03T00:00:00Z", "passage": passage, "score": 0.0164,
        "parts": {"word": 0.0, "name": 0.0, "meaning": 0.0164}, "why": ["meaning"], "link": "/notes/12"}], "missing": null}),
    )
}

/// A passage speaks for an LP that stands in a note about it, so it says in which.
fn similar_lps() -> Content {
    let passage = json!({"part": "text", "ordinal": 0, "text": "They asked about hedging.", "starts_ms": null, "highlights": [],
        "kind": "note", "id": 12, "link": "/notes/12"});
    Content::Example(
        json!({"hits": [{"kind": "lp", "id": 7, "title": "Afore XXI", "detail": null, "date": null, "passage": passage,
        "score": 0.0164, "parts": {"word": 0.0, "name": 0.0, "meaning": 0.0164}, "why": ["meaning"], "link": "/lps/7"}],
        "missing": null}),
    )
}

fn described(endpoint: Endpoint, parameters: &[&str]) -> Endpoint {
    parameters
        .iter()
        .fold(endpoint.strict(), |endpoint, name| endpoint.query(name, *name == "q", meaning(name)))
}

fn meaning(parameter: &str) -> &'static str {
    match parameter {
        "q" => {
            "What to search for: words, a name, a question, \"a quotation\", or a record as lp:7"
        }
        "kinds" => "Only these kinds of records, separated by commas, such as lp,note",
        "lp" => "Only what is about the LP with this id",
        "gp" => "Only what is about the GP with this id",
        "fund" => "Only what is about the fund with this id",
        "person" => "Only what is about the person with this id",
        "from" => {
            "Only what is of that time or later: a time, or a date, which begins at midnight UTC"
        }
        "to" => "Only what is of before then: a time, or a date, which counts to its end (UTC)",
        "lang" => "Only texts in this language: en or es",
        "mode" => {
            "hybrid (by word, name and meaning), semantic (by meaning alone) or lexical (by word and name)"
        }
        "limit" => "How many at most, 1 to 100; usually 20",
        "cursor" => "Goes on after an earlier page of the same search: its `next`",
        _ => "Wait until this position can be seen",
    }
}

async fn find(State(app): State<App>, uri: Uri) -> Result<Response, Problem> {
    let (wanted, question) = search::wanted(&Wanted::of(&uri, PARAMETERS)?)?;
    app.reader.check()?;
    let page = app.search.find(&wanted).await?;
    Ok(fresh(Json(search::page(&page, question)), page.is_behind))
}

async fn like_note(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    uri: Uri,
) -> Result<Response, Problem> {
    let note = record_of::<Note>(id);
    let limit = search::limit(&Wanted::of(&uri, SIMILAR)?)?;
    check_found(&app, note).await?;
    let similar = app.search.like_note(note, limit).await?;
    Ok(fresh(Json(search::similar(&similar)), similar.is_behind))
}

async fn like_lp(State(app): State<App>, Ids([id]): Ids<1>, uri: Uri) -> Result<Response, Problem> {
    let lp = record_of::<Lp>(id);
    let limit = search::limit(&Wanted::of(&uri, SIMILAR)?)?;
    check_found(&app, lp).await?;
    let similar = app.search.like_lp(lp, limit).await?;
    Ok(fresh(Json(search::similar(&similar)), similar.is_behind))
}

/// Whether there is a record that others may be like.
async fn check_found(app: &App, record: RecordRef) -> Result<(), Problem> {
    match app.reader.record(record).await? {
        Some(_) => Ok(()),
        None => Err(not_found(app, record).await),
    }
}

/// An answer that may be another a moment later.
fn fresh(body: Json<serde_json::Value>, is_behind: bool) -> Response {
    let mut response = body.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if is_behind {
        response.headers_mut().insert(READ_MODEL, HeaderValue::from_static("behind"));
    }
    response
}
