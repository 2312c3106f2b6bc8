//! What can be asked of a recording, and what it leads to.

use super::recording::{AudioFile, Recording, RecordingId, Recordings, Stage, SuggestedItem};
use super::suggestion::{
    AcceptedInterest, AcceptedTodo, ActionItem, Decision, InterestSuggestion, Summary,
};
use super::transcript::{Correction, Transcript};
use super::{Note, NoteEvent, NoteRecord};
use crate::erasure::Holdable as _;
use crate::todo::{Priority, TodoChanges, TodoEvent, TodoStatus};
use crate::{Change, NoteId, Refusal, TodoId, Verbatim};

/// What can be asked of a recording of a note. Results name the round that they were made for.
#[derive(Clone, Debug)]
pub enum RecordingCommand {
    /// Adds it to the note; from then on it waits to be transcribed.
    Attach {
        /// The stored file, which must be whole.
        file: AudioFile,
        /// What it was called where it came from.
        name: String,
        /// The language that is spoken, as ISO 639-1 names it; `None` to have it detected.
        language: Option<String>,
    },
    /// Gives it another name.
    Rename {
        /// The name.
        name: String,
    },
    /// Has it transcribed again, and summarised after that.
    AskTranscription {
        /// The language that is spoken, as ISO 639-1 names it; `None` to have it detected.
        language: Option<String>,
        /// The model to use; `None` for the server's own.
        model: Option<String>,
    },
    /// Has it summarised again, as it was corrected.
    AskSummary,
    /// Asks again for what failed or was cancelled, and for a summary that highlights stand in for. What is awaited anyway need
    /// not be asked for; its next attempt may come earlier.
    Retry,
    /// Stops what is under way.
    Cancel,
    /// What a model heard.
    KeepTranscript {
        /// The round that it was made for.
        round: u32,
        /// All of it.
        transcript: Transcript,
    },
    /// There can be no transcript.
    FailTranscription {
        /// The round that it was to be made for.
        round: u32,
        /// Why.
        reason: String,
    },
    /// What it comes down to.
    KeepSummary {
        /// The round that it was made for.
        round: u32,
        /// The summary.
        summary: Summary,
        /// What seems to have been promised.
        items: Vec<ActionItem>,
        /// How interested somebody seems to be.
        interest: Option<InterestSuggestion>,
    },
    /// There can be no summary.
    FailSummary {
        /// The round that it was to be made for.
        round: u32,
        /// Why.
        reason: String,
    },
    /// What people hear that the model did not. Each names a segment by its time.
    Correct {
        /// The corrections.
        corrections: Vec<Correction>,
    },
    /// Makes a todo of a suggested action item, even of one that was dismissed.
    AcceptItem {
        /// Its number.
        item: u32,
        /// The todo, under a fresh id. If it was accepted before, that todo stays the only one.
        todo: AcceptedTodo,
        /// The todo that it became before, if that is deleted: this one takes its place.
        deleted: Option<TodoId>,
    },
    /// Puts a suggested action item away.
    DismissItem {
        /// Its number.
        item: u32,
    },
    /// Says which interest the suggestion was recorded as.
    AcceptInterest {
        /// The interest of an LP in a fund.
        as_recorded: AcceptedInterest,
    },
    /// Puts the suggested interest away.
    DismissInterest,
    /// Removes it from the note, and its audio for good. A hold forbids it.
    Remove,
}

impl Note {
    /// The todo that an accepted action item becomes; `self` is the note `id` before the events.
    pub fn follow_up(&self, id: NoteId, events: &[NoteEvent]) -> Option<(TodoId, Vec<TodoEvent>)> {
        let (recording, number, todo) = events.iter().find_map(|event| match event {
            NoteEvent::ActionItemAccepted { recording, item, todo } => {
                Some((*recording, item, todo))
            }
            _ => None,
        })?;
        let suggested = self.record()?.recordings.get(recording)?.items.get(number)?;
        let begun = suggested.item.as_todo((id, recording), todo);
        let to = std::iter::once(id.into()).chain(todo.about.iter().copied()).collect();
        Some((todo.id, vec![begun, TodoEvent::Linked { to }]))
    }
}

