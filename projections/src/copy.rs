//! Rows in the binary format of COPY, the fastest way into a table, and out of it: neither side escapes or parses anything.

mod out;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::tsvector::TsVector;

pub(crate) use out::{CopyOut, malformed};

/// How much is sent in one piece, in bytes.
const PIECE: usize = 1 << 20;

/// What COPY's binary format begins with: its signature, no flags, and no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Seconds from 1970 to 2000, where Postgres begins to count.
const EPOCH: i64 = 946_684_800;

/// Rows on their way into a table, sent as they come. The fields of a row must be as many as the columns, in their order,
/// and of exactly their types.
pub(crate) struct CopyIn<'c> {
    copy: sqlx::postgres::PgCopyIn<&'c mut PgConnection>,
    buffer: Vec<u8>,
    columns: i16,
    is_new_row: bool,
}

impl<'c> CopyIn<'c> {
    /// Begins to copy into these columns of a table.
    pub(crate) async fn begin(
        db: &'c mut PgConnection,
        table: &str,
        columns: &[&str],
    ) -> Result<Self, sqlx::Error> {
        let names = columns.join(", ");
        let statement = format!("copy {table} ({names}) from stdin (format binary)");
        let copy = db.copy_in_raw(&statement).await?;
        let mut buffer = Vec::with_capacity(PIECE + PIECE / 4);
        buffer.extend_from_slice(HEADER);
        let columns = i16::try_from(columns.len()).unwrap_or(i16::MAX);
        Ok(Self { copy, buffer, columns, is_new_row: true })
    }

    fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.begin_field();
        // Postgres holds no value of 2 GiB, and refuses one.
        let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
        self.buffer.extend_from_slice(&length.to_be_bytes());
        self.buffer.extend_from_slice(bytes);
        self
    }

    fn begin_field(&mut self) {
        if std::mem::take(&mut self.is_new_row) {
            self.buffer.extend_from_slice(&self.columns.to_be_bytes());
        }
    }

    /// A `bigint`.
    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        self.field(&value.to_be_bytes())
    }

    /// An `integer`.
    pub(crate) fn small(&mut self, value: i32) -> &mut Self {
        self.field(&value.to_be_bytes())
    }

    /// A `text[]`.
    pub(crate) fn texts(&mut self, values: &[String]) -> &mut Self {
        /// The type of the elements.
        const TEXT: i32 = 25;
        // Neither Postgres nor a record holds as many.
        let count = |many: usize| i32::try_from(many).unwrap_or(i32::MAX);
        let mut array = Vec::new();
        for head in [i32::from(!values.is_empty()), 0, TEXT] {
            array.extend_from_slice(&head.to_be_bytes());
        }
        if !values.is_empty() {
            array.extend_from_slice(&count(values.len()).to_be_bytes());
            array.extend_from_slice(&1_i32.to_be_bytes());
        }
        for value in values {
            array.extend_from_slice(&count(value.len()).to_be_bytes());
            array.extend_from_slice(value.as_bytes());
        }
        self.field(&array)
    }

    /// A `boolean`.
    pub(crate) fn flag(&mut self, value: bool) -> &mut Self {
        self.field(&[u8::from(value)])
    }

    /// A `text` or `json`.
    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.field(value.as_bytes())
    }

    /// A `bytea`.
    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.field(value)
    }

    /// A `tsvector`.
    pub(crate) fn words(&mut self, value: &TsVector) -> &mut Self {
        let mut encoded = Vec::with_capacity(4 + value.size());
        value.encode_into(&mut encoded);
        self.field(&encoded)
    }

    /// A `uuid`.
    pub(crate) fn uuid(&mut self, value: Uuid) -> &mut Self {
        self.field(value.as_bytes())
    }

    /// A `timestamptz`.
    pub(crate) fn time(&mut self, value: DateTime<Utc>) -> &mut Self {
        self.int(value.timestamp_micros() - EPOCH * 1_000_000)
    }

    /// No value.
    pub(crate) fn null(&mut self) -> &mut Self {
        self.begin_field();
        self.buffer.extend_from_slice(&(-1_i32).to_be_bytes());
        self
    }

    /// A field of one of these types, or no value.
    pub(crate) fn maybe<T>(
        &mut self,
        value: Option<T>,
        field: impl FnOnce(&mut Self, T) -> &mut Self,
    ) -> &mut Self {
        match value {
            Some(value) => field(self, value),
            None => self.null(),
        }
    }

    /// Ends the row, and sends what has gathered if it is enough.
    pub(crate) async fn end_row(&mut self) -> Result<(), sqlx::Error> {
        self.is_new_row = true;
        if self.buffer.len() >= PIECE {
            self.copy.send(self.buffer.as_slice()).await?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Sends the rest; only then has anything been copied.
    pub(crate) async fn finish(mut self) -> Result<u64, sqlx::Error> {
        self.buffer.extend_from_slice(&(-1_i16).to_be_bytes());
        self.copy.send(self.buffer.as_slice()).await?;
        self.copy.finish().await
    }
}
