//! The log as it grows, for those outside: `/events` and webhooks.
//!
//! Whoever follows has a [`Feed`] that pulls pages from the log at its own pace. Nothing is queued for anybody: a slow
//! reader holds one page and no connection to the database, and finds the rest in the log when it asks for it.

pub mod cloud_event;
mod feed;
pub mod selection;

use std::sync::Arc;
use std::time::Duration;

use projections::database::{Database, DatabaseError};
use projections::log::{LogReader, Selection};
use projections::tail::Tail;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

pub use feed::{Feed, Look};

/// How often a stream that has nothing to tell shows that it is alive. Proxies cut what is silent for longer, often
/// after 30 or 60 s.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How many pages are read at a time: however many follow, commands and queries find connections.
const READING: usize = 2;

/// The way to the log for those who follow it. Clones share it.
#[derive(Clone)]
pub struct Live {
    database: Database,
    tail: Tail,
    reader: Arc<LogReader>,
    reading: Arc<Semaphore>,
    /// The time between two heartbeats of a silent stream.
    pub heartbeat: Duration,
    /// Names the log, as the source of its events: `urn:uuid:…`.
    pub source: Arc<str>,
}

impl Live {
    /// For the log of this id, which ends where `tail` says.
    pub fn new(database: Database, tail: Tail, log: Uuid) -> Self {
        let reader = Arc::new(LogReader::new(database.keys().clone()));
        Self {
            database,
            tail,
            reader,
            reading: Arc::new(Semaphore::new(READING)),
            heartbeat: HEARTBEAT,
            source: log.urn().to_string().into(),
        }
    }

    /// The database that the log is in.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The log's last position at this moment.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn head(&self) -> Result<i64, DatabaseError> {
        self.tail.ask().await
    }

    /// Where the log ends, kept up to date.
    pub fn heads(&self) -> watch::Receiver<i64> {
        self.tail.follow()
    }

    /// What is wanted of the log after this position.
    pub fn feed(&self, wanted: Selection, after: i64) -> Feed {
        Feed::new(self.clone(), wanted, after)
    }
}
