//! What happened, in a user's words: one sentence per event. A file per aggregate has those of its events.

mod distributor;
mod fund;
mod gp;
pub mod known;
mod lp;
mod note;
mod person;
mod roadshow;
mod todo;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use cqrs_es::Aggregate;
use serde_json::Value;

use crate::facts::{FactChange, FactName};
use crate::note::{corrected_span, spoken_time};
use crate::{Kind, Lifecycle, Record, RecordRef};

/// A sentence whose records are still to be called by name, since only read models know what others are called.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sentence(pub Vec<Part>);

/// A part of a sentence.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Words.
    Text(Cow<'static, str>),
    /// A record, by whatever it is called.
    Record(RecordRef),
    /// A value of a field.
    Value(String),
}

impl Sentence {
    /// The sentence with records called by their names: `call` says how, at its beginning or not. A capital begins it where
    /// that is a word; names and values stay as they are written.
    pub fn to_text(&self, mut call: impl FnMut(RecordRef, bool) -> String) -> String {
        let mut text = String::new();
        for (at, part) in self.0.iter().enumerate() {
            match part {
                Part::Text(words) if at == 0 => text.push_str(&capitalised(words)),
                Part::Text(words) => text.push_str(words),
                Part::Record(record) => text.push_str(&call(*record, at == 0)),
                Part::Value(value) => text.push_str(value),
            }
        }
        text
    }
}

/// The text with a capital at its beginning.
pub fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

impl From<&'static str> for Part {
    fn from(words: &'static str) -> Self {
        Part::Text(words.into())
    }
}

impl From<String> for Part {
    fn from(words: String) -> Self {
        Part::Text(words.into())
    }
}

impl From<RecordRef> for Part {
    fn from(record: RecordRef) -> Self {
        Part::Record(record)
    }
}

impl FromIterator<Part> for Sentence {
    fn from_iter<I: IntoIterator<Item = Part>>(parts: I) -> Self {
        Self(parts.into_iter().collect())
    }
}

macro_rules! say {
    ($($part:expr),+ $(,)?) => {
        crate::telling::Sentence(vec![$(crate::telling::Part::from($part)),+])
    };
}
use say;

/// A record whose events can be told.
pub(crate) trait Told: Record
where
    Lifecycle<Self>: Aggregate,
{
    /// What people call it.
    fn called(&self) -> &str;

    /// What an event did to the record `own`, which stood as `before`; `changes` is what differs since.
    fn tell(
        own: RecordRef,
        before: &Self,
        event: &<Lifecycle<Self> as Aggregate>::Event,
        changes: &[FactChange],
    ) -> Sentence;

    /// What a record says beside its facts where this one would be: some are only told where they differ from it.
    fn else_said(&self, _: &FactName) -> Option<Value> {
        None
    }

    /// The fields that an event may change; `legacy` stands for all source values.
    fn touched(event: &<Lifecycle<Self> as Aggregate>::Event) -> Vec<&'static str>;
}

fn added(own: RecordRef) -> Sentence {
    say![own, " was added"]
}

fn renamed(from: &str, to: &str) -> Sentence {
    let name = |name: &str| match name {
        "" => Part::from("a record without a name"),
        blank if blank.trim().is_empty() => plain(&blank.into()).into(),
        name => Part::Value(name.to_owned()),
    };
    say![name(from), " was renamed to ", name(to)]
}

fn deleted(own: RecordRef) -> Sentence {
    say![own, " was deleted"]
}

fn restored(own: RecordRef) -> Sentence {
    say![own, " was restored"]
}

fn held(own: RecordRef, reason: &str) -> Sentence {
    say![own, " was put under a legal hold: ", Part::Value(reason.to_owned())]
}

fn hold_lifted(own: RecordRef, reason: &str, of: Option<&str>) -> Sentence {
    let reason = Part::Value(reason.to_owned());
    match of {
        None => say!["The legal hold on ", own, " was lifted: ", reason],
        Some(of) => {
            let of = Part::Value(of.to_owned());
            say!["The legal hold on ", own, " for ", of, " was lifted: ", reason]
        }
    }
}

fn erased(own: RecordRef, reason: &str) -> Sentence {
    say![own, " was erased for good: ", Part::Value(reason.to_owned())]
}

fn legacy_kept(own: RecordRef) -> Sentence {
    say!["Values of ", own, " that no field can hold were kept as they stood in the source"]
}

/// A change of one field; `field` is its wire name.
fn moved(own: RecordRef, field: &str, changes: &[FactChange]) -> Sentence {
    match changes.iter().find(|change| change.field == field) {
        Some(change) => one_change(own, change),
        None => say![label(field), " of ", own, " was confirmed"],
    }
}

/// Changes of any fields.
fn amended(own: RecordRef, changes: &[FactChange]) -> Sentence {
    match changes {
        [] => say!["The details of ", own, " were confirmed"],
        [change] => one_change(own, change),
        several => {
            const NAMED: usize = 3;
            let mut labels: Vec<String> =
                several.iter().take(NAMED).map(|change| label(&change.field)).collect();
            if several.len() > NAMED {
                labels.push(format!("{} more fields", several.len() - NAMED));
            }
            let labels = labels.into_iter().enumerate().map(|(at, label)| match at {
                0 => Part::from(label),
                _ => Part::from(uncapitalised(&label)),
            });
            let mut parts = listed(labels);
            parts.extend([Part::from(" of "), own.into(), " changed".into()]);
            Sentence(parts)
        }
    }
}

