//! Recordings as clients see them: where each stands, in plain words, and what was made of it.

pub mod list;
pub mod name;
pub mod shown;
pub mod transcript;

use std::collections::HashSet;

use chrono::{DateTime, Local, NaiveDate, Utc};
use domain::note::{
    AcceptedInterest, ActionItem, Decision, RecordingId, Stage, SuggestedItem, due,
};
use domain::{Moment, RecordRef, TodoId};
use projections::jobs::{self, Present, Progress};
use projections::read::StoredRecording;
use serde_json::Value;

use crate::app::App;
use crate::problem::Problem;

/// A recording with what is under way with it.
#[derive(Clone, Debug)]
pub struct Standing {
    /// As its note has it.
    pub stored: StoredRecording,
    /// The job that is to be done or being done.
    pub progress: Option<Progress>,
    /// How long it is in milliseconds, if a worker has found out, whatever became of its job.
    pub length_ms: Option<i64>,
    /// Which workers there are.
    pub workers: Present,
    /// Those of the todos, funds and LPs that suggestions became something of which are deleted.
    pub deleted: HashSet<RecordRef>,
    /// The day of the meeting: its note's, else that on which it was attached, where this server is. Days that were said count
    /// from it.
    pub said_on: Option<NaiveDate>,
}

/// The read model of recordings.
pub const READ_MODEL: &str = "recording";

/// The recording as its note has it, as readers see that.
///
/// # Errors
/// [`Problem::NoRecording`] when there is none, or its note is deleted; [`Problem::Busy`] while nobody can tell: it may be
/// one that the read model has not taken in yet.
pub async fn stored(app: &App, id: RecordingId) -> Result<StoredRecording, Problem> {
    const UNKNOWN: &str = "Recordings are being read anew from the log, and this one is not known yet; please try again";
    if let Some(stored) = app.reader.recording(id).await? {
        return Ok(stored);
    }
    if !app.is_level(&[READ_MODEL]).await {
        return Err(Problem::Busy(UNKNOWN));
    }
    app.reader.recording(id).await?.ok_or_else(Problem::recording_not_found)
}

/// The recording, as readers see it.
///
/// # Errors
/// As [`stored`] has them, or when the database cannot be asked.
pub async fn find(app: &App, id: RecordingId) -> Result<Standing, Problem> {
    standing_of(app, stored(app, id).await?).await
}

/// What is under way with a recording.
///
/// # Errors
/// When the database cannot be asked.
pub async fn standing_of(app: &App, stored: StoredRecording) -> Result<Standing, Problem> {
    let mut found = standing(app, vec![stored]).await?;
    found.pop().ok_or_else(Problem::recording_not_found)
}

/// What is under way with recordings.
///
/// # Errors
/// When the database cannot be asked.
pub async fn standing(app: &App, all: Vec<StoredRecording>) -> Result<Vec<Standing>, Problem> {
    let ids: Vec<RecordingId> = all.iter().map(|stored| stored.id).collect();
    let database = app.log.database();
    let asking = async {
        let mut db = database.pool.acquire().await?;
        let progress = jobs::progress(&mut db, &ids).await?;
        let lengths = jobs::lengths(&mut db, &ids).await?;
        Ok((progress, lengths, jobs::present_workers(&mut db).await?))
    };
    let (mut progress, lengths, workers) = database.ask(asking).await?;
    let deleted = deleted(app, &all).await?;
    let notes: Vec<_> = all.iter().map(|stored| stored.note).collect();
    let days = app.reader.meeting_days(&notes).await?;
    let all = all.into_iter().map(|stored| {
        let progress = progress.remove(&stored.id);
        let length_ms = lengths.get(&stored.id).copied();
        let deleted = named(&stored).filter(|record| deleted.contains(record)).collect();
        let attached = stored.attached_at.map(|at| at.with_timezone(&Local).date_naive());
        let said_on = days.get(&stored.note).copied().or(attached);
        Standing { stored, progress, length_ms, workers, deleted, said_on }
    });
    Ok(all.collect())
}

/// The todo that an action item became.
pub fn todo_of(suggested: &SuggestedItem) -> Option<TodoId> {
    match &suggested.decision {
        Decision::Accepted(todo) => Some(todo.id),
        Decision::Open | Decision::Dismissed => None,
    }
}

