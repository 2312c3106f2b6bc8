//! The digests of events, from their rows as they are stored.

use bytes::{Buf as _, Bytes};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use sqlx::PgConnection;

use super::digest::{self, COLUMNS, Digest};

/// An event's place and digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its place in the log.
    pub position: i64,
    /// The digest of all that is stored of it.
    pub digest: Digest,
}

/// What COPY's binary format begins with: signature, flags, and the length of an extension that no version has.
const HEADER: usize = 11 + 4 + 4;

/// The events of a part of the log, in order.
pub struct Rows<'c> {
    pieces: BoxStream<'c, Result<Bytes, sqlx::Error>>,
    piece: Bytes,
    has_begun: bool,
}

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
        let columns = COLUMNS.join(", ");
        let statement =
            format!("copy (select {columns} from events where {which}) to stdout (format binary)");
        let pieces = connection.copy_out_raw(&statement).await?;
        Ok(Self { pieces, piece: Bytes::new(), has_begun: false })
    }

    /// The next event; `None` after the last.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next(&mut self) -> Result<Option<Row>, sqlx::Error> {
        while self.piece.is_empty() {
            let Some(piece) = self.pieces.next().await else { return Ok(None) };
            self.piece = piece?;
            if !std::mem::replace(&mut self.has_begun, true) {
                take(&mut self.piece, HEADER)?;
            }
        }
        // A row never goes over the end of a piece.
        let row = self.piece.clone();
        let columns = take(&mut self.piece, 2)?.get_i16();
        if columns == -1 {
            // Whoever gives up before the end leaves a connection that is of no more use; this is the end.
            return match self.pieces.next().await {
                None => Ok(None),
                Some(Ok(_)) => Err(malformed("something after its end")),
                Some(Err(error)) => Err(error),
            };
        }
        if usize::try_from(columns) != Ok(COLUMNS.len()) {
            return Err(malformed("a row of other columns"));
        }
        let mut position = None;
        for _ in 0..columns {
            let length = take(&mut self.piece, 4)?.get_i32();
            let field = take(&mut self.piece, usize::try_from(length).unwrap_or(0))?;
            position =
                position.or_else(|| Some(i64::from_be_bytes(field.as_ref().try_into().ok()?)));
        }
        let length = row.len() - self.piece.len();
        let position = position.ok_or_else(|| malformed("a row without a position"))?;
        Ok(Some(Row { position, digest: digest::of_event(&row[..length]) }))
    }
}

fn take(piece: &mut Bytes, length: usize) -> Result<Bytes, sqlx::Error> {
    match length <= piece.len() {
        true => Ok(piece.split_to(length)),
        false => Err(malformed("a row that ends too early")),
    }
}

fn malformed(what: &str) -> sqlx::Error {
    sqlx::Error::Protocol(format!("COPY gave {what}"))
}
