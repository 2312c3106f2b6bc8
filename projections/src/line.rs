//! A connection that somebody keeps who asks the database all the time.
//!
//! The pool pings every connection that comes back to it and hands them out in turns. For a short question that is
//! twice the flights, on connections of which none is warm.

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

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
