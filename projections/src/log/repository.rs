//! cqrs-es's view of the log for one command: postgres-es loads, the appender persists.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::persist::{
    PersistedEventRepository, PersistenceError, ReplayStream, SerializedEvent, SerializedSnapshot,
};
use postgres_es::PostgresEventRepository;
use serde_json::Value;
use uuid::Uuid;

use super::appender::{Append, AppendError, Appender, NewKey};
use super::{CommandRequest, NewEvent};

/// Lives as long as one attempt at one command; clones share it.
#[derive(Clone)]
pub(super) struct CommandRepository(Arc<Attempt>);

struct Attempt {
    stored: PostgresEventRepository,
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
    position: i64,
    failure: Option<AppendError>,
}

impl CommandRepository {
    pub(super) fn new(
        stored: PostgresEventRepository,
        appender: Appender,
        request: CommandRequest,
        fresh: bool,
    ) -> Self {
        Self(Arc::new(Attempt { stored, appender, request, fresh, state: Mutex::default() }))
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

impl PersistedEventRepository for CommandRepository {
    async fn get_events<A: Aggregate>(
        &self,
        id: &str,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        if self.0.fresh {
            return Ok(vec![]);
        }
        self.0.stored.get_events::<A>(id).await
    }

    async fn get_last_events<A: Aggregate>(
        &self,
        id: &str,
        last_sequence: usize,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        self.0.stored.get_last_events::<A>(id, last_sequence).await
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
        let events = events.map(|event| new_event(event, &self.0.request)).collect();
        match self.0.appender.append(Append { events, key }).await {
            Ok(position) => {
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
        self.0.stored.stream_events::<A>(id).await
    }

    /// Refuses: postgres-es orders by sequence, not by time, and takes a lost connection for the end. The log is
    /// read through [`super::LogReader`].
    async fn stream_all_events<A: Aggregate>(&self) -> Result<ReplayStream, PersistenceError> {
        Err(PersistenceError::UnknownError("the log is read in position order only".into()))
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
