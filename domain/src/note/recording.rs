//! Recordings of a note, as they stand: what was attached, how far it is, and what was made of it.
//!
//! What is to be done with a recording is asked for in rounds. Attaching it begins the first; asking for another transcript
//! or summary begins the next, and a result of an earlier round is refused, however late it comes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::suggestion::{
    AcceptedInterest, AcceptedTodo, ActionItem, Decision, InterestSuggestion, NumberedItem, Summary,
};
use super::transcript::{Correction, Corrections, Line, Transcript};
use super::{NoteChanges, NoteDetails, NoteEvent, NoteRecord};
use crate::facts::Beside;
use crate::facts::FactName;
use crate::{Change, Facts};

/// Identifies a recording, among those of all notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordingId(pub i64);

impl std::fmt::Display for RecordingId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The stored file of a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudioFile {
    /// What file storage calls it.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// What it is, by its content.
    pub media_type: String,
    /// The SHA-256 of its content in hexadecimal.
    pub sha256: String,
    /// Whether it is stored enciphered under a key of its note's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
}

/// How far a recording is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// A transcript is to be made.
    AwaitsTranscript,
    /// A summary is to be made.
    AwaitsSummary,
    /// All was made.
    Done,
    /// A person stopped the transcription.
    TranscriptionCancelled,
    /// A person stopped the summary.
    SummaryCancelled,
    /// There can be no transcript.
    TranscriptionFailed {
        /// Why.
        reason: String,
    },
    /// There can be no summary.
    SummaryFailed {
        /// Why.
        reason: String,
    },
}

/// An action item and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuggestedItem {
    /// What it says.
    pub item: ActionItem,
    /// What became of it.
    pub decision: Decision<AcceptedTodo>,
}

/// An interest and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuggestedInterest {
    /// What it says.
    pub suggestion: InterestSuggestion,
    /// What became of it.
    pub decision: Decision<AcceptedInterest>,
}

/// A recording as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// The stored file.
    pub file: AudioFile,
    /// What its file was called where it came from.
    pub name: String,
    /// The language that a person says is spoken, as ISO 639-1 names it; otherwise it is detected.
    pub language: Option<String>,
    /// The model that a person asks for; otherwise it is the server's own.
    pub model: Option<String>,
    /// How often something was asked for.
    pub round: u32,
    /// How far it is.
    pub stage: Stage,
    /// What was heard last.
    pub transcript: Option<Transcript>,
    /// What people corrected in it.
    #[serde(with = "super::transcript::as_list")]
    pub corrections: Corrections,
    /// What it comes down to.
    pub summary: Option<Summary>,
    /// The highest number that an action item was suggested under.
    pub numbered: u32,
    /// Suggested action items by their numbers.
    pub items: BTreeMap<u32, SuggestedItem>,
    /// The suggested interest.
    pub interest: Option<SuggestedInterest>,
    /// What was decided on of all interests that were ever suggested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decided: Vec<InterestSuggestion>,
}

impl Recording {
    fn attached(file: AudioFile, name: String, language: Option<String>) -> Self {
        Self {
            file,
            name,
            language,
            model: None,
            round: 1,
            stage: Stage::AwaitsTranscript,
            transcript: None,
            corrections: Corrections::new(),
            summary: None,
            numbered: 0,
            items: BTreeMap::new(),
            interest: None,
            decided: Vec::new(),
        }
    }

    /// The transcript as people corrected it; empty without one.
    pub fn lines(&self) -> Vec<Line> {
        let transcript = self.transcript.as_ref();
        transcript.map(|transcript| transcript.corrected(&self.corrections)).unwrap_or_default()
    }

    fn correct(&mut self, corrections: Vec<Correction>) {
        for Correction { start_ms, end_ms, text } in corrections {
            match text {
                Some(text) => self.corrections.insert((start_ms, end_ms), text),
                None => self.corrections.remove(&(start_ms, end_ms)),
            };
        }
    }

    fn suggest(&mut self, items: Vec<NumberedItem>) {
        self.numbered = items.iter().map(|it| it.number).fold(self.numbered, u32::max);
        self.items.extend(items.into_iter().map(|NumberedItem { number, item }| {
            (number, SuggestedItem { item, decision: Decision::Open })
        }));
    }

    /// Suggestions that nobody has decided on give way to those of a new summary.
    fn withdraw(&mut self) {
        self.items.retain(|_, suggested| suggested.decision != Decision::Open);
        if self.interest.as_ref().is_some_and(|interest| interest.decision == Decision::Open) {
            self.interest = None;
        }
    }

