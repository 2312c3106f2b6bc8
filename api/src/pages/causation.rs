//! `/audit/causation/{id}`: what a command or an event came of, and what it led to.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use maud::{Markup, html};
use projections::history::{HistoryEntry, Names};
use uuid::Uuid;

use super::answer;
use super::entry::sentence;
use super::find::told;
use super::layout::{Here, moment, page};
use super::timeline::names_of;
use super::values::path;
use crate::app::App;
use crate::problem::Problem;

/// The most events of a tree that are shown.
const MOST: i64 = 500;

/// Shows the page.
pub async fn show(State(app): State<App>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    answer(&app, &headers, async {
        let id = Uuid::try_parse(&id).map_err(|_| Problem::NoSuchPath)?;
        let positions = conversation(&app, id).await?;
        if positions.is_empty() {
            return Err(Problem::NoSuchPath);
        }
        let mut entries = told(&app, &positions).await?;
        entries.reverse();
        let names = names_of(&app, &entries).await?;
        let body = html! {
            div.lead {
                div {
                    h1 { "Cause and effect" }
                    p.quiet { "What was asked for, what came of it, and what that led to in turn." }
                }
            }
            @if i64::try_from(entries.len()) == Ok(MOST) {
                div.notice { p { "Only the first " (MOST) " events are shown." } }
            }
            (commands(&names, &entries, &roots(&entries), id))
        };
        Ok(page(&app, "Cause and effect", Here::Elsewhere, body).await)
    })
    .await
}

/// The positions of all events of the conversation that a command or event belongs to.
async fn conversation(app: &App, id: Uuid) -> Result<Vec<i64>, Problem> {
    let database = app.log.database();
    database.check()?;
    let question = sqlx::query_scalar(
        "select position from events
         where correlation_id in (select correlation_id from events where command_id = $1 or event_id = $1)
         order by position limit $2",
    )
    .bind(id)
    .bind(MOST);
    Ok(database.ask(question.fetch_all(&database.pool)).await?)
}

/// The commands that none of these events caused, in their order.
fn roots(entries: &[HistoryEntry]) -> Vec<Uuid> {
    let known: BTreeSet<Uuid> =
        entries.iter().flat_map(|entry| [entry.event_id, entry.command_id]).collect();
    let is_root = |entry: &&HistoryEntry| {
        entry.causation_id.is_none_or(|cause| cause == entry.command_id || !known.contains(&cause))
    };
    distinct(entries.iter().filter(is_root))
}

fn distinct<'a>(entries: impl Iterator<Item = &'a HistoryEntry>) -> Vec<Uuid> {
    let mut seen = BTreeSet::new();
    entries.map(|entry| entry.command_id).filter(|command| seen.insert(*command)).collect()
}

/// The commands that a command or event caused.
fn caused(entries: &[HistoryEntry], by: Uuid) -> Vec<Uuid> {
    distinct(
        entries.iter().filter(|entry| entry.causation_id == Some(by) && entry.command_id != by),
    )
}

fn commands(names: &Names, entries: &[HistoryEntry], shown: &[Uuid], asked: Uuid) -> Markup {
    html! {
        ul.tree {
            @for command in shown {
                @let events: Vec<&HistoryEntry> = entries.iter().filter(|entry| entry.command_id == *command).collect();
                @if let Some(first) = events.first() {
                    li {
                        p.said {
                            span.kind { "Command" }
                            b { (first.command.as_deref().unwrap_or("of unknown name")) } " by " (first.actor) ", " (moment(first.recorded_at))
                            (marked(*command == asked))
                        }
                        ul {
                            @for event in events {
                                li {
                                    p.said {
                                        span.kind { "Event" } (sentence(names, event)) " "
                                        @if let Some(record) = event.record {
                                            a href={(path(record)) "?before=" (event.position + 1) "#p" (event.position)} { "in its history" span.hidden { " (change " (event.position) ")" } }
                                        }
                                        (marked(event.event_id == asked))
                                    }
                                    @let next = caused(entries, event.event_id);
                                    @if !next.is_empty() { (commands(names, entries, &next, asked)) }
                                }
                            }
                        }
                        @let next = caused(entries, *command);
                        @if !next.is_empty() { (commands(names, entries, &next, asked)) }
                    }
                }
            }
        }
    }
}

fn marked(is_asked: bool) -> Markup {
    html! { @if is_asked { " " span.mark { "what you asked about" } } }
}
