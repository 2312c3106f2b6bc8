//! `/audit`: all changes, newest first, by day and command.

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::telling::{Part, label};
use domain::{Kind, RecordRef};
use maud::{Markup, html};
use projections::history::{HistoryEntry, Names};

use super::entry::entry;
use super::filters::Filters;
use super::layout::{Here, Section, clock, moment, page};
use super::values::{changed, path};
use super::{answer, empty};
use crate::answers::PATIENCE;
use crate::app::App;
use crate::body::Parameters;
use crate::history::check_origin;
use crate::problem::Problem;

/// Shows the page.
pub async fn show(app: &App, headers: &HeaderMap, parameters: &Parameters) -> Response {
    answer(app, headers, async {
        let filters = Filters::of("/audit".to_owned(), parameters);
        let (results, status) = results(app, &filters, None).await?;
        let body = html! {
            div.lead {
                div {
                    h1 { "All changes" }
                    p.quiet { "Everything that was ever changed, by whom and when, newest first." }
                }
            }
            div.columns { aside aria-label="Filters" { (filters.form(None)) } (results) }
        };
        let mut response = page(app, "All changes", Here::At(Section::History), body).await;
        *response.status_mut() = status;
        Ok(response)
    })
    .await
}

/// What a filter leaves, with what may be done with it.
///
/// # Errors
/// When the database fails.
pub async fn results(
    app: &App,
    filters: &Filters,
    of: Option<RecordRef>,
) -> Result<(Markup, StatusCode), Problem> {
    if !filters.faults.is_empty() {
        let told = html! { section id="results" aria-label="Changes" { (filters.explanation()) (filters.chips()) } };
        return Ok((told, StatusCode::BAD_REQUEST));
    }
    // What was written before the page was asked for must be on it.
    let level = app.reader.audited(app.live.head().await?, PATIENCE).await;
    if of.is_none() || filters.selection.needs_search() {
        check_origin(app, &filters.selection)?;
    }
    let history = app.reader.history();
    let found = match of {
        Some(record) => {
            history.of_record(record, &filters.selection, filters.cursor, filters.limit).await?
        }
        None => history.across(&filters.selection, filters.cursor, filters.limit).await?,
    };
    let (entries, next) = (found.entries, found.next);
    let more = next.is_some();
    let feed =
        of.map_or("/events".to_owned(), |of| format!("/events?record={}/{}", of.kind(), of.id()));
    let names = names_of(app, &entries).await?;
    let markup = html! {
        section id="results" aria-label="Changes" {
            (filters.chips())
            @if !level {
                div.notice { p { "The search is still taking in the newest changes; load the page again in a moment." } }
            }
            @if !found.missing.is_empty() {
                div.notice role="alert" { p { "Some changes cannot be searched, since they cannot be read: " (found.missing.join(", ")) "." } }
            }
            div.bar {
                p.quiet { (counted(&entries, more, filters.cursor.is_some())) }
                div.actions {
                    span.busy role="status" { "Loading…" }
                    @if filters.cursor.is_none() {
                        span.quiet id="live-status" role="status" hx-preserve="true" {}
                        button id="live" type="button" aria-pressed="false" hx-preserve="true" data-feed=(feed) hidden { "Live" }
                    }
                }
            }
            div id="timeline" {
                @if entries.is_empty() {
                    @if filters.set.is_empty() { (empty("Nothing has been recorded yet. Whatever is added or changed will appear here.")) }
                    @else if more { (empty("No change matches these filters so far. Older ones may.")) }
                    @else { (empty("No change matches these filters. Remove one of them to see more.")) }
                }
                (days(&names, &entries))
            }
            (paging(filters, next))
            (exports(filters, of))
        }
    };
    Ok((markup, StatusCode::OK))
}

/// What the records that these entries speak of are called.
///
/// # Errors
/// When the database fails.
pub async fn names_of(app: &App, entries: &[HistoryEntry]) -> Result<Names, Problem> {
    let mut records: Vec<RecordRef> = Vec::new();
    for entry in entries {
        records.extend(entry.record);
        records.extend(changed(&entry.changes));
        records.extend(entry.sentence.0.iter().filter_map(|part| match part {
            Part::Record(record) => Some(*record),
            Part::Text(_) | Part::Value(_) => None,
        }));
    }
    Ok(Names::of(app.log.database(), records).await?)
}

