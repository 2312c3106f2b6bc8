//! Workers: each takes a job, works on it, and tells the note what came of it.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::note::{self, Note, NoteCommand, Recording, RecordingCommand};
use domain::{Event, Kind, Refusal};
use speech::transcribe::Control;
use sqlx::PgPool;
use tokio::sync::{Notify, OnceCell, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::heart::Heart;
use super::lease::{self, Later, Lease, Stage};
use super::place::Place;
use super::trouble::Trouble;
use super::{JOBS, Reactor, SpeechModels, status, summary, transcription};
use crate::database::DatabaseError;
use crate::files::Files;
use crate::history::{History, Refusal as Refused};
use crate::llm::Llm;
use crate::log::{CommandError, CommandRequest, EventLog, LogReader, Stream};

/// How often a worker that has nothing to do looks for a job that another process may have left.
const LOOK: Duration = Duration::from_secs(1);

/// What work on recordings needs.
#[derive(Clone)]
pub struct Tools {
    /// Where commands go.
    pub log: EventLog,
    /// Where the sound is.
    pub files: Files,
    /// What transcribes.
    pub models: SpeechModels,
    /// What summarises; without it, highlights are picked.
    pub llm: Option<Llm>,
    /// How long the chunks are that a transcription is made of.
    pub chunk: Duration,
    /// Threads for one transcription.
    pub threads: usize,
}

impl Tools {
    /// As many threads as the machine has cores for each of so many workers.
    pub fn threads(workers: usize) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (cores / workers.max(1)).clamp(1, 8)
    }

    /// What a worker with these tools can do.
    fn stages(&self) -> Vec<Stage> {
        [Stage::Transcribe, Stage::Summarise].into_iter().filter(|stage| self.can(*stage)).collect()
    }

    fn can(&self, stage: Stage) -> bool {
        match stage {
            Stage::Transcribe => self.models.find(None).is_some(),
            Stage::Summarise => true,
        }
    }
}

/// The reactor and the workers of this process.
pub struct Workers {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts the reactor, and so many workers for each stage: whoever waits for a language model keeps nobody from
    /// being transcribed. `head` tells of the log's end.
    ///
    /// # Errors
    /// When the system has no thread for the heartbeat of the workers.
    pub fn start(tools: Tools, count: usize, head: watch::Receiver<i64>) -> io::Result<Self> {
        let database = tools.log.database();
        let heart = match count {
            0 => None,
            _ => Some(Arc::new(Heart::start(database.clone())?)),
        };
        let stop = CancellationToken::new();
        let news = Arc::new(Notify::new());
        let reactor = Reactor::new(database.clone(), head, news.clone());
        let mut tasks = vec![tokio::spawn(reactor.run(stop.clone()))];
        if let Some(heart) = heart {
            if speech::transcribe::misses_card() {
                tracing::warn!(
                    "crm was built for an NVIDIA card and finds none: it transcribes on the processor; is the driver installed?"
                );
            }
            let worker =
                Worker { place: Place::here(), news, inherited: Arc::default(), heart, tools };
            let presence = show_presence(worker.clone(), Uuid::new_v4(), stop.clone());
            tasks.push(tokio::spawn(presence));
            let stages = [Stage::Transcribe, Stage::Summarise].into_iter();
            tasks.extend(
                stages
                    .flat_map(|stage| std::iter::repeat_n(stage, count))
                    .map(|stage| tokio::spawn(worker.clone().run(stage, stop.clone()))),
            );
        }
        Ok(Self { stop, tasks })
    }

    /// Gives back what is under way and stops.
    pub async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            // A panic has been reported already.
            let _ = task.await;
        }
    }
}

/// Tells whoever asks why a recording waits that there is a worker, and what it can do.
async fn show_presence(worker: Worker, process: Uuid, stop: CancellationToken) {
    let pool = worker.pool();
    let name = worker.place.to_string();
    while !stop.is_cancelled() {
        let stages = worker.tools.stages();
        let lacks = (!stages.contains(&Stage::Transcribe)).then_some(SpeechModels::ADVICE);
        if let Err(error) = status::present(pool, process, &name, &stages, lacks).await {
            tracing::debug!(%error, "the worker cannot show that it is there");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(status::PRESENCE) => {}
        }
    }
    let _ = status::absent(pool, process).await;
}

/// What holds a worker back from going on in vain. It is cut when the process stops, and when the job is somebody else's
/// or nobody's.
#[derive(Default)]
pub(super) struct Leash {
    control: Control,
    /// The chunk that is listened to, in milliseconds of the recording.
    chunk: Mutex<Option<Range<u64>>>,
    cut: CancellationToken,
}

impl Leash {
    /// What follows and ends a transcription; it is cancelled when the leash is cut.
    pub(super) fn control(&self) -> &Control {
        &self.control
    }

