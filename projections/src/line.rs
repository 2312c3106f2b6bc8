//! Connections that somebody keeps who asks the database all the time.
//!
//! The pool pings every connection that comes back to it and hands them out in turns. For a short question that is
//! twice the flights, on connections of which none is warm.

use futures::future::BoxFuture;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::Mutex;

use crate::database::{Database, DatabaseError};

/// Where the connection is kept between two questions.
#[derive(Default)]
pub(crate) struct Line(Option<Open>);

/// The connection, on its way to the database and back. Whoever does not give it back, because of an error or because
/// nobody waits any more, has closed it.
pub(crate) struct Open {
    pub(crate) connection: PgConnection,
    /// Of which era it is: in the next one it is of no use, as those of the pool are not.
    era: u64,
}

impl Line {
    /// The connection that was kept, or a new one.
    pub(crate) async fn take(
        &mut self,
        database: &Database,
        options: impl FnOnce(&Database) -> PgConnectOptions,
    ) -> Result<Open, DatabaseError> {
        // First the era: options that are outdated a moment later then belong to one that is over.
        let era = database.era();
        match self.0.take().filter(|open| open.era == era) {
            Some(open) => Ok(open),
            None => Ok(Open { connection: database.ask(options(database).connect()).await?, era }),
        }
    }

    /// Keeps it for the next question.
    pub(crate) fn keep(&mut self, mut open: Open) {
        // The answer may have been a whole list.
        open.connection.shrink_buffers();
        self.0 = Some(open);
    }
}

/// How many are kept by those who ask briefly and often.
const LINES: usize = 2;

/// Some of them.
#[derive(Default)]
pub(crate) struct Lines([Mutex<Line>; LINES]);

impl Lines {
    /// Asks on one of them; whoever finds all of them busy, or Postgres short of connections, asks through the pool.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn ask<T>(
        &self,
        database: &Database,
        question: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>>,
    ) -> Result<T, DatabaseError> {
        let mut free = self.0.iter().find_map(|line| line.try_lock().ok());
        let open = match &mut free {
            Some(line) => {
                let options = |known: &Database| (*known.pool.connect_options()).clone();
                line.take(database, options).await.ok()
            }
            None => None,
        };
        let Some((mut open, mut line)) = open.zip(free) else {
            let asking = async {
                let mut connection = database.pool.acquire().await?;
                question(&mut connection).await
            };
            return database.ask(asking).await;
        };
        let found = database.ask(question(&mut open.connection)).await?;
        line.keep(open);
        Ok(found)
    }
}
