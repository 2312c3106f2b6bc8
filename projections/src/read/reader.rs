//! Answers queries from the read models, and does not compute again what has not changed.

mod health;
mod lookup;
mod query;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::Kind;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::answer::Answer;
use super::shelf::{Change, Shelf, sort_key};
use super::stream::Pieces;
use crate::database::{Database, DatabaseError};
use crate::files::{FileError, Files};
use crate::generation::Checkpoint;
use crate::history::History;
use crate::line::Lines;
use crate::runner::Runner;
use query::{ListRow, listing, topics};

pub use health::{Health, ProjectorHealth};
pub use lookup::StoredRecord;
pub use query::{Found, Query};

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database cannot be reached.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The file storage does not give what a record names.
    #[error(transparent)]
    Files(#[from] FileError),
    /// A defect.
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

impl From<DatabaseError> for ReadError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unavailable(reason) => ReadError::Unavailable(reason),
            DatabaseError::Failed(error) => ReadError::Internal(error.into()),
        }
    }
}

/// The read side. Clones share everything.
#[derive(Clone)]
pub struct Reader {
    database: Database,
    runner: Runner,
    files: Files,
    log: Uuid,
    shelves: Arc<HashMap<Kind, tokio::sync::Mutex<Shelved>>>,
    shelf_limit: u64,
    lines: Arc<Lines>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Shelved {
    /// Everything up to here is on the shelf.
    position: i64,
    /// The revision of the tables that it was read from.
    revision: i64,
    shelf: Shelf,
    answer: Option<Answer>,
    too_large: bool,
}

/// Answers kept until what they were made of changes.
#[derive(Default)]
struct Kept {
    answers: HashMap<Query, Arc<tokio::sync::Mutex<Option<Answer>>>>,
    /// How much was put in since it was last emptied.
    bytes: usize,
}

/// The largest list kept in memory, in bytes; 12,000 notes of the usual length. Larger ones are streamed.
const SHELF_LIMIT: u64 = 64 << 20;

/// The field whose value may be the name of a stored file.
const WITH_FILE: &str = "flight_images";

/// Whether records of a kind name stored files that their readers get the content of.
pub(super) fn names_files(kind: Kind) -> bool {
    kind == Kind::Roadshow
}

/// The most answers kept beside the lists, and the most bytes of them; then all are forgotten.
const KEPT: usize = 2_000;
const KEPT_BYTES: usize = 32 << 20;

impl Reader {
    /// Reads through this database, as far as this runner has come.
    ///
    /// # Errors
    /// When the log's identity cannot be read.
    pub async fn new(database: Database, runner: Runner, files: Files) -> Result<Self, ReadError> {
        let log: Uuid = sqlx::query_scalar("select id from log_identity")
            .fetch_one(&database.pool)
            .await
            .map_err(|error| database.judge(error))?;
        let shelves = Kind::ALL.iter().map(|kind| (*kind, tokio::sync::Mutex::default())).collect();
        Ok(Self {
            database,
            runner,
            files,
            log,
            shelves: Arc::new(shelves),
            shelf_limit: SHELF_LIMIT,
            lines: Arc::default(),
            kept: Arc::default(),
        })
    }

    /// What tells this log from all others.
    pub fn log_id(&self) -> Uuid {
        self.log
    }

    /// The tag of the present answer to a query, without computing it. `None` for a single record, whose tag is its
    /// own, and while the database is not available.
    pub fn tag(&self, query: &Query) -> Option<String> {
        self.check().ok()?;
        let topics = topics(query)?;
        let checkpoints = self.runner.checkpoints().borrow();
        Some(self.tagged(topics.iter().map(|topic| checkpoints[topic])))
    }

    /// Each read model counts by itself: when one has run ahead of another, what the other brings later is news.
    fn tagged(&self, checkpoints: impl Iterator<Item = Checkpoint>) -> String {
        let changed: Vec<String> = checkpoints
            .map(|Checkpoint { revision, changed, .. }| format!("{revision:x}:{changed:x}"))
            .collect();
        format!("{}-{}", self.log.simple(), changed.join("."))
    }

