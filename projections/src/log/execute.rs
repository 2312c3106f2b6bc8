//! From a command to its events in the log.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{EventStoreAggregateContext, PersistedEventStore, SerializedEvent};
use cqrs_es::{
    Aggregate, AggregateContext as _, AggregateError, DomainEvent as _, EventEnvelope,
    EventStore as _,
};
use domain::note::RecordingId;
use domain::todo::{Todo, TodoEvent};
use domain::{Kind, RecordRef, Refusal, TodoId};
use postgres_es::PostgresEventRepository;
use tokio::sync::watch;
use tracing::Instrument as _;

use super::MASTER_REPLACED;
use super::appender::{AppendError, Appender, NewKey};
use super::claims::Claim;
use super::executable::Executable;
use super::ids::Ids;
use super::in_plain::InPlain;
use super::reader::{ERASURE, LogReader};
use super::repository::CommandRepository;
use super::request::{CommandError, CommandRequest, Receipt, metadata, outcome};
use super::states::{Remembered, States};
use super::turns::Turns;
use crate::database::Database;

/// Counter: commands by `kind` of record, `command` and `outcome`.
pub const COMMANDS: &str = "crm_commands_total";

/// The write side of the log.
#[derive(Clone)]
pub struct EventLog {
    pub(super) database: Database,
    /// Loads streams.
    stored: Arc<PostgresEventRepository>,
    appender: Appender,
    ids: Ids,
    /// Ids drawn but not yet used: their streams need not be loaded.
    fresh: Arc<Mutex<HashSet<(Kind, i64)>>>,
    turns: Turns<(Kind, i64)>,
    head: watch::Receiver<i64>,
}

impl EventLog {
    /// How often a command is decided anew when others change the record at the same time. Nobody takes turns with other
    /// processes: against one that writes without a pause about every second attempt fails.
    pub const ATTEMPTS: usize = 50;

    /// Starts the write side.
    pub fn start(database: Database) -> Self {
        let (position, head) = watch::channel(0);
        let appender = Appender::start(database.clone(), move |last| {
            position.send_if_modified(|head| {
                let further = last > *head;
                *head = last.max(*head);
                further
            });
        });
        let ids = Ids::start(database.clone());
        let stored = Arc::new(PostgresEventRepository::new(database.pool.clone()));
        let (fresh, turns) = (Arc::default(), Turns::default());
        Self { database, stored, appender, ids, fresh, turns, head }
    }

    /// The last position that this process appended: what wakes the projectors without a flight to the database.
    pub fn head(&self) -> watch::Receiver<i64> {
        self.head.clone()
    }

    /// The database that the log is in.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The appender itself, for measuring it.
    pub fn appender(&self) -> &Appender {
        &self.appender
    }

    /// An id that no record of this kind has or ever had, unless an import brings one with that very id before it is used.
    ///
    /// # Errors
    /// [`CommandError::Unavailable`] when the database cannot be reached.
    pub async fn fresh_id(&self, kind: Kind) -> Result<i64, CommandError> {
        let id = self.ids.draw(kind).await?;
        // Imported records may have such ids; nothing new gets one, whatever has become of the sequence.
        if id < 1 {
            let what = format!("the database drew {id} as the id of a new {kind}");
            return Err(CommandError::Internal(anyhow::anyhow!(what)));
        }
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        // Ids of commands that failed are never used; forgetting one only costs a needless load.
        if fresh.len() > 10_000 {
            fresh.clear();
        }
        fresh.insert((kind, id));
        Ok(id)
    }

    /// An id that no recording of any note has or ever had.
    ///
    /// # Errors
    /// [`CommandError::Unavailable`] when the database cannot be reached.
    pub async fn fresh_recording_id(&self) -> Result<RecordingId, CommandError> {
        let drawing = sqlx::query_scalar("select nextval('recording_id')");
        Ok(RecordingId(self.database.ask(drawing.fetch_one(&self.database.pool)).await?))
    }

