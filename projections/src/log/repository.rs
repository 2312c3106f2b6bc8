//! cqrs-es's view of the log for one command: postgres-es loads, the appender persists.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::persist::{
    PersistedEventRepository, PersistenceError, ReplayStream, SerializedEvent, SerializedSnapshot,
};
use domain::Event;
use postgres_es::PostgresEventRepository;
use serde_json::Value;
use uuid::Uuid;

use super::appender::{Append, AppendError, Appender, Erasure, NewKey};
use super::cipher::{OpenError, Place, StreamKey};
use super::keys::{self, Known};
use super::reader::ERASURE;
use super::{Claim, CommandRequest, NewEvent};
use crate::database::Database;

/// Lives as long as one attempt at one command; clones share it.
#[derive(Clone)]
pub(super) struct CommandRepository(Arc<Attempt>);

struct Attempt {
    stored: PostgresEventRepository,
    database: Database,
    appender: Appender,
    request: CommandRequest,
    /// The id was drawn for this very command, so there is nothing to load.
    fresh: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
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
        appender: Appender,
        request: CommandRequest,
        fresh: bool,
    ) -> Self {
        let stored = PostgresEventRepository::new(database.pool.clone());
        let state = Mutex::default();
        Self(Arc::new(Attempt { stored, database, appender, request, fresh, state }))
    }

    /// Whether content of the loaded stream is stored in plain and would outlive the stream's key.
    pub(super) fn has_plain_content(&self) -> bool {
        self.with(|state| state.has_plain_content)
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
        let (database, stored) = (&self.0.database, sealed_payload);
        let is_plain_content = |event: &SerializedEvent| {
            stored(event).is_none() && !Event::is_plain(&event.event_type)
        };
        let has_plain_content = events.iter().any(is_plain_content);
        if events.iter().any(|event| event.event_type == ERASURE) {
            database.keys().forget(kind, id);
            events.retain(|event| stored(event).is_none());
            return Ok(events);
        }
        let failed = |error: sqlx::Error| PersistenceError::ConnectionError(Box::new(error));
        let ring = {
            let mut connection = database.pool.acquire().await.map_err(failed)?;
            let stream = std::iter::once((kind, id));
            database.keys().ring(&mut connection, stream).await.map_err(failed)?
        };
        let opened = match ring.get(kind, id) {
            Some(Known::Key(key)) => {
                self.with(|state| state.stream_key = Some(key.clone()));
                events.iter_mut().try_for_each(|event| unseal(event, key))
            }
            // Erased this very moment: what is appended to it now will find its version taken.
            Some(Known::Destroyed) => {
                events.retain(|event| stored(event).is_none());
                Ok(())
            }
            Some(Known::Shut(master)) => Err(OpenError::Wrapped(master.clone())),
            None if events.iter().all(|event| stored(event).is_none()) => Ok(()),
            None => Err(OpenError::NoKey),
        };
        self.with(|state| state.has_plain_content = has_plain_content);
        let unreadable = |error| PersistenceError::DeserializationError(Box::new(error));
        opened.map(|()| events).map_err(unreadable)
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

/// The text of a sealed payload.
fn sealed_payload(event: &SerializedEvent) -> Option<String> {
    let text = event.payload.get("sealed").filter(|sealed| sealed.is_string())?;
    Some(format!("{{\"sealed\":{text}}}"))
}

fn unseal(event: &mut SerializedEvent, key: &StreamKey) -> Result<(), OpenError> {
    let Some(sealed) = sealed_payload(event) else { return Ok(()) };
    let place = Place {
        aggregate_type: &event.aggregate_type,
        aggregate_id: &event.aggregate_id,
        sequence: i64::try_from(event.sequence).unwrap_or(i64::MAX),
        event_type: &event.event_type,
    };
    let payload = key.open(place, &sealed)?;
    event.payload = serde_json::from_str(&payload).map_err(|_| OpenError::Unknown)?;
    Ok(())
}

impl PersistedEventRepository for CommandRepository {
    async fn get_events<A: Aggregate>(
        &self,
        id: &str,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        if self.0.fresh {
            return Ok(vec![]);
        }
        let events = self.0.stored.get_events::<A>(id).await?;
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

    /// There are no snapshots: streams are short, and the log is the one source of truth.
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
        let claim = self.with(|state| state.claim.take());
        let mut append = Append { events, key, claim, ..Append::default() };
        self.seal(&mut append);
        let made: Vec<_> = append.stream_keys.clone();
        let erased = append.erasure.clone();
        match self.0.appender.append(append).await {
            Ok(position) => {
                let keys = self.0.database.keys();
                for new in made {
                    if let Some(kind) = keys::personal(new.aggregate_type) {
                        keys.remember(kind, &new.aggregate_id, new.key);
                    }
                }
                if let Some(erased) = erased
                    && let Some(kind) = keys::personal(erased.aggregate_type)
                {
                    keys.forget(kind, &erased.aggregate_id);
                }
                self.with(|state| state.position = position);
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
