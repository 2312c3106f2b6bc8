//! What a projector is: events in, rows of its own tables out, nothing else.

use futures::future::BoxFuture;
use sqlx::PgConnection;

use crate::log::Recorded;

/// Folds events into the tables of one read model. It does no I/O but through the connection it is given, and touches
/// no tables but its own, so that it may be run again from the start.
pub trait Projector: Send + Sync {
    /// Names the checkpoint; never changes.
    fn name(&self) -> &'static str;

    /// Folds a page of the log, in order, in the caller's transaction. Tells the last position that changed a row.
    fn project<'a>(
        &'a self,
        page: &'a [Recorded],
        db: &'a mut PgConnection,
    ) -> BoxFuture<'a, Result<Option<i64>, ProjectError>>;
}

/// Why a page could not be folded.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// A stored row is not what this projector writes.
    #[error("a row of {table} cannot be read: {source}")]
    Row {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl ProjectError {
    /// Whether the database cannot be reached, which says nothing about the events.
    pub fn is_outage(&self) -> bool {
        matches!(self, ProjectError::Database(error) if crate::database::is_outage(error))
    }
}
