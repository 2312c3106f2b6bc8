//! The digests of events, from their rows as they are stored.

use sqlx::PgConnection;

use super::digest::{self, COLUMNS, Digest};
use crate::copy::{CopyOut, malformed};

/// An event's place and digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its place in the log.
    pub position: i64,
    /// The digest of all that is stored of it.
    pub digest: Digest,
}

/// The events of a part of the log, in order.
pub struct Rows<'c>(CopyOut<'c>);

impl<'c> Rows<'c> {
    /// Begins to read behind a position, so many events at most. The connection does nothing else until all have come.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn behind(
        connection: &'c mut PgConnection,
        after: i64,
        most: i64,
    ) -> Result<Self, sqlx::Error> {
        Self::begin(connection, &format!("position > {after} order by position limit {most}")).await
    }

    /// Begins to read up to a position, which included.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn up_to(connection: &'c mut PgConnection, to: i64) -> Result<Self, sqlx::Error> {
        Self::begin(connection, &format!("position <= {to} order by position")).await
    }

    async fn begin(connection: &'c mut PgConnection, which: &str) -> Result<Self, sqlx::Error> {
        let query = format!("select {} from events where {which}", COLUMNS.join(", "));
        Ok(Self(CopyOut::begin(connection, &query).await?))
    }

    /// The next event; `None` after the last.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next(&mut self) -> Result<Option<Row>, sqlx::Error> {
        let Some(row) = self.0.next_whole::<{ COLUMNS.len() as i16 }>().await? else {
            return Ok(None);
        };
        // The first column, behind the number of all and its own length.
        let position = row.get(6..14).and_then(|bytes| bytes.try_into().ok());
        let position = position.ok_or_else(|| malformed("a row without a position"))?;
        Ok(Some(Row { position: i64::from_be_bytes(position), digest: digest::of_event(&row) }))
    }
}
