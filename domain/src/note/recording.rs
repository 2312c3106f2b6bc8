//! Recordings of a note, as they stand: what was attached, how far it is, and what was made of it.
//!
//! What is to be done with a recording is asked for in rounds. Attaching it begins the first; asking for another transcript
//! or summary begins the next, and a result of an earlier round is refused, however late it comes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::NoteEvent;
use super::suggestion::{
    AcceptedInterest, AcceptedTodo, ActionItem, Decision, InterestSuggestion, NumberedItem, Summary,
};
use super::transcript::{Correction, Corrections, Line, Transcript};
use crate::Facts;
use crate::facts::Beside;
use crate::facts::FactName;

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
    /// What its file was called where it came from, or what a person calls it since.
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
    /// Whether people corrected the transcript after that was asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_corrected_since: bool,
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
            is_corrected_since: false,
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

    /// What a model heard where a fact about it says what a person wrote.
    pub(crate) fn heard(&self, what: &str) -> Option<&str> {
        let (start_ms, end_ms) = corrected_span(what)?;
        self.transcript.as_ref()?.heard(start_ms, end_ms)
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
            NoteEvent::RecordingRenamed { name, .. } => self.name = name,
            NoteEvent::TranscriptionAsked { round, language, model, .. } => {
                self.round = round;
                (self.language, self.model) = (language, model);
                self.stage = Stage::AwaitsTranscript;
            }
            NoteEvent::Transcribed { transcript, .. } => {
                self.transcript = Some(transcript);
                self.stage = Stage::AwaitsSummary;
                self.is_corrected_since = false;
            }
            NoteEvent::TranscriptionFailed { reason, .. } => {
                self.stage = Stage::TranscriptionFailed { reason };
            }
            NoteEvent::TranscriptionCancelled { .. } => self.stage = Stage::TranscriptionCancelled,
            NoteEvent::TranscriptCorrected { corrections, .. } => {
                self.correct(corrections);
                self.is_corrected_since = true;
            }
            NoteEvent::SummaryAsked { round, .. } => {
                self.round = round;
                self.stage = Stage::AwaitsSummary;
                self.is_corrected_since = false;
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
    pub(super) there: BTreeMap<RecordingId, Recording>,
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

    /// What makes the names and corrections those of the others, wherever both have a recording. Nothing else of recordings is
    /// ever taken back: what was attached stays, with its name, and what a machine heard or wrote it did hear and write.
    pub(super) fn toward(&self, to: &Self) -> Vec<NoteEvent> {
        let both = self.there.iter().filter_map(|(id, now)| Some((*id, now, to.there.get(id)?)));
        both.flat_map(|(recording, now, then)| {
            let is_renamed = now.name != then.name && !then.name.is_empty();
            let renamed = is_renamed
                .then(|| NoteEvent::RecordingRenamed { recording, name: then.name.clone() });
            let gone = now.corrections.keys().filter(|span| !then.corrections.contains_key(span));
            let gone = gone.map(|span| (*span, None));
            let other = then.corrections.iter();
            let other = other.filter(|(span, text)| now.corrections.get(span) != Some(*text));
            let other = other.map(|(span, text)| (*span, Some(text.clone())));
            let corrections: Vec<_> = gone.chain(other).map(correction).collect();
            let is_needed = !corrections.is_empty();
            let corrected = NoteEvent::TranscriptCorrected { recording, corrections };
            renamed.into_iter().chain(is_needed.then_some(corrected))
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
                // Where nobody speaks there is none.
                if !transcript.language.is_empty() {
                    tell("language".to_owned(), json!(transcript.language));
                }
                tell("model".to_owned(), json!(transcript.model));
            }
            for ((start, end), text) in &recording.corrections {
                tell(format!("corrected.{start}-{end}"), json!(text));
            }
            if let Some(summary) = &recording.summary {
                tell("summary".to_owned(), json!(summary.to_text()));
            }
            for (number, SuggestedItem { item, decision }) in &recording.items {
                let became = match decision {
                    Decision::Accepted(todo) => format!("accepted as todo {}", todo.id),
                    Decision::Open | Decision::Dismissed => decision.in_a_word().to_owned(),
                };
                tell(format!("action_item.{number}"), json!(format!("{} ({became})", item.text)));
            }
            if let Some(SuggestedInterest { suggestion, decision }) = &recording.interest {
                let interest = suggestion.interest.as_ref().or(suggestion.fundraise.as_ref());
                let interest = interest.map_or("", String::as_str);
                let words = format!("{interest} ({})", decision.in_a_word());
                tell("interest".to_owned(), json!(words));
            }
        }
    }

    /// Of what is said about recordings only names and corrections are ever taken back (see [`Recordings::toward`]), so only
    /// they are learnt, and which recordings there are.
    fn learn(&mut self, part: &str, facts: &Facts) {
        for (name, value) in facts {
            let fact = name.field.strip_prefix(part).and_then(|rest| rest.strip_prefix('.'));
            let Some((id, what)) = fact.and_then(|fact| fact.split_once('.')) else { continue };
            let Ok(id) = id.parse() else { continue };
            let recording = self
                .there
                .entry(RecordingId(id))
                .or_insert_with(|| Recording::attached(AudioFile::default(), String::new(), None));
            match (what, corrected_span(what), value.as_str()) {
                ("name", _, Some(name)) => recording.name = name.to_owned(),
                (_, Some(span), Some(text)) => {
                    _ = recording.corrections.insert(span, text.to_owned())
                }
                _ => {}
            }
        }
    }
}

/// The span whose correction a fact about a recording is, by the last part of its name.
pub(crate) fn corrected_span(what: &str) -> Option<(u64, u64)> {
    let (start, end) = what.strip_prefix("corrected.")?.split_once('-')?;
    Some((start.parse().ok()?, end.parse().ok()?))
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
