//! cqrs-es's view of the log for one command: postgres-es loads, the appender persists.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::persist::{
    PersistedEventRepository, PersistenceError, ReplayStream, SerializedEvent, SerializedSnapshot,
};
use domain::{Event, Kind};
use futures::FutureExt as _;
use postgres_es::PostgresEventRepository;
use serde_json::Value;
use uuid::Uuid;

use super::appender::{Append, AppendError, Appender, Erasure, NewKey};
use super::cipher::{OpenError, Place, StreamKey};
use super::keys::{self, Known};
use super::reader::ERASURE;
use super::states::Remembered;
use super::{Claim, CommandRequest, NewEvent};
use crate::database::Database;
use crate::panic;

/// Lives as long as one attempt at one command; clones share it.
#[derive(Clone)]
pub(super) struct CommandRepository(Arc<Attempt>);

struct Attempt {
    stored: Arc<PostgresEventRepository>,
    database: Database,
    appender: Appender,
    request: CommandRequest,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Up to where the stream is known, so that only what follows is loaded.
    since: Option<Anchor>,
    /// The id of the last event that was appended to it.
    last: Option<Uuid>,
    companions: Vec<SerializedEvent>,
    key: Option<NewKey>,
    /// What the stream's events are sealed under, if any of them is.
    stream_key: Option<Arc<StreamKey>>,
    /// Whether content of the stream is stored in plain, by an earlier release.
    has_plain_content: bool,
    leftovers: Vec<String>,
    claim: Option<Claim>,
    position: i64,
    failure: Option<AppendError>,
}

impl CommandRepository {
    pub(super) fn new(
        database: Database,
        stored: Arc<PostgresEventRepository>,
        appender: Appender,
        request: CommandRequest,
    ) -> Self {
        let state = Mutex::default();
        Self(Arc::new(Attempt { stored, database, appender, request, state }))
    }

    /// Goes on where the record is remembered.
    pub(super) fn resume<A>(&self, remembered: &Remembered<A>) {
        self.with(|state| {
            state.since = Some((remembered.sequence, remembered.event_id));
            state.stream_key.clone_from(&remembered.key);
            state.has_plain_content = remembered.has_plain_content;
        });
    }

    /// Whether the stream was loaded only from there on.
    pub(super) fn has_resumed(&self) -> bool {
        self.with(|state| state.since.is_some())
    }

    /// What the next command can go on with, once this one has led to this; `None` if the last event is not known by id.
    pub(super) fn remembered<A>(
        &self,
        aggregate: A,
        files: BTreeSet<String>,
        sequence: usize,
    ) -> Option<Remembered<A>> {
        self.with(|state| {
            let (key, has_plain_content) = (state.stream_key.clone(), state.has_plain_content);
            let unchanged = state.since.filter(|(since, _)| *since == sequence);
            let event_id = state.last.or(unchanged.map(|(_, event_id)| event_id))?;
            Some(Remembered { aggregate, sequence, event_id, files, key, has_plain_content })
        })
    }

    /// Learns which event the loaded stream ends with, and tells whether it is known now.
    pub(super) async fn is_anchored<A: Aggregate>(&self, id: &str, sequence: usize) -> bool {
        if self.with(|state| state.since.is_some_and(|(since, _)| since == sequence)) {
            return true;
        }
        let asking = sqlx::query_scalar(
            "select event_id from events where aggregate_type = $1 and aggregate_id = $2 and sequence = $3",
        )
        .bind(A::TYPE)
        .bind(id)
        .bind(i64::try_from(sequence).unwrap_or(i64::MAX))
        .fetch_one(&self.0.database.pool);
        self.0.database.ask(asking).await.is_ok_and(|last| {
            self.with(|state| state.since = Some((sequence, last)));
            true
        })
    }

    /// Whether content of the loaded stream is stored in plain and would outlive the stream's key.
    pub(super) fn has_plain_content(&self) -> bool {
        self.with(|state| state.has_plain_content)
    }

