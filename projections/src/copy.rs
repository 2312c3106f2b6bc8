//! Rows in the text format of COPY, the fastest way into a table.

use std::fmt::{Display, Write as _};

use sqlx::PgConnection;

/// How much text is sent in one piece.
const PIECE: usize = 1 << 20;

/// Lines of COPY's text format, sent as they come.
pub(crate) struct CopyIn<'c> {
    copy: sqlx::postgres::PgCopyIn<&'c mut PgConnection>,
    text: String,
    is_new_line: bool,
}

impl<'c> CopyIn<'c> {
    /// Begins to copy into these columns of a table.
    pub(crate) async fn begin(
        db: &'c mut PgConnection,
        table: &str,
        columns: &str,
    ) -> Result<Self, sqlx::Error> {
        let copy = db.copy_in_raw(&format!("copy {table} ({columns}) from stdin")).await?;
        Ok(Self { copy, text: String::with_capacity(PIECE + PIECE / 4), is_new_line: true })
    }

    fn next_field(&mut self) {
        if !std::mem::take(&mut self.is_new_line) {
            self.text.push('\t');
        }
    }

    /// A field that needs no escaping: a number, a truth value, a UUID.
    pub(crate) fn plain(&mut self, value: impl Display) -> &mut Self {
        self.next_field();
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{value}");
        self
    }

    /// A field of any text.
    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.next_field();
        let mut rest = value;
        while let Some(at) = rest.find(['\\', '\n', '\r', '\t']) {
            self.text.push_str(&rest[..at]);
            self.text.push_str(match rest.as_bytes()[at] {
                b'\\' => "\\\\",
                b'\n' => "\\n",
                b'\r' => "\\r",
                _ => "\\t",
            });
            rest = &rest[at + 1..];
        }
        self.text.push_str(rest);
        self
    }

    /// A field without a value.
    pub(crate) fn null(&mut self) -> &mut Self {
        self.next_field();
        self.text.push_str("\\N");
        self
    }

    /// A field of any text, or without a value.
    pub(crate) fn maybe_text(&mut self, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(value),
            None => self.null(),
        }
    }

    /// A field that needs no escaping, or without a value.
    pub(crate) fn maybe_plain(&mut self, value: Option<impl Display>) -> &mut Self {
        match value {
            Some(value) => self.plain(value),
            None => self.null(),
        }
    }

    /// Ends the line, and sends what has gathered if it is enough.
    pub(crate) async fn end_line(&mut self) -> Result<(), sqlx::Error> {
        self.text.push('\n');
        self.is_new_line = true;
        if self.text.len() >= PIECE {
            self.copy.send(self.text.as_bytes()).await?;
            self.text.clear();
        }
        Ok(())
    }

    /// Sends the rest; only then has anything been copied.
    pub(crate) async fn finish(mut self) -> Result<u64, sqlx::Error> {
        if !self.text.is_empty() {
            self.copy.send(self.text.as_bytes()).await?;
        }
        self.copy.finish().await
    }
}