    /// The answer. `None` for a single record that does not exist.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn answer(&self, query: &Query) -> Result<Option<Answer>, ReadError> {
        // Even what is in memory is not answered then: whoever cannot write should not think that all is well.
        self.check()?;
        match query {
            Query::Show(record) => Ok(self.record(*record).await?.map(Answer::of_record)),
            Query::List(kind) => self.list(*kind).await.map(Some),
            query => self.kept(query).await.map(Some),
        }
    }

    /// Fails at once while the database is down, or back but not known to show what it showed before.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`].
    pub fn check(&self) -> Result<(), ReadError> {
        self.database.check()?;
        match self.runner.survived() == self.database.outages() {
            true => Ok(()),
            false => {
                Err(ReadError::Unavailable("the read models catch up after an outage".to_owned()))
            }
        }
    }

    /// The list of a kind, from its shelf.
    async fn list(&self, kind: Kind) -> Result<Answer, ReadError> {
        let mut shelved = self.shelves[&kind].lock().await;
        loop {
            let checkpoint = self.checkpoint(kind);
            let tag = self.tagged(std::iter::once(checkpoint));
            if let Some(answer) = shelved.answer.as_ref().filter(|answer| answer.tag == tag) {
                return Ok(answer.clone());
            }
            if shelved.revision != checkpoint.revision {
                // Rows may have come that are older than what was put on the shelf last.
                *shelved = Shelved { revision: checkpoint.revision, ..Shelved::default() };
            }
            let changes = self.changes(kind, shelved.position).await?;
            if self.checkpoint(kind).revision != checkpoint.revision {
                // Between the two the tables were swapped, and these rows may be of either.
                continue;
            }
            shelved.shelf.update(changes);
            shelved.position = checkpoint.position;
            let answer = Answer::new(tag, shelved.shelf.chunks());
            shelved.answer = Some(answer.clone());
            return Ok(answer);
        }
    }

    fn checkpoint(&self, kind: Kind) -> Checkpoint {
        self.runner.checkpoints().borrow()[kind.as_str()]
    }

    async fn changes(&self, kind: Kind, since: i64) -> Result<Vec<Change>, ReadError> {
        let statement = listing(kind);
        let rows: Vec<ListRow> = self
            .lines
            .ask(&self.database, move |db| {
                Box::pin(async move { sqlx::query_as(&statement).bind(since).fetch_all(db).await })
            })
            .await?;
        self.shelve(kind, rows).await
    }

    async fn shelve(&self, kind: Kind, rows: Vec<ListRow>) -> Result<Vec<Change>, ReadError> {
        let mut changes = Vec::with_capacity(rows.len());
        for (id, archived, record, first, second) in rows {
            let key = (sort_key(kind, first.as_deref(), second.as_deref()), id);
            let text = if archived { None } else { Some(self.with_files(kind, record).await?) };
            changes.push(Change { id, key, text });
        }
        Ok(changes)
    }