/// What the suggested interest was recorded as.
pub fn accepted_interest(stored: &StoredRecording) -> Option<&AcceptedInterest> {
    match &stored.recording.interest.as_ref()?.decision {
        Decision::Accepted(accepted) => Some(accepted),
        Decision::Open | Decision::Dismissed => None,
    }
}

/// The todos that action items became, and whose interest in what was accepted.
pub fn named(stored: &StoredRecording) -> impl Iterator<Item = RecordRef> {
    let todos = stored.recording.items.values().filter_map(todo_of).map(RecordRef::from);
    let interest = accepted_interest(stored);
    todos.chain(interest.into_iter().flat_map(|it| [it.fund.into(), it.lp.into()]))
}

/// Those of the records that accepted suggestions are about which are deleted. The log is asked: their tables may know less
/// than that of recordings.
async fn deleted(app: &App, all: &[StoredRecording]) -> Result<HashSet<RecordRef>, Problem> {
    let named: Vec<RecordRef> = all.iter().flat_map(named).collect();
    if named.is_empty() {
        return Ok(HashSet::new());
    }
    Ok(app.reader.missing_in_log(&named).await?.into_iter().collect())
}

/// Lets the next attempt at a recording begin now, if it has been put off. If that cannot be done, it comes in its time.
pub async fn hurry(app: &App, id: RecordingId) {
    let database = app.log.database();
    let hurrying = async {
        let mut db = database.pool.acquire().await?;
        jobs::hurry(&mut db, id).await
    };
    if let Err(error) = database.ask(hurrying).await {
        tracing::warn!(recording = %id, %error, "the next attempt comes in its time");
    }
}

impl Standing {
    /// Where it stands, in a word, and why it does not go on, or what is to be known of what was made.
    pub fn state(&self) -> (&'static str, Option<String>) {
        const CANCELLED: &str = "it was cancelled";
        let recording = &self.stored.recording;
        let has_summary = recording.summary.is_some();
        let made = if has_summary { "summarised" } else { "transcribed" };
        match &recording.stage {
            Stage::TranscriptionCancelled if recording.transcript.is_some() => {
                (made, Some(kept("transcript", CANCELLED)))
            }
            Stage::TranscriptionFailed { reason } if recording.transcript.is_some() => {
                (made, Some(kept("transcript", reason)))
            }
            Stage::SummaryCancelled if has_summary => (made, Some(kept("summary", CANCELLED))),
            Stage::SummaryFailed { reason } if has_summary => (made, Some(kept("summary", reason))),
            Stage::AwaitsTranscript => self.waiting(),
            Stage::AwaitsSummary => ("transcribed", self.delay()),
            Stage::Done => ("summarised", self.reservations()),
            Stage::TranscriptionCancelled => ("cancelled", None),
            Stage::SummaryCancelled => {
                ("transcribed", Some("the summary was cancelled".to_owned()))
            }
            Stage::TranscriptionFailed { reason } => ("failed", Some(reason.clone())),
            Stage::SummaryFailed { reason } => {
                ("transcribed", Some(format!("there is no summary: {reason}")))
            }
        }
    }

