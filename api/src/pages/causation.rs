//! `/audit/causation/{id}`: what a command or an event came of, and what it led to.

use axum::http::HeaderMap;
use axum::response::Response;
use maud::{Markup, html};
use projections::history::{Caused, HistoryEntry, Names};
use uuid::Uuid;

use super::answer;
use super::entry::sentence;
use super::layout::{Here, Section, moment, page};
use super::refusals::list;
use super::timeline::names_of;
use super::values::path;
use crate::answers::PATIENCE;
use crate::app::App;
use crate::history::entries_of;
use crate::problem::Problem;

/// Shows the page.
pub async fn show(app: &App, headers: &HeaderMap, id: &str) -> Response {
    answer(app, headers, async {
        let id = Uuid::try_parse(id).map_err(|_| Problem::NoSuchCause)?;
        app.reader.audited(app.live.head().await?, PATIENCE).await;
        let tree = app.reader.history().causation(id).await?.ok_or(Problem::NoSuchCause)?;
        let entries: Vec<HistoryEntry> = entries_of(&tree.roots).into_iter().cloned().collect();
        let names = names_of(app, &entries).await?;
        let body = html! {
            div.lead {
                div {
                    h1 { "Cause and effect" }
                    p.quiet { "What was asked for, what came of it, and what that led to in turn." }
                }
            }
            @if !tree.is_whole { div.notice { p { "This is only the oldest part of it: there is more than one page can show." } } }
            (commands(&names, &tree.roots, id))
            @if !tree.refusals.is_empty() {
                h2 { "Refused in the same request" }
                (list(&tree.refusals))
            }
        };
        Ok(page(app, "Cause and effect", Here::Within(Section::History), body).await)
    })
    .await
}

fn commands(names: &Names, commands: &[Caused], asked: Uuid) -> Markup {
    html! { ul.tree { @for one in commands { (command(names, one, asked)) } } }
}

fn command(names: &Names, caused: &Caused, asked: Uuid) -> Markup {
    let first = caused.events.first().map(|(event, _)| event);
    html! {
        li {
            p.said {
                span.kind { "Command" }
                b { (first.and_then(|event| event.command.as_deref()).unwrap_or("of unknown name")) }
                @if let Some(event) = first { " by " (event.actor) ", " (moment(event.recorded_at)) }
                (marked(caused.command_id == asked))
            }
            ul {
                @for (event, next) in &caused.events {
                    li {
                        p.said {
                            span.kind { "Event" } (sentence(names, event)) " "
                            @if let Some(record) = event.record {
                                a href={(path(record)) "?cursor=" (event.position + 1) "#p" (event.position)} {
                                    "in its history" span.hidden { " (change " (event.position) ")" }
                                }
                            }
                            (marked(event.event_id == asked))
                        }
                        @if !next.is_empty() { (commands(names, next, asked)) }
                    }
                }
            }
            @if !caused.led_to.is_empty() { (commands(names, &caused.led_to, asked)) }
        }
    }
}

fn marked(is_asked: bool) -> Markup {
    html! { @if is_asked { " " span.mark { "what you asked about" } } }
}
