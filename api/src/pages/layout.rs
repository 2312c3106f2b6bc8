//! What all pages have: head, way around, how far the log is sealed; and the page that says that something failed.

use std::sync::LazyLock;

use axum::response::Response;
use chrono::{DateTime, Utc};
use maud::{DOCTYPE, Markup, html};
use projections::seal::{SealError, store};
use projections::verification::{self, Checks};
use serde_json::Value;

use super::assets::{Asset, HTMX, RECORDINGS, SCRIPT, STYLE};
use super::respond;
use crate::app::App;
use crate::problem::Problem;

/// What the pages are about, as the way around at the top has it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// What happened.
    History,
    /// What was refused.
    Refusals,
    /// What was recorded of meetings.
    Recordings,
}

/// Where one is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Here {
    /// On the page that a section begins with.
    At(Section),
    /// On another page of it.
    Within(Section),
    /// Nowhere: something failed.
    Elsewhere,
}

impl Section {
    /// Where it begins.
    fn path(self) -> &'static str {
        match self {
            Self::History => "/audit",
            Self::Refusals => "/audit/refusals",
            Self::Recordings => "/recordings",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::History => "Audit history",
            Self::Refusals => "Refused attempts",
            Self::Recordings => "Recordings",
        }
    }
}

impl Here {
    fn section(self) -> Option<Section> {
        match self {
            Self::At(section) | Self::Within(section) => Some(section),
            Self::Elsewhere => None,
        }
    }

    /// What `aria-current` says of the link to where a section begins.
    fn marks(self, section: Section) -> Option<&'static str> {
        match self {
            Self::At(here) if here == section => Some("page"),
            Self::Within(here) if here == section => Some("true"),
            _ => None,
        }
    }

    /// The title of a window or tab.
    fn title(self, page: &str) -> String {
        match self.section().map(Section::name) {
            Some(name) if name != page => format!("{page} · {name} · {BRAND}"),
            _ => format!("{page} · {BRAND}"),
        }
    }
}

/// What is on top of every page.
const BRAND: &str = "crm";

/// A whole page.
pub async fn page(app: &App, title: &str, here: Here, body: Markup) -> Response {
    page_with(app, title, here, &[], body).await
}

/// A whole page with scripts of its own.
pub async fn page_with(
    app: &App,
    title: &str,
    here: Here,
    scripts: &[&LazyLock<Asset>],
    body: Markup,
) -> Response {
    let is_recording = here.section() == Some(Section::Recordings);
    let seal = seal(app).await;
    let link = |to: Section| {
        html! { li { a href=(to.path()) aria-current=[here.marks(to)] { (to.name()) } } }
    };
    respond(html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // The policy forbids styles and code in text.
                meta name="htmx-config" content=r#"{"includeIndicatorStyles":false,"allowEval":false,"selfRequestsOnly":true,"historyCacheSize":0}"#;
                title { (here.title(title)) }
                link rel="icon" href="data:,";
                link rel="stylesheet" href=(STYLE.path);
                @if is_recording { link rel="stylesheet" href=(RECORDINGS.path); }
                script src=(HTMX.path) defer {}
                script src=(SCRIPT.path) defer {}
                @for script in scripts { script src=(script.path) defer {} }
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    div {
                        a.brand href="/audit" { (BRAND) }
                        nav aria-label="Pages" {
                            ul {
                                (link(Section::History))
                                (link(Section::Refusals))
                                (link(Section::Recordings))
                                li { a href="/docs" { "API" } }
                            }
                        }
                    }
                }
                main id="main" tabindex="-1" { (body) }
                footer.foot {
                    div {
                        (seal)
                        p { "Nothing here is ever overwritten: each line is an event that was recorded once. Undoing adds another." }
                    }
                }
            }
        }
    })
}

