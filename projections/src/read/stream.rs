//! Lists too large to keep in memory, sent as they are read.

use std::time::Duration;

use bytes::Bytes;
use domain::Kind;
use futures::TryStreamExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::reader::Reader;

/// A body that comes piece by piece; an error in the middle ends it, so that the client sees that it is incomplete.
pub type Pieces = ReceiverStream<Result<Bytes, std::io::Error>>;

/// How much text is sent in one piece.
const PIECE: usize = 64 * 1024;

/// How long a client may take for a piece before its list is given up, since it occupies a connection to Postgres.
const PATIENCE: Duration = Duration::from_secs(30);

/// Likewise for the whole list.
const LONGEST: Duration = Duration::from_secs(600);

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
    /// Sends the list of a kind straight from the database.
    pub(super) fn pieces(&self, kind: Kind) -> Pieces {
        let (sender, pieces) = mpsc::channel(2);
        let reader = self.clone();
        tokio::spawn(async move {
            let sent = tokio::time::timeout(LONGEST, reader.send(kind, &sender)).await;
            let sent =
                sent.unwrap_or_else(|_| Err(std::io::Error::other("the client is too slow")));
            if let Err(error) = sent {
                tracing::warn!(%kind, %error, "a list was cut off");
                // Whoever asked may have gone away, which is why it was cut off.
                let _ = sender.send(Err(error)).await;
            }
        });
        ReceiverStream::new(pieces)
    }

    async fn send(
        &self,
        kind: Kind,
        sender: &mpsc::Sender<Result<Bytes, std::io::Error>>,
    ) -> Result<(), std::io::Error> {
        let statement =
            format!("select record::text from {kind} where not archived order by {}", order(kind));
        let mut rows = sqlx::query_scalar::<_, String>(&statement).fetch(self.pool());
        let mut piece = String::from("[");
        let mut first = true;
        while let Some(record) = rows.try_next().await.map_err(std::io::Error::other)? {
            if !std::mem::take(&mut first) {
                piece.push(',');
            }
            let record = self.with_files(kind, record).await.map_err(std::io::Error::other)?;
            piece.push_str(&record);
            if piece.len() >= PIECE {
                pass_on(sender, std::mem::take(&mut piece)).await?;
            }
        }
        piece.push(']');
        pass_on(sender, piece).await
    }
}

async fn pass_on(
    sender: &mpsc::Sender<Result<Bytes, std::io::Error>>,
    piece: String,
) -> Result<(), std::io::Error> {
    match tokio::time::timeout(PATIENCE, sender.send(Ok(piece.into()))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(std::io::Error::other("the client has gone")),
        Err(_) => Err(std::io::Error::other("the client is too slow")),
    }
}
