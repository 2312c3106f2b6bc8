//! What a note's own attributes say of its recordings: the first one's paths, and all summaries as one text.

use super::recording::{RecordingId, Recordings};
use super::transcript::spoken_time;
use super::{NoteChanges, NoteDetails, NoteRecord};
use crate::Change;

impl Recordings {
    /// What the note's own attributes say about its recordings, unless a person wrote something else into them.
    fn said(&self) -> NoteDetails {
        let path = |id: &RecordingId, part: &str| format!("/recordings/{id}/{part}");
        let with_text = self.there.iter().find(|(_, recording)| recording.transcript.is_some());
        NoteDetails {
            audio_path: self.there.keys().next().map(|id| path(id, "audio")),
            transcription_path: with_text.map(|(id, _)| path(id, "transcript")),
            ai_summary: self.summaries(true),
            ..NoteDetails::default()
        }
    }

    /// All summaries as one text; if there are several, each says of which recording it is.
    fn summaries(&self, with_headings: bool) -> Option<String> {
        let all = self.there.iter().filter_map(|(id, it)| Some((id, it, it.summary.as_ref()?)));
        let all: Vec<_> = all.filter(|(.., summary)| !summary.is_empty()).collect();
        let is_headed = with_headings && all.len() > 1;
        let texts = all.iter().map(|(id, recording, summary)| {
            let text = summary.to_text();
            match recording.transcript.as_ref().filter(|_| is_headed) {
                Some(it) => format!("Recording {id} ({}):\n{text}", spoken_time(it.duration_ms)),
                None => text,
            }
        });
        (!all.is_empty()).then(|| texts.collect::<Vec<_>>().join("\n\n"))
    }

    /// The summary of a note, where that is what these recordings had it say before headings were known, as they have it now.
    fn headed(&self, summary: &Option<String>) -> Option<String> {
        let is_plain = *summary == self.summaries(false);
        if is_plain { self.summaries(true) } else { summary.clone() }
    }

    /// What changes in the note's own attributes when these recordings become the others: only those that still say what
    /// the recordings had them say. What a person or a legacy file put there stays.
    pub(super) fn follow(&self, then: &Self, details: &NoteDetails) -> NoteChanges {
        let (now, then) = (self.said(), then.said());
        let follow = |is: &Option<String>, now: &Option<String>, then: Option<String>| {
            if is == now { Change::from(then).against(is) } else { Change::Keep }
        };
        NoteChanges {
            audio_path: follow(&details.audio_path, &now.audio_path, then.audio_path),
            transcription_path: follow(
                &details.transcription_path,
                &now.transcription_path,
                then.transcription_path,
            ),
            ai_summary: match self.headed(&details.ai_summary) == now.ai_summary {
                true => Change::from(then.ai_summary).against(&details.ai_summary),
                false => Change::Keep,
            },
            ..NoteChanges::default()
        }
    }

    /// What the note's own attributes become when it is taken back to what it was. Recordings are not: an attribute that said
    /// what they had it say, or names one that is gone, says what those that are there now have it say, and one that says so
    /// now is not emptied, since it would stay empty whatever becomes of them.
    pub(super) fn details_toward(&self, now: &NoteDetails, to: &NoteRecord) -> NoteDetails {
        let (said, said_then, then) = (self.said(), to.recordings.said(), &to.details);
        let toward = |now: &Option<String>, then: &Option<String>, said_then, said| {
            let follows = match then {
                Some(then) => self.lost(then),
                None => *now == said,
            };
            let follows = follows || *then == said_then;
            if follows && now != then { said } else { then.clone() }
        };
        let (is, was) = (self.headed(&now.ai_summary), to.recordings.headed(&then.ai_summary));
        NoteDetails {
            audio_path: toward(
                &now.audio_path,
                &then.audio_path,
                said_then.audio_path,
                said.audio_path,
            ),
            transcription_path: toward(
                &now.transcription_path,
                &then.transcription_path,
                said_then.transcription_path,
                said.transcription_path,
            ),
            ai_summary: match is == was {
                true => now.ai_summary.clone(),
                false => toward(&is, &was, said_then.ai_summary, said.ai_summary),
            },
            ..then.clone()
        }
    }

    /// Whether this is the path of a recording that was removed.
    fn lost(&self, path: &str) -> bool {
        let id = path.strip_prefix("/recordings/").and_then(|rest| rest.split_once('/'));
        let id = id.and_then(|(id, _)| id.parse().ok());
        id.is_some_and(|id| self.was_removed(RecordingId(id)))
    }
}
