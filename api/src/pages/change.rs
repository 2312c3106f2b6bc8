//! `/audit/{kind}/{id}/changes/{position}`: one change with more of its values than a list has room for, and
//! `/audit/{kind}/{id}/text`: one value whole, as a text.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use domain::{FactName, RecordRef};
use maud::{Markup, html};
use projections::history::{HistoryEntry, Names, Selection};
use serde_json::Value;

use super::answer;
use super::entry::{acts, facts, sentence};
use super::layout::{Here, Section, moment, page};
use super::story::{Story, record_of};
use super::timeline::names_of;
use super::values::{Whole, change_list, path};
use crate::app::App;
use crate::body::{Parameters, parse_id};
use crate::problem::Problem;

/// Shows the page of a change.
pub async fn show(
    State(app): State<App>,
    Path((kind, id, position)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    answer(&app, &headers, async {
        let own = record_of(&kind, &id)?;
        let position = parse_id(&position).map_err(|_| Problem::NoSuchPath)?;
        let entry = entry_at(&app, own, position).await?;
        let names = names_of(&app, std::slice::from_ref(&entry)).await?;
        let title = format!("Change {}", entry.sequence);
        Ok(page(&app, &title, Here::Within(Section::History), body(&names, own, &entry)).await)
    })
    .await
}

async fn entry_at(app: &App, own: RecordRef, position: i64) -> Result<HistoryEntry, Problem> {
    let (all, before) = (Selection::default(), position.saturating_add(1));
    let found = app.reader.history().of_record(own, &all, Some(before), 1).await?;
    let entry = found.entries.into_iter().next().filter(|entry| entry.position == position);
    entry.ok_or(Problem::NoSuchPath)
}

fn body(names: &Names, own: RecordRef, entry: &HistoryEntry) -> Markup {
    let whole = Whole::Texts(own, entry.position);
    html! {
        div.lead {
            div {
                p.quiet { "Change " (entry.sequence) " of its record, " (moment(entry.recorded_at)) }
                h1.told { (sentence(names, entry)) }
            }
            a.button href={(path(own)) "?cursor=" (entry.position.saturating_add(1)) "#p" (entry.position)} { "In the history" }
        }
        @if !entry.changes.is_empty() {
            section.box aria-labelledby="values" {
                h2 id="values" { "What changed" }
                (change_list(names, &entry.changes, whole))
            }
        }
        section aria-labelledby="facts" {
            h2 id="facts" { "All that is known about it" }
            (facts(entry))
            p.actions { (acts(names, entry)) }
        }
    }
}

/// Sends what a record said of one fact after the event at a position, all of it.
pub async fn text(
    State(app): State<App>,
    Path((kind, id)): Path<(String, String)>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Response {
    answer(&app, &headers, async {
        parameters.expect(&["field", "about", "at", "min_position"])?;
        let own = record_of(&kind, &id)?;
        let about = parameters.get("about").and_then(|about| about.split_once('/'));
        let about = about.map(|(kind, id)| record_of(kind, id)).transpose()?;
        let field = parameters.required("field")?;
        let at = parse_id(&parameters.required("at")?).map_err(|_| Problem::NoSuchPath)?;
        let mut facts = Story::read(&app, own).await?.at(at).facts();
        let said = facts.remove(&FactName { field: field.clone(), about });
        Ok(sent(said.ok_or(Problem::NoSuchPath)?, &format!("{own} {field} {at}")))
    })
    .await
}

/// A value as a file that the browser keeps and does not show: some are too large for it.
fn sent(said: Value, name: &str) -> Response {
    let (kind, ending, text) = match said {
        Value::String(text) => ("text/plain; charset=utf-8", "txt", text),
        said => ("application/json", "json", said.to_string()),
    };
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let name: String =
        name.chars().map(|letter| if plain(letter) { letter } else { '-' }).collect();
    let kept = format!("attachment; filename=\"{name}.{ending}\"");
    let headers: [(HeaderName, HeaderValue); 5] = [
        (header::VARY, HeaderValue::from_static("Accept, HX-Request, Origin")),
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::from_str(&kept).unwrap_or(HeaderValue::from_static("attachment")),
        ),
    ];
    (headers, text).into_response()
}
