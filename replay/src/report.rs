//! What an import tells: how far it is, and in the end what it did and what was odd.

use std::collections::BTreeMap;

use domain::telling::plain;
use domain::{FactChange, Kind};
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::convert::Cell;
use crate::schema::Layout;

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// What it is working on.
    pub phase: &'static str,
    /// Rows dealt with.
    pub done: u64,
    /// Rows in the file.
    pub total: u64,
    /// Events appended so far; in a dry run, those that would have been.
    pub events: u64,
}

/// What an import did, or would do if it is a dry run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Rows in the file.
    pub rows: u64,
    /// Rows of each table.
    pub tables: BTreeMap<String, u64>,
    /// Events appended by this run.
    pub events: u64,
    /// Records, and rows that belong to none, that were the same as at the last import.
    pub unchanged: u64,
    /// … that were not there then.
    pub new: u64,
    /// … that had other values then.
    pub changed: u64,
    /// … that were there then and are gone.
    pub deleted: u64,
    /// … that were left alone because they were changed in crm.
    pub conflicts: u64,
    /// Values and rows that somebody should look at.
    pub notices: Vec<Notice>,
    /// How many notices were left out because there were too many.
    pub notices_left_out: u64,
    /// Images copied, if a folder was given.
    pub images: u64,
    /// The generation of the file's schema.
    pub generation: String,
    /// How long it took.
    pub seconds: f64,
    /// Whether nothing was written.
    pub dry_run: bool,
}

/// A value or row that somebody should look at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Notice {
    /// The legacy table.
    pub table: String,
    /// The row's id, or its key, the parts joined by commas.
    pub id: Json,
    /// The column; none if it is about the whole row.
    pub column: Option<String>,
    /// What is odd, and what was done about it.
    pub reason: String,
    /// The stored value, shortened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Whether the file and crm contradict each other, and crm has the last word.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub conflict: bool,
    /// Whether the row is as it was at the last import, or at one that was killed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unchanged: bool,
}

impl Report {
    /// More notices than this say nothing more; a report must fit into memory.
    const MOST_NOTICES: usize = 100_000;

    /// Adds a notice. Those about what has not changed leave half of the room to others.
    pub fn note(&mut self, notice: Notice) {
        let most = if notice.unchanged { Self::MOST_NOTICES / 2 } else { Self::MOST_NOTICES };
        if self.notices.len() < most {
            self.notices.push(notice);
        } else {
            self.notices_left_out += 1;
        }
    }
}

impl Notice {
    /// About a whole row.
    pub fn of_row(table: &str, id: Json, reason: impl Into<String>) -> Self {
        let (table, reason) = (table.to_owned(), reason.into());
        Self { table, id, column: None, reason, value: None, conflict: false, unchanged: false }
    }

    /// About a record of the file that was left alone, or out.
    pub fn of_conflict((kind, id): (Kind, i64), reason: &str) -> Self {
        Self { conflict: true, ..Self::of_row(kind.as_str(), json!(id), reason) }
    }

    /// About one thing that the file says of such a record and crm does not.
    pub fn of_left_out((kind, id): (Kind, i64), change: &FactChange) -> Self {
        let FactChange { field, about, from, to } = change;
        let column = match about {
            Some(other) => format!("{field} ({} {})", other.kind(), other.id()),
            None => field.clone(),
        };
        let reason =
            format!("crm says: {}; left out: {}", beginning(&plain(from)), beginning(&plain(to)));
        Self { column: Some(column), ..Self::of_conflict((kind, id), &reason) }
    }

    /// About one value.
    pub fn of_cell(layout: &Layout, id: &Json, column: &str, reason: &str, cell: &Cell) -> Self {
        Self {
            table: layout.table.name.to_owned(),
            id: id.clone(),
            column: Some(column.to_owned()),
            reason: reason.to_owned(),
            value: shown(cell),
            conflict: false,
            unchanged: false,
        }
    }
}

/// The most characters of a value that a notice shows.
const LONGEST: usize = 80;

/// The beginning of a text, for people.
fn beginning(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The beginning of a stored value, for people.
pub fn shown(cell: &Cell) -> Option<String> {
    let text = match cell {
        Cell::Null => return None,
        Cell::Integer(value) => value.to_string(),
        Cell::Real(value) => value.to_string(),
        Cell::Text(bytes) => {
            let start = &bytes[..bytes.len().min(4 * LONGEST)];
            String::from_utf8_lossy(start).chars().take(LONGEST).collect()
        }
        Cell::Blob(bytes) => {
            format!("x'{}'", hex::encode(&bytes[..bytes.len().min(LONGEST / 2)]))
        }
    };
    Some(text)
}

/// A row's key as notices and the log name it: integers as they are, anything else as JSON; long ones hashed.
pub fn key_text(cells: &[&Cell]) -> String {
    use sha2::{Digest, Sha256};
    let part = |cell: &&Cell| match cell {
        Cell::Integer(value) => value.to_string(),
        other => json!(domain::SourceValue::from(*other)).to_string(),
    };
    let text = cells.iter().map(part).collect::<Vec<_>>().join(",");
    match text.len() {
        0..=200 => text,
        _ => format!("sha256:{}", hex::encode(Sha256::digest(text))),
    }
}
