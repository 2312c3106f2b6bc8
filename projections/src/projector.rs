//! What a projector is: events in, rows of its own tables out, nothing else.

use std::panic::AssertUnwindSafe;

use domain::Kind;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use sqlx::PgConnection;

use crate::log::{Recorded, Stream};
use crate::panic;

/// Folds events into the tables of one read model. It does no I/O but through the connection it is given, and touches
/// no tables but its own, so that it may be run again from the start.
pub trait Projector: Send + Sync {
    /// Names the read model; never changes.
    fn name(&self) -> &'static str;

    /// To be raised whenever the same events would give other rows, or other tables. The read model is then built anew
    /// beside the one that is there.
    fn version(&self) -> i32 {
        1
    }

    /// Its tables.
    fn tables(&self) -> Vec<Table>;

    /// The kinds of records whose events it looks at.
    fn follows(&self) -> &'static [Kind];

    /// Whether what becomes of a record's events depends on that record's events alone, so that several workers can
    /// share a rebuild. If not, one of them does it all.
    fn is_partitioned(&self) -> bool {
        true
    }

    /// If not: the other streams that the rows which a stream has a part in are made of, as far as the log tells up to a
    /// position. Their events with those of the stream, folded from the beginning, give these rows.
    fn relatives<'a>(
        &'a self,
        _db: &'a mut PgConnection,
        _stream: &'a Stream,
        _to: i64,
    ) -> BoxFuture<'a, Result<Vec<Stream>, sqlx::Error>> {
        Box::pin(std::future::ready(Ok(vec![])))
    }

    /// Whether answers to writes wait for it. One that is not waited for follows apart from the others, a moment later, so
    /// that it costs those who wait nothing.
    fn is_awaited(&self) -> bool {
        true
    }

    /// Whether a row never changes once it is written, but by the erasure of its record, which a fold sees to itself. A
    /// load then writes early, since there is no use in memory for what is never looked at again.
    fn is_append_only(&self) -> bool {
        false
    }

    /// Whether it is also asked what it said at an earlier position.
    fn has_past(&self) -> bool {
        true
    }

    /// Begins to fold with nothing in memory.
    fn begin(&self) -> Box<dyn Fold>;
}

/// Rows in memory on their way from events into tables. Found by name, so the connection's `search_path` decides which
/// generation of the tables they belong to.
pub trait Fold: Send {
    /// Takes in what follows in the log, after loading the rows it needs from the tables.
    fn fold<'a>(
        &'a mut self,
        page: &'a [Recorded],
        db: &'a mut PgConnection,
        tables: Tables,
    ) -> BoxFuture<'a, Result<(), ProjectError>>;

    /// Writes what has changed and forgets all rows.
    fn write<'a>(
        &'a mut self,
        db: &'a mut PgConnection,
        tables: Tables,
    ) -> BoxFuture<'a, Result<(), ProjectError>>;

    /// The last position that changed a row.
    fn changed(&self) -> Option<i64>;

    /// How much memory the rows take, in bytes, more or less.
    fn size(&self) -> usize;
}

/// What the tables hold of the records that are folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// Nothing yet: there is nothing to load, and what is written can be copied in. They may have no keys.
    Empty,
    /// What this very fold has written before: a record that it must not load is not there.
    Own,
    /// Whatever was folded before, by whomever.
    Filled,
}

/// Folds one page into the tables, in the caller's transaction. Tells the last position that changed a row.
///
/// # Errors
/// See [`ProjectError`].
pub async fn project(
    projector: &dyn Projector,
    page: &[Recorded],
    db: &mut PgConnection,
) -> Result<Option<i64>, ProjectError> {
    project_onto(projector, page, db, Tables::Filled).await
}

/// Folds everything that some rows are made of, from its beginning and in order, and puts what that comes to in the place
/// of what the tables have, in the caller's transaction.
///
/// # Errors
/// See [`ProjectError`].
pub async fn replace(
    projector: &dyn Projector,
    events: &[Recorded],
    db: &mut PgConnection,
) -> Result<(), ProjectError> {
    project_onto(projector, events, db, Tables::Empty).await.map(|_| ())
}

async fn project_onto(
    projector: &dyn Projector,
    page: &[Recorded],
    db: &mut PgConnection,
    known: Tables,
) -> Result<Option<i64>, ProjectError> {
    let folding = async {
        let mut fold = projector.begin();
        fold.fold(page, db, known).await?;
        fold.write(db, Tables::Filled).await?;
        Ok(fold.changed())
    };
    // What it leaves behind is only a transaction to be rolled back.
    match AssertUnwindSafe(folding).catch_unwind().await {
        Ok(folded) => folded,
        Err(caught) => Err(ProjectError::Panicked(panic::text(&*caught))),
    }
}

/// A table of a read model, as SQL.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name, which no other read model uses.
    pub name: &'static str,
    /// Its columns with their types.
    pub columns: String,
    /// Those of its columns that hold long texts.
    pub long: &'static [&'static str],
    /// Whether these stay in the row, uncompressed, as long as that fits a page: faster where hundreds of rows are read for
    /// their long texts, slower where they are read for the rest.
    pub is_whole: bool,
    /// The columns of its primary key, which compare byte by byte or as numbers.
    pub key: &'static [&'static str],
    /// What each of its other indexes is on: everything after `on <table>`.
    pub indexes: Vec<String>,
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
    /// A defect: it panicked, as it may on a log that contradicts itself.
    #[error("it panicked: {0}")]
    Panicked(String),
}

impl ProjectError {
    /// Whether the database cannot be reached or cannot write at present, or is not what it should be, which says nothing
    /// about the events.
    pub fn is_outage(&self) -> bool {
        let ProjectError::Database(error) = self else { return false };
        crate::database::is_passing(error) || crate::database::is_unsound(error)
    }
}
