//! Pages for people, of the same functions that answer the API: the audit history, recordings and the recorder.
//!
//! No page of the history needs a script; what the script adds is in `assets/audit.js`. Whatever is filtered by stands in the
//! address. Recording, and following a transcript, are what `assets/recorder.js` and `assets/recording.js` do.

mod assets;
mod causation;
mod change;
mod compare;
mod entry;
mod excerpt;
mod filters;
mod layout;
mod note;
mod record;
mod recorder;
mod recording;
mod recordings;
mod refusals;
mod story;
mod timeline;
mod undo;
mod values;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use crate::app::App;
use crate::body::Parameters;
use crate::describe::{Content, PAGES, Routes, get, post};
use crate::problem::Problem;

pub use filters::escaped;

/// Nothing from elsewhere, nothing inline, nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; media-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The routes of the pages.
pub fn routes() -> Routes {
    Routes::tagged(PAGES)
        .at(
            "/audit/{kind}/{id}",
            [get("The history of one record, as a page", Content::Page, record::show)],
        )
        .at(
            "/audit/{kind}/{id}/compare",
            [get("A record at two points in time, as a page", Content::Page, compare::show)],
        )
        .at(
            "/audit/{kind}/{id}/undo",
            [
                get("What undoing would change, as a page", Content::Page, undo::preview),
                post("Undoes what the page has shown", Content::Page, undo::confirm),
            ],
        )
        .at(
            "/audit/{kind}/{id}/changes/{position}",
            [get("One change with its values, as a page", Content::Page, change::show)],
        )
        .at(
            "/audit/{kind}/{id}/text",
            [get("What a record said of one field, whole", Content::Text, change::text)
                .query("field", true, "The field, as histories name it")
                .query("about", false, "The other record that it is about, such as lp/7")
                .query("at", true, "After the event at this position")],
        )
        .at(
            "/notes/{note_id}/record",
            [get("A recorder for the meeting, as a page", Content::Page, recorder::show)],
        )
        .at(
            "/audit/assets/{file}",
            [get("Style and script of the pages", Content::Picture, assets::show)],
        )
}

/// Answers browsers at paths that are also the API's; all others go on, and so does who wants a file to keep.
pub async fn instead(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let parameters = Parameters::of(request.uri());
    let headers = request.headers();
    let is_page =
        request.method() == Method::GET && is_wanted(headers) && parameters.get("format").is_none();
    if !is_page {
        return next.run(request).await;
    }
    if let Some(id) = path.strip_prefix("/recordings/").and_then(|id| id.parse().ok()) {
        return recording::show(&app, headers, id).await;
    }
    if path == "/recordings" {
        return recordings::show(&app, headers, request.uri()).await;
    }
    match path.strip_prefix("/audit") {
        Some("") => timeline::show(&app, headers, &parameters).await,
        Some("/refusals") => refusals::show(&app, headers, request.uri()).await,
        Some(rest) => match rest.strip_prefix("/causation/") {
            Some(id) => causation::show(&app, headers, id).await,
            None => next.run(request).await,
        },
        None => next.run(request).await,
    }
}

/// Whether who asks is a browser that wants to show a page, or htmx on behalf of one.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    if headers.contains_key("hx-request") {
        return true;
    }
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    accept.flat_map(|accept| accept.split(',')).any(|offer| offer.trim().starts_with("text/html"))
}

/// A page, or the page that says why there is none.
pub(crate) async fn answer(
    app: &App,
    headers: &HeaderMap,
    page: impl Future<Output = Result<Response, Problem>>,
) -> Response {
    match page.await {
        Ok(page) => page,
        Err(problem) if is_wanted(headers) => layout::failure(app, &problem).await,
        Err(problem) => problem.into_response(),
    }
}

/// The markup as an answer that a browser trusts no further than it must.
pub(crate) fn respond(markup: Markup) -> Response {
    const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
    let headers: [(HeaderName, HeaderValue); 5] = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        // The origin of a form must reach us: a write without it is a stranger's.
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (header::CACHE_CONTROL, NO_CACHE),
        (header::VARY, HeaderValue::from_static("Accept, HX-Request, Origin")),
    ];
    (headers, markup.into_string()).into_response()
}

/// Something that stands where a list would be.
pub(crate) fn empty(words: &str) -> Markup {
    html! { p.empty { (words) } }
}
