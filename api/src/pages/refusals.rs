//! `/audit/refusals`: who tried what, and why it did not happen.

use axum::http::HeaderMap;
use axum::response::Response;
use maud::{Markup, html};
use projections::history::{Refusal, RefusalFilter};

use super::layout::{Here, moment, page};
use super::{answer, empty, values};
use crate::app::App;
use crate::body::{Parameters, parse_id};
use crate::problem::{Fault, Problem};

/// How many refusals a page has.
const PAGE: usize = 50;

/// Shows the page.
pub async fn show(app: &App, headers: &HeaderMap, parameters: &Parameters) -> Response {
    answer(app, headers, async {
        parameters.expect(&["cursor", "min_position"])?;
        let invalid = |fault: Fault| Problem::invalid(fault.at(["query".into(), "cursor".into()]));
        let cursor = parameters.get("cursor").map(parse_id).transpose().map_err(invalid)?;
        let found = app.reader.history().refusals(&RefusalFilter::default(), cursor, PAGE).await?;
        let body = html! {
            div.lead {
                div {
                    h1 { "Refused attempts" }
                    p.quiet { "What somebody tried and the rules or the server did not let happen, newest first. Nothing was changed by any of it." }
                }
            }
            @if found.refusals.is_empty() { (empty("Nothing was refused.")) } @else { (list(&found.refusals)) }
            @if let Some(next) = found.next {
                nav.pages aria-label="Further attempts" { a.button rel="next" href={"/audit/refusals?cursor=" (next)} { "Older attempts" } }
            }
        };
        Ok(page(app, "Refused attempts", Here::Refusals, body).await)
    })
    .await
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
                            td data-head="Why not" { (refusal.why) span.quiet { " (" (refusal.status) ")" } }
                        }
                    }
                }
            }
        }
    }
}
