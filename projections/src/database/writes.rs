//! Whether the database takes what is written. One that only answers looks well: it is read, while every command is refused.
//!
//! The refusal of any statement says that it does not; that it does again is found out by writing a little, every few
//! seconds, until that goes well.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::Connection as _;
use tokio::sync::Notify;

use super::{Database, DatabaseError, Shortage};

/// How often a database that takes no writes is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Why the database takes no writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WriteTrouble {
    /// When that was noticed.
    pub since: DateTime<Utc>,
    /// Why not, and what is to be done about it.
    pub error: String,
    /// What it lacks.
    #[serde(skip)]
    lacks: Shortage,
}

impl WriteTrouble {
    fn of(lacks: Shortage, since: DateTime<Utc>) -> Self {
        let advice = match lacks {
            Shortage::Changes => {
                "it is a replica, or default_transaction_read_only is set: DATABASE_URL must name the writer, and the setting be taken back"
            }
            _ => "make room on the disk of Postgres: nothing that was answered is lost",
        };
        let error = format!("the database takes nothing new, {}; {advice}", lacks.as_str());
        Self { since, error, lacks }
    }
}

/// What came of writing.
#[derive(Debug, Default)]
pub(super) struct Writes {
    trouble: Mutex<Option<WriteTrouble>>,
    refused: Notify,
}

impl Writes {
    fn trouble(&self) -> MutexGuard<'_, Option<WriteTrouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that a statement was refused, if that says that nothing can be written. Tells whether that is news.
    pub(super) fn refuse(&self, lacks: Shortage) -> bool {
        if !matches!(lacks, Shortage::Disk | Shortage::Changes) {
            return false;
        }
        let mut trouble = self.trouble();
        match &*trouble {
            Some(known) if known.lacks == lacks => return false,
            Some(known) => *trouble = Some(WriteTrouble::of(lacks, known.since)),
            None => {
                *trouble = Some(WriteTrouble::of(lacks, Utc::now()));
                self.refused.notify_one();
            }
        }
        true
    }

    fn accept(&self) {
        *self.trouble() = None;
    }
}

impl Database {
    /// Why it takes no writes, as far as is known by the last ones.
    pub fn write_trouble(&self) -> Option<WriteTrouble> {
        self.health.writes.trouble().clone()
    }

    /// Remembers that a statement was refused, for those who do not have the error [judged](Self::judge).
    pub(crate) fn note_refusal(&self, error: &sqlx::Error) {
        if let Some(lacks) = Shortage::of(error) {
            self.health.writes.refuse(lacks);
        }
    }

    /// Remembers that a connection says of itself to be read-only. Others are thrown away only if that is news: those who read go on
    /// with them, and whoever tries to write finds out that it is over.
    pub(crate) fn note_read_only(&self) {
        if self.health.writes.refuse(Shortage::Changes) {
            self.condemn();
        }
    }

    /// Tries whether it takes writes: [`write_trouble`](Self::write_trouble) tells why not. For now and then: it writes.
    ///
    /// # Errors
    /// When it does not answer, or refuses for a reason that says nothing of room or rights to write: then nobody knows.
    pub async fn probe_writes(&self) -> Result<(), DatabaseError> {
        match self.ask(self.write_a_little()).await {
            // What keeps others from writing is remembered where errors are judged.
            Err(DatabaseError::Unavailable(_)) if self.write_trouble().is_some() => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                self.health.writes.accept();
                Ok(())
            }
        }
    }

    /// Writes what takes new room on the disk, and takes it back: there may be some left in what Postgres has already.
    async fn write_a_little(&self) -> Result<(), sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let mut tx = connection.begin().await?;
        let schema = format!("crm_probe_{}", uuid::Uuid::new_v4().simple());
        sqlx::query(&format!("create schema {schema}")).execute(&mut *tx).await?;
        sqlx::query(&format!("create table {schema}.probe (filler text)"))
            .execute(&mut *tx)
            .await?;
        let fill = "select repeat('x', 1000) from generate_series(1, 200)";
        sqlx::query(&format!("insert into {schema}.probe {fill}")).execute(&mut *tx).await?;
        tx.rollback().await
    }

    /// Tries again and again while nothing can be written.
    pub(super) async fn watch_writes(self) {
        let writes = &self.health.writes;
        while !self.pool.is_closed() {
            writes.refused.notified().await;
            let Some(trouble) = self.write_trouble() else { continue };
            tracing::error!("{}", trouble.error);
            while !self.pool.is_closed() && self.write_trouble().is_some() {
                tokio::time::sleep(AGAIN).await;
                if let Err(error) = self.probe_writes().await {
                    tracing::debug!(%error, "nobody knows whether the database takes writes");
                }
            }
            tracing::info!("the database takes writes again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_keeps_everything_from_being_written_is_remembered() {
        let writes = Writes::default();
        writes.refuse(Shortage::Connections);
        writes.refuse(Shortage::Memory);
        assert_eq!(*writes.trouble(), None);
        writes.refuse(Shortage::Disk);
        let first = writes.trouble().clone().unwrap();
        assert!(first.error.contains("its disk is full; make room"), "{}", first.error);
        writes.refuse(Shortage::Changes);
        let second = writes.trouble().clone().unwrap();
        assert!(second.error.contains("default_transaction_read_only"), "{}", second.error);
        assert_eq!(second.since, first.since);
        writes.accept();
        assert_eq!(*writes.trouble(), None);
    }
}