fn one_change(own: RecordRef, change: &FactChange) -> Sentence {
    let FactChange { field, from, to, .. } = change;
    let label = label(field);
    if is_long(from) || is_long(to) {
        return match (from, to) {
            (Value::Null, _) => say![label, " of ", own, " was written"],
            (_, Value::Null) => say![label, " of ", own, " was cleared"],
            _ => say![label, " of ", own, " was rewritten"],
        };
    }
    let (old, new) = (value(field, from), value(field, to));
    match (from, to) {
        (Value::Null, _) => say![label, " of ", own, " was set to ", new],
        (_, Value::Null) => say![label, " of ", own, " was cleared; it was ", old],
        _ => say![label, " of ", own, " moved from ", old, " to ", new],
    }
}

/// Whether a value is too long to stand in a sentence.
fn is_long(value: &Value) -> bool {
    const LONGEST: usize = 60;
    match value {
        Value::String(text) if text.trim().is_empty() => false,
        Value::String(text) => text.chars().count() > LONGEST || text.contains('\n'),
        Value::Object(_) | Value::Array(_) => true,
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A short value as people write it; ids of records become the records.
pub fn value(field: &str, value: &Value) -> Part {
    named(field, value).map_or_else(|| Part::Value(plain(value)), Part::Record)
}

/// The record that a value is the id of.
pub fn named(field: &str, value: &Value) -> Option<RecordRef> {
    let kind = match field {
        "distributor_id" => Kind::Distributor,
        "fund_id" => Kind::Fund,
        "note_id" | "latest_note_id" => Kind::Note,
        "parent_todo_id" => Kind::Todo,
        _ => return None,
    };
    Some(kind.record(value.as_i64()?))
}

/// A value as people write it.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) if text.trim().is_empty() => blank(text),
        // A date without a time of day.
        Value::String(text) if text.len() == 19 => {
            text.strip_suffix("T00:00:00").unwrap_or(text).to_owned()
        }
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string())
        }
        Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// A text of which nothing can be seen, in words.
fn blank(text: &str) -> String {
    let kind = if text.chars().all(|letter| letter == ' ') { "space" } else { "blank character" };
    match text.chars().count() {
        0 => "an empty text".to_owned(),
        1 => format!("one {kind}"),
        2 => format!("two {kind}s"),
        3 => format!("three {kind}s"),
        count => format!("{count} {kind}s"),
    }
}

/// A field as people call it, with a capital.
pub fn label(field: &str) -> String {
    let known = match field {
        "aum_billions" => "AUM in US$ billions",
        "intl_alts" => "International alternatives",
        "intl_mf" => "International mutual funds",
        "local_alts" => "Local alternatives",
        "local_mf" => "Local mutual funds",
        "investment_low" => "Smallest ticket in US$ millions",
        "investment_high" => "Largest ticket in US$ millions",
        "notion_id" => "Notion id",
        "gp_notion_id" => "GP (Notion id)",
        "org_id" => "Organisation (id)",
        "org_type" => "Kind of organisation",
        "people_type" => "Kind of person",
        "target_irr" => "Target IRR",
        "target_mn" => "Target in US$ millions",
        "hard_cap_mn" => "Hard cap in US$ millions",
        "days_to_rs" => "Days to roadshow",
        "current_lps" => "Current LPs",
        "lv_flight" => "Flight (LV)",
        "lv_hotel" => "Hotel (LV)",
        "mty_driver" => "Driver in Monterrey",
        "cdmx_driver" => "Driver in Mexico City",
        "ai_summary" => "AI summary",
        "raw_notes" => "Text",
        "content_json" => "Text (structured)",
        "content_text" => "Text (plain)",
        "distributor_id" => "Distributor",
        "fund_id" => "Fund",
        "note_id" => "Note",
        "latest_note_id" => "Latest note",
        "parent_todo_id" => "Todo that it follows",
        "archived" => "Deleted",
        "hold" => "Legal hold",
        field => {
            let of_recording = field.strip_prefix("recordings.").and_then(|it| it.split_once('.'));
            if let Some((id, what)) = of_recording {
                if let Some((start, _)) = corrected_span(what) {
                    return format!("Recording {id}: said at {}", spoken_time(start));
                }
                return format!("Recording {id}: {}", what.replace(['_', '.'], " "));
            }
            let (field, source) = match field.strip_prefix("legacy.") {
                Some(column) => (column, " (source value)"),
                None => (field, ""),
            };
            return format!("{}{source}", capitalised(&field.replace('_', " ")));
        }
    };
    known.to_owned()
}

/// Small at its beginning, unless that is an abbreviation.
fn uncapitalised(label: &str) -> String {
    let mut letters = label.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => label.to_owned(),
    }
}

/// "a", "a and b", "a, b and c".
fn listed(items: impl IntoIterator<Item = impl Into<Part>>) -> Vec<Part> {
    let items: Vec<Part> = items.into_iter().map(Into::into).collect();
    let last = items.len().saturating_sub(1);
    let mut parts = Vec::new();
    for (at, item) in items.into_iter().enumerate() {
        match at {
            0 => {}
            at if at == last => parts.push(" and ".into()),
            _ => parts.push(", ".into()),
        }
        parts.push(item);
    }
    parts
}

/// A sentence about several other records.
fn about(
    before: impl IntoIterator<Item = Part>,
    others: &[RecordRef],
    after: impl IntoIterator<Item = Part>,
) -> Sentence {
    before.into_iter().chain(listed(others.iter().copied())).chain(after).collect()
}
