//! Histories on the wire: what may be asked for, and how entries look as JSON, as lines of JSON, and as CSV.

pub mod export;
pub mod names;
pub mod wanted;

use chrono::{DateTime, SecondsFormat, Utc};
use domain::telling::label;
use domain::{FactChange, Kind, RecordRef};
use projections::history::{Causation, Caused, HistoryEntry, Names, Refusal, Selection};
use serde_json::{Value, json};

use crate::app::App;
use crate::problem::Problem;

/// Whether changes can be searched for by where they come from: the read model of an earlier release does not tell.
///
/// # Errors
/// [`Problem::Busy`] until this release has built its own.
pub fn check_origin(app: &App, selection: &Selection) -> Result<(), Problem> {
    const BUSY: &str = "All changes are being read anew from the log, and cannot be searched by address or program yet; please try again";
    match selection.is_of_origin() && !app.reader.is_followed("audit") {
        true => Err(Problem::Busy(BUSY)),
        false => Ok(()),
    }
}

/// The first part of the paths of a kind of record.
pub fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Lp => "lps",
        Kind::Gp => "gps",
        Kind::Distributor => "distributors",
        Kind::Person => "people",
        Kind::Fund => "funds",
        Kind::Note => "notes",
        Kind::Todo => "todos",
        Kind::Roadshow => "roadshows",
    }
}

/// A time as all histories have it: to the microsecond, as the log does.
pub fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// A record by kind, id and what it is called now.
pub fn record(record: RecordRef, names: &Names) -> Value {
    json!({"kind": record.kind(), "id": record.id(), "name": names.name(record)})
}

/// A change of one fact, with the field as people call it.
pub fn change(change: &FactChange, names: &Names) -> Value {
    let mut told = json!({"field": change.field, "label": label(&change.field)});
    if let Some(about) = change.about {
        told["about"] = record(about, names);
    }
    told["from"] = change.from.clone();
    told["to"] = change.to.clone();
    told
}

/// An entry.
pub fn entry(entry: &HistoryEntry, names: &Names) -> Value {
    let mut told = json!({
        "position": entry.position,
        "recorded_at": time(entry.recorded_at),
        "occurred_at": entry.occurred_at.map(time),
        "actor": entry.actor,
        "source": entry.source,
        "client": entry.client,
        "user_agent": entry.user_agent,
        "command": entry.command,
        "command_id": entry.command_id,
        "correlation_id": entry.correlation_id,
        "causation_id": entry.causation_id,
        "event": entry.event,
        "event_id": entry.event_id,
        "record": entry.record.map(|of| record(of, names)),
        "sentence": entry.sentence.to_text(|of, begins| names.told(of, begins)),
        "changes": entry.changes.iter().map(|one| change(one, names)).collect::<Vec<_>>(),
    });
    if let Some(note) = &entry.note {
        told["note"] = note.as_str().into();
    }
    told
}

/// A refusal.
pub fn refusal(refusal: &Refusal) -> Value {
    json!({
        "id": refusal.id,
        "refused_at": time(refusal.refused_at),
        "actor": refusal.actor,
        "method": refusal.method,
        "path": refusal.path,
        "command": refusal.command,
        "kind": refusal.kind,
        "record": refusal.record().map(|of| json!({"kind": of.kind(), "id": of.id()})),
        "status": refusal.status,
        "why": refusal.why,
        "correlation_id": refusal.correlation_id,
        "causation_id": refusal.causation_id,
        "client": refusal.client,
        "user_agent": refusal.user_agent,
    })
}

/// All entries in these trees.
pub fn entries_of(roots: &[Caused]) -> Vec<&HistoryEntry> {
    let mut all = Vec::new();
    for caused in roots {
        for (entry, followed) in &caused.events {
            all.push(entry);
            all.extend(entries_of(followed));
        }
        all.extend(entries_of(&caused.led_to));
    }
    all
}

/// Cause and effect, as a tree.
pub fn causation(causation: &Causation, names: &Names) -> Value {
    let mut told = json!({
        "commands": causation.roots.iter().map(|root| caused(root, names)).collect::<Vec<_>>(),
        "refusals": causation.refusals.iter().map(refusal).collect::<Vec<_>>(),
        "complete": causation.is_whole && causation.missing.is_empty(),
    });
    if !causation.missing.is_empty() {
        told["missing"] = json!(causation.missing);
    }
    told
}

fn caused(caused_by: &Caused, names: &Names) -> Value {
    let below = |groups: &[Caused]| -> Vec<Value> {
        groups.iter().map(|group| caused(group, names)).collect()
    };
    let events: Vec<Value> = caused_by
        .events
        .iter()
        .map(|(event, followed)| {
            let mut told = entry(event, names);
            told["led_to"] = below(followed).into();
            told
        })
        .collect();
    json!({
        "command_id": caused_by.command_id,
        "causation_id": caused_by.causation_id,
        "command": caused_by.events.first().and_then(|(event, _)| event.command.clone()),
        "events": events,
        "led_to": below(&caused_by.led_to),
    })
}