fn counted(entries: &[HistoryEntry], more: bool, older: bool) -> String {
    let count = entries.len();
    let changes = if count == 1 { "1 change".to_owned() } else { format!("{count} changes") };
    match (more, older) {
        (true, false) => format!("The newest {changes}"),
        (false, false) => changes,
        (true, true) => format!("The next {changes}"),
        (false, true) => format!("The last {changes}"),
    }
}

/// Entries, newest first, under their days and commands.
pub fn days(names: &Names, entries: &[HistoryEntry]) -> Markup {
    let day = |at: DateTime<Utc>| at.date_naive();
    html! {
        @for of_day in entries.chunk_by(|one, other| day(one.recorded_at) == day(other.recorded_at)) {
            @let date = of_day[0].recorded_at;
            section.day aria-labelledby={"day-" (date.format("%Y-%m-%d"))} {
                h2 id={"day-" (date.format("%Y-%m-%d"))} {
                    time datetime=(date.format("%Y-%m-%d")) { (date.format("%A, %-d %B %Y")) }
                }
                ol {
                    @for group in of_day.chunk_by(|one, other| one.command_id == other.command_id) {
                        li.group { (by(&group[0])) ol { @for one in group { (entry(names, one)) } } (all_of(names, group)) }
                    }
                }
            }
        }
    }
}

/// What can be done about several changes by one command.
fn all_of(names: &Names, group: &[HistoryEntry]) -> Markup {
    let [first, _, ..] = group else { return html! {} };
    let can_be = |entry: &HistoryEntry| entry.note.is_none() && !entry.is_final;
    let is_of_one = group.iter().all(|entry| entry.record == first.record && can_be(entry));
    let Some(record) = first.record.filter(|_| is_of_one) else { return html! {} };
    html! {
        p.actions {
            a.button href={(path(record)) "/undo?command=" (first.command_id)} {
                "Undo all of this command…" span.hidden { " of " (names.call(record)) ", change " (first.position) " and those beside it" }
            }
        }
    }
}

fn by(entry: &HistoryEntry) -> Markup {
    html! {
        p.by {
            (clock(entry.recorded_at))
            b { (entry.actor) }
            @if let Some(command) = &entry.command { span { (label(&spaced(command))) } }
            @match entry.source.as_deref() {
                Some("api") | None => {}
                Some(source) => span { (told_source(source)) },
            }
            @if let Some(at) = entry.occurred_at { span { "happened " (moment(at)) } }
        }
    }
}

/// `SetInterest` as `Set interest`.
fn spaced(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

fn told_source(source: &str) -> String {
    match source.split_once(':') {
        Some(("import", file)) => format!("imported from {file}"),
        Some(("reactor", name)) => format!("done by itself ({name})"),
        _ => source.to_owned(),
    }
}

fn paging(filters: &Filters, next: Option<i64>) -> Markup {
    html! {
        @if next.is_some() || filters.cursor.is_some() {
            nav.pages aria-label="Further changes" {
                @if filters.cursor.is_some() { a.button href=(filters.page(None)) { "Newest changes" } }
                @if let Some(next) = next {
                    a.button rel="next" href=(filters.page(Some(next))) { "Older changes" }
                }
            }
        }
    }
}

/// The same selection, all of it, as files.
fn exports(filters: &Filters, of: Option<RecordRef>) -> Markup {
    let address = |format: &str| {
        let path = filters.address("", &[("format", format.to_owned())]);
        match (of, path.split_once('?')) {
            (Some(of), Some((_, query))) => {
                format!("/{}/{}/history?{query}", plural(of.kind()), of.id())
            }
            _ => path,
        }
    };
    html! {
        p.quiet.actions {
            "Take all of it with you: "
            a href=(address("csv")) download="audit.csv" { "CSV" }
            a href=(address("ndjson")) download="audit.ndjson" { "NDJSON" }
        }
    }
}

/// A kind as paths of the API write it.
fn plural(kind: Kind) -> String {
    match kind {
        Kind::Person => "people".to_owned(),
        kind => format!("{kind}s"),
    }
}
