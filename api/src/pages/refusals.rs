//! `/audit/refusals`: who tried what, and why it did not happen.

use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use maud::{Markup, html};
use projections::history::Refusal;

use super::filters::{called, escaped};
use super::layout::{Here, Section, moment, page};
use super::{answer, empty, values};
use crate::app::App;
use crate::body::Parameters;
use crate::history::wanted::{Paging, REFUSALS, Wanted};

/// Shows the page; it takes the same filters as the API.
pub async fn show(app: &App, headers: &HeaderMap, uri: &Uri) -> Response {
    answer(app, headers, async {
        let wanted = Wanted::of(uri, REFUSALS)?;
        let (filter, Paging { cursor, limit }) = (wanted.refusals()?, wanted.paging()?);
        let found = app.reader.history().refusals(&filter, cursor, limit).await?;
        let parameters = Parameters::of(uri);
        let body = html! {
            div.lead {
                div {
                    h1 { "Refused attempts" }
                    p.quiet { "What somebody tried and the rules did not allow, or the server failed to do, newest first." }
                }
            }
            (chips(&parameters))
            @if !found.refusals.is_empty() { (list(&found.refusals)) }
            @else if filters(&parameters).next().is_some() { (empty("No attempt matches these filters. Remove one of them to see more.")) }
            @else { (empty("Nothing was refused.")) }
            @if let Some(next) = found.next {
                nav.pages aria-label="Further attempts" { a.button rel="next" href=(address(&parameters, "cursor", Some(next))) { "Older attempts" } }
            }
            p.quiet.actions {
                "Take all of it with you: "
                a href=(file(&parameters, "csv")) download="refusals.csv" { "CSV" }
                a href=(file(&parameters, "ndjson")) download="refusals.ndjson" { "NDJSON" }
            }
        };
        Ok(page(app, "Refused attempts", Here::At(Section::Refusals), body).await)
    })
    .await
}

/// What stands in the address to choose by, not to page.
fn filters(parameters: &Parameters) -> impl Iterator<Item = (&str, &str)> {
    parameters.pairs().filter(|(name, _)| !["cursor", "limit", "min_position"].contains(name))
}

/// The address without one parameter, and perhaps with a cursor.
fn address(parameters: &Parameters, without: &str, cursor: Option<i64>) -> String {
    let kept = parameters.pairs().filter(|(name, _)| ![without, "cursor"].contains(name));
    let kept = kept.map(|(name, value)| format!("{name}={}", escaped(value)));
    let pairs: Vec<String> = kept.chain(cursor.map(|cursor| format!("cursor={cursor}"))).collect();
    match pairs.is_empty() {
        true => "/audit/refusals".to_owned(),
        false => format!("/audit/refusals?{}", pairs.join("&")),
    }
}

/// The address of all that is chosen, as a file.
fn file(parameters: &Parameters, format: &str) -> String {
    let chosen = filters(parameters).map(|(name, value)| format!("{name}={}&", escaped(value)));
    format!("/audit/refusals?{}format={format}", chosen.collect::<String>())
}

/// What is chosen by, each with a way to take it away.
fn chips(parameters: &Parameters) -> Markup {
    html! {
        @if filters(parameters).next().is_some() {
            ul.chips aria-label="Filters that are set" {
                @for (name, value) in filters(parameters) {
                    li { a href=(address(parameters, name, None)) {
                        (called(name)) ": " (value) " " span aria-hidden="true" { "×" } span.hidden { " (remove this filter)" }
                    } }
                }
            }
        }
    }
}

/// Whether the server gave up on it: it may have been carried out nevertheless, or have been since.
fn has_failed(refusal: &Refusal) -> bool {
    refusal.status >= 500
}

fn carried_out(refusal: &Refusal) -> Markup {
    html! {
        "It failed. Whether it was carried out, "
        a href={"/audit?correlation=" (refusal.correlation_id)} { "the history of this request" }
        " says."
    }
}

/// Some refusals as a table.
pub fn list(refusals: &[Refusal]) -> Markup {
    html! {
        div.scroll {
            table.stack {
                caption { "Attempts that were refused" }
                thead { tr { @for head in ["When", "Who", "Tried", "Why not"] { th scope="col" { (head) } } } }
                tbody {
                    @for refusal in refusals {
                        tr {
                            th scope="row" { (moment(refusal.refused_at)) }
                            td data-head="Who" { (refusal.actor) @if let Some(client) = &refusal.client { span.quiet { " from " (client) } } }
                            td data-head="Tried" {
                                @if let Some(command) = &refusal.command { (command) " · " }
                                code { (refusal.method) " " (refusal.path) }
                                @if let Some(record) = refusal.record() { " " a href=(values::path(record)) { "its history" span.hidden { " (" (record) ")" } } }
                            }
                            td data-head="Why not" {
                                (refusal.why) span.quiet { " (" (refusal.status) ")" }
                                @if has_failed(refusal) { p { (carried_out(refusal)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}
