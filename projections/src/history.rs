//! What has happened, told: entries of the log in a user's words, with who, when, from where, and what changed.
//!
//! The history of one record needs no read model: its life is folded from the beginning, and what each event did is told
//! for those that are shown. Across records the read model `audit` finds the positions; what is shown of them is folded
//! from the streams again.

mod causation;
mod followed;
mod gather;
mod named;
mod names;
pub(crate) mod origin;
mod refusals;
mod search;
mod tell;
pub(crate) mod words;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::telling::Sentence;
use domain::{FactChange, Kind, RecordRef, import};
use uuid::Uuid;

use crate::database::{Database, DatabaseError};
use crate::log::{Entry, LogReader, RECORDED_AT};
use crate::read::life;
use search::{Found, Visited};

pub use causation::{Causation, Caused};
pub use followed::entries_after;
pub use names::Names;
pub use origin::Network;
pub use refusals::{Refusal, RefusalFilter, Refusals};

/// One event, told.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    /// Its place in the log; also the cursor of what follows it.
    pub position: i64,
    /// The record it happened to; `None` for the stream of imports.
    pub record: Option<RecordRef>,
    /// Its place in its stream.
    pub sequence: i64,
    /// Names the event.
    pub event_id: Uuid,
    /// The name of its variant.
    pub event: String,
    /// When it came into the log.
    pub recorded_at: DateTime<Utc>,
    /// When it happened, where that is known and differs.
    pub occurred_at: Option<DateTime<Utc>>,
    /// Who asked for it.
    pub actor: String,
    /// `api`, `import:<file>` or `reactor:<name>`.
    pub source: Option<String>,
    /// The network address it came from.
    pub client: Option<String>,
    /// The program it came from.
    pub user_agent: Option<String>,
    /// What the command is called.
    pub command: Option<String>,
    /// Names the command that led to it.
    pub command_id: Uuid,
    /// Names the conversation it belongs to.
    pub correlation_id: Uuid,
    /// The event or command that caused it.
    pub causation_id: Option<Uuid>,
    /// What happened, in words.
    pub sentence: Sentence,
    /// Every fact that is not what it was.
    pub changes: Vec<FactChange>,
    /// Whether no undoing takes back what it did.
    pub is_final: bool,
    /// Why it cannot be told, if so: it was erased, or today's code cannot read it.
    pub note: Option<String>,
}

/// Which entries are wanted: those that pass every part that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// By this actor.
    pub actor: Option<String>,
    /// Of this kind; across records only.
    pub kind: Option<Of>,
    /// Of this record; across records only.
    pub record: Option<RecordRef>,
    /// Of the record and about it: also events of others that speak of it.
    pub related: bool,
    /// Of this name, such as `Renamed`.
    pub event: Option<String>,
    /// That may have changed this field; that did, where events tell only that they may have changed one of several, as of source
    /// values and of what is known of a recording.
    pub field: Option<String>,
    /// Recorded then or later.
    pub from: Option<DateTime<Utc>>,
    /// Recorded before then.
    pub to: Option<DateTime<Utc>>,
    /// From this source.
    pub source: Option<String>,
    /// From an address of this network, or from this address.
    pub address: Option<Network>,
    /// From this program.
    pub program: Option<String>,
    /// Of this conversation.
    pub correlation: Option<Uuid>,
    /// With all of these words in what they say or in the names of those that they are about; across records only.
    pub text: Option<String>,
}

/// What entries are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Records of a kind.
    Records(Kind),
    /// Imports: rows of a legacy file that belong to no record.
    Imports,
}

impl Of {
    /// All there is.
    pub fn all() -> impl Iterator<Item = Self> {
        Kind::ALL.iter().copied().map(Self::Records).chain([Self::Imports])
    }

