//! How a row differs from what the log says: the column, the way into it where it holds JSON, and both values in short.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// A row that is not what the log says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The table.
    pub table: &'static str,
    /// The row's key.
    pub key: Vec<String>,
    /// What differs, column by column, twenty places at most; the whole row if only one side has it.
    pub columns: Vec<ColumnDifference>,
}

/// A value that is not what the log says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColumnDifference {
    /// The column, and the way into it where it holds JSON: `record.contacts[2].name`.
    pub column: String,
    /// What readers get; `None` if there is no such row, or nothing at that place of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<Value>,
    /// What the log says; likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Value>,
}

/// The most characters that are told of a value.
const LONG: usize = 200;

/// The most places of one row that are told.
const PLACES: usize = 20;

/// How much is told of two texts around the place where they part, in characters.
const BEFORE: usize = 20;
const AROUND: usize = 80;

/// What differs between two rows, each a JSON object.
pub(super) fn columns(live: Option<&str>, log: Option<&str>) -> Vec<ColumnDifference> {
    let mut found = Vec::new();
    match (live, log) {
        (Some(live), Some(log)) => compare("", Some(live), Some(log), &mut found),
        (live, log) => {
            let is_live = live.is_some();
            for (column, value) in flat(live.or(log).unwrap_or_default()) {
                let value = Some(shortened(value));
                let (live, log) = if is_live { (value, None) } else { (None, value) };
                found.push(ColumnDifference { column, live, log });
            }
        }
    }
    found
}

/// Goes as deep as both sides go alike. What says the same in other words is told as it is written.
fn compare(path: &str, live: Option<&str>, log: Option<&str>, found: &mut Vec<ColumnDifference>) {
    if live == log || found.len() == PLACES {
        return;
    }
    let before = found.len();
    if let (Some(live), Some(log)) = (live, log) {
        if let (Some(live), Some(log)) = (members(live), members(log)) {
            let names: BTreeSet<&String> = live.keys().chain(log.keys()).collect();
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                compare(&path, text(live.get(name)), text(log.get(name)), found);
            }
        } else if let (Some(live), Some(log)) = (items(live), items(log)) {
            for at in 0..live.len().max(log.len()) {
                compare(&format!("{path}[{at}]"), text(live.get(at)), text(log.get(at)), found);
            }
        }
    }
    if found.len() == before {
        let (live, log) = both(live, log);
        found.push(ColumnDifference { column: path.to_owned(), live, log });
    }
}

fn members(text: &str) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(text).ok()
}

fn text<'r>(value: Option<&&'r RawValue>) -> Option<&'r str> {
    value.map(|value| value.get())
}

fn items(text: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(text).ok()
}

/// Both sides in short: as values, or as they are written around the place where they part, where these look the same.
fn both(live: Option<&str>, log: Option<&str>) -> (Option<Value>, Option<Value>) {
    let short = |text: &str| shortened(serde_json::from_str(text).unwrap_or_default());
    let (one, other) = (live.map(short), log.map(short));
    match (live, log) {
        (Some(live), Some(log)) if one == other => {
            let (live, log) = parting(live, log);
            (Some(live), Some(log))
        }
        _ => (one, other),
    }
}

/// The places of two texts where they part.
fn parting(one: &str, other: &str) -> (Value, Value) {
    let alike = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    let from = alike.saturating_sub(BEFORE);
    let place = |text: &str| {
        let lead = if from > 0 { "…" } else { "" };
        let rest: String = text.chars().skip(from).take(AROUND).collect();
        let end = if text.chars().count() > from + AROUND { "…" } else { "" };
        Value::String(format!("{lead}{rest}{end}"))
    };
    (place(one), place(other))
}

/// The columns of a row, and the fields of those that hold an object.
fn flat(row: &str) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    let Ok(Value::Object(row)) = serde_json::from_str(row) else { return flat };
    for (column, value) in row {
        match value {
            Value::Object(fields) => {
                let named =
                    fields.into_iter().map(|(field, value)| (format!("{column}.{field}"), value));
                flat.extend(named);
            }
            value => _ = flat.insert(column, value),
        }
    }
    flat
}

