//! One change: its sentence, old and new, and everything that is known about it.

use domain::telling::{Part, capitalised, plain};
use domain::{FactChange, RecordRef};
use maud::{Markup, html};
use projections::history::{HistoryEntry, Names};
use serde_json::Value;

use super::excerpt::{LISTED, beginning, short_json};
use super::filters::escaped;
use super::layout::moment;
use super::values::{Whole, change_list, change_path, path, record_link};

/// A change in a list.
pub fn entry(names: &Names, entry: &HistoryEntry) -> Markup {
    let told = tells_its_change(entry);
    html! {
        li.entry id={"p" (entry.position)} {
            p.said { (sentence(names, entry)) }
            @if !told && !entry.changes.is_empty() { (short_list(names, entry)) }
            details id={"d" (entry.position)} {
                summary { "Details" span.hidden { " of change " (entry.position) } }
                (facts(entry))
                p.actions { (acts(names, entry)) }
            }
        }
    }
}

/// Whether the sentence says all that changed.
fn tells_its_change(entry: &HistoryEntry) -> bool {
    match &*entry.changes {
        [change] => {
            let is_said =
                |value: &Value| value.is_null() || value.is_boolean() || said_as(entry, value);
            let ids =
                entry.sentence.0.iter().filter(|part| matches!(part, Part::Record(_))).count() > 1;
            change.about.is_some() && change.from.is_null()
                || ids
                || (is_said(&change.from) && is_said(&change.to))
        }
        // A new record says only what it is called, a link only what it leads to.
        changes => changes.iter().all(|change| {
            let FactChange { about, from, to, .. } = change;
            about.is_some() && (to.is_boolean() || from.is_boolean() && to.is_null())
        }),
    }
}

fn said_as(entry: &HistoryEntry, value: &Value) -> bool {
    entry.sentence.0.iter().any(|part| matches!(part, Part::Value(text) if is_called(value, text)))
}

/// Longer values, in bytes, are in no sentence, or stand beside it as well.
const LONGEST_SAID: usize = 1_000;

/// Whether people write a value so.
fn is_called(value: &Value, text: &str) -> bool {
    match value {
        // Too long to be written so: it need not be copied to be compared.
        Value::String(whole) if whole.len() > LONGEST_SAID => false,
        Value::Array(_) | Value::Object(_) => false,
        value => plain(value) == text,
    }
}

/// The sentence, with records as links, and values as old or new where it is about one change.
pub fn sentence(names: &Names, entry: &HistoryEntry) -> Markup {
    if let Some(note) = &entry.note {
        return html! {
            @if let Some(record) = entry.record { (record_link(names, record)) ": " }
            span.note { (note) }
        };
    }
    let change = match &*entry.changes {
        [change] => Some(change),
        _ => None,
    };
    html! { @for (at, part) in entry.sentence.0.iter().enumerate() { (said(names, part, at == 0, change)) } }
}

fn said(names: &Names, part: &Part, first: bool, change: Option<&FactChange>) -> Markup {
    match part {
        Part::Text(words) if first => html! { (capitalised(words)) },
        Part::Text(words) => html! { (words) },
        Part::Record(record) => html! { a href=(path(*record)) { (names.told(*record, first)) } },
        Part::Value(value) => match change {
            Some(change) if !change.from.is_null() && is_called(&change.from, value) => {
                html! { del { (beginning(value, LISTED.value)) } }
            }
            Some(change) if is_called(&change.to, value) => {
                html! { ins { (beginning(value, LISTED.value)) } }
            }
            _ => beginning(value, LISTED.value),
        },
    }
}

/// So many changes are shown without being asked for.
const SHOWN: usize = 6;

fn short_list(names: &Names, entry: &HistoryEntry) -> Markup {
    let whole = entry.record.map_or(Whole::Nowhere, |of| Whole::Change(of, entry.position));
    let (first, more) = entry.changes.split_at(entry.changes.len().min(SHOWN));
    html! {
        (change_list(names, first, whole))
        @if !more.is_empty() {
            @let words = if more.len() == 1 { " more field" } else { " more fields" };
            details { summary { (more.len()) (words) } (change_list(names, more, whole)) }
        }
    }
}

/// Values are listed once more, as they are on the wire, if they have no more than so many characters.
const AS_JSON: usize = 1_000;

/// Everything that is known about a change.
pub fn facts(entry: &HistoryEntry) -> Markup {
    let or_none = |text: &Option<String>| {
        html! {
            @if let Some(text) = text { (text) } @else { span.none { "not known" } }
        }
    };
    // With all else that came from there.
    let or_others = |filter: &str, text: &Option<String>| {
        html! {
            @match text {
                Some(text) => a href={"/audit?" (filter) "=" (escaped(text))} { (text) },
                None => (or_none(text)),
            }
        }
    };
    let place = entry.record.map(|of| change_path(of, entry.position));
    html! {
        dl.facts {
            dt { "Who" } dd { (entry.actor) }
            dt { "Recorded" } dd { (moment(entry.recorded_at)) }
            @if let Some(at) = entry.occurred_at { dt { "Happened" } dd { (moment(at)) } }
            dt { "Source" } dd { (or_none(&entry.source)) }
            dt { "Address" } dd { (or_others("address", &entry.client)) }
            dt { "Program" } dd { (or_others("program", &entry.user_agent)) }
            dt { "Command" } dd { (or_none(&entry.command)) " " code { (entry.command_id) } }
            dt { "Event" } dd { (entry.event) " " code { (entry.event_id) } }
            dt { "Request" } dd { a href={"/audit?correlation=" (entry.correlation_id)} { code { (entry.correlation_id) } } }
            @if let Some(cause) = entry.causation_id {
                dt { "Caused by" } dd { a href={"/audit/causation/" (cause)} { code { (cause) } } }
            }
            dt { "Position" } dd {
                a href=(place.unwrap_or_else(|| format!("#p{}", entry.position))) { (entry.position) }
                ", change " (entry.sequence) " of its record"
            }
            @if let Some(values) = short_json(&entry.changes, AS_JSON).filter(|_| !entry.changes.is_empty()) {
                dt { "Values" }
                dd { pre.words tabindex="0" { (values) } }
            }
        }
    }
}

/// What can be done about a change.
pub fn acts(names: &Names, entry: &HistoryEntry) -> Markup {
    let about = |record: RecordRef| html! { span.hidden { " of " (names.call(record)) ", change " (entry.position) } };
    html! {
        a.button href={"/audit/causation/" (entry.command_id)} { "Cause and effect" span.hidden { " of change " (entry.position) } }
        @if let Some(record) = entry.record {
            a.button href={(path(record)) "?as_of=" (entry.position)} { "The record as it was then" (about(record)) }
            @if entry.note.is_none() && !entry.is_final {
                a.button href={(path(record)) "/undo?event=" (entry.event_id)} { "Undo this…" (about(record)) }
            }
        }
    }
}