    /// Its name, which is that of the type of the streams.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Records(kind) => kind.as_str(),
            Self::Imports => import::STREAM_TYPE,
        }
    }

    /// What has this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::all().find(|of| of.as_str() == name)
    }

    /// All names, for whoever has none of them.
    pub fn names() -> String {
        Self::all().map(Self::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// Some entries, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<HistoryEntry>,
    /// The cursor of the next page; `None` if there is none.
    pub next: Option<i64>,
    /// Streams that a search across records does not find from some event on, since it cannot be read.
    pub missing: Vec<String>,
}

/// Tells what has happened. Clones share everything.
#[derive(Clone)]
pub struct History {
    database: Database,
    log: Arc<LogReader>,
}

impl History {
    /// Of what is in the log of this database.
    pub fn new(database: Database) -> Self {
        let log = Arc::new(LogReader::new(database.keys().clone()));
        Self { database, log }
    }

    /// What these entries' records, and those they speak of, are called now.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn names(&self, entries: &[HistoryEntry]) -> Result<Names, DatabaseError> {
        Names::of_entries(&self.database, entries).await
    }

    /// Whether anything ever happened to a record.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn knows(&self, record: RecordRef) -> Result<bool, DatabaseError> {
        let question = sqlx::query_scalar(
            "select exists (select from events where aggregate_type = $1 and aggregate_id = $2)",
        )
        .bind(record.kind().as_str())
        .bind(record.id().to_string());
        self.database.ask(question.fetch_one(&self.database.pool)).await
    }

    /// What has happened to one record, newest first: the entries before the cursor, at most so many. What else than
    /// the record's own events is asked for, `related` or `text`, is found as [`History::across`] finds it.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn of_record(
        &self,
        record: RecordRef,
        selection: &Selection,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page, DatabaseError> {
        if selection.needs_search() {
            let selection = Selection { record: Some(record), ..selection.clone() };
            return self.across(&selection, cursor, limit).await;
        }
        let before = cursor.map(|cursor| cursor.saturating_sub(1));
        let reading = async {
            let mut connection = self.database.pool.acquire().await?;
            life::of(&mut connection, &self.log, record, before).await
        };
        let entries = self.database.ask(reading).await?;
        let passing = entries.iter().rev().filter(|entry| selection.passes(entry));
        // Which of them changed just this one is only known once they are told.
        let most = if selection.part().is_some() { usize::MAX } else { limit + 1 };
        let chosen = passing.map(|entry| entry.position).take(most).collect();
        let mut entries = tell::stream(record, entries, &chosen);
        entries.retain(|entry| selection.is_told(entry));
        entries.reverse();
        let next = take_next(&mut entries, limit, |entry| entry.position);
        Ok(Page { entries, next, missing: vec![] })
    }

    /// What has happened to all records, newest first: the entries before the cursor, at most so many. They are found in
    /// the read model `audit`, which may be a moment behind the log.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn across(
        &self,
        selection: &Selection,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page, DatabaseError> {
        if selection.part().is_some() {
            return self.sifted(selection, cursor, limit).await;
        }
        let mut found = self.database.ask(self.find(selection, cursor, limit + 1)).await?;
        let next = take_next(&mut found.positions, limit, |position| *position);
        let missing = std::mem::take(&mut found.missing);
        let entries = self.tell(found).await?;
        Ok(Page { entries, next, missing })
    }

    /// Likewise, of what can be found the entries that turn out to have changed the field. Where those are rare, a page may
    /// have fewer than it could, or none, and others follow all the same.
    async fn sifted(
        &self,
        selection: &Selection,
        mut cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page, DatabaseError> {
        /// So many are looked through for one page, in so many steps.
        const STEP: usize = 500;
        const STEPS: usize = 4;
        let mut page = Page::default();
        for _ in 0..STEPS {
            let asking = self.find(selection, cursor, STEP + 1);
            let mut found = self.database.ask(asking).await?;
            cursor = take_next(&mut found.positions, STEP, |position| *position);
            page.missing = std::mem::take(&mut found.missing);
            let told = self.tell(found).await?;
            page.entries.extend(told.into_iter().filter(|entry| selection.is_told(entry)));
            if page.entries.len() > limit || cursor.is_none() {
                break;
            }
        }
        let more = take_next(&mut page.entries, limit, |entry| entry.position);
        page.next = more.or(cursor);
        Ok(page)
    }

    /// When an entry was recorded; `None` if there is none at this position.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn recorded_at(&self, position: i64) -> Result<Option<DateTime<Utc>>, DatabaseError> {
        let statement = format!("select {RECORDED_AT} from events where position = $1");
        let question = sqlx::query_scalar(&statement);
        self.database.ask(question.bind(position).fetch_optional(&self.database.pool)).await
    }

    /// What was found, newest first.
    async fn tell(&self, found: Found) -> Result<Vec<HistoryEntry>, DatabaseError> {
        let mut chosen: BTreeSet<i64> = found.positions.into_iter().collect();
        let mut told = Vec::with_capacity(chosen.len());
        if let Some(Visited { fund, life, arrivals }) = found.visited {
            let fund = RecordRef::Fund(fund);
            let of_fund =
                |entry: &&Entry| life::is_own(fund, entry) || arrivals.contains(&entry.position);
            let in_life: BTreeSet<i64> =
                life.iter().filter(of_fund).map(|entry| entry.position).collect();
            let of_fund = chosen.intersection(&in_life).copied().collect();
            chosen.retain(|position| !in_life.contains(position));
            told = tell::stream(fund, life, &of_fund);
        }
        if !chosen.is_empty() {
            told.extend(self.tell_at(&chosen).await?);
        }
        told.sort_by_key(|entry| std::cmp::Reverse(entry.position));
        Ok(told)
    }

    /// The entries at these positions, newest first, each as of the record whose event it is.
    async fn tell_at(&self, chosen: &BTreeSet<i64>) -> Result<Vec<HistoryEntry>, DatabaseError> {
        self.database.ask(tell::positions(&self.log, &self.database.pool, chosen)).await
    }
}