impl ActionItem {
    fn as_todo(&self, (note, recording): (NoteId, RecordingId), todo: &AcceptedTodo) -> TodoEvent {
        let changes = TodoChanges {
            description: Change::Set(self.described(recording, todo)),
            // As of a todo that is made without saying how much it matters.
            priority: Change::Set(Priority::Medium),
            created_at: Change::Set(todo.at),
            due_date: todo.due_date.map_or(Change::Keep, Change::Set),
            note_id: Change::Set(note),
            ..TodoChanges::default()
        };
        TodoEvent::Registered {
            title: todo.title.clone(),
            status: TodoStatus::Pending,
            details: changes,
            legacy: Verbatim::default(),
        }
    }

    /// What a todo has no field for. It says where the rest was said and not what: todos are stored in plain, and what was said
    /// must go with the note when that is erased. Who accepts an item says what else is to be kept, with its title.
    fn described(&self, recording: RecordingId, todo: &AcceptedTodo) -> String {
        let line = |what: &str, text: &str| {
            let words: Vec<_> = text.split_whitespace().collect();
            format!("{what}: {}", words.join(" "))
        };
        let owner = todo.owner.as_deref().map(|owner| line("Owner", owner));
        let due = self.due.as_deref().filter(|_| todo.due_date.is_none() && !todo.is_undated);
        let due = due.map(|due| line("Due", due));
        let time = self.start_ms.map(|start| {
            let seconds = start / 1000;
            format!(", at {}:{:02}", seconds / 60, seconds % 60)
        });
        let place = format!("Said in /recordings/{recording}{}", time.unwrap_or_default());
        let lines: Vec<_> = owner.into_iter().chain(due).chain([place]).collect();
        lines.join("\n")
    }
}

impl NoteRecord {
    /// What a command about a recording leads to, and what the note's own attributes say of its recordings then.
    pub(super) fn process(
        &self,
        id: RecordingId,
        command: RecordingCommand,
    ) -> Result<Vec<NoteEvent>, Refusal> {
        let mut events = self.recordings.decide(id, command)?;
        if events.iter().any(|event| matches!(event, NoteEvent::RecordingRemoved { .. })) {
            // Its audio goes with it.
            self.check_not_held()?;
        }
        if !events.is_empty() {
            let mut then = self.recordings.clone();
            events.iter().cloned().for_each(|event| then.change(event));
            let changes = self.recordings.follow(&then, &self.details);
            if !changes.is_empty() {
                events.push(NoteEvent::DetailsAmended { changes });
            }
        }
        Ok(events)
    }
}

impl Recordings {
    fn decide(
        &self,
        id: RecordingId,
        command: RecordingCommand,
    ) -> Result<Vec<NoteEvent>, Refusal> {
        match (command, self.get(id)) {
            (RecordingCommand::Attach { file, .. }, Some(there)) if there.file == file => {
                Ok(vec![])
            }
            (RecordingCommand::Attach { file, name, language }, None) if !self.was_removed(id) => {
                Ok(vec![NoteEvent::RecordingAttached { recording: id, file, name, language }])
            }
            (RecordingCommand::Attach { .. }, _) => Err(Refusal::RecordingTaken),
            (RecordingCommand::Remove, None) if self.was_removed(id) => Ok(vec![]),
            (_, None) => Err(Refusal::NoSuchRecording),
            (command, Some(recording)) => recording.decide(id, command),
        }
    }
}