    /// The next chunk is listened to, which has these milliseconds of the recording.
    pub(super) fn listen_to(&self, chunk: Range<u64>) {
        self.control.begin();
        *self.chunk.lock().unwrap_or_else(PoisonError::into_inner) = Some(chunk);
    }

    /// Up to which millisecond of the recording was listened to, if to anything.
    pub(super) fn heard(&self) -> Option<u64> {
        let chunk = self.chunk.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(chunk.start + (chunk.end - chunk.start) * u64::from(self.control.percent()) / 100)
    }

    pub(super) fn cut(&self) {
        self.control.cancel();
        self.cut.cancel();
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.is_cancelled()
    }

    pub(super) async fn until_cut(&self) {
        self.cut.cancelled().await;
    }
}

#[derive(Clone)]
struct Worker {
    tools: Tools,
    place: Place,
    news: Arc<Notify>,
    inherited: Arc<OnceCell<()>>,
    heart: Arc<Heart>,
}

impl Worker {
    async fn run(self, stage: Stage, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let news = self.news.notified();
            match self.take(stage).await {
                Ok(Some(lease)) => self.work(lease, &stop).await,
                taken => {
                    if let Err(error) = taken {
                        tracing::debug!(%error, "jobs wait for the database");
                    }
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = news => {}
                        () = tokio::time::sleep(LOOK) => {}
                    }
                }
            }
        }
    }

    fn pool(&self) -> &PgPool {
        &self.tools.log.database().pool
    }

    async fn take(&self, stage: Stage) -> Result<Option<Lease>, DatabaseError> {
        let database = self.tools.log.database();
        database.check()?;
        // Before any worker of this process has a lease.
        let inheriting = || database.ask(lease::inherit(&database.pool, &self.place));
        self.inherited.get_or_try_init(inheriting).await?;
        if !self.tools.can(stage) {
            return Ok(None);
        }
        database.ask(lease::take(&database.pool, &self.place.to_string(), stage)).await
    }

    async fn work(&self, lease: Lease, stop: &CancellationToken) {
        let leash = Arc::<Leash>::default();
        let beating = self.heart.beat(lease.clone(), leash.clone(), stop.clone());
        let done = self.attempt(&lease, &leash).await;
        let outcome = self.conclude(&lease, done).await;
        drop(beating);
        let stage = lease.stage.as_str();
        metrics::counter!(JOBS, "stage" => stage, "outcome" => outcome).increment(1);
        let (recording, round) = (lease.recording.0, lease.round);
        tracing::info!(recording, stage, round, outcome, "a job has ended");
    }

    async fn attempt(&self, lease: &Lease, leash: &Arc<Leash>) -> Result<(), Trouble> {
        let recording = self.recording(lease).await?;
        let command = match lease.stage {
            Stage::Transcribe => transcription::run(&self.tools, lease, leash, recording).await?,
            Stage::Summarise => {
                // Whoever is asked need not be heard out when nobody wants the answer any more.
                tokio::select! {
                    command = summary::run(&self.tools, lease, recording) => command?,
                    () = leash.until_cut() => return Err(Trouble::Interrupted),
                }
            }
        };
        self.tell(lease, command).await
    }

    /// The recording as its note has it, if the job is still what is wanted.
    async fn recording(&self, lease: &Lease) -> Result<Recording, Trouble> {
        let database = self.tools.log.database();
        let reader = LogReader::new(database.keys().clone());
        let stream = Stream { kind: "note".to_owned(), id: lease.note.to_string() };
        let reading = async {
            let mut db = database.pool.acquire().await?;
            reader.entries_of_stream(&mut db, &stream, None).await
        };
        let entries = database.ask(reading).await?;
        let mut note = Note::default();
        for entry in entries {
            match entry.event {
                Ok(Event::Note(event)) => cqrs_es::Aggregate::apply(&mut note, event),
                Ok(_) => {}
                Err(error) => return Err(Trouble::Passing(error)),
            }
        }
        let recording = note.record().and_then(|note| note.recordings.get(lease.recording));
        match recording {
            Some(recording) if is_wanted(lease, recording) => Ok(recording.clone()),
            _ => Err(Trouble::Withdrawn),
        }
    }

    /// Sends a command to the note. A result that is no longer wanted is no failure. That it was refused is kept, as it is of
    /// a person's command.
    async fn tell(&self, lease: &Lease, command: RecordingCommand) -> Result<(), Trouble> {
        let name = match &command {
            RecordingCommand::KeepTranscript { .. } => "KeepTranscript",
            RecordingCommand::FailTranscription { .. } => "FailTranscription",
            RecordingCommand::KeepSummary { .. } => "KeepSummary",
            _ => "FailSummary",
        };
        let command = NoteCommand::Process { recording: lease.recording, command };
        let request = request(name, lease);
        let told = self.tools.log.execute::<Note>(lease.note.0, command, &request).await;
        if let Err(CommandError::Refused(refusal)) = &told {
            let refused = refused(lease, &request, refusal);
            if let Err(error) = History::refuse(self.tools.log.database(), &refused).await {
                tracing::warn!(%error, "that a command was refused is not kept");
            }
        }
        match told {
            Ok(_) => Ok(()),
            Err(CommandError::Refused(
                Refusal::Superseded | Refusal::NoSuchRecording | Refusal::Erased,
            )) => Err(Trouble::Withdrawn),
            Err(error) => Err(error.into()),
        }
    }

    /// Books what became of the job. What cannot be booked now is found again when the lease has run out.
    async fn conclude(&self, lease: &Lease, done: Result<(), Trouble>) -> &'static str {
        let (outcome, booked) = match done.map_err(|trouble| trouble.after(lease.failures())) {
            Ok(()) => ("done", lease.finish(self.pool()).await),
            Err(Trouble::Withdrawn) => ("withdrawn", lease.finish(self.pool()).await),
            Err(Trouble::Interrupted) => ("interrupted", lease.release(self.pool()).await),
            Err(Trouble::Passing(reason)) => {
                tracing::warn!(recording = lease.recording.0, stage = lease.stage.as_str(), %reason,
                    "a job failed; crm tries again");
                ("postponed", lease.postpone(self.pool(), &reason, Later::Failed).await)
            }
            Err(Trouble::Away { reason, pause }) => {
                tracing::warn!(recording = lease.recording.0, stage = lease.stage.as_str(), %reason,
                    "a job waits for what it needs");
                ("postponed", lease.postpone(self.pool(), &reason, Later::Away(pause)).await)
            }
            Err(Trouble::Slow { reason, took }) => {
                tracing::warn!(recording = lease.recording.0, stage = lease.stage.as_str(), %reason,
                    "a job waits for a faster answer");
                ("postponed", lease.postpone(self.pool(), &reason, Later::Slow(took)).await)
            }
            Err(Trouble::NoModel(reason)) => {
                ("postponed", lease.postpone(self.pool(), &reason, Later::NoModel).await)
            }
            Err(Trouble::ForGood(reason)) => ("failed", self.give_up(lease, reason).await),
        };
        if let Err(error) = booked {
            tracing::debug!(%error, "the end of a job was not booked");
        }
        outcome
    }

    async fn give_up(&self, lease: &Lease, reason: String) -> Result<(), sqlx::Error> {
        let round = lease.round;
        let command = match lease.stage {
            Stage::Transcribe => RecordingCommand::FailTranscription { round, reason },
            Stage::Summarise => RecordingCommand::FailSummary { round, reason },
        };
        match self.tell(lease, command).await {
            Ok(()) | Err(Trouble::Withdrawn) => lease.finish(self.pool()).await,
            Err(Trouble::Passing(reason) | Trouble::ForGood(reason) | Trouble::NoModel(reason)) => {
                lease.postpone(self.pool(), &reason, Later::Failed).await
            }
            Err(Trouble::Away { reason, pause }) => {
                lease.postpone(self.pool(), &reason, Later::Away(pause)).await
            }
            Err(Trouble::Slow { reason, took }) => {
                lease.postpone(self.pool(), &reason, Later::Slow(took)).await
            }
            Err(Trouble::Interrupted) => lease.release(self.pool()).await,
        }
    }
}

