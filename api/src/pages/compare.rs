//! `/audit/{kind}/{id}/compare`: a record at two points in time, side by side.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use domain::differences;
use maud::{Markup, html};
use projections::history::Names;

use super::answer;
use super::layout::{Here, Section, page};
use super::record::{called, head};
use super::story::{Story, record_of};
use super::values::{Side, path, spoken_of, table};
use crate::app::App;
use crate::as_of::position;
use crate::body::Parameters;

/// Shows the page.
pub async fn show(
    State(app): State<App>,
    Path((kind, id)): Path<(String, String)>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Response {
    answer(&app, &headers, async {
        parameters.expect(&["from", "to", "min_position"])?;
        let own = record_of(&kind, &id)?;
        let story = Story::read(&app, own).await?;
        let (first, last) =
            (story.entries[0].position, story.entries[story.entries.len() - 1].position);
        let point = async |name: &'static str, default: i64| match parameters
            .once(name)?
            .filter(|text| !text.trim().is_empty())
        {
            Some(text) => position(&app, text, ["query", name]).await,
            None => Ok(default),
        };
        let (from, to) = (point("from", first).await?, point("to", last).await?);
        let (now, sides) = (story.now(), [story.at(from).facts(), story.at(to).facts()]);
        let spoken = sides.iter().flat_map(spoken_of).chain([own]).collect::<Vec<_>>();
        let names = Names::of(app.log.database(), spoken).await?;
        let title = called(&names, &now, own);
        let differing = differences(&sides[0], &sides[1]).len();
        let heads = [from, to].map(|position| described(&story, position));
        let points = [(0, from), (1, to)].map(|(at, position)| Side {
            head: &heads[at],
            at: position,
            facts: &sides[at],
        });
        let body = html! {
            (head(&story, &title, &now))
            form.box method="get" action={(path(own)) "/compare"} {
                h2 { "Compare two points" }
                div.row.points {
                    (choice(&story, "from", "From", from))
                    (choice(&story, "to", "To", to))
                    button.primary type="submit" { "Compare" }
                    a.button href=(path(own)) { "Back to the history" }
                }
            }
            p {
                @match differing {
                    0 => "Nothing differs between these two points.",
                    1 => "One field differs.",
                    several => { (several) " fields differ." },
                }
            }
            (table(&names, "The record at both points.", own, points))
        };
        Ok(page(&app, &format!("Compare · {title}"), Here::Within(Section::History), body).await)
    })
    .await
}

fn described(story: &Story, position: i64) -> String {
    match story.entry_at(position) {
        Some(entry) => format!(
            "Change {}, {}",
            story.count_at(position),
            entry.envelope.recorded_at.format("%-d %b %Y, %H:%M UTC")
        ),
        None => "Before it existed".to_owned(),
    }
}

/// So many changes are offered to choose from; any other point can be named in the address.
const OFFERED: usize = 200;

fn choice(story: &Story, name: &str, called: &str, chosen: i64) -> Markup {
    let at = story.entry_at(chosen).map_or(0, |entry| entry.position);
    let newest = story.entries.iter().rev().take(OFFERED);
    let rest = story
        .entries
        .iter()
        .rev()
        .skip(OFFERED)
        .filter(|entry| entry.position == at || story.count_at(entry.position) == 1);
    html! {
        div {
            label for=(name) { (called) }
            select id=(name) name=(name) {
                @for entry in newest.chain(rest) {
                    option value=(entry.position) selected[entry.position == at] { (described(story, entry.position)) " · " (entry.event_type) }
                }
                option value="0" selected[at == 0] { "Before it existed" }
            }
        }
    }
}