    /// Whether the id was drawn and not used yet; from now on it counts as used.
    fn take_fresh(&self, kind: Kind, id: i64) -> bool {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).remove(&(kind, id))
    }

    /// Carries out a command that begins a record, under a fresh id. If an import was faster to use that id, under another.
    ///
    /// # Errors
    /// As [`EventLog::execute`].
    pub async fn register<A: Executable>(
        &self,
        command: A::Command,
        request: &CommandRequest,
    ) -> Result<Receipt, CommandError>
    where
        A::Command: Clone + Send,
    {
        for _ in 0..Self::ATTEMPTS {
            let id = self.fresh_id(A::KIND).await?;
            match self.execute::<A>(id, command.clone(), request).await {
                Err(CommandError::Refused(Refusal::AlreadyRegistered)) => {}
                result => return result,
            }
        }
        Err(CommandError::Conflict)
    }

    /// Decides the command on the record's present state and appends what it leads to.
    ///
    /// # Errors
    /// See [`CommandError`]; in every case but `Unavailable` nothing was recorded.
    pub async fn execute<A: Executable>(
        &self,
        id: i64,
        command: A::Command,
        request: &CommandRequest,
    ) -> Result<Receipt, CommandError>
    where
        A::Command: Clone + Send,
    {
        let kind = A::KIND.as_str();
        // Whatever is logged, and at whichever level, says which request it is about.
        let span = tracing::error_span!(
            "command",
            command = request.name,
            kind,
            id,
            correlation = %request.correlation_id,
        );
        let result = self.carry_out::<A>(id, command, request).instrument(span.clone()).await;
        let outcome = outcome(&result);
        span.in_scope(|| tracing::debug!(outcome, "carried out"));
        metrics::counter!(COMMANDS, "kind" => kind, "command" => request.name, "outcome" => outcome)
            .increment(1);
        result
    }

    async fn carry_out<A: Executable>(
        &self,
        id: i64,
        command: A::Command,
        request: &CommandRequest,
    ) -> Result<Receipt, CommandError>
    where
        A::Command: Clone + Send,
    {
        self.database.check()?;
        let fresh = self.take_fresh(A::KIND, id);
        // Whoever changes the same record in this process waits, instead of being told again and again that it has moved
        // on. Other processes may still be faster, and their changes are found at the append.
        let _turn = self.turns.take((A::KIND, id)).await;
        let mut view = if fresh { View::Nothing } else { View::Whole };
        for _ in 0..Self::ATTEMPTS {
            let result = self.attempt::<A>(id, command.clone(), request, view).await;
            if view == View::Nothing {
                view = View::Whole;
            }
            match (result, request.if_match) {
                (Err(CommandError::Conflict), None) => tokio::task::yield_now().await,
                (Err(CommandError::Conflict), Some(version)) => {
                    return Err(CommandError::VersionMismatch { current: version + 1 });
                }
                (Err(error @ CommandError::Internal(_)), _) => {
                    let why = self.unreadable(A::KIND.record(id)).await.unwrap_or(error);
                    let is_unreadable = matches!(why, CommandError::Unreadable { .. });
                    let is_decided = is_unreadable && A::is_decided_in_plain(&command);
                    if view == View::InPlain || !is_decided {
                        return Err(why);
                    }
                    view = View::InPlain;
                }
                (result, _) => return result,
            }
        }
        Err(CommandError::Conflict)
    }

    /// The first event of a record that cannot be read, if there is one: then that is why a command on it fails.
    async fn unreadable(&self, record: RecordRef) -> Option<CommandError> {
        let reading = async {
            let mut connection = self.database.pool.acquire().await?;
            let reader = LogReader::new(self.database.keys().clone());
            reader.unreadable_of(&mut connection, record).await
        };
        self.database.ask(reading).await.ok()?
    }

    async fn attempt<A: Executable>(
        &self,
        id: i64,
        command: A::Command,
        request: &CommandRequest,
        view: View,
    ) -> Result<Receipt, CommandError>
    where
        A::Command: Clone + Send,
    {
        let outages = self.database.era();
        let (remembered, era) = self.database.states().take::<A>(A::KIND, id);
        let (store, repository) = self.store::<A>(request);
        let stream = id.to_string();
        let (mut context, mut files) = match view {
            View::Nothing => (new_context(&stream), BTreeSet::new()),
            View::Whole => self.load(&store, &repository, &stream, remembered).await?,
            View::InPlain => self.load_in_plain(&repository, id).await?,
        };
        let version = position(context.current_sequence);
        if request.if_match.is_some_and(|wanted| wanted != version) {
            return Err(CommandError::VersionMismatch { current: version });
        }
        let before = context.aggregate().clone();
        let sink = EventSink::default();
        context.aggregate().handle(command, &(), &sink).await?;
        let events = sink.collect().await;

        let is_erasure = events.iter().any(|event| event.event_type() == ERASURE);
        if A::KIND.is_personal() && is_erasure {
            if repository.has_plain_content() {
                return Err(Refusal::Unsealed.into());
            }
            repository.leave(files.iter().cloned().collect());
        }

        let notion_id = context.aggregate().notion_id();
        let claim = Claim::between(A::KIND.record(id), before.notion_id(), notion_id);
        let notion_id = notion_id.filter(|_| claim.is_some()).map(str::to_owned);
        repository.claim(claim);

        let version = version + position(events.len());
        let metadata = metadata(request);
        let follow_up = before.follow_up(id, &events);
        let next = follow_up.as_ref().map(|(next, _)| *next);
        if let Some((next, events)) = follow_up {
            // Its stream begins here: the first command on it must load it.
            self.take_fresh(Kind::Todo, next.0);
            repository.accompany(first_events(next, &events, &metadata)?);
        }
        if let Some((key, hash)) = &request.idempotency {
            repository.record_key(NewKey {
                key: key.clone(),
                request_hash: hash.to_vec(),
                aggregate_type: A::TYPE,
                aggregate_id: stream.clone(),
                version,
            });
        }
        let recorded = !events.is_empty();
        let loaded = context.current_sequence;
        let sequence = loaded + events.len();
        let is_remembered = view != View::InPlain && States::wants(sequence);
        let after = is_remembered.then(|| context.aggregate().clone());
        let given: Vec<String> = events.iter().flat_map(A::files_of).collect();
        match store.commit(events, context, metadata).await {
            Ok(_) => {
                files.extend(given);
                let state = after.filter(|_| !is_erasure);
                let state = state.and_then(|after| repository.remembered(after, files, sequence));
                if let Some(state) = state {
                    self.database.states().keep(A::KIND, id, state, era);
                }
                let position = recorded.then(|| repository.position());
                Ok(Receipt { id, position, version })
            }
            Err(error) => match repository.take_failure() {
                Some(AppendError::KeyUsed) => self.earlier_receipt(request).await,
                Some(AppendError::NotionIdTaken(owner)) => Err(CommandError::NotionIdTaken {
                    notion_id: notion_id.unwrap_or_default(),
                    owner,
                }),
                Some(AppendError::MasterReplaced) => Err(self.renew_master().await?),
                Some(AppendError::StreamMoved) if self.is_taken(next).await? => {
                    Err(Refusal::NextIdMissing.into())
                }
                failure => {
                    // The next attempt begins here. To load it all again would take so long that others are faster again.
                    if matches!(failure, Some(AppendError::StreamMoved))
                        && view != View::InPlain
                        && States::wants(loaded)
                        && repository.is_anchored::<A>(&stream, loaded).await
                        && outages == self.database.era()
                        && let Some(state) = repository.remembered(before, files, loaded)
                    {
                        self.database.states().keep(A::KIND, id, state, era);
                    }
                    Err(self.explain(error, failure))
                }
            },
        }
    }

    fn store<A: Executable>(
        &self,
        request: &CommandRequest,
    ) -> (PersistedEventStore<CommandRepository, A>, CommandRepository)
    where
        A::Command: Clone + Send,
    {
        let (stored, appender) = (self.stored.clone(), self.appender.clone());
        let repository =
            CommandRepository::new(self.database.clone(), stored, appender, request.clone());
        let store = PersistedEventStore::new_event_store(repository.clone())
            .with_upcasters(domain::upcasters());
        (store, repository)
    }

    async fn events<A: Executable>(
        &self,
        store: &PersistedEventStore<CommandRepository, A>,
        stream: &str,
    ) -> Result<Vec<EventEnvelope<A>>, CommandError>
    where
        A::Command: Clone + Send,
    {
        tokio::time::timeout(Database::PATIENCE, store.load_events(stream))
            .await
            .map_err(|_| CommandError::from(self.database.silent()))?
            .map_err(|error| self.explain(error, None))
    }

    /// The record as its stream has it by now, from where it was remembered on, and the files that any event ever gave to it;
    /// the record itself knows only those that it names now.
    async fn load<A: Executable>(
        &self,
        store: &PersistedEventStore<CommandRepository, A>,
        repository: &CommandRepository,
        stream: &str,
        remembered: Option<Remembered<A>>,
    ) -> Result<(EventStoreAggregateContext<A>, BTreeSet<String>), CommandError>
    where
        A::Command: Clone + Send,
    {
        if let Some(remembered) = &remembered {
            repository.resume(remembered);
        }
        let events = self.events(store, stream).await?;
        let (mut context, mut files) = (new_context(stream), BTreeSet::new());
        if let Some(remembered) = remembered.filter(|_| repository.has_resumed()) {
            context.aggregate = remembered.aggregate;
            context.current_sequence = remembered.sequence;
            files = remembered.files;
        }
        for event in events {
            context.current_sequence = event.sequence;
            files.extend(A::files_of(&event.payload));
            context.aggregate.apply(event.payload);
        }
        Ok((context, files))
    }

    /// The record as its plain events alone tell it, since not all of them can be read, and the files that are known of.
    async fn load_in_plain<A: Executable>(
        &self,
        repository: &CommandRepository,
        id: i64,
    ) -> Result<(EventStoreAggregateContext<A>, BTreeSet<String>), CommandError>
    where
        A::Command: Clone + Send,
    {
        let reading = async {
            let mut connection = self.database.pool.acquire().await?;
            let reader = LogReader::new(self.database.keys().clone());
            reader.in_plain::<A>(&mut connection, id).await
        };
        let told: Option<InPlain<A>> = self.database.ask(reading).await?;
        let none = || CommandError::Internal(anyhow::anyhow!("such a record has no plain events"));
        let mut told = told.ok_or_else(none)?;
        tracing::warn!(
            "not all events of the record can be read; the command is decided by those that stand in plain"
        );
        repository.tell_of_plain_content(told.has_plain_content);
        let files = std::mem::take(&mut told.files);
        Ok((told.context(&id.to_string()), files))
    }

    /// Turns to the master key that the database is under by now; the command can then be decided anew.
    async fn renew_master(&self) -> Result<CommandError, CommandError> {
        let keys = self.database.keys();
        let renewing = async {
            let mut connection = self.database.pool.acquire().await?;
            keys.renew_master(&mut connection).await
        };
        match self.database.ask(renewing).await? {
            true => Ok(CommandError::Conflict),
            false => Err(CommandError::Unavailable(MASTER_REPLACED.to_owned())),
        }
    }

    /// Whether there is a record under the id that a follow-up was to have.
    async fn is_taken(&self, id: Option<TodoId>) -> Result<bool, CommandError> {
        let Some(id) = id else { return Ok(false) };
        let taken = self.database.ask(
            sqlx::query_scalar(
                "select exists (select from events where aggregate_type = $1 and aggregate_id = $2)",
            )
            .bind(Kind::Todo.as_str())
            .bind(id.to_string())
            .fetch_one(&self.database.pool),
        );
        Ok(taken.await?)
    }

    /// What the request led to when it came the first time.
    async fn earlier_receipt(&self, request: &CommandRequest) -> Result<Receipt, CommandError> {
        let Some((key, hash)) = &request.idempotency else {
            return Err(CommandError::Conflict);
        };
        let record = self.recorded_answer(key).await?.ok_or(CommandError::Conflict)?;
        match record.request_hash {
            None => return Err(Refusal::Erased.into()),
            Some(known) if known != hash => return Err(CommandError::KeyReused),
            Some(_) => {}
        }
        let id = record.aggregate_id.parse().map_err(anyhow::Error::from)?;
        Ok(Receipt { id, position: record.position, version: record.version })
    }

    fn explain(
        &self,
        error: AggregateError<Refusal>,
        failure: Option<AppendError>,
    ) -> CommandError {
        if let Some(AppendError::Unavailable(reason)) = failure {
            return CommandError::Unavailable(reason);
        }
        match error {
            AggregateError::UserError(refusal) => CommandError::Refused(refusal),
            AggregateError::AggregateConflict => CommandError::Conflict,
            AggregateError::DatabaseConnectionError(error)
            | AggregateError::DeserializationError(error)
            | AggregateError::UnexpectedError(error) => match error.downcast::<sqlx::Error>() {
                Ok(error) => self.database.judge(*error).into(),
                Err(error) => CommandError::Internal(anyhow::anyhow!(error)),
            },
        }
    }
}

/// What of its record a command is decided by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    /// There is none yet.
    Nothing,
    /// All of its events.
    Whole,
    /// Those that stand in plain, since of the others not all can be read.
    InPlain,
}

/// A record before its first event.
pub(super) fn new_context<A: Aggregate>(stream: &str) -> EventStoreAggregateContext<A> {
    EventStoreAggregateContext {
        aggregate_id: stream.to_owned(),
        aggregate: A::default(),
        current_sequence: 0,
        current_snapshot: None,
    }
}

fn position(sequence: usize) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

/// The events that a new todo begins with.
fn first_events(
    id: TodoId,
    events: &[TodoEvent],
    metadata: &HashMap<String, String>,
) -> Result<Vec<SerializedEvent>, CommandError> {
    let serialised = events.iter().zip(1..).map(|(event, sequence)| {
        Ok(SerializedEvent::new(
            id.to_string(),
            sequence,
            Todo::TYPE.to_owned(),
            event.event_type(),
            event.event_version(),
            serde_json::to_value(event)?,
            serde_json::to_value(metadata)?,
        ))
    });
    let serialised: Result<_, serde_json::Error> = serialised.collect();
    Ok(serialised.map_err(anyhow::Error::from)?)
}