    fn change(&mut self, event: NoteEvent) {
        match event {
            NoteEvent::TranscriptionAsked { round, language, model, .. } => {
                self.round = round;
                (self.language, self.model) = (language, model);
                self.stage = Stage::AwaitsTranscript;
            }
            NoteEvent::Transcribed { transcript, .. } => {
                self.transcript = Some(transcript);
                self.stage = Stage::AwaitsSummary;
            }
            NoteEvent::TranscriptionFailed { reason, .. } => {
                self.stage = Stage::TranscriptionFailed { reason };
            }
            NoteEvent::TranscriptionCancelled { .. } => self.stage = Stage::TranscriptionCancelled,
            NoteEvent::TranscriptCorrected { corrections, .. } => self.correct(corrections),
            NoteEvent::SummaryAsked { round, .. } => {
                self.round = round;
                self.stage = Stage::AwaitsSummary;
            }
            NoteEvent::Summarised { summary, .. } => {
                self.withdraw();
                self.summary = Some(summary);
                self.stage = Stage::Done;
            }
            NoteEvent::SummaryFailed { reason, .. } => self.stage = Stage::SummaryFailed { reason },
            NoteEvent::SummaryCancelled { .. } => self.stage = Stage::SummaryCancelled,
            NoteEvent::ActionItemsSuggested { items, .. } => self.suggest(items),
            NoteEvent::ActionItemAccepted { item, todo, .. } => {
                self.decide_item(item, Decision::Accepted(todo));
            }
            NoteEvent::ActionItemDismissed { item, .. } => {
                self.decide_item(item, Decision::Dismissed);
            }
            NoteEvent::InterestSuggested { suggestion, .. } => {
                self.interest = Some(SuggestedInterest { suggestion, decision: Decision::Open });
            }
            NoteEvent::InterestAccepted { as_recorded, .. } => {
                self.decide_interest(Decision::Accepted(as_recorded));
            }
            NoteEvent::InterestDismissed { .. } => self.decide_interest(Decision::Dismissed),
            _ => {}
        }
    }

    fn decide_item(&mut self, number: u32, decision: Decision<AcceptedTodo>) {
        if let Some(suggested) = self.items.get_mut(&number) {
            suggested.decision = decision;
        }
    }

    fn decide_interest(&mut self, decision: Decision<AcceptedInterest>) {
        if let Some(suggested) = &mut self.interest {
            suggested.decision = decision;
            if !self.decided.iter().any(|it| it.is_like(&suggested.suggestion)) {
                self.decided.push(suggested.suggestion.clone());
            }
        }
    }
}

/// The recordings of a note.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recordings {
    there: BTreeMap<RecordingId, Recording>,
    /// Those that were removed; their ids never come back.
    removed: BTreeSet<RecordingId>,
}

impl Recordings {
    /// The recording with this id.
    pub fn get(&self, id: RecordingId) -> Option<&Recording> {
        self.there.get(&id)
    }

    /// All of them, in the order in which they were attached.
    pub fn iter(&self) -> impl Iterator<Item = (RecordingId, &Recording)> {
        self.there.iter().map(|(id, recording)| (*id, recording))
    }

    /// Whether there was one with this id that is gone.
    pub(super) fn was_removed(&self, id: RecordingId) -> bool {
        self.removed.contains(&id)
    }

    /// Lets an event happen; those that are about no recording change nothing. A reader that has not seen the beginning
    /// of the stream knows no recordings, and nothing happens to them.
    pub fn change(&mut self, event: NoteEvent) {
        match event {
            NoteEvent::RecordingAttached { recording, file, name, language } => {
                self.there.insert(recording, Recording::attached(file, name, language));
            }
            NoteEvent::RecordingRemoved { recording } => {
                self.there.remove(&recording);
                self.removed.insert(recording);
            }
            event => {
                let id = event.recording();
                if let Some(recording) = id.and_then(|id| self.there.get_mut(&id)) {
                    recording.change(event);
                }
            }
        }
    }