    /// What is to be known of what was made.
    fn reservations(&self) -> Option<String> {
        let all: Vec<_> =
            [self.no_summary(), self.taken_for_english()].into_iter().flatten().collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// Why there are highlights though there is a language model.
    fn no_summary(&self) -> Option<String> {
        let why = self.stored.recording.summary.as_ref()?.author.instead_of_model()?;
        Some(format!("{why}; these are highlights, not AI-written"))
    }

    /// A model that knows only English hears English whatever is spoken.
    fn taken_for_english(&self) -> Option<String> {
        let recording = &self.stored.recording;
        let model = &recording.transcript.as_ref()?.model;
        let is_english = model.split('-').any(|part| part.ends_with(".en"));
        (is_english && recording.language.is_none()).then(|| {
            let model = speech_model(model);
            format!("the speech model {model} knows only English, and took what was said for that")
        })
    }

    fn waiting(&self) -> (&'static str, Option<String>) {
        const NOBODY: &str =
            "no worker is running: set CRM_WORKERS to 1 or more, or run `crm work`";
        let is_running = self.progress.as_ref().is_some_and(|progress| progress.is_running);
        let lacked = self.progress.as_ref().filter(|progress| progress.waits_for_model);
        match self.workers {
            _ if is_running => ("transcribing", None),
            Present { any: false, .. } => ("stored", Some(NOBODY.to_owned())),
            Present { transcribers: false, .. } => {
                ("waiting_for_model", Some(jobs::SpeechModels::ADVICE.to_owned()))
            }
            _ => match lacked {
                Some(progress) => ("waiting_for_model", progress.reason.clone()),
                None => ("stored", self.delay()),
            },
        }
    }

    /// Why the last attempt failed, and when the next begins.
    fn delay(&self) -> Option<String> {
        let progress = self.progress.as_ref()?;
        let reason = progress.reason.as_ref()?;
        Some(match progress.next_attempt_at {
            Some(at) => format!("{reason}; crm tries again at {}", told(at, Utc::now())),
            None => format!("{reason}; crm tries again"),
        })
    }

    /// How long it is in milliseconds, as far as anybody knows.
    pub fn duration_ms(&self) -> Option<u64> {
        let transcript = self.stored.recording.transcript.as_ref();
        let total = self.progress.as_ref().and_then(|progress| progress.total_ms);
        let total = total.or(self.length_ms).map(i64::unsigned_abs);
        transcript.map(|it| it.duration_ms).or(total)
    }

    /// The language that was heard, else the one that a person named.
    pub fn language(&self) -> Option<&str> {
        let recording = &self.stored.recording;
        let heard = recording.transcript.as_ref().map(|it| it.language.as_str());
        heard.filter(|language| !language.is_empty()).or(recording.language.as_deref())
    }

    /// Which part of it is transcribed, from 0 to 1; `None` while that is not known.
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of a recording")]
    pub fn done(&self) -> Option<f64> {
        match self.stored.recording.stage {
            Stage::AwaitsTranscript => {
                let progress = self.progress.as_ref()?;
                let total = progress.total_ms.filter(|total| *total > 0)?;
                let done = (progress.done_ms as f64 / total as f64).clamp(0.0, 1.0);
                Some((done * 1000.0).round() / 1000.0)
            }
            _ => self.stored.recording.transcript.as_ref().map(|_| 1.0),
        }
    }

    /// Whether its next attempt was put off, and there is somebody who could begin it now.
    pub fn is_put_off(&self) -> bool {
        let is_put_off = self.progress.as_ref().is_some_and(|it| it.next_attempt_at.is_some());
        let has_worker = match self.stored.recording.stage {
            Stage::AwaitsTranscript => self.workers.transcribers,
            _ => self.workers.any,
        };
        is_put_off && has_worker && self.is_under_way()
    }

    /// Whether something is still to come.
    pub fn is_under_way(&self) -> bool {
        matches!(self.stored.recording.stage, Stage::AwaitsTranscript | Stage::AwaitsSummary)
    }

    /// When the todo of an action item is due: of one that is yet to be accepted, when it will be if nobody says otherwise.
    pub fn due(&self, suggested: &SuggestedItem) -> Option<Moment> {
        match &suggested.decision {
            Decision::Accepted(todo) => todo.due_date,
            Decision::Open | Decision::Dismissed => self.due_if_accepted(&suggested.item),
        }
    }

    /// When the todo of an action item will be due if nobody says otherwise.
    pub fn due_if_accepted(&self, item: &ActionItem) -> Option<Moment> {
        due(item.due.as_deref()?, self.said_on)
    }

    /// The JSON that clients get.
    pub fn to_json(&self) -> Value {
        shown::recording(self)
    }
}

/// What people call the model that a transcript was made with, which says which weights these are: `whisper-base-ba8ad06f2b54`.
pub fn speech_model(id: &str) -> String {
    let is_digest = |part: &str| part.len() >= 8 && part.bytes().all(|it| it.is_ascii_hexdigit());
    let name = id.rsplit_once('-').filter(|(_, last)| is_digest(last)).map_or(id, |(name, _)| name);
    match name.strip_prefix("whisper-") {
        Some(size) => format!("Whisper {size}"),
        None => name.to_owned(),
    }
}

/// A time, with its day if that is another.
fn told(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let is_today = at.date_naive() == now.date_naive();
    at.format(if is_today { "%H:%M:%S UTC" } else { "%H:%M:%S UTC on %-d %B %Y" }).to_string()
}

/// Why another transcript or summary was not made, where there is one already.
fn kept(what: &str, reason: &str) -> String {
    format!("no newer {what} was made, and the earlier one is kept: {reason}")
}

#[cfg(test)]
mod tests;
