//! Group commit: one task writes the events of all waiting commands in one statement.
//!
//! While a group is being committed the next one gathers, so that under load one commit carries many. A lone command
//! waits for nobody. Callers that were just answered tend to come again at once; a group waits a moment for them where
//! that has proved to pay, since otherwise they and those who waited meanwhile take turns in groups of half the size. A
//! group that hits a constraint is written again one command at a time, so that each learns its own fate.

mod crowd;
mod insert;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use domain::RecordRef;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument as _;

use super::claims::Claim;
use super::keys::NewStreamKey;
use super::{APPENDED, NewEvent};
use crate::database::{Database, DatabaseError};
use crowd::Crowd;
use insert::{Refused, constraint, insert, lacks_master};

/// The events of one command, all of which are appended or none.
#[derive(Debug, Default)]
pub struct Append {
    /// The events, in order; several streams are allowed.
    pub events: Vec<NewEvent>,
    /// The idempotency key that must be new, with what is recorded beside it.
    pub key: Option<NewKey>,
    /// The keys of the streams that are sealed from these events on.
    pub stream_keys: Vec<NewStreamKey>,
    /// The stream whose key the events destroy.
    pub erasure: Option<Erasure>,
    /// What the events mean for who has which Notion id.
    pub claim: Option<Claim>,
}

/// A stream whose key is to be destroyed, so that nobody can read its sealed events any more.
#[derive(Clone, Debug)]
pub struct Erasure {
    /// The type of the stream.
    pub aggregate_type: &'static str,
    /// Its id.
    pub aggregate_id: String,
    /// Files of the record that are to be removed afterwards.
    pub leftovers: Vec<String>,
}

/// An idempotency key on its way into the database.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// As the client sent it.
    pub key: String,
    /// SHA-256 of the request.
    pub request_hash: Vec<u8>,
    /// The type of the stream that the command is for.
    pub aggregate_type: &'static str,
    /// The id of that stream.
    pub aggregate_id: String,
    /// The stream's version after the command.
    pub version: i64,
}

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another command was faster on the same stream.
    #[error("the stream has moved on")]
    StreamMoved,
    /// The idempotency key was used before.
    #[error("the idempotency key was used before")]
    KeyUsed,
    /// Another record has the Notion id that the events give theirs.
    #[error("another record has this Notion id: {0:?}")]
    NotionIdTaken(RecordRef),
    /// The stream's key is wrapped under a master key that is no longer in use.
    #[error("the master key was replaced")]
    MasterReplaced,
    /// The database cannot be reached. If that happened during the commit, the events may be there all the same.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The database refused for a reason of its own.
    #[error(transparent)]
    Failed(sqlx::Error),
}

/// Histogram: how long a command's events take from being queued to being answered for, in seconds.
pub const APPEND_SECONDS: &str = "crm_append_duration_seconds";

/// Histogram: how many commands one commit writes.
pub const GROUP_COMMANDS: &str = "crm_append_group_commands";

/// Histogram: how many events one commit writes.
pub const GROUP_EVENTS: &str = "crm_append_group_events";

type Waiting = (Append, oneshot::Sender<Result<i64, AppendError>>);

/// The way to the appender's task. It ends when the last handle is gone and everything accepted is written.
#[derive(Clone, Debug)]
pub struct Appender {
    queue: mpsc::Sender<Waiting>,
}

/// The most commands that one statement writes.
const GROUP: usize = 512;

/// How long a connection may take to come up before the waiting commands are told that the database is gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// The least time between two announcements. NOTIFY takes a lock that all commits with a NOTIFY wait for, and wakes
/// every listener; the projectors of this process need none.
const PAUSE: Duration = Duration::from_millis(5);

impl Appender {
    /// Starts the task. `appended` is called with the last position after every group.
    pub fn start(database: Database, appended: impl Fn(i64) + Send + 'static) -> Self {
        let (queue, waiting) = mpsc::channel(4 * GROUP);
        // The plan does not depend on how many events there are; to see that anew each time costs more than to carry it out.
        let options = (*database.pool.connect_options()).clone();
        let options = options.options([("plan_cache_mode", "force_generic_plan")]);
        let (news, announced) = mpsc::channel(1);
        tokio::spawn(announce(options.clone(), announced));
        let (connection, crowd) = (None, Crowd::default());
        let writer = Writer { database, options, connection, era: 0, news, crowd };
        tokio::spawn(writer.run(waiting, appended));
        Self { queue }
    }

    /// Appends the events of one command and tells the position of the last one (0 if there are none).
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(&self, append: Append) -> Result<i64, AppendError> {
        let queued = Instant::now();
        let span = tracing::debug_span!("append", events = append.events.len());
        let result = self.answered(append).instrument(span).await;
        metrics::histogram!(APPEND_SECONDS).record(queued.elapsed());
        result
    }

    async fn answered(&self, append: Append) -> Result<i64, AppendError> {
        let gone = |_| AppendError::Unavailable("the server is shutting down".to_owned());
        let (tell, told) = oneshot::channel();
        self.queue.send((append, tell)).await.map_err(|_| gone(()))?;
        told.await.map_err(|_| gone(()))?
    }
}

/// The task's own connection, so that a starved pool never holds up a write.
struct Writer {
    database: Database,
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    /// Of which era the connection is: in the next one it is of no use, as those of the pool are not.
    era: u64,
    /// Tells the task that announces appends to other processes.
    news: mpsc::Sender<()>,
    crowd: Crowd,
}