    /// What the note's own attributes say about its recordings, unless a person wrote something else into them.
    fn said(&self) -> NoteDetails {
        let path = |id: &RecordingId, part: &str| format!("/recordings/{id}/{part}");
        let with_text = self.there.iter().find(|(_, recording)| recording.transcript.is_some());
        let summaries = self.there.values().filter_map(|recording| recording.summary.as_ref());
        let summaries = summaries.filter(|summary| !summary.is_empty());
        let summaries: Vec<String> = summaries.map(Summary::to_text).collect();
        NoteDetails {
            audio_path: self.there.keys().next().map(|id| path(id, "audio")),
            transcription_path: with_text.map(|(id, _)| path(id, "transcript")),
            ai_summary: (!summaries.is_empty()).then(|| summaries.join("\n\n")),
            ..NoteDetails::default()
        }
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
            ai_summary: follow(&details.ai_summary, &now.ai_summary, then.ai_summary),
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
            ai_summary: toward(
                &now.ai_summary,
                &then.ai_summary,
                said_then.ai_summary,
                said.ai_summary,
            ),
            ..then.clone()
        }
    }

    /// Whether this is the path of a recording that was removed.
    fn lost(&self, path: &str) -> bool {
        let id = path.strip_prefix("/recordings/").and_then(|rest| rest.split_once('/'));
        let id = id.and_then(|(id, _)| id.parse().ok());
        id.is_some_and(|id| self.was_removed(RecordingId(id)))
    }

    /// What makes the corrections those of the others, wherever both have a recording. Nothing else of recordings is ever
    /// taken back: what was attached stays, and what a machine heard or wrote it did hear and write.
    pub(super) fn toward(&self, to: &Self) -> Vec<NoteEvent> {
        let both = self.there.iter().filter_map(|(id, now)| Some((*id, now, to.there.get(id)?)));
        both.filter_map(|(recording, now, then)| {
            let gone = now.corrections.keys().filter(|span| !then.corrections.contains_key(span));
            let gone = gone.map(|span| (*span, None));
            let other = then.corrections.iter();
            let other = other.filter(|(span, text)| now.corrections.get(span) != Some(*text));
            let other = other.map(|(span, text)| (*span, Some(text.clone())));
            let corrections: Vec<_> = gone.chain(other).map(correction).collect();
            let is_needed = !corrections.is_empty();
            is_needed.then_some(NoteEvent::TranscriptCorrected { recording, corrections })
        })
        .collect()
    }
}

fn correction(((start_ms, end_ms), text): ((u64, u64), Option<String>)) -> Correction {
    Correction { start_ms, end_ms, text }
}

/// Recordings that a read model holds.
impl FromIterator<(RecordingId, Recording)> for Recordings {
    fn from_iter<I: IntoIterator<Item = (RecordingId, Recording)>>(recordings: I) -> Self {
        Self { there: recordings.into_iter().collect(), removed: BTreeSet::new() }
    }
}

/// A fact about a recording is named `recordings.<id>.<what>`. Transcripts are no facts: a history would repeat hours of
/// speech at every step; what people corrected is.
impl Beside for Recordings {
    fn tell(&self, part: &str, facts: &mut Facts) {
        for (id, recording) in &self.there {
            let mut tell = |what: String, value: Value| {
                let field = format!("{part}.{id}.{what}");
                facts.insert(FactName { field, about: None }, value);
            };
            tell("name".to_owned(), json!(recording.name));
            tell("state".to_owned(), json!(recording.stage.in_words()));
            if let Some(transcript) = &recording.transcript {
                tell("language".to_owned(), json!(transcript.language));
                tell("model".to_owned(), json!(transcript.model));
            }
            for ((start, end), text) in &recording.corrections {
                tell(format!("corrected.{start}-{end}"), json!(text));
            }
            if let Some(summary) = &recording.summary {
                tell("summary".to_owned(), json!(summary.to_text()));
            }
            for (number, SuggestedItem { item, decision }) in &recording.items {
                let words = format!("{} ({})", item.text, decision.in_a_word());
                tell(format!("action_item.{number}"), json!(words));
            }
            if let Some(SuggestedInterest { suggestion, decision }) = &recording.interest {
                let interest = suggestion.interest.as_ref().or(suggestion.fundraise.as_ref());
                let interest = interest.map_or("", String::as_str);
                let words = format!("{interest} ({})", decision.in_a_word());
                tell("interest".to_owned(), json!(words));
            }
        }
    }

    /// Of what is said about recordings only corrections are ever taken back (see [`Recordings::toward`]), so only they are
    /// learnt, and which recordings there are.
    fn learn(&mut self, part: &str, facts: &Facts) {
        for (name, value) in facts {
            let fact = name.field.strip_prefix(part).and_then(|rest| rest.strip_prefix('.'));
            let Some((id, what)) = fact.and_then(|fact| fact.split_once('.')) else { continue };
            let Ok(id) = id.parse() else { continue };
            let recording = self
                .there
                .entry(RecordingId(id))
                .or_insert_with(|| Recording::attached(AudioFile::default(), String::new(), None));
            let span = what.strip_prefix("corrected.").and_then(|span| span.split_once('-'));
            let Some((start, end)) = span else { continue };
            if let (Ok(start), Ok(end), Some(text)) = (start.parse(), end.parse(), value.as_str()) {
                recording.corrections.insert((start, end), text.to_owned());
            }
        }
    }
}

impl Stage {
    fn in_words(&self) -> String {
        match self {
            Stage::AwaitsTranscript => "to be transcribed".to_owned(),
            Stage::AwaitsSummary => "to be summarised".to_owned(),
            Stage::Done => "summarised".to_owned(),
            Stage::TranscriptionCancelled => "transcription cancelled".to_owned(),
            Stage::SummaryCancelled => "summary cancelled".to_owned(),
            Stage::TranscriptionFailed { reason } => format!("transcription failed: {reason}"),
            Stage::SummaryFailed { reason } => format!("summary failed: {reason}"),
        }
    }
}