/// Long values tell no more than their beginning.
fn shortened(value: Value) -> Value {
    let cut = |text: &str| Value::String(text.chars().take(LONG).chain(['…']).collect());
    match &value {
        Value::String(text) if text.chars().count() > LONG => cut(text),
        Value::Array(_) | Value::Object(_) => {
            let text = value.to_string();
            if text.chars().count() > LONG { cut(&text) } else { value }
        }
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn difference(column: &str, live: Option<Value>, log: Option<Value>) -> ColumnDifference {
        ColumnDifference { column: column.to_owned(), live, log }
    }

    #[test]
    fn a_difference_names_the_field_and_both_values() {
        let differences = columns(
            Some(r#"{"id": 7, "record": {"name": "A", "priority": "1"}}"#),
            Some(r#"{"id": 7, "record": {"name": "B", "priority": "1"}}"#),
        );
        let expected = difference("record.name", Some(json!("A")), Some(json!("B")));
        assert_eq!(differences, [expected]);
        assert_eq!(columns(None, Some(r#"{"id": 7}"#)).len(), 1);
    }

    #[test]
    fn the_way_leads_to_the_very_place_in_a_column_of_json() {
        let check = |live: &str, log: &str, expected: ColumnDifference| {
            let row = |record: &str| format!(r#"{{"id":7,"record":{record}}}"#);
            assert_eq!(columns(Some(&row(live)), Some(&row(log))), [expected], "{live} {log}");
        };
        check(
            r#"{"parts":[{"at":1},{"at":2,"said":"a"}]}"#,
            r#"{"parts":[{"at":1},{"at":2,"said":"b"}]}"#,
            difference("record.parts[1].said", Some(json!("a")), Some(json!("b"))),
        );
        check(r#"{"a":null}"#, "{}", difference("record.a", Some(json!(null)), None));
        check("[1]", "[1,2]", difference("record[1]", None, Some(json!(2))));
        check("null", r#"{"a":1}"#, difference("record", Some(json!(null)), Some(json!({"a": 1}))));
        let many = format!("[{}1]", "1,".repeat(PLACES));
        assert_eq!(columns(Some(r#"{"r":[]}"#), Some(&format!(r#"{{"r":{many}}}"#))).len(), PLACES);
        let long = format!("[{}]", vec!["\"x\""; 100].join(","));
        let [found] = &columns(Some(r#"{"r":1}"#), Some(&format!(r#"{{"r":{long}}}"#)))[..] else {
            panic!("one place differs")
        };
        assert_eq!(found.log.as_ref().unwrap().as_str().unwrap().chars().count(), LONG + 1);
    }

    #[test]
    fn what_says_the_same_in_other_words_is_told_as_it_is_written() {
        let told = |live: &str, log: &str| {
            let found = columns(Some(live), Some(log));
            let [ColumnDifference { column, live: Some(live), log: Some(log) }] = &found[..] else {
                panic!("{found:?}")
            };
            (column.clone(), live.clone(), log.clone())
        };
        assert_eq!(
            told(r#"{"record":{"a":1,"b":2}}"#, r#"{"record":{"b":2,"a":1}}"#),
            ("record".into(), json!(r#"{"a":1,"b":2}"#), json!(r#"{"b":2,"a":1}"#))
        );
        assert_eq!(
            told(r#"{"record":{"a":1.0}}"#, r#"{"record":{"a":1.00}}"#),
            ("record.a".into(), json!("1.0"), json!("1.00"))
        );
        let text = |end: char| format!(r#"{{"record":"{}{end}"}}"#, "x".repeat(300));
        let (column, live, log) = told(&text('1'), &text('2'));
        assert_eq!(column, "record");
        assert_ne!(live, log);
    }
}
