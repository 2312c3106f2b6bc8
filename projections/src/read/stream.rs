//! Lists too large to keep in memory, sent as they are read.

use std::future;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use domain::Kind;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::reader::{ReadError, Reader, names_files};

/// A body that comes piece by piece; an error in the middle ends it, so that the client sees that it is incomplete.
pub type Pieces = BoxStream<'static, Result<Bytes, io::Error>>;

/// How much text is sent in one piece.
const PIECE: usize = 64 * 1024;

/// How long a client may take for a piece before its list is given up, since most lists occupy a connection to Postgres.
const PATIENCE: Duration = Duration::from_secs(30);

/// Likewise for the whole list.
const LONGEST: Duration = Duration::from_secs(600);

/// Why a list ends too early.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the client has gone")]
    Gone,
    #[error("the client is too slow")]
    Slow,
    #[error("the server is stopping")]
    Stopped,
}

type Sender = mpsc::Sender<Result<Bytes, Cut>>;

/// The order of the contract, as SQL.
fn order(kind: Kind) -> &'static str {
    match kind {
        Kind::Fund => "fund_name, id",
        Kind::Note => "date_key desc nulls last, id",
        Kind::Todo => "due_key nulls first, priority desc nulls last, id",
        Kind::Lp | Kind::Gp | Kind::Distributor | Kind::Person | Kind::Roadshow => "id",
    }
}

impl Reader {
    /// Sends the list of a kind straight from the database, once its first piece is there.
    ///
    /// # Errors
    /// See [`ReadError`]. What goes wrong after the first piece only ends the list.
    pub(super) async fn pieces(&self, kind: Kind) -> Result<Pieces, ReadError> {
        let (sender, mut pieces) = mpsc::channel(2);
        let reader = self.clone();
        tokio::spawn(async move {
            let sent = tokio::select! {
                sent = tokio::time::timeout(LONGEST, reader.send(kind, &sender)) => {
                    sent.unwrap_or(Err(Cut::Slow))
                }
                // The pool waits for the connection, and the server for the pool.
                () = reader.stopped() => Err(Cut::Stopped),
            };
            if let Err(cut) = sent {
                tracing::warn!(%kind, error = %cut, "a list was cut off");
                // Whoever asked may have gone away, which is why it was cut off.
                let _ = sender.send(Err(cut)).await;
            }
        });
        let first = match pieces.recv().await {
            Some(Ok(first)) => first,
            Some(Err(Cut::Read(error))) => return Err(error),
            Some(Err(cut)) => return Err(ReadError::Unavailable(cut.to_string())),
            None => return Err(anyhow::anyhow!("the task that sends a list has died").into()),
        };
        let rest = ReceiverStream::new(pieces).map_err(io::Error::other);
        Ok(stream::once(future::ready(Ok(first))).chain(rest).boxed())
    }

    async fn send(&self, kind: Kind, sender: &Sender) -> Result<(), Cut> {
        let statement =
            format!("select record::text from {kind} where not archived order by {}", order(kind));
        let asked = sqlx::query_scalar::<_, String>(&statement);
        let mut rows: BoxStream<'_, Result<String, ReadError>> = match names_files(kind) {
            // Without their files these rows are short; fetching those takes as long as their store takes, which nobody
            // may do while a connection is held.
            true => {
                let rows = self.database().ask(asked.fetch_all(self.pool())).await;
                stream::iter(rows.map_err(ReadError::from)?).map(Ok).boxed()
            }
            false => asked
                .fetch(self.pool())
                .map_err(|error| self.database().judge(error).into())
                .boxed(),
        };
        let mut piece = String::from("[");
        let mut first = true;
        while let Some(record) = rows.try_next().await? {
            if !std::mem::take(&mut first) {
                piece.push(',');
            }
            piece.push_str(&self.with_files(kind, record).await.map_err(ReadError::from)?);
            if piece.len() >= PIECE {
                pass_on(sender, std::mem::take(&mut piece)).await?;
            }
        }
        piece.push(']');
        pass_on(sender, piece).await
    }
}

async fn pass_on(sender: &Sender, piece: String) -> Result<(), Cut> {
    match tokio::time::timeout(PATIENCE, sender.send(Ok(piece.into()))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Cut::Gone),
        Err(_) => Err(Cut::Slow),
    }
}