/// Whether the recording awaits this very result: another round or stage has a job of its own.
fn is_wanted(lease: &Lease, recording: &Recording) -> bool {
    let awaited = match lease.stage {
        Stage::Transcribe => note::Stage::AwaitsTranscript,
        Stage::Summarise => note::Stage::AwaitsSummary,
    };
    recording.round == lease.round && recording.stage == awaited
}

/// A command of the workers, caused by the event that asks for the job.
fn request(name: &'static str, lease: &Lease) -> CommandRequest {
    CommandRequest {
        name,
        actor: "crm".to_owned(),
        command_id: Uuid::now_v7(),
        correlation_id: lease.correlation,
        causation_id: Some(lease.cause),
        source: format!("reactor:{}", super::NAME),
        client: None,
        user_agent: None,
        trace_id: None,
        if_match: None,
        idempotency: None,
    }
}

/// What is kept of a command of the workers that was refused.
fn refused(lease: &Lease, request: &CommandRequest, refusal: &Refusal) -> Refused {
    Refused {
        id: 0,
        refused_at: chrono::DateTime::UNIX_EPOCH,
        actor: request.actor.clone(),
        method: request.source.clone(),
        path: format!("/recordings/{}", lease.recording),
        command: Some(request.name.to_owned()),
        kind: Some(Kind::Note.as_str().to_owned()),
        record_id: Some(lease.note.0),
        // As a request would have been answered.
        status: match refusal {
            Refusal::NotRegistered | Refusal::NoSuchRecording => 404,
            Refusal::Erased => 410,
            _ => 409,
        },
        why: refusal.to_string(),
        correlation_id: request.correlation_id,
        causation_id: request.causation_id,
        client: None,
        user_agent: None,
    }
}