impl Recording {
    fn decide(
        &self,
        recording: RecordingId,
        command: RecordingCommand,
    ) -> Result<Vec<NoteEvent>, Refusal> {
        match command {
            RecordingCommand::Attach { .. } => Ok(vec![]),
            RecordingCommand::Rename { name } if name == self.name => Ok(vec![]),
            RecordingCommand::Rename { name } => {
                Ok(vec![NoteEvent::RecordingRenamed { recording, name }])
            }
            RecordingCommand::AskTranscription { language, model } => {
                Ok(self.ask_transcription(recording, language, model))
            }
            RecordingCommand::AskSummary => self.ask_summary(recording),
            RecordingCommand::Retry => self.retry(recording),
            RecordingCommand::Cancel => self.cancel(recording),
            RecordingCommand::KeepTranscript { round, transcript } => {
                let is_news = self.takes_transcript(round)?;
                let event = NoteEvent::Transcribed { recording, round, transcript };
                Ok(is_news.then_some(event).into_iter().collect())
            }
            RecordingCommand::FailTranscription { round, reason } => {
                let is_news = self.takes_transcript(round)?;
                let event = NoteEvent::TranscriptionFailed { recording, round, reason };
                Ok(is_news.then_some(event).into_iter().collect())
            }
            RecordingCommand::KeepSummary { round, summary, items, interest } => {
                match self.takes_summary(round)? {
                    true => Ok(self.summarised(recording, summary, items, interest)),
                    false => Ok(vec![]),
                }
            }
            RecordingCommand::FailSummary { round, reason } => {
                let is_news = self.takes_summary(round)?;
                let event = NoteEvent::SummaryFailed { recording, round, reason };
                Ok(is_news.then_some(event).into_iter().collect())
            }
            RecordingCommand::Correct { corrections } => self.correction(recording, corrections),
            RecordingCommand::AcceptItem { item, todo, deleted } => {
                match &self.item(item)?.decision {
                    Decision::Accepted(known) if deleted != Some(known.id) => Ok(vec![]),
                    _ => Ok(vec![NoteEvent::ActionItemAccepted { recording, item, todo }]),
                }
            }
            RecordingCommand::DismissItem { item } => match self.item(item)?.decision {
                Decision::Accepted(_) => Err(Refusal::SuggestionAccepted),
                Decision::Dismissed => Ok(vec![]),
                Decision::Open => Ok(vec![NoteEvent::ActionItemDismissed { recording, item }]),
            },
            RecordingCommand::AcceptInterest { as_recorded } => {
                self.accept_interest(recording, as_recorded)
            }
            RecordingCommand::DismissInterest => match self.interest_decision()? {
                Decision::Accepted(_) => Err(Refusal::SuggestionAccepted),
                Decision::Dismissed => Ok(vec![]),
                Decision::Open => Ok(vec![NoteEvent::InterestDismissed { recording }]),
            },
            RecordingCommand::Remove => Ok(vec![NoteEvent::RecordingRemoved { recording }]),
        }
    }

    /// Another transcript, unless the same one is under way.
    fn ask_transcription(
        &self,
        recording: RecordingId,
        language: Option<String>,
        model: Option<String>,
    ) -> Vec<NoteEvent> {
        let is_same = (&language, &model) == (&self.language, &self.model);
        if is_same && self.stage == Stage::AwaitsTranscript {
            return vec![];
        }
        let round = self.round + 1;
        vec![NoteEvent::TranscriptionAsked { recording, round, language, model }]
    }

    fn ask_summary(&self, recording: RecordingId) -> Result<Vec<NoteEvent>, Refusal> {
        match self.stage {
            Stage::AwaitsTranscript => Err(Refusal::NotTranscribed),
            _ if self.transcript.is_none() => Err(Refusal::NotTranscribed),
            Stage::AwaitsSummary => Ok(vec![]),
            _ => Ok(vec![NoteEvent::SummaryAsked { recording, round: self.round + 1 }]),
        }
    }

    fn retry(&self, recording: RecordingId) -> Result<Vec<NoteEvent>, Refusal> {
        match self.stage {
            Stage::AwaitsTranscript | Stage::AwaitsSummary => Ok(vec![]),
            Stage::TranscriptionCancelled | Stage::TranscriptionFailed { .. } => {
                Ok(self.ask_transcription(recording, self.language.clone(), self.model.clone()))
            }
            Stage::SummaryCancelled | Stage::SummaryFailed { .. } => self.ask_summary(recording),
            Stage::Done if self.awaits_model() => self.ask_summary(recording),
            Stage::Done => Err(Refusal::NothingToRetry),
        }
    }

    /// Whether it has highlights where a model should have written a summary.
    fn awaits_model(&self) -> bool {
        let summary = self.summary.as_ref();
        summary.is_some_and(|summary| summary.author.instead_of_model().is_some())
    }

    fn cancel(&self, recording: RecordingId) -> Result<Vec<NoteEvent>, Refusal> {
        match self.stage {
            Stage::AwaitsTranscript => Ok(vec![NoteEvent::TranscriptionCancelled { recording }]),
            Stage::AwaitsSummary => Ok(vec![NoteEvent::SummaryCancelled { recording }]),
            Stage::TranscriptionCancelled | Stage::SummaryCancelled => Ok(vec![]),
            Stage::Done | Stage::TranscriptionFailed { .. } | Stage::SummaryFailed { .. } => {
                Err(Refusal::NothingToCancel)
            }
        }
    }

