//! Recordings as clients see them: where each stands, in plain words, and what was made of it.

pub mod shown;
pub mod transcript;

use domain::note::{RecordingId, Stage};
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
    /// Which workers there are.
    pub workers: Present,
}

/// The recording, as readers see it.
///
/// # Errors
/// [`Problem::NoRecording`] when there is none, or its note is deleted.
pub async fn find(app: &App, id: RecordingId) -> Result<Standing, Problem> {
    let stored = app.reader.recording(id).await?;
    let stored = stored.ok_or_else(Problem::recording_not_found)?;
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
        Ok((progress, jobs::present_workers(&mut db).await?))
    };
    let (mut progress, workers) = database.ask(asking).await?;
    let all = all.into_iter().map(|stored| {
        let progress = progress.remove(&stored.id);
        Standing { stored, progress, workers }
    });
    Ok(all.collect())
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
    /// Where it stands, in a word, and why it does not go on.
    pub fn state(&self) -> (&'static str, Option<String>) {
        let recording = &self.stored.recording;
        match &recording.stage {
            Stage::SummaryCancelled if recording.summary.is_some() => {
                ("summarised", Some(self.kept("it was cancelled")))
            }
            Stage::SummaryFailed { reason } if recording.summary.is_some() => {
                ("summarised", Some(self.kept(reason)))
            }
            Stage::AwaitsTranscript => self.waiting(),
            Stage::AwaitsSummary => ("transcribed", self.delay()),
            Stage::Done => ("summarised", None),
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

    /// Why another summary was not made, where there is one already.
    fn kept(&self, reason: &str) -> String {
        let id = self.stored.id;
        format!(
            "no newer summary was made, and the earlier one is kept: {reason}; POST /recordings/{id}/summarise tries again"
        )
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
            Some(at) => format!("{reason}; crm tries again at {}", at.format("%H:%M:%S UTC")),
            None => format!("{reason}; crm tries again"),
        })
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

    /// Whether something is still to come.
    pub fn is_under_way(&self) -> bool {
        matches!(self.stored.recording.stage, Stage::AwaitsTranscript | Stage::AwaitsSummary)
    }

    /// The JSON that clients get.
    pub fn to_json(&self) -> Value {
        shown::recording(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use domain::NoteId;
    use domain::note::{AudioFile, Author, Recording, Summary};

    use super::*;

    fn standing(stage: Stage) -> Standing {
        let recording = Recording {
            file: AudioFile::default(),
            name: "call.webm".into(),
            language: None,
            model: None,
            round: 1,
            stage,
            transcript: None,
            corrections: BTreeMap::new(),
            summary: None,
            numbered: 0,
            items: BTreeMap::new(),
            interest: None,
        };
        let stored =
            StoredRecording { id: RecordingId(5), note: NoteId(7), position: 1, recording };
        let workers = Present { any: true, transcribers: true };
        Standing { stored, progress: None, workers }
    }

    fn progress(is_running: bool, reason: Option<&str>) -> Option<Progress> {
        Some(Progress {
            recording_id: 5,
            is_running,
            done_ms: 30_000,
            total_ms: Some(90_000),
            reason: reason.map(str::to_owned),
            next_attempt_at: None,
            waits_for_model: false,
        })
    }

    #[test]
    fn a_recording_that_waits_says_for_what() {
        let check = |workers: (bool, bool), progress: Option<Progress>, state: &str, why: &str| {
            let (any, transcribers) = workers;
            let workers = Present { any, transcribers };
            let it = Standing { progress, workers, ..standing(Stage::AwaitsTranscript) };
            let (found, reason) = it.state();
            assert_eq!(found, state);
            assert!(reason.unwrap_or_default().contains(why), "{state}");
        };
        check((true, true), None, "stored", "");
        check((true, true), progress(true, None), "transcribing", "");
        // Whoever is at it need not have been seen just now.
        check((false, false), progress(true, None), "transcribing", "");
        check((true, false), progress(false, None), "waiting_for_model", "crm models get speech");
        check((false, false), progress(false, None), "stored", "CRM_WORKERS");
        check((true, true), progress(false, Some("disk")), "stored", "disk; crm tries again");
        let lacking = |is_running| {
            let progress = progress(is_running, Some("no model large"))?;
            Some(Progress { waits_for_model: true, ..progress })
        };
        check((true, true), lacking(false), "waiting_for_model", "no model large");
        check((true, true), lacking(true), "transcribing", "");
    }

    #[test]
    fn what_failed_is_told_with_the_reason() {
        let check = |stage: Stage, state: &str, why: Option<&str>| {
            assert_eq!(standing(stage).state(), (state, why.map(str::to_owned)));
        };
        let reason = || "no sound".to_owned();
        check(Stage::TranscriptionFailed { reason: reason() }, "failed", Some("no sound"));
        let why = Some("there is no summary: no sound");
        check(Stage::SummaryFailed { reason: reason() }, "transcribed", why);
        check(Stage::TranscriptionCancelled, "cancelled", None);
        check(Stage::SummaryCancelled, "transcribed", Some("the summary was cancelled"));
        check(Stage::Done, "summarised", None);
    }

    #[test]
    fn an_earlier_summary_is_told_of_when_a_newer_one_is_not_made() {
        let check = |stage: Stage, reason: &str| {
            let mut it = standing(stage);
            it.stored.recording.summary = Some(Summary {
                author: Author::Highlights,
                text: "They like the fund.".into(),
                key_points: vec![],
            });
            let (state, why) = it.state();
            let kept =
                format!("no newer summary was made, and the earlier one is kept: {reason}; ");
            assert_eq!(state, "summarised");
            assert_eq!(why.unwrap(), format!("{kept}POST /recordings/5/summarise tries again"));
        };
        check(Stage::SummaryFailed { reason: "no answer".into() }, "no answer");
        check(Stage::SummaryCancelled, "it was cancelled");
    }

    #[test]
    fn progress_is_a_part_of_the_whole() {
        let running =
            Standing { progress: progress(true, None), ..standing(Stage::AwaitsTranscript) };
        assert_eq!(running.done(), Some(0.333));
        assert_eq!(standing(Stage::AwaitsTranscript).done(), None);
    }
}
