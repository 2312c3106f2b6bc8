//! The task that seals: one across all processes, a second or so behind the log.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::chain::Chain;
use super::digest::{self, Header};
use super::note::Note;
use super::rows::Rows;
use super::store::{self, Contents};
use super::{Kept, KeptError, PublicKey, Seal, SealKey};
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
    /// Nobody knows who has sealed the log last.
    #[error(
        "seal {number}, the last one, is not signed by a key that this installation knows; it names {key}. Nothing is sealed \
         until somebody has looked: if that is a key of yours, put it into CRM_SEAL_KNOWN_KEYS and start again; if not, compare \
         the log with a backup"
    )]
    Stranger {
        /// The last seal.
        number: i64,
        /// The key that it names.
        key: PublicKey,
    },
    /// The chain is not the one that this installation made.
    #[error(
        "the seals are not those that were made here: they do not lead through the checkpoint of seal {number} in {}. Nothing is \
         sealed until somebody has looked: if you have put back a backup, move that file away and keep it; if not, compare the \
         log with a backup", .file.display()
    )]
    Rewritten {
        /// The seal that was the last one here.
        number: i64,
        /// Where its checkpoint is kept.
        file: PathBuf,
    },
    /// What is kept of the chain cannot be read.
    #[error(transparent)]
    Kept(#[from] KeptError),
}

impl SealError {
    /// For those who only see the log; the whole message, which is about the server, is for whoever runs that.
    pub fn in_short(&self) -> &'static str {
        match self {
            SealError::Kept(_) => {
                "What was sealed here last cannot be read, and nothing more is sealed"
            }
            // Another server may go on sealing.
            SealError::Stranger { .. } => "The last seal is signed by a key that is not known here",
            _ => "The seals are not those that were made here, and nothing more is sealed",
        }
    }
}

/// What this installation knows of who seals the log.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Its own key, those of others, and those that it had before.
    pub keys: Vec<[u8; 32]>,
    /// Where it keeps the newest checkpoint; without it, any chain is continued whose end somebody known has signed.
    pub kept: Option<Kept>,
}

impl Trust {
    /// Whether the chain is one that this installation may continue: it leads through what was sealed here last, and
    /// somebody known has signed its end, and so all before it. Who knows nobody cannot tell the latter.
    ///
    /// # Errors
    /// [`SealError`] that says why not, or when the database fails.
    async fn admit(
        &self,
        connection: &mut PgConnection,
        log: Uuid,
        last: Option<&Seal>,
    ) -> Result<(), SealError> {
        let mut known = self.keys.clone();
        let knows_nobody = known.is_empty();
        if let Some(kept) = &self.kept
            && let Some(note) = kept.read(log)?
        {
            let number = note.unchecked().number;
            let there = store::behind(connection, number - 1, 1).await?;
            match there.first() {
                // The key of then, if it is another: the signature is the one that was made here.
                Some(seal) if note_of(log, seal) == note => known.push(seal.key),
                _ => return Err(SealError::Rewritten { number, file: kept.file(log) }),
            }
        }
        match last {
            _ if knows_nobody => Ok(()),
            Some(last) if !known.contains(&last.key) || !last.is_signed(log) => {
                let key = PublicKey::of(log, last.key);
                Err(SealError::Stranger { number: last.number, key })
            }
            _ => Ok(()),
        }
    }

    /// Why this installation would not continue the seals that the database has, if it would not.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn doubt(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Option<SealError>, sqlx::Error> {
        let log = store::log_id(connection).await?;
        let last = store::last(connection).await?;
        match self.admit(connection, log, last.as_ref()).await {
            Ok(()) => Ok(None),
            Err(SealError::Database(error)) => Err(error),
            Err(doubt) => Ok(Some(doubt)),
        }
    }
}

/// The running sealer.
pub struct Sealer {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Sealer {
    /// Starts sealing what is and will be in the log, as soon as no other process does.
    pub fn start(database: Database, key: SealKey, mut trust: Trust) -> Self {
        trust.keys.push(key.public());
        let stop = CancellationToken::new();
        let work = Work { database, key, trust, stop: stop.clone() };
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
    trust: Trust,
    stop: CancellationToken,
}

/// What a sealer knows while it has the lock.
struct Turn {
    connection: PgConnection,
    log: Uuid,
    key: i32,
    chain: Chain,
    /// Whether it has been said that the newest checkpoint cannot be kept.
    is_unkept: bool,
}

impl Work {
    async fn run(self) {
        let mut said = String::new();
        loop {
            match self.run_connected().await {
                Ok(()) => {}
                Err(SealError::Database(error)) if database::is_passing(&error) => {
                    tracing::debug!(%error, "the sealer waits for the database");
                }
                // What waits for a person is said once.
                Err(error) if error.to_string() == said => {}
                Err(error) => {
                    tracing::error!(%error, "the log is not sealed at present");
                    said = error.to_string();
                }
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
        self.trust.admit(&mut connection, log, last.as_ref()).await?;
        let key = store::introduce(&mut connection, &self.key.public()).await?;
        let chain = match &last {
            Some(last) => Chain::at(&last.checkpoint(log)),
            None => Chain::of(log),
        };
        let mut turn = Turn { connection, log, key, chain, is_unkept: false };
        match last {
            Some(last) if last.key != self.key.public() => {
                tracing::warn!("the log is sealed with another key from now on");
                let position = turn.chain.position;
                self.add(&mut turn, position, &Contents::default()).await?;
            }
            // Others may have sealed since, and earlier releases kept nothing.
            Some(last) => self.keep(&mut turn, &last).await,
            None => {}
        }
        Ok(turn)
    }

    /// Remembers the end of the chain where the database cannot change it. That this fails is no reason not to seal.
    async fn keep(&self, turn: &mut Turn, last: &Seal) {
        let Some(kept) = self.trust.kept.clone() else { return };
        let (log, note) = (turn.log, note_of(turn.log, last));
        let keeping = tokio::task::spawn_blocking(move || kept.replace(log, &note)).await;
        match keeping.map_err(std::io::Error::other).flatten() {
            Ok(()) => turn.is_unkept = false,
            Err(error) if !turn.is_unkept => {
                tracing::warn!(%error, "the newest checkpoint cannot be kept beside the key: make the folder `keys` writable");
                turn.is_unkept = true;
            }
            Err(_) => {}
        }
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
        self.keep(turn, &seal).await;
        Ok(())
    }
}

fn note_of(log: Uuid, seal: &Seal) -> Note {
    Note::of(seal, &PublicKey::of(log, seal.key), seal.checkpoint(log))
}

/// Now, as precisely as Postgres keeps it.
fn now() -> DateTime<Utc> {
    let now = Utc::now();
    DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
}
