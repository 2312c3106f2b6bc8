//! Fresh ids, drawn from one Postgres sequence per kind and never reused.
//!
//! Requests that wait at the same moment are served by one query, so that a burst of new records costs one flight.
//! Where many come at once, as many more are drawn ahead as came since the last draw, for the next of them to find; they
//! are forgotten after a moment, so that a lone client, or a crowd that has gone, wastes none or few.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use domain::Kind;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{mpsc, oneshot};

use crate::database::{Database, DatabaseError};
use crate::line::Line;

type Waiting = (Kind, oneshot::Sender<Result<i64, DatabaseError>>);

/// The way to the task that draws ids.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    queue: mpsc::Sender<Waiting>,
}

/// How long ids that were drawn ahead are kept. An import moves the sequences past the ids of its file before it uses
/// them; ids from before that should not linger.
const KEPT: Duration = Duration::from_millis(50);

/// The most ids drawn ahead.
const AHEAD: usize = 512;

/// Ids of one kind that were drawn ahead.
#[derive(Default)]
struct Stock {
    ids: Vec<i64>,
    drawn: Option<Instant>,
    /// How many were asked for since then, and whether ever several at once.
    asked: usize,
    crowded: bool,
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
    // Nothing waits for the disk: the events that use an id come after it in Postgres's own log, so what makes them
    // durable makes the id durable too, and an id that a crash takes back was never used.
    let options = (*database.pool.connect_options()).clone();
    let options = options.options([("synchronous_commit", "off")]);
    let mut source = Source { database, options, line: Line::default() };
    let (mut group, mut stocks) = (Vec::new(), HashMap::<Kind, Stock>::new());
    while waiting.recv_many(&mut group, 1024).await > 0 {
        let mut by_kind: HashMap<Kind, Vec<_>> = HashMap::new();
        for (kind, tell) in group.drain(..) {
            by_kind.entry(kind).or_default().push(tell);
        }
        for (kind, tells) in by_kind {
            let ids = stocks.entry(kind).or_default().take(&mut source, kind, tells.len()).await;
            match ids {
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

impl Stock {
    /// As many ids, from what was drawn ahead where that is still there.
    async fn take(
        &mut self,
        source: &mut Source,
        kind: Kind,
        count: usize,
    ) -> Result<Vec<i64>, DatabaseError> {
        if self.drawn.is_some_and(|at| at.elapsed() > KEPT) {
            *self = Self::default();
        }
        self.asked += count;
        self.crowded |= count > 1;
        if self.ids.len() < count {
            let ahead = if self.crowded { self.asked.min(AHEAD) } else { 0 };
            let drawn = source.draw(kind, count - self.ids.len() + ahead).await?;
            self.ids.extend(drawn);
            (self.drawn, self.asked, self.crowded) = (Some(Instant::now()), 0, false);
        }
        Ok(self.ids.drain(..count.min(self.ids.len())).collect())
    }
}

/// Where ids come from.
struct Source {
    database: Database,
    options: PgConnectOptions,
    line: Line,
}

impl Source {
    async fn draw(&mut self, kind: Kind, count: usize) -> Result<Vec<i64>, DatabaseError> {
        self.database.check()?;
        let mut open = self.line.take(&self.database, |_| self.options.clone()).await?;
        let drawing =
            sqlx::query_scalar("select nextval($1::regclass) from generate_series(1, $2)")
                .bind(format!("{kind}_id"))
                .bind(i32::try_from(count).unwrap_or(i32::MAX))
                .fetch_all(&mut open.connection);
        let ids = self.database.ask(drawing).await?;
        self.line.keep(open);
        Ok(ids)
    }
}