impl Writer {
    async fn run(mut self, mut waiting: mpsc::Receiver<Waiting>, appended: impl Fn(i64)) {
        let mut group = Vec::with_capacity(GROUP);
        while waiting.recv_many(&mut group, GROUP).await > 0 {
            self.crowd.gather(&mut waiting, &mut group).await;
            let (size, start) = (group.len(), Instant::now());
            let rivals = take_rivals(&mut group);
            if let Some(last) = self.write_group(std::mem::take(&mut group)).await {
                appended(last);
            }
            self.crowd.learn(size, waiting.len(), start.elapsed());
            // Rivals come second: they lose, unless the first of them failed.
            for (append, tell) in rivals {
                let result = self.write(std::slice::from_ref(&append)).await;
                if let Ok(positions) = &result {
                    appended(positions.last().copied().unwrap_or_default());
                }
                let _ = tell
                    .send(result.map(|positions| positions.last().copied().unwrap_or_default()));
            }
            // A full channel means that an announcement is due anyway.
            let _ = self.news.try_send(());
        }
    }

    /// Writes the group and tells each command its position. Returns the last position of all.
    async fn write_group(&mut self, group: Vec<Waiting>) -> Option<i64> {
        let (appends, tells): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        match self.write(&appends).await {
            Ok(positions) => {
                let mut end = 0;
                for (append, tell) in appends.iter().zip(tells) {
                    end += append.events.len();
                    let last = if append.events.is_empty() { 0 } else { positions[end - 1] };
                    // Whoever waited may have gone away; the events are there all the same.
                    let _ = tell.send(Ok(last));
                }
                positions.last().copied()
            }
            Err(AppendError::Unavailable(reason)) => {
                for tell in tells {
                    let _ = tell.send(Err(AppendError::Unavailable(reason.clone())));
                }
                None
            }
            Err(error) if appends.len() == 1 => {
                if let Some(tell) = tells.into_iter().next() {
                    let _ = tell.send(Err(error));
                }
                None
            }
            Err(_) => {
                let mut last = None;
                for (append, tell) in appends.into_iter().zip(tells) {
                    let result = self.write(std::slice::from_ref(&append)).await;
                    let result =
                        result.map(|positions| positions.last().copied().unwrap_or_default());
                    last = result.as_ref().ok().copied().max(last);
                    let _ = tell.send(result);
                }
                last
            }
        }
    }

    /// One statement, one commit. Returns the positions of all events in order.
    async fn write(&mut self, appends: &[Append]) -> Result<Vec<i64>, AppendError> {
        let attempt = async {
            let connection = self.connect().await?;
            insert(connection, appends).await
        };
        let error = match tokio::time::timeout(Database::PATIENCE, attempt).await {
            Ok(Ok(positions)) => {
                metrics::histogram!(GROUP_COMMANDS).record(count(appends.len()));
                metrics::histogram!(GROUP_EVENTS).record(count(positions.len()));
                return Ok(positions);
            }
            Ok(Err(Refused::NotionIdTaken(owner))) => {
                return Err(AppendError::NotionIdTaken(owner));
            }
            Ok(Err(Refused::Database(error))) => match constraint(&error) {
                Some("events_stream_version") => return Err(AppendError::StreamMoved),
                Some("stream_key_pkey") => return Err(AppendError::StreamMoved),
                Some("idempotency_key_pkey") => return Err(AppendError::KeyUsed),
                _ if lacks_master(&error) => return Err(AppendError::MasterReplaced),
                _ => self.database.judge(error),
            },
            Err(_) => self.database.silent(),
        };
        // Whatever state it is in: the next write begins with a connection of which nothing is left to wonder.
        self.connection = None;
        match error {
            DatabaseError::Unavailable(reason) => Err(AppendError::Unavailable(reason)),
            DatabaseError::Failed(error) => Err(AppendError::Failed(error)),
        }
    }

    async fn connect(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        // One from before an outage is dead. To learn that from a command would fail it, and count as one outage more.
        let era = self.database.era();
        let known = std::mem::replace(&mut self.era, era);
        let connection = match self.connection.take().filter(|_| known == era) {
            Some(connection) => connection,
            None => tokio::time::timeout(PATIENCE, self.options.connect())
                .await
                .map_err(|_| sqlx::Error::PoolTimedOut)??,
        };
        Ok(self.connection.insert(connection))
    }
}

/// A number of commands or events, as a histogram takes it.
fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Tells other processes of appends. Whoever misses it looks for itself a little later.
async fn announce(options: PgConnectOptions, mut news: mpsc::Receiver<()>) {
    // Nothing is lost with an announcement, so it need not wait for the disk.
    let options = options.options([("synchronous_commit", "off")]);
    let mut connection = None;
    while news.recv().await.is_some() {
        if connection.is_none() {
            connection = options.connect().await.ok();
        }
        if let Some(open) = &mut connection {
            let told = sqlx::query("select pg_notify($1, '')").bind(APPENDED).execute(open).await;
            if told.is_err() {
                connection = None;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Takes out the commands that want a stream version, or a Notion id, which an earlier one of the group wants as well.
fn take_rivals(group: &mut Vec<Waiting>) -> Vec<Waiting> {
    let (mut versions, mut notion_ids) = (HashSet::new(), HashSet::new());
    let rival = |(append, _): &mut Waiting| {
        let taken = append.claim.as_ref().and_then(Claim::taken);
        taken.is_some_and(|taken| !notion_ids.insert(taken))
            || append.events.iter().any(|event| {
                !versions.insert((event.aggregate_type, event.aggregate_id.clone(), event.sequence))
            })
    };
    group.extract_if(.., rival).collect()
}