    /// Learns that of a stream that was not loaded as a whole.
    pub(super) fn tell_of_plain_content(&self, has_plain_content: bool) {
        self.with(|state| state.has_plain_content = has_plain_content);
    }

    /// Files of the record that have to be removed when it is erased.
    pub(super) fn leave(&self, leftovers: Vec<String>) {
        self.with(|state| state.leftovers = leftovers);
    }

    /// What the command means for who has which Notion id.
    pub(super) fn claim(&self, claim: Option<Claim>) {
        self.with(|state| state.claim = claim);
    }

    /// Events of another stream that are appended together with the command's own, or not at all.
    pub(super) fn accompany(&self, companions: Vec<SerializedEvent>) {
        self.with(|state| state.companions = companions);
    }

    /// The idempotency key to record with the events.
    pub(super) fn record_key(&self, key: NewKey) {
        self.with(|state| state.key = Some(key));
    }

    /// The position of the last event of the command itself.
    pub(super) fn position(&self) -> i64 {
        self.with(|state| state.position)
    }

    /// Why persisting failed, more exactly than the framework can say.
    pub(super) fn take_failure(&self) -> Option<AppendError> {
        self.with(|state| state.failure.take())
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl CommandRepository {
    /// Opens what is sealed. Of a stream that was erased only the events that were never sealed are left.
    async fn open<A: Aggregate>(
        &self,
        id: &str,
        mut events: Vec<SerializedEvent>,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        let Some(kind) = keys::personal(A::TYPE).filter(|_| !events.is_empty()) else {
            return Ok(events);
        };
        let is_plain = |event: &SerializedEvent| sealed_content(event).is_none();
        let has_plain_content =
            events.iter().any(|event| is_plain(event) && !Event::is_plain(&event.event_type));
        if events.iter().any(|event| event.event_type == ERASURE) {
            self.0.database.keys().forget(kind, id);
            events.retain(is_plain);
            return Ok(events);
        }
        let opened = match self.key(kind, id).await? {
            Some(Known::Key(key)) => {
                self.with(|state| state.stream_key = Some(key.clone()));
                events.iter_mut().try_for_each(|event| unseal(event, &key))
            }
            // Erased this very moment: what is appended to it now will find its version taken.
            Some(Known::Destroyed) => {
                events.retain(is_plain);
                Ok(())
            }
            Some(Known::Shut(master)) => Err(OpenError::Wrapped(master)),
            None if events.iter().all(is_plain) => Ok(()),
            None => Err(OpenError::NoKey),
        };
        self.with(|state| state.has_plain_content |= has_plain_content);
        let unreadable = |error| PersistenceError::DeserializationError(Box::new(error));
        opened.map(|()| events).map_err(unreadable)
    }

    /// What the stream is sealed under.
    async fn key(&self, kind: Kind, id: &str) -> Result<Option<Known>, PersistenceError> {
        let (keys, pool) = (self.0.database.keys(), &self.0.database.pool);
        if let Some(key) = self.with(|state| state.stream_key.clone()).or(keys.kept(kind, id)) {
            return Ok(Some(Known::Key(key)));
        }
        let asking = async {
            let mut connection = pool.acquire().await?;
            let ring = keys.ring(&mut connection, std::iter::once((kind, id))).await?;
            Ok(ring.get(kind, id).cloned())
        };
        asking.await.map_err(failed)
    }

    /// The whole stream by postgres-es, which panics where Postgres takes for JSON what Rust does not: half a surrogate pair.
    async fn all_events<A: Aggregate>(
        &self,
        id: &str,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        let loading = AssertUnwindSafe(self.0.stored.get_events::<A>(id)).catch_unwind();
        loading.await.unwrap_or_else(|caught| {
            Err(PersistenceError::DeserializationError(panic::text(&*caught).into()))
        })
    }

    /// What the stream has after an event, up to the last of which it is then known; `None` if that event is not in the log.
    async fn later_events(
        &self,
        kind: &str,
        id: &str,
        (since, event_id): Anchor,
    ) -> Result<Option<Vec<SerializedEvent>>, PersistenceError> {
        let rows: Vec<StoredEvent> = sqlx::query_as(
            "select event_id, sequence, event_type, event_version, metadata,
                    case when sequence > $3 then payload else 'null'::json end
             from events where aggregate_type = $1 and aggregate_id = $2 and sequence >= $3 order by sequence",
        )
        .bind(kind)
        .bind(id)
        .bind(i64::try_from(since).unwrap_or(i64::MAX))
        .fetch_all(&self.0.database.pool)
        .await
        .map_err(failed)?;
        let mut rows = rows.into_iter();
        if rows.next().is_none_or(|(first, ..)| first != event_id) {
            return Ok(None);
        }
        let mut last = (since, event_id);
        let event = |(event_id, sequence, event_type, version, metadata, payload): StoredEvent| {
            let (kind, id) = (kind.to_owned(), id.to_owned());
            let sequence = usize::try_from(sequence).unwrap_or_default();
            last = (sequence, event_id);
            SerializedEvent::new(id, sequence, kind, event_type, version, payload, metadata)
        };
        let events = rows.map(event).collect();
        self.with(|state| state.since = Some(last));
        Ok(Some(events))
    }

    /// Seals what must not be stored in plain. The first such event of a stream makes its key; an erasure destroys it.
    fn seal(&self, append: &mut Append) {
        let keys = self.0.database.keys();
        let mut key = self.with(|state| state.stream_key.clone());
        for event in &mut append.events {
            if event.event_type == ERASURE && keys::personal(event.aggregate_type).is_some() {
                append.erasure = Some(Erasure {
                    aggregate_type: event.aggregate_type,
                    aggregate_id: event.aggregate_id.clone(),
                    leftovers: self.with(|state| std::mem::take(&mut state.leftovers)),
                });
            }
            let Some(kind) = event.personal() else { continue };
            let key = key.get_or_insert_with(|| {
                let made = keys.make(kind, &event.aggregate_id);
                append.stream_keys.push(made.clone());
                made.key
            });
            event.payload = event.sealed(Some(key)).into_owned();
        }
    }
}

/// An event as it is stored.
type StoredEvent = (Uuid, i64, String, String, Value, Value);

/// An event that is known: its place in the stream, and its id.
type Anchor = (usize, Uuid);

fn failed(error: sqlx::Error) -> PersistenceError {
    PersistenceError::ConnectionError(Box::new(error))
}

/// What is sealed of a payload, if anything is.
fn sealed_content(event: &SerializedEvent) -> Option<&str> {
    event.payload.get("sealed")?.as_str()
}

fn unseal(event: &mut SerializedEvent, key: &StreamKey) -> Result<(), OpenError> {
    let Some(sealed) = sealed_content(event) else { return Ok(()) };
    let place = Place {
        aggregate_type: &event.aggregate_type,
        aggregate_id: &event.aggregate_id,
        sequence: i64::try_from(event.sequence).unwrap_or(i64::MAX),
        event_type: &event.event_type,
    };
    let payload = key.open_content(place, sealed)?;
    event.payload = serde_json::from_str(&payload).map_err(|_| OpenError::Unknown)?;
    Ok(())
}

impl PersistedEventRepository for CommandRepository {
    async fn get_events<A: Aggregate>(
        &self,
        id: &str,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        let later = match self.with(|state| state.since) {
            Some(known) => self.later_events(A::TYPE, id, known).await?,
            None => None,
        };
        let events = match later {
            Some(events) => events,
            None => {
                self.with(|state| (state.since, state.stream_key) = (None, None));
                self.all_events::<A>(id).await?
            }
        };
        self.open::<A>(id, events).await
    }

    async fn get_last_events<A: Aggregate>(
        &self,
        id: &str,
        last_sequence: usize,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        let events = self.0.stored.get_last_events::<A>(id, last_sequence).await?;
        self.open::<A>(id, events).await
    }

    /// No snapshots are stored: long streams are remembered in memory, and the log is the one source of truth.
    async fn get_snapshot<A: Aggregate>(
        &self,
        _: &str,
    ) -> Result<Option<SerializedSnapshot>, PersistenceError> {
        Ok(None)
    }

    async fn persist<A: Aggregate>(
        &self,
        events: &[SerializedEvent],
        _: Option<(String, Value, usize)>,
    ) -> Result<(), PersistenceError> {
        let (companions, key) =
            self.with(|state| (std::mem::take(&mut state.companions), state.key.take()));
        if events.is_empty() && key.is_none() {
            return Ok(());
        }
        // The command's own events come last, so that its position covers everything it caused.
        let events = companions.iter().chain(events);
        let mut events: Vec<NewEvent> =
            events.map(|event| new_event(event, &self.0.request)).collect();
        name_the_cause(&mut events, companions.len());
        let (claim, last) =
            self.with(|state| (state.claim.take(), events.last().map(|event| event.event_id)));
        let mut append = Append { events, key, claim, ..Append::default() };
        self.seal(&mut append);
        let made: Vec<_> = append.stream_keys.clone();
        let erased = append.erasure.clone();
        match self.0.appender.append(append).await {
            Ok(position) => {
                let keys = self.0.database.keys();
                for new in made {
                    if let Some(kind) = keys::personal(new.aggregate_type) {
                        keys.remember(kind, &new.aggregate_id, new.key.clone());
                        self.with(|state| state.stream_key = Some(new.key));
                    }
                }
                if let Some(erased) = erased
                    && let Some(kind) = keys::personal(erased.aggregate_type)
                {
                    keys.forget(kind, &erased.aggregate_id);
                }
                self.with(|state| (state.position, state.last) = (position, last));
                Ok(())
            }
            Err(error) => {
                let told = match &error {
                    AppendError::StreamMoved => PersistenceError::OptimisticLockError,
                    other => PersistenceError::ConnectionError(other.to_string().into()),
                };
                self.with(|state| state.failure = Some(error));
                Err(told)
            }
        }
    }

    async fn stream_events<A: Aggregate>(
        &self,
        id: &str,
    ) -> Result<ReplayStream, PersistenceError> {
        let events = self.get_events::<A>(id).await?;
        let (mut feed, stream) = ReplayStream::new(events.len().max(1));
        for event in events {
            feed.push(Ok(event)).await?;
        }
        Ok(stream)
    }

    /// Refuses: postgres-es orders by sequence, not by time, and takes a lost connection for the end. The log is
    /// read through [`super::LogReader`].
    async fn stream_all_events<A: Aggregate>(&self) -> Result<ReplayStream, PersistenceError> {
        Err(PersistenceError::UnknownError("the log is read in position order only".into()))
    }
}

/// What accompanies a command follows from the event that completed a todo, else from the command's first.
fn name_the_cause(events: &mut [NewEvent], companions: usize) {
    let (companions, own) = events.split_at_mut(companions);
    let completed = own.iter().find(|event| event.event_type == "Completed");
    if let Some(cause) = completed.or(own.first()) {
        companions.iter_mut().for_each(|companion| companion.causation_id = Some(cause.event_id));
    }
}

fn new_event(event: &SerializedEvent, request: &CommandRequest) -> NewEvent {
    NewEvent {
        aggregate_type: domain::Kind::parse(&event.aggregate_type).map_or("", |kind| kind.as_str()),
        aggregate_id: event.aggregate_id.clone(),
        sequence: i64::try_from(event.sequence).unwrap_or(i64::MAX),
        event_type: event.event_type.clone(),
        event_version: event.event_version.clone(),
        payload: event.payload.to_string(),
        metadata: event.metadata.to_string(),
        event_id: Uuid::now_v7(),
        command_id: request.command_id,
        correlation_id: request.correlation_id,
        causation_id: request.causation_id,
        actor: request.actor.clone(),
        occurred_at: None::<DateTime<Utc>>,
    }
}
