//! Rows in the binary format of Postgres's COPY, as fast as they come.

use bytes::{Buf as _, Bytes};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use sqlx::PgConnection;

/// The rows of a query.
pub(crate) struct CopyOut<'c> {
    pieces: BoxStream<'c, Result<Bytes, sqlx::Error>>,
    piece: Bytes,
    has_begun: bool,
}

/// A row whose columns are taken one by one.
pub(crate) struct Row<'r>(&'r mut Bytes);

impl<'c> CopyOut<'c> {
    /// Begins to read. The connection does nothing else until the last row has come.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn begin(
        connection: &'c mut PgConnection,
        query: &str,
    ) -> Result<Self, sqlx::Error> {
        let copy = format!("copy ({query}) to stdout (format binary)");
        let pieces = connection.copy_out_raw(&copy).await?;
        Ok(Self { pieces, piece: Bytes::new(), has_begun: false })
    }

    /// The next row, of so many columns; `None` after the last. All of its columns are to be taken.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn next<const COLUMNS: i16>(
        &mut self,
    ) -> Result<Option<Row<'_>>, sqlx::Error> {
        if !self.fetch().await? {
            return Ok(None);
        }
        match take(&mut self.piece, 2)?.get_i16() {
            // Whoever gives up before the end leaves a connection that is of no more use; this is the end.
            -1 => match self.pieces.next().await {
                None => Ok(None),
                Some(Ok(_)) => Err(malformed("something after its end")),
                Some(Err(error)) => Err(error),
            },
            columns if columns == COLUMNS => Ok(Some(Row(&mut self.piece))),
            other => Err(malformed(&format!("a row of {other} columns"))),
        }
    }

    /// Likewise, as it came: the number of its columns, and of each the length and what it is.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn next_whole<const COLUMNS: i16>(
        &mut self,
    ) -> Result<Option<Bytes>, sqlx::Error> {
        self.fetch().await?;
        let ahead = self.piece.clone();
        let Some(mut row) = self.next::<COLUMNS>().await? else { return Ok(None) };
        for _ in 0..COLUMNS {
            row.column()?;
        }
        Ok(Some(ahead.slice(..ahead.len() - self.piece.len())))
    }

    /// Has the next piece at hand, unless there is something left of this one. Tells whether there is any.
    async fn fetch(&mut self) -> Result<bool, sqlx::Error> {
        // A row never goes over the end of a piece.
        while self.piece.is_empty() {
            let Some(piece) = self.pieces.next().await else { return Ok(false) };
            self.piece = piece?;
            if !std::mem::replace(&mut self.has_begun, true) {
                // Signature, flags, and the length of an extension that no version has.
                take(&mut self.piece, 11 + 4 + 4)?;
            }
        }
        Ok(true)
    }
}

impl Row<'_> {
    /// The next column, as its type is sent; `None` for null.
    pub(crate) fn column(&mut self) -> Result<Option<Bytes>, sqlx::Error> {
        match take(self.0, 4)?.get_i32() {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| malformed("a negative length"))?;
                take(self.0, length).map(Some)
            }
        }
    }

    /// Likewise, of a column that is never null.
    pub(crate) fn text(&mut self) -> Result<Bytes, sqlx::Error> {
        self.column()?.ok_or_else(|| malformed("a column without a value"))
    }

    /// Likewise, of a bigint.
    pub(crate) fn integer(&mut self) -> Result<i64, sqlx::Error> {
        let mut column = self.text()?;
        match column.len() {
            8 => Ok(column.get_i64()),
            other => Err(malformed(&format!("an integer of {other} bytes"))),
        }
    }
}

fn take(piece: &mut Bytes, length: usize) -> Result<Bytes, sqlx::Error> {
    match length <= piece.len() {
        true => Ok(piece.split_to(length)),
        false => Err(malformed("a row that ends too early")),
    }
}

pub(crate) fn malformed(what: &str) -> sqlx::Error {
    sqlx::Error::Protocol(format!("COPY gave {what}"))
}