/// How far the log is closed against unnoticed changes, and when that was last checked.
async fn seal(app: &App) -> Markup {
    let database = app.log.database();
    let asking = async {
        let mut connection = database.pool.acquire().await?;
        let doubt = app.trust.doubt(&mut connection).await?;
        let sealed = store::status(&mut connection).await?;
        Ok((sealed, doubt, verification::checks(&mut connection).await?))
    };
    let (sealed, doubt, checks) = match database.ask(asking).await {
        Ok(found) => found,
        Err(_) => {
            return html! { p.seal { "How far the log is sealed cannot be told: the database does not answer." } };
        }
    };
    html! {
        p.seal {
            @match sealed {
                Some(seal) => { "Sealed up to position " (seal.position) " at " (moment(seal.sealed_at)) ". " },
                None => "Nothing is sealed yet. ",
            }
            @if let Some(doubt) = doubt { (doubted(&doubt)) }
            (checked(&checks))
        }
    }
}

/// Why no more is sealed; the command tells the details.
fn doubted(doubt: &SealError) -> Markup {
    html! { strong { "✗ " (doubt.in_short()) } ": see " code { "crm seal status" } ". " }
}

/// What the last full check came to, and then what narrower ones did: these can take nothing back.
fn checked(checks: &Checks) -> Markup {
    html! {
        @match &checks.verification {
            Some(full) if full.passed == Some(true) => { b { "✓ Verified" } " up to position " (full.position) " at " (moment(full.finished_at)) "." },
            Some(full) => { strong { "✗ The check found faults" } " up to position " (full.position) " at " (moment(full.finished_at)) ": see " code { "crm status" } "." },
            None => { "Not checked as a whole yet: " code { "crm verify" } " does." },
        }
        @for later in &checks.later_checks {
            " " @match later.passed {
                Some(true) => { "A later check of " (later.scope.join(", ")) " alone, at " (moment(later.finished_at)) ", found nothing wrong." },
                Some(false) => { strong { "✗ A later check of " (later.scope.join(", ")) " found faults" } " at " (moment(later.finished_at)) ": see " code { "crm status" } "." },
                None => { strong { "A later check came to nothing" } " at " (moment(later.finished_at)) ": see " code { "crm status" } "." },
            }
        }
    }
}

/// A moment: in UTC, and where scripts run in the reader's own zone.
pub fn moment(at: DateTime<Utc>) -> Markup {
    time(at, "full", &at.format("%-d %b %Y, %H:%M:%S UTC").to_string())
}

/// The time of a day that stands above it.
pub fn clock(at: DateTime<Utc>) -> Markup {
    time(at, "clock", &at.format("%H:%M:%S UTC").to_string())
}

fn time(at: DateTime<Utc>, show: &str, text: &str) -> Markup {
    html! { time datetime=(at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)) data-show=(show) { (text) } }
}

/// Says what is wrong and what to do.
pub async fn failure(app: &App, problem: &Problem) -> Response {
    let detail = match problem.body()["detail"].take() {
        Value::String(text) => vec![text],
        Value::Array(faults) => {
            faults.iter().filter_map(|fault| fault["msg"].as_str().map(str::to_owned)).collect()
        }
        _ => vec![],
    };
    let status = problem.status();
    let title = match status.as_u16() {
        404 => "This is not there",
        409 | 412 => "This cannot be done as things stand",
        400..500 => "This cannot be answered",
        503 | 504 => "Not now, please try again in a moment",
        _ => "Something went wrong on our side",
    };
    let body = html! {
        div.lead { h1 { (title) } }
        div.notice role="alert" { @for line in &detail { p { (line) "." } } }
        p { a href="/audit" { "Back to all changes" } }
    };
    let mut response = page(app, title, Here::Elsewhere, body).await;
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_once_in_which_section_it_is() {
        let (all, one) = (Here::At(Section::Recordings), Here::Within(Section::Recordings));
        assert_eq!(all.title("Recordings"), "Recordings · crm");
        assert_eq!(one.title("Lunch"), "Lunch · Recordings · crm");
        assert_eq!(Here::Elsewhere.title("This is not there"), "This is not there · crm");
        let marks = |here: Here| {
            [Section::History, Section::Refusals, Section::Recordings].map(|it| here.marks(it))
        };
        assert_eq!(marks(all), [None, None, Some("page")]);
        assert_eq!(marks(one), [None, None, Some("true")]);
        assert_eq!(marks(Here::Elsewhere), [None; 3]);
    }
}