    /// The answer that is made of what was found, with the files that it names.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn answer_with(&self, found: Found, tag: String) -> Result<Answer, ReadError> {
        match found {
            Found::List(kind, rows) => {
                let mut shelf = Shelf::default();
                shelf.update(self.shelve(kind, rows).await?);
                Ok(Answer::new(tag, shelf.chunks()))
            }
            Found::Records(kind, rows) => {
                let mut records = Vec::with_capacity(rows.len());
                for row in rows {
                    records.push(self.with_files(kind, row).await?);
                }
                Ok(Answer::array(tag, records.iter().map(String::as_str)))
            }
        }
    }

    /// Any other answer, kept until a read model that it is made of changes. Requests for the same wait for one.
    async fn kept(&self, query: &Query) -> Result<Answer, ReadError> {
        let slot = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.bytes > KEPT_BYTES || kept.answers.len() >= KEPT {
                *kept = Kept::default();
            }
            kept.answers.entry(query.clone()).or_default().clone()
        };
        let mut slot = slot.lock().await;
        let tag = self.tag(query).unwrap_or_default();
        if let Some(answer) = slot.as_ref().filter(|answer| answer.tag == tag) {
            return Ok(answer.clone());
        }
        let asking = async {
            let mut connection = self.database.pool.acquire().await?;
            query.find(&mut connection).await
        };
        let found = self.database.ask(asking).await?;
        let answer = self.answer_with(found, tag).await?;
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).bytes += answer.len();
        *slot = Some(answer.clone());
        Ok(answer)
    }

    /// The list of a kind as a stream with its tag, if it is too large to be kept in memory.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn large_list(&self, query: &Query) -> Result<Option<(String, Pieces)>, ReadError> {
        let (Query::List(kind), Some(tag)) = (query, self.tag(query)) else { return Ok(None) };
        let mut shelved = self.shelves[kind].lock().await;
        // Stored it may be compressed; once its text was found too long, that is remembered.
        let size = match shelved.answer.as_ref().map(Answer::len) {
            Some(size) => size as u64,
            None if shelved.too_large => u64::MAX,
            None => self.stored_size(*kind).await?,
        };
        if size <= self.shelf_limit {
            return Ok(None);
        }
        *shelved = Shelved { too_large: true, ..Shelved::default() };
        // Others who ask for the same need not wait for this one's first piece.
        drop(shelved);
        Ok(Some((tag, self.pieces(*kind).await?)))
    }

    /// How much the list of a kind takes where it is stored: its table, and the files that its records name.
    async fn stored_size(&self, kind: Kind) -> Result<u64, ReadError> {
        let files = match names_files(kind) {
            true => format!(
                "(select coalesce(sum((record -> '{WITH_FILE}' ->> 'size')::bigint), 0)::bigint
                  from {kind} where not archived)"
            ),
            false => "0".to_owned(),
        };
        let statement = format!("select pg_table_size($1::regclass) + {files}");
        let size: i64 = self
            .database
            .ask(sqlx::query_scalar(&statement).bind(kind.as_str()).fetch_one(&self.database.pool))
            .await?;
        Ok(size.unsigned_abs())
    }

    /// Keeps lists in memory only up to this many bytes each.
    #[must_use]
    pub fn with_shelf_limit(self, bytes: u64) -> Self {
        Self { shelf_limit: bytes, ..self }
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// Resolves when the read side is stopped.
    pub(super) async fn stopped(&self) {
        self.runner.stopped().await;
    }

    /// Puts the content of stored files where the record names them.
    ///
    /// # Errors
    /// When they cannot be read now. What is lost for good is shown as `null`, since no later try would find it.
    pub(super) async fn with_files(&self, kind: Kind, record: String) -> Result<String, FileError> {
        if !names_files(kind) || !record.contains("\"sha256\"") {
            return Ok(record);
        }
        let Ok(mut value) = serde_json::from_str::<Value>(&record) else { return Ok(record) };
        let Some(sha256) = value[WITH_FILE]["sha256"].as_str() else { return Ok(record) };
        value[WITH_FILE] = match self.files.get(sha256).await {
            Ok(content) => Value::String(String::from_utf8_lossy(&content).into_owned()),
            Err(
                error @ (FileError::Missing(_) | FileError::Damaged { .. } | FileError::NoKey(_)),
            ) => {
                tracing::error!(%error, roadshow = %value["id"], "flight images are lost");
                Value::Null
            }
            Err(error) => return Err(error),
        };
        Ok(value.to_string())
    }

    /// Waits until all read models have passed the position that answers wait for. Tells whether they did in time.
    pub async fn reached(&self, position: i64, patience: Duration) -> bool {
        self.runner.reached(position, patience).await
    }

    /// Waits until these read models have passed the position. Tells whether they did in time, and at once if one of them is
    /// yet to be built by this release.
    pub async fn are_level(
        &self,
        read_models: &[&'static str],
        position: i64,
        patience: Duration,
    ) -> bool {
        self.runner.are_level(read_models, position, patience).await
    }

    /// Whether this release's own code fills what it serves of a read model.
    pub fn is_followed(&self, read_model: &str) -> bool {
        self.runner.is_followed(read_model)
    }

    /// The position that all read models have passed that answers wait for.
    pub fn position(&self) -> i64 {
        self.runner.position()
    }

    /// Waits until the read model of histories has passed the position. Tells whether it did in time.
    pub async fn audited(&self, position: i64, patience: Duration) -> bool {
        self.runner.reached_by(super::audit::NAME, position, patience).await
    }

    /// What has happened, told.
    pub fn history(&self) -> History {
        History::new(self.database.clone())
    }
}