/// Of one more than wanted: the cursor of the page after them, if there is one.
fn take_next<T>(chosen: &mut Vec<T>, limit: usize, position: impl Fn(&T) -> i64) -> Option<i64> {
    let has_more = chosen.len() > limit;
    chosen.truncate(limit);
    chosen.last().map(position).filter(|_| has_more)
}

impl Selection {
    /// Whether where entries come from is asked for.
    pub fn is_of_origin(&self) -> bool {
        self.address.is_some() || self.program.is_some()
    }

    /// Whether what passes of one record has to be searched for; else its history tells.
    pub fn needs_search(&self) -> bool {
        self.related || self.text.is_some()
    }

    /// Whether an entry of the record passes what does not need a search.
    fn passes(&self, entry: &Entry) -> bool {
        let who = &entry.envelope;
        let is = |wanted: &Option<String>, value: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| value == Some(wanted))
        };
        is(&self.actor, Some(&who.actor))
            && is(&self.source, who.source.as_deref())
            && self
                .address
                .is_none_or(|network| who.client.as_deref().is_some_and(|it| network.has(it)))
            && is(&self.program, who.user_agent.as_deref())
            && is(&self.event, Some(&entry.event_type))
            && self.correlation.is_none_or(|wanted| wanted == who.correlation_id)
            && self.from.is_none_or(|from| who.recorded_at >= from)
            && self.to.is_none_or(|to| who.recorded_at < to)
            && self.field.as_deref().is_none_or(|field| touches(entry, field))
    }

    /// The field, if events that may have changed it go by the name of several.
    fn part(&self) -> Option<&str> {
        self.field.as_deref().filter(|field| touched_name(field) != *field)
    }

    /// Whether what is told of an entry passes: that it may have changed such a field does not say that it did.
    fn is_told(&self, entry: &HistoryEntry) -> bool {
        self.part().is_none_or(|part| entry.changes.iter().any(|change| change.field == part))
    }
}

/// A field by the name under which events say that they touch it: source values go by one name together, and so does all
/// that is known of recordings.
fn touched_name(field: &str) -> &str {
    match field.split_once('.') {
        Some((part @ ("legacy" | "recordings"), _)) => part,
        _ => field,
    }
}

fn touches(entry: &Entry, field: &str) -> bool {
    let field = touched_name(field);
    entry.event.as_ref().is_ok_and(|event| event.touched().contains(&field))
}