    /// Whether a transcript that was made for this round is awaited; one that comes again is no news.
    fn takes_transcript(&self, round: u32) -> Result<bool, Refusal> {
        match self.stage {
            _ if round != self.round => Err(Refusal::Superseded),
            Stage::AwaitsTranscript => Ok(true),
            Stage::TranscriptionCancelled => Err(Refusal::Superseded),
            _ => Ok(false),
        }
    }

    /// Likewise for a summary.
    fn takes_summary(&self, round: u32) -> Result<bool, Refusal> {
        match self.stage {
            _ if round != self.round => Err(Refusal::Superseded),
            Stage::AwaitsSummary => Ok(true),
            Stage::Done | Stage::SummaryFailed { .. } => Ok(false),
            _ => Err(Refusal::Superseded),
        }
    }

    /// What was decided on before is not suggested again.
    fn summarised(
        &self,
        recording: RecordingId,
        summary: Summary,
        items: Vec<ActionItem>,
        interest: Option<InterestSuggestion>,
    ) -> Vec<NoteEvent> {
        let items = self.numbered(items);
        let interest = interest.filter(|it| !self.decided.iter().any(|known| known.is_like(it)));
        let mut events = vec![NoteEvent::Summarised { recording, round: self.round, summary }];
        if !items.is_empty() {
            events.push(NoteEvent::ActionItemsSuggested { recording, items });
        }
        if let Some(suggestion) = interest {
            events.push(NoteEvent::InterestSuggested { recording, suggestion });
        }
        events
    }

    fn correction(
        &self,
        recording: RecordingId,
        corrections: Vec<Correction>,
    ) -> Result<Vec<NoteEvent>, Refusal> {
        let transcript = self.transcript.as_ref().ok_or(Refusal::NotTranscribed)?;
        let lines = transcript.corrected(&self.corrections);
        let mut news = Vec::new();
        for Correction { start_ms, end_ms, text } in corrections {
            let line = lines.iter().find(|it| (it.start_ms, it.end_ms) == (start_ms, end_ms));
            if line.is_none() && !transcript.has_hole(start_ms, end_ms) {
                return Err(Refusal::NoSuchSegment { start_ms, end_ms });
            }
            // What the model heard anyway is no correction.
            let heard = transcript.heard(start_ms, end_ms);
            let text = text.filter(|text| heard != Some(text));
            let is_news = match (&text, line) {
                (Some(text), Some(line)) => *text != line.text || !line.is_corrected(),
                (None, Some(line)) => line.is_corrected(),
                (text, None) => text.is_some(),
            };
            if is_news {
                news.push(Correction { start_ms, end_ms, text });
            }
        }
        let is_needed = !news.is_empty();
        let event = NoteEvent::TranscriptCorrected { recording, corrections: news };
        Ok(is_needed.then_some(event).into_iter().collect())
    }

    fn item(&self, number: u32) -> Result<&SuggestedItem, Refusal> {
        self.items.get(&number).ok_or(Refusal::NoSuchSuggestion)
    }

    fn interest_decision(&self) -> Result<&Decision<AcceptedInterest>, Refusal> {
        let suggested = self.interest.as_ref().ok_or(Refusal::NoSuchSuggestion)?;
        Ok(&suggested.decision)
    }

    fn accept_interest(
        &self,
        recording: RecordingId,
        as_recorded: AcceptedInterest,
    ) -> Result<Vec<NoteEvent>, Refusal> {
        match self.is_accepted_as(&as_recorded)? {
            true => Ok(vec![]),
            false => Ok(vec![NoteEvent::InterestAccepted { recording, as_recorded }]),
        }
    }

    /// Whether the suggested interest was accepted as this; if not, it can be.
    ///
    /// # Errors
    /// [`Refusal::NoSuchSuggestion`], or [`Refusal::SuggestionAccepted`] if it was accepted as something else.
    pub fn is_accepted_as(&self, as_recorded: &AcceptedInterest) -> Result<bool, Refusal> {
        match self.interest_decision()? {
            Decision::Accepted(known) if known == as_recorded => Ok(true),
            Decision::Accepted(_) => Err(Refusal::SuggestionAccepted),
            Decision::Open | Decision::Dismissed => Ok(false),
        }
    }
}
