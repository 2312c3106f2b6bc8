//! The task that seals: one across all processes, a second or so behind the log.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::chain::Chain;
use super::digest::{self, Header};
use super::rows::Rows;
use super::store::{self, Contents};
use super::{Seal, SealKey};
use crate::database::{self, Database};

/// The advisory lock of whoever seals.
pub const SEAL_LOCK: i64 = 0x6372_6d5f_7365_6101;

/// The most events that one seal covers. Their digests are held in memory and written in one row.
const BATCH: i64 = 10_000;

/// How often to look for new events, and so the longest that one waits; each look that finds any costs a commit.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often to try to take over from another process, and to try again after a failure.
const AGAIN: Duration = Duration::from_secs(2);

/// Why the log is not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The chain does not end where this process left it.
    #[error(
        "the seals were changed by somebody else while this process made them: seal {0} was not added; `crm verify --log` \
         tells what is wrong"
    )]
    Disturbed(i64),
}

/// The running sealer.
pub struct Sealer {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Sealer {
    /// Starts sealing what is and will be in the log, as soon as no other process does.
    pub fn start(database: Database, key: SealKey) -> Self {
        let stop = CancellationToken::new();
        let work = Work { database, key, stop: stop.clone() };
        Self { stop, task: tokio::spawn(work.run()) }
    }

    /// Seals what is in the log by now, if this process is the one that does, and stops.
    pub async fn stop(self) {
        self.stop.cancel();
        // A panic of the task has been reported already.
        let _ = self.task.await;
    }
}

struct Work {
    database: Database,
    key: SealKey,
    stop: CancellationToken,
}

/// What a sealer knows while it has the lock.
struct Turn {
    connection: PgConnection,
    log: Uuid,
    key: i32,
    chain: Chain,
}

impl Work {
    async fn run(self) {
        loop {
            match self.run_connected().await {
                Ok(()) => {}
                Err(SealError::Database(error)) if database::is_passing(&error) => {
                    tracing::debug!(%error, "the sealer waits for the database");
                }
                Err(error) => tracing::error!(%error, "the log is not sealed at present"),
            }
            if self.stop.is_cancelled() {
                return;
            }
            self.pause(AGAIN).await;
        }
    }

    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(time) => {}
        }
    }

    /// Seals for as long as the connection lives, once nobody else does; when told to stop, one batch more.
    async fn run_connected(&self) -> Result<(), SealError> {
        let mut connection = self.database.options_for(&[]).connect().await?;
        while !self.take_over(&mut connection).await? {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            self.pause(AGAIN).await;
        }
        let mut turn = self.begin(connection).await?;
        loop {
            let is_last = self.stop.is_cancelled();
            let sealed = self.seal_next(&mut turn).await?;
            if is_last {
                // Now, and not when the server notices that the connection has gone: another may stop right after.
                sqlx::query("select pg_advisory_unlock_all()")
                    .execute(&mut turn.connection)
                    .await?;
                return Ok(turn.connection.close().await?);
            }
            if sealed < BATCH {
                self.pause(INTERVAL).await;
            }
        }
    }

    async fn take_over(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar("select pg_try_advisory_lock($1)")
            .bind(SEAL_LOCK)
            .fetch_one(connection)
            .await
    }

    /// Takes up the chain where it ends. A key that is not the last one's is introduced by a seal without events.
    async fn begin(&self, mut connection: PgConnection) -> Result<Turn, SealError> {
        let log = store::log_id(&mut connection).await?;
        let last = store::last(&mut connection).await?;
        let key = store::introduce(&mut connection, &self.key.public()).await?;
        let chain = match &last {
            Some(last) => Chain::at(&last.checkpoint(log)),
            None => Chain::of(log),
        };
        let mut turn = Turn { connection, log, key, chain };
        if last.is_some_and(|last| last.key != self.key.public()) {
            tracing::warn!("the log is sealed with another key from now on");
            let position = turn.chain.position;
            self.add(&mut turn, position, &Contents::default()).await?;
        }
        Ok(turn)
    }

    /// Seals the next events, if there are any; tells how many.
    async fn seal_next(&self, turn: &mut Turn) -> Result<i64, SealError> {
        let mut contents = Contents::default();
        let mut position = turn.chain.position;
        {
            let mut rows = Rows::behind(&mut turn.connection, position, BATCH).await?;
            while let Some(row) = rows.next().await? {
                position = row.position;
                contents.push(&row);
            }
        }
        if contents.events() > 0 {
            self.add(turn, position, &contents).await?;
        }
        Ok(contents.events())
    }

    async fn add(
        &self,
        turn: &mut Turn,
        position: i64,
        contents: &Contents,
    ) -> Result<(), SealError> {
        let before = &turn.chain;
        let header = Header {
            number: before.number + 1,
            after: before.position,
            position,
            events: contents.events(),
        };
        let batch = contents.batch();
        let mut seal = Seal {
            number: header.number,
            after: header.after,
            position,
            events: header.events,
            total: before.total + header.events,
            batch,
            head: digest::of_head(&before.head, &header, &batch),
            sealed_at: now(),
            key: self.key.public(),
            signature: [0; 64],
        };
        let checkpoint = seal.checkpoint(turn.log);
        seal.signature = self.key.sign(&checkpoint.to_string());
        let before = before.head;
        if !store::add(&mut turn.connection, &seal, turn.key, &before, contents).await? {
            return Err(SealError::Disturbed(seal.number));
        }
        turn.chain = Chain::at(&checkpoint);
        Ok(())
    }
}

/// Now, as precisely as Postgres keeps it.
fn now() -> DateTime<Utc> {
    let now = Utc::now();
    DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
}
