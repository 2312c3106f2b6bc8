//! Rows that belong to no record are kept as they stand, each under a key of its own.

use domain::import::ImportEvent;
use domain::{Kind, SourceValue, Verbatim};
use serde_json::{Value as Json, json};

use super::Reader;
use crate::convert::Cell;
use crate::decide::Draft;
use crate::error::ImportError;
use crate::ledger::{Mark, row_kind};
use crate::report::{Notice, key_text};
use crate::schema::{self, Layout, Part};
use crate::source::Values;
use crate::unit::Hash;

/// The table under which descriptions of tables are kept.
pub const SCHEMA_TABLE: &str = "sqlite_master";

/// Ends the key of a row that is kept beside the link that it is.
pub const BESIDE_LINK: &str = "+";

impl Reader {
    pub(super) fn keep_stray(
        &mut self,
        layout: &Layout,
        owner: Kind,
        row: &Values,
    ) -> Result<(), ImportError> {
        self.keep_row(layout, row, &format!("belongs to a {owner} that the file does not have"))
    }

    /// Keeps a row that belongs to no record.
    pub(super) fn keep_row(
        &mut self,
        layout: &Layout,
        row: &Values,
        why: &str,
    ) -> Result<(), ImportError> {
        self.chunks.count_rows(1);
        let key = self.free_key(layout, key_of(layout, row));
        let unchanged = !self.keep(layout, key.clone(), row);
        let reason = format!("{why}; kept in the log, not shown");
        let notice = Notice::of_row(layout.table.name, Json::String(key), reason);
        self.report.note(Notice { unchanged, ..notice });
        self.chunks.flush_if_large()
    }

    /// A link carries nothing but its two ends. If its row does, the whole row is kept beside it; `+` says so.
    pub(super) fn keep_extras(
        &mut self,
        layout: &Layout,
        part: Part,
        row: &Values,
    ) -> Result<(), ImportError> {
        let is_plain = part.standing.is_none();
        let extra = |(column, cell): (&schema::Column, &Cell)| {
            column.role == schema::Role::Extra && *cell != Cell::Null
        };
        if is_plain && layout.columns.iter().zip(row).any(extra) {
            let key = self.free_key(layout, key_of(layout, row) + BESIDE_LINK);
            self.keep(layout, key, row);
        }
        self.chunks.flush_if_large()
    }

    /// Makes a key that no other row of this table has.
    pub(super) fn free_key(&mut self, layout: &Layout, key: String) -> String {
        let name = layout.table.name;
        let mut free = key.clone();
        let mut number = 2_u64;
        while !self.keys.insert((name, free.clone())) {
            free = format!("{key}#{number}");
            number += 1;
        }
        free
    }

    /// Keeps a row unless it is kept already. Tells whether it was new or different.
    pub(super) fn keep(&mut self, layout: &Layout, key: String, row: &Values) -> bool {
        let hash = crate::unit::row_hash(layout, row);
        let values = layout.columns.iter().zip(row);
        let values = values.map(|(column, cell)| (column.name.clone(), SourceValue::from(cell)));
        self.keep_values(layout.table.name, key, hash, || Verbatim(values.collect()))
    }

    fn keep_values(
        &mut self,
        table: &str,
        key: String,
        hash: Hash,
        values: impl FnOnce() -> Verbatim,
    ) -> bool {
        match self.ledger.meet_row(table, &key) {
            Some(known) if known == hash => {
                self.report.unchanged += 1;
                return false;
            }
            Some(_) => self.report.changed += 1,
            None => self.report.new += 1,
        }
        let event =
            ImportEvent::RowKept { table: table.to_owned(), key: key.clone(), values: values() };
        self.push_row(table, key, Some(hash), "KeepRow", event);
        true
    }

    /// Keeps what the table looks like: which columns a file has is part of what it says.
    pub(super) fn keep_schema(&mut self, layout: &Layout) -> Result<(), ImportError> {
        let names: Vec<&str> = layout.columns.iter().map(|column| column.name.as_str()).collect();
        let cells =
            [json!(names).to_string(), layout.sql.clone()].map(|t| Cell::Text(t.into_bytes()));
        let hash = crate::unit::cells_hash(&cells);
        let values = ["columns", "sql"].iter().zip(&cells);
        let values = || Verbatim(values.map(|(&n, c)| (n.to_owned(), c.into())).collect());
        self.keep_values(SCHEMA_TABLE, layout.table.name.to_owned(), hash, values);
        self.chunks.flush_if_large()
    }

    /// Rows that were kept by an earlier import and are gone, or belong to a record now.
    pub(super) fn release_rows(&mut self) -> Result<(), ImportError> {
        let unseen = self.ledger.rows.iter().filter(|(_, entry)| !entry.seen);
        let gone: Vec<(String, String)> = unseen.map(|(key, _)| key.clone()).collect();
        for (table, key) in gone {
            self.report.deleted += 1;
            let event = ImportEvent::RowReleased { table: table.clone(), key: key.clone() };
            self.push_row(&table, key, None, "ReleaseRow", event);
            self.chunks.flush_if_large()?;
        }
        Ok(())
    }

    fn push_row(
        &mut self,
        table: &str,
        key: String,
        hash: Option<Hash>,
        command: &'static str,
        event: ImportEvent,
    ) {
        self.ledger.rows_version += 1;
        let version = self.ledger.rows_version;
        let draft = Draft {
            event_type: event.as_ref().to_owned(),
            event_version: "1".to_owned(),
            payload: json!(event).to_string(),
            command,
            is_first: true,
        };
        self.chunks.push_row(version, draft);
        let mark = Mark { hash, version, identity: Hash::default(), announced: None };
        self.chunks.mark(row_kind(table), key, mark);
    }
}

fn key_of(layout: &Layout, row: &Values) -> String {
    let cell = |column: &str| layout.at(column).map_or(&Cell::Null, |at| &row[at]);
    key_text(&layout.key_columns().into_iter().map(cell).collect::<Vec<_>>())
}
