//! `/audit/{kind}/{id}`: the history of one record, and what it was at any point.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::{Holds, Kind, RecordRef, Subject};
use maud::{Markup, html};
use projections::history::Names;

use super::excerpt::shortened;
use super::filters::Filters;
use super::layout::{Here, Section, moment, page};
use super::story::{Story, record_of};
use super::timeline::results;
use super::values::{Side, list, path, spoken_of, table};
use super::{answer, empty, note};
use crate::app::App;
use crate::as_of::position;
use crate::body::Parameters;
use crate::problem::{self, Problem};

/// Shows the page.
pub async fn show(
    State(app): State<App>,
    Path((kind, id)): Path<(String, String)>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Response {
    answer(&app, &headers, async {
        let own = record_of(&kind, &id)?;
        let story = Story::read(&app, own).await?;
        let point = point(&app, &story, &parameters).await?;
        let filters = Filters::of(path(own), &parameters);
        let now = story.now();
        let then = point.map(|position| story.at(position));
        let spoken = spoken_of(&now.facts()).chain(then.iter().flat_map(|then| spoken_of(&then.facts()).collect::<Vec<_>>())).chain([own]).collect::<Vec<_>>();
        let names = Names::of(app.log.database(), spoken).await?;
        let (list, status) = match then {
            Some(_) => (html! {}, StatusCode::OK),
            None => results(&app, &filters, Some(own)).await?,
        };
        let title = called(&names, &now, own);
        let recordings = match then {
            Some(_) => html! {},
            None => note::recordings(&app, own, &now).await?,
        };
        let body = html! {
            (head(&story, &title, &now))
            (held(&now))
            (incomplete(own, app.reader.parked(own).await?))
            (restorable(&story, &now))
            @if parameters.get("done").is_some() {
                div.notice.good role="status" { p { "Done. What was undone stands in the history like any other change." } }
            }
            (recordings)
            (tools(&story, point))
            @if let (Some(position), Some(then)) = (point, &then) { (as_of(&story, &names, position, then, &now)) }
            @else { div.columns { aside aria-label="Filters" { (filters.form(Some(own.kind()))) } (list) } }
        };
        let mut response = page(&app, &title, Here::Within(Section::History), body).await;
        *response.status_mut() = status;
        Ok(response)
    })
    .await
}

/// Says that legal holds are on the record, and why.
fn held(now: &Subject) -> Markup {
    let holds = match now {
        Subject::Person(person) => person.record().map(|it| &it.hold),
        Subject::Note(note) => note.record().map(|it| &it.hold),
        _ => None,
    };
    let reasons = holds.map_or(&[][..], Holds::reasons);
    html! {
        @if !reasons.is_empty() {
            div.notice { p { "Under a legal hold, so that it cannot be erased:" } (list(reasons)) }
        }
    }
}

/// Says that readers do not see all of the record.
fn incomplete(own: RecordRef, parked: Option<i64>) -> Markup {
    let whose =
        if own.kind() == Kind::Fund { ", of the fund or of a roadshow for it," } else { "," };
    html! {
        @if let Some(position) = parked {
            div.notice { p {
                "Lists and the record itself are shown without the event at position " (position) (whose) " which cannot be read or \
                 applied, and without what came after it. Whoever runs crm sees why by " code { "crm projections parked" } "."
            } }
        }
    }
}

/// What a record is called at the top of its page.
pub fn called(names: &Names, now: &Subject, own: RecordRef) -> String {
    match now.called().filter(|name| !name.trim().is_empty()) {
        Some(name) => shortened(name),
        None => names.begin(own),
    }
}

/// The point in time that is asked for, if it is not now.
async fn point(app: &App, story: &Story, parameters: &Parameters) -> Result<Option<i64>, Problem> {
    let as_of = parameters.once("as_of")?.map(str::trim).filter(|text| !text.is_empty());
    if let Some(text) = as_of {
        return position(app, text, ["query", "as_of"]).await.map(Some);
    }
    let number = parameters.get("change").and_then(|text| text.trim().parse::<usize>().ok());
    Ok(number
        .and_then(|number| story.entries.get(number.checked_sub(1)?))
        .map(|entry| entry.position))
}

/// The record's name, what it is, and since when.
pub fn head(story: &Story, title: &str, now: &Subject) -> Markup {
    let count = story.entries.len();
    html! {
        div.lead {
            div {
                p.quiet { (problem::title(story.own.kind())) " " (story.own.id()) @if now.is_archived() { " · deleted" } }
                h1 { (title) }
                p.quiet {
                    @if count == 1 { "1 change, " } @else { (count) " changes, the first " }
                    @if let Some(first) = story.entries.first() { (moment(first.envelope.recorded_at)) }
                    "."
                }
            }
        }
    }
}

/// How a record that is deleted comes back: by undoing its deletion.
fn restorable(story: &Story, now: &Subject) -> Markup {
    let deletion = story.entries.iter().rfind(|entry| entry.event_type == "Archived");
    html! {
        @if let Some(deletion) = deletion.filter(|_| now.is_archived() && !now.is_erased()) {
            div.notice {
                p { "It was deleted " (moment(deletion.envelope.recorded_at)) ", and can be restored." }
                p.actions {
                    a.button href={(path(story.own)) "/undo?event=" (deletion.envelope.event_id)} { "Restore…" }
                }
            }
        }
    }
}

fn tools(story: &Story, point: Option<i64>) -> Markup {
    let count = story.entries.len();
    let at = point.map_or(count, |position| story.count_at(position).max(1));
    let address = path(story.own);
    html! {
        section.tools aria-label="Go back in time" {
            form.box method="get" action=(address) {
                h2 { label for="change" { "As it was after a change" } }
                input id="change" name="change" type="range" min="1" max=(count) value=(at) data-count=(count) aria-describedby="change-told";
                div.actions {
                    button type="submit" { "Show" }
                    span.quiet id="change-told" { "Change " (at) " of " (count) }
                }
            }
            form.box method="get" action=(address) {
                h2 { "As it was at a time" }
                div.row {
                    div {
                        label for="as_of" { "Date and time (UTC)" }
                        input id="as_of" name="as_of" type="datetime-local" required;
                    }
                    button type="submit" { "Show" }
                    a.button href={(address) "/compare"} { "Compare two points" }
                }
            }
        }
    }
}

fn as_of(story: &Story, names: &Names, position: i64, then: &Subject, now: &Subject) -> Markup {
    let at = story.entry_at(position);
    let address = path(story.own);
    html! {
        section aria-labelledby="then" {
            div.bar {
                h2 id="then" {
                    @if let Some(entry) = at { "As it was after change " (story.count_at(position)) ", " (moment(entry.envelope.recorded_at)) }
                    @else { "It did not exist yet" }
                }
                div.actions {
                    a.button href=(address) { "Back to the history" }
                    @if let Some(entry) = at.filter(|_| !now.is_erased()) {
                        a.button href={(address) "/compare?from=" (entry.position)} { "Compare with now" }
                        a.button.danger href={(address) "/undo?to=" (entry.position)} { "Make it so again…" }
                    }
                }
            }
            @match at {
                Some(_) if now.is_erased() => (empty("The record was erased for good: what it said then, nobody can read any more.")),
                Some(_) => (table(names, "Fields that are marked “differs” are not the same today.", story.own, [
                    Side { head: "Then", at: position, facts: &then.facts() },
                    Side { head: "Now", at: i64::MAX, facts: &now.facts() },
                ])),
                None => (empty("Nothing had been recorded about it at that time.")),
            }
        }
    }
}
