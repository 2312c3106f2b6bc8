//! Fresh ids, drawn from one Postgres sequence per kind and never reused.
//!
//! Requests that wait at the same moment are served by one query, so that a burst of new records costs one flight.

use std::collections::BTreeMap;

use domain::Kind;
use tokio::sync::{mpsc, oneshot};

use crate::database::{Database, DatabaseError};

type Waiting = (Kind, oneshot::Sender<Result<i64, DatabaseError>>);

/// The way to the task that draws ids.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    queue: mpsc::Sender<Waiting>,
}

impl Ids {
    pub(super) fn start(database: Database) -> Self {
        let (queue, waiting) = mpsc::channel(1024);
        tokio::spawn(serve(database, waiting));
        Self { queue }
    }

    pub(super) async fn draw(&self, kind: Kind) -> Result<i64, DatabaseError> {
        let gone = |_| DatabaseError::Unavailable("the server is shutting down".to_owned());
        let (tell, told) = oneshot::channel();
        self.queue.send((kind, tell)).await.map_err(|_| gone(()))?;
        told.await.map_err(|_| gone(()))?
    }
}

async fn serve(database: Database, mut waiting: mpsc::Receiver<Waiting>) {
    let mut group = Vec::new();
    while waiting.recv_many(&mut group, 1024).await > 0 {
        let mut by_kind: BTreeMap<Kind, Vec<_>> = BTreeMap::new();
        for (kind, tell) in group.drain(..) {
            by_kind.entry(kind).or_default().push(tell);
        }
        for (kind, tells) in by_kind {
            match draw(&database, kind, tells.len()).await {
                Ok(ids) => {
                    for (tell, id) in tells.into_iter().zip(ids) {
                        let _ = tell.send(Ok(id));
                    }
                }
                Err(error) => {
                    let reason = error.to_string();
                    for tell in tells {
                        let _ = tell.send(Err(DatabaseError::Unavailable(reason.clone())));
                    }
                }
            }
        }
    }
}

/// Does not wait for the disk: the events that use an id come after it in Postgres's own log, so what makes them durable
/// makes the id durable too, and an id that a crash takes back was never used.
const DRAW: &str = "
    select nextval($1::regclass)
    from (select set_config('synchronous_commit', 'off', true)) as unhurried, generate_series(1, $2)";

async fn draw(database: &Database, kind: Kind, count: usize) -> Result<Vec<i64>, DatabaseError> {
    database.check()?;
    database
        .ask(
            sqlx::query_scalar(DRAW)
                .bind(format!("{kind}_id"))
                .bind(i32::try_from(count).unwrap_or(i32::MAX))
                .fetch_all(&database.pool),
        )
        .await
}
