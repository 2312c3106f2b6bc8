//! Recordings of all notes in a list: each without what makes it long.

use std::collections::{BTreeMap, HashMap};

use domain::note::{Recording, RecordingId, Stage, Summary, Transcript};
use domain::{LpId, NoteId};

use super::{Row, StoredRecording};
use crate::read::reader::{ReadError, Reader};

/// How far a recording is, as its note tells. What is under way with one that waits, workers alone know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has no transcript, and is to have one.
    Waiting,
    /// It has a transcript, and no summary.
    Transcribed,
    /// It has a summary.
    Summarised,
    /// It has no transcript: a person stopped that.
    Cancelled,
    /// There can be no transcript.
    Failed,
}

impl Phase {
    /// The phase of a recording.
    pub fn of(recording: &Recording) -> Self {
        let made = match recording.summary {
            Some(_) => Self::Summarised,
            None => Self::Transcribed,
        };
        match recording.stage {
            Stage::AwaitsTranscript => Self::Waiting,
            Stage::AwaitsSummary => Self::Transcribed,
            Stage::Done => Self::Summarised,
            Stage::TranscriptionCancelled if recording.transcript.is_none() => Self::Cancelled,
            Stage::TranscriptionFailed { .. } if recording.transcript.is_none() => Self::Failed,
            Stage::TranscriptionCancelled
            | Stage::TranscriptionFailed { .. }
            | Stage::SummaryCancelled
            | Stage::SummaryFailed { .. } => made,
        }
    }

    /// As the table has it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Transcribed => "transcribed",
            Self::Summarised => "summarised",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// The recording without what was said in it, and what was made of that: hours of speech are no part of a list.
pub(super) fn lean(recording: &Recording) -> Recording {
    let transcript = recording.transcript.as_ref().map(|it| Transcript {
        model: it.model.clone(),
        language: it.language.clone(),
        duration_ms: it.duration_ms,
        segments: vec![],
        gaps: vec![],
        marks: vec![],
    });
    let summary = recording.summary.as_ref().map(|it| Summary {
        author: it.author.clone(),
        text: String::new(),
        key_points: vec![],
    });
    Recording {
        file: recording.file.clone(),
        name: recording.name.clone(),
        language: recording.language.clone(),
        model: recording.model.clone(),
        round: recording.round,
        stage: recording.stage.clone(),
        transcript,
        corrections: BTreeMap::new(),
        summary,
        is_corrected_since: recording.is_corrected_since,
        numbered: recording.numbered,
        items: BTreeMap::new(),
        interest: None,
        decided: vec![],
    }
}

impl Reader {
    /// Recordings of notes in use, the newest first, of one phase or all, among some or all, before one if it is named. They are
    /// told without what was said in them and what was made of that.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn recordings_listed(
        &self,
        phase: Option<Phase>,
        among: Option<&[RecordingId]>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<StoredRecording>, ReadError> {
        // Of each its own plan: in one statement for both the index of phases would not be used.
        let of_phase = if phase.is_some() { "phase = $3 and" } else { "$3::text is null and" };
        let of_some =
            if among.is_some() { "id = any ($4) and" } else { "$4::bigint[] is null and" };
        let statement = format!(
            "select id, note_id, position, hidden, listed::text from recording
             where {of_phase} {of_some} not hidden and id < $1 order by id desc limit $2"
        );
        let among = among.map(|all| all.iter().map(|id| id.0).collect::<Vec<_>>());
        let question = async {
            let mut db = self.pool().acquire().await?;
            let asking = sqlx::query_as(&statement).bind(before.unwrap_or(i64::MAX));
            let asking = asking.bind(i64::try_from(limit).unwrap_or(i64::MAX));
            let asking = asking.bind(phase.map(Phase::as_str)).bind(&among);
            let rows: Vec<Row> = asking.fetch_all(&mut *db).await?;
            super::with_times(rows, &mut db).await
        };
        let found = self.database().ask(question).await?;
        super::stored(found)
    }

    /// The LPs in use that notes are about, by note.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn lps_of(&self, notes: &[NoteId]) -> Result<HashMap<NoteId, Vec<LpId>>, ReadError> {
        let statement = "select from_id, to_id from link join lp on lp.id = to_id and not lp.archived
                         where from_kind = 'note' and to_kind = 'lp' and from_id = any ($1) order by from_id, to_id";
        let asking =
            sqlx::query_as(statement).bind(notes.iter().map(|it| it.0).collect::<Vec<_>>());
        let rows: Vec<(i64, i64)> = self.database().ask(asking.fetch_all(self.pool())).await?;
        let mut lps: HashMap<NoteId, Vec<LpId>> = HashMap::new();
        for (note, lp) in rows {
            lps.entry(NoteId(note)).or_default().push(LpId(lp));
        }
        Ok(lps)
    }
}
