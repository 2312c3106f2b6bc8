//! Note: what was said in a meeting, and with whom.

mod due;
mod numbering;
mod processing;
mod recording;
mod said;
mod suggestion;
mod transcript;
mod wording;

#[cfg(test)]
mod recording_tests;

pub use due::due;
pub use processing::RecordingCommand;
pub(crate) use recording::corrected_span;
pub use recording::{
    AudioFile, Recording, RecordingId, Recordings, Stage, SuggestedInterest, SuggestedItem,
};
pub use suggestion::{
    AcceptedInterest, AcceptedTodo, ActionItem, Author, Decision, InterestSuggestion, KeyPoint,
    NumberedItem, Summary,
};
pub use transcript::{
    Correction, Corrections, Gap, Line, Mark, MarkKind, Segment, Transcript, is_told, spoken_time,
};

use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::erasure::{Holdable, Holds};
use crate::lifecycle::aggregate;
use crate::links::check_linkable;
use crate::{Change, Kind, Lifecycle, Links, Moment, RecordRef, Refusal, Verbatim};

attributes! {
    NoteDetails / NoteChanges {
        notion_id: String,
        // Required at the API, but legacy files that were migrated in place hold nameless notes.
        name: String,
        date: Moment,
        contact_type: String,
        local_mf: String,
        local_alts: String,
        intl_mf: String,
        intl_alts: String,
        roadshows: String,
        pin: String,
        useful: bool,
        fundraise: String,
        ai_summary: String,
        content_text: String,
        content_json: String,
        image_paths: String,
        raw_notes: String,
        summary: String,
        interest: String,
        audio_path: String,
        transcription_path: String,
    }
}

/// A note as it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NoteRecord {
    /// Everything it says.
    #[serde(flatten)]
    pub details: NoteDetails,
    /// Whom and what it is about; people are its participants.
    #[serde(skip)]
    pub links: Links,
    /// Source values that the attributes cannot hold.
    #[serde(skip)]
    pub legacy: Verbatim,
    /// Why it must not be erased, while legal holds are on it.
    #[serde(skip)]
    pub hold: Holds,
    /// What was recorded of the meeting.
    #[serde(skip)]
    pub recordings: Recordings,
}

impl Holdable for NoteRecord {
    fn holds(&self) -> &Holds {
        &self.hold
    }
    fn holds_mut(&mut self) -> &mut Holds {
        &mut self.hold
    }
}

/// The aggregate.
pub type Note = Lifecycle<NoteRecord>;

/// What can be asked of a note.
#[derive(Clone, Debug)]
pub enum NoteCommand {
    /// Takes the note up.
    Register {
        /// Everything it says.
        details: NoteChanges,
        /// Source values that the attributes cannot hold.
        legacy: Verbatim,
    },
    /// PUT: what is absent stays, what changes nothing records nothing.
    Revise {
        /// The changes.
        changes: NoteChanges,
    },
    /// Links the note to records.
    Link {
        /// Whom and what it is about.
        to: Vec<RecordRef>,
    },
    /// Takes links away.
    Unlink {
        /// Whom and what it is not about.
        from: Vec<RecordRef>,
    },
    /// Makes the links of some kinds exactly these.
    Relink {
        /// The kinds that are replaced; links of other kinds stay.
        kinds: Vec<Kind>,
        /// All links of these kinds.
        to: Vec<RecordRef>,
    },
    /// Replaces the source values that the attributes cannot hold.
    KeepLegacy {
        /// All of them.
        values: Verbatim,
    },
    /// Does something with a recording of the meeting.
    Process {
        /// Which recording; to attach one, a fresh id.
        recording: RecordingId,
        /// What.
        command: RecordingCommand,
    },
    /// Removes the note from use.
    Archive,
    /// Takes it into use again.
    Restore,
    /// Makes the note what it was, or would have been: everything that differs is changed, in ordinary events.
    Revert {
        /// What it was.
        to: Box<Note>,
    },
    /// Protects the record from erasure. The reason must not contain personal data.
    Hold {
        /// Why.
        reason: String,
    },
    /// Ends that protection. The reason must not contain personal data.
    LiftHold {
        /// Why.
        reason: String,
        /// The reason of the hold that ends, where there are several; [`ALL_HOLDS`](crate::ALL_HOLDS) ends all.
        of: Option<String>,
    },
    /// Destroys everything the record ever said. The reason must not contain personal data.
    Erase {
        /// Why.
        reason: String,
    },
}

impl NoteCommand {
    /// Whether it takes no more than the plain events of the stream to decide it: see [`Lifecycle::in_plain`].
    pub fn is_decided_in_plain(&self) -> bool {
        matches!(self, Self::Hold { .. } | Self::LiftHold { .. } | Self::Erase { .. })
    }
}

// Variant and field names are the storage format: rename only with an upcaster.
/// What has happened to a note.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, AsRefStr, VariantNames)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "fields carry the names of the attributes")]
pub enum NoteEvent {
    /// It was taken up.
    Registered {
        details: NoteChanges,
        #[serde(default, skip_serializing_if = "Verbatim::is_empty")]
        legacy: Verbatim,
    },
    /// It got another name.
    Renamed { name: Option<String> },
    /// The meeting was on another day.
    Dated { date: Option<Moment> },
    /// The text or its summary changed.
    TextRevised {
        #[serde(default, skip_serializing_if = "Change::is_keep")]
        raw_notes: Change<String>,
        #[serde(default, skip_serializing_if = "Change::is_keep")]
        summary: Change<String>,
    },
    /// Somebody found it useful, or no longer does.
    UsefulnessMarked { useful: Option<bool> },
    /// Other attributes changed.
    DetailsAmended { changes: NoteChanges },
    /// It is about these as well.
    Linked { to: Vec<RecordRef> },
    /// It is no longer about these.
    Unlinked { from: Vec<RecordRef> },
    /// The source values that the attributes cannot hold are now these.
    LegacyKept { values: Verbatim },
    /// A recording was added; it is to be transcribed.
    RecordingAttached {
        recording: RecordingId,
        file: AudioFile,
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        language: Option<String>,
    },
    /// A person gave a recording another name.
    RecordingRenamed { recording: RecordingId, name: String },
    /// A recording is to be transcribed again.
    TranscriptionAsked {
        recording: RecordingId,
        round: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        language: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
    },
    /// A recording was transcribed; it is to be summarised.
    Transcribed { recording: RecordingId, round: u32, transcript: Transcript },
    /// A recording cannot be transcribed.
    TranscriptionFailed { recording: RecordingId, round: u32, reason: String },
    /// A person stopped a transcription.
    TranscriptionCancelled { recording: RecordingId },
    /// People heard what the model did not.
    TranscriptCorrected { recording: RecordingId, corrections: Vec<Correction> },
    /// A recording is to be summarised again.
    SummaryAsked { recording: RecordingId, round: u32 },
    /// A recording was summarised; what an earlier summary suggested and nobody decided on is withdrawn.
    Summarised { recording: RecordingId, round: u32, summary: Summary },
    /// A recording cannot be summarised.
    SummaryFailed { recording: RecordingId, round: u32, reason: String },
    /// A person stopped a summary.
    SummaryCancelled { recording: RecordingId },
    /// Somebody seems to have promised something.
    ActionItemsSuggested { recording: RecordingId, items: Vec<NumberedItem> },
    /// A suggested action item became a todo.
    ActionItemAccepted { recording: RecordingId, item: u32, todo: AcceptedTodo },
    /// A suggested action item was put away.
    ActionItemDismissed { recording: RecordingId, item: u32 },
    /// Somebody seems to be interested.
    InterestSuggested { recording: RecordingId, suggestion: InterestSuggestion },
    /// The suggested interest was recorded in a fund's funnel.
    InterestAccepted { recording: RecordingId, as_recorded: AcceptedInterest },
    /// The suggested interest was put away.
    InterestDismissed { recording: RecordingId },
    /// A recording was removed for good.
    RecordingRemoved { recording: RecordingId },
    /// It was removed from use.
    Archived,
    /// It was taken into use again.
    Restored,
    /// A legal hold protects it from erasure; stored in plain.
    Held { reason: String },
    /// The hold has ended; stored in plain.
    HoldLifted {
        reason: String,
        /// Which one, by its reason. Earlier releases did not say: all ended then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<String>,
    },
    /// Its content was destroyed for good; stored in plain.
    Erased { reason: String },
}

impl Note {
    /// The kinds of records that a note is about.
    pub const LINKABLE: &'static [Kind] =
        &[Kind::Lp, Kind::Gp, Kind::Fund, Kind::Roadshow, Kind::Distributor, Kind::Person];

    /// What a command leads to.
    ///
    /// # Errors
    /// A [`Refusal`] when the rules do not allow it.
    pub fn decide(&self, command: NoteCommand) -> Result<Vec<NoteEvent>, Refusal> {
        use NoteCommand::{
            Archive, Erase, Hold, KeepLegacy, LiftHold, Link, Process, Register, Relink, Restore,
            Revert, Revise, Unlink,
        };
        match command {
            Register { details, legacy } => {
                self.check_unregistered()?;
                let details = details.against(&NoteDetails::default());
                Ok(vec![NoteEvent::Registered { details, legacy }])
            }
            Revise { changes } => Ok(self.active()?.revise(changes)),
            Link { to } => self.active()?.relink(&to, vec![]),
            Unlink { from } => {
                let record = self.active()?;
                record.relink(&[], record.links.present(&from))
            }
            Relink { kinds, to } => {
                let record = self.active()?;
                record.relink(&to, record.links.surplus(&kinds, &to))
            }
            KeepLegacy { values } if self.active()?.legacy == values => Ok(vec![]),
            KeepLegacy { values } => Ok(vec![NoteEvent::LegacyKept { values }]),
            Process { recording, command } => self.active()?.process(recording, command),
            Archive => self.active().map(|_| vec![NoteEvent::Archived]),
            Restore => self.check_archived().map(|()| vec![NoteEvent::Restored]),
            Revert { to } => {
                self.revert(&to, NoteRecord::toward, NoteEvent::Archived, NoteEvent::Restored)
            }
            Hold { reason } if self.holds_anew(&reason)? => Ok(vec![NoteEvent::Held { reason }]),
            LiftHold { reason, of } => {
                let lifted = self.lifts(&reason, of.as_deref())?.into_iter();
                let event = |of| NoteEvent::HoldLifted { reason: reason.clone(), of: Some(of) };
                Ok(lifted.map(event).collect())
            }
            Erase { reason } if self.erases(&reason)? => Ok(vec![NoteEvent::Erased { reason }]),
            Hold { .. } | Erase { .. } => Ok(vec![]),
        }
    }

    fn evolve(&mut self, event: NoteEvent) {
        match event {
            NoteEvent::Registered { details, legacy } => {
                let details = details.into();
                *self = Note::Active(NoteRecord { details, legacy, ..NoteRecord::default() });
            }
            NoteEvent::Archived => self.archive(),
            NoteEvent::Restored => self.restore(),
            NoteEvent::Held { reason } => {
                self.there_mut().into_iter().for_each(|it| it.hold.put(reason.clone()));
            }
            NoteEvent::HoldLifted { of, .. } => {
                self.there_mut().into_iter().for_each(|it| it.hold.lift(of.as_deref()));
            }
            // A rebuild sees this event alone: what came before can no longer be read.
            NoteEvent::Erased { .. } => *self = Note::Erased,
            change => {
                if let Some(record) = self.changed() {
                    record.change(change);
                }
            }
        }
    }
}

impl NoteRecord {
    fn revise(&self, changes: NoteChanges) -> Vec<NoteEvent> {
        let mut changes = changes.against(&self.details);
        let (name, date) = (changes.name.take(), changes.date.take());
        let (raw_notes, summary) = (changes.raw_notes.take(), changes.summary.take());
        let useful = changes.useful.take();
        let mut events = Vec::new();
        if let Some(name) = name.into_option() {
            events.push(NoteEvent::Renamed { name });
        }
        if let Some(date) = date.into_option() {
            events.push(NoteEvent::Dated { date });
        }
        if !(raw_notes.is_keep() && summary.is_keep()) {
            events.push(NoteEvent::TextRevised { raw_notes, summary });
        }
        if let Some(useful) = useful.into_option() {
            events.push(NoteEvent::UsefulnessMarked { useful });
        }
        if !changes.is_empty() {
            events.push(NoteEvent::DetailsAmended { changes });
        }
        events
    }

    fn relink(&self, to: &[RecordRef], from: Vec<RecordRef>) -> Result<Vec<NoteEvent>, Refusal> {
        check_linkable(Kind::Note, Note::LINKABLE, to)?;
        let to = self.links.missing(to.iter().copied());
        let mut events = Vec::new();
        if !from.is_empty() {
            events.push(NoteEvent::Unlinked { from });
        }
        if !to.is_empty() {
            events.push(NoteEvent::Linked { to });
        }
        Ok(events)
    }

    /// What makes this record the other.
    fn toward(&self, to: &Self) -> Vec<NoteEvent> {
        let then = self.recordings.details_toward(&self.details, to);
        let mut events = self.revise(self.details.toward(&then));
        let (from, linked) = (self.links.without(&to.links), to.links.without(&self.links));
        if !from.is_empty() {
            events.push(NoteEvent::Unlinked { from });
        }
        if !linked.is_empty() {
            events.push(NoteEvent::Linked { to: linked });
        }
        if self.legacy != to.legacy {
            events.push(NoteEvent::LegacyKept { values: to.legacy.clone() });
        }
        events.extend(self.recordings.toward(&to.recordings));
        events
    }

    fn change(&mut self, event: NoteEvent) {
        match event {
            NoteEvent::Renamed { name } => self.details.name = name,
            NoteEvent::Dated { date } => self.details.date = date,
            NoteEvent::TextRevised { raw_notes, summary } => {
                raw_notes.apply(&mut self.details.raw_notes);
                summary.apply(&mut self.details.summary);
            }
            NoteEvent::UsefulnessMarked { useful } => self.details.useful = useful,
            NoteEvent::DetailsAmended { changes } => self.details.amend(changes),
            NoteEvent::Linked { to } => self.links.add(to),
            NoteEvent::Unlinked { from } => self.links.remove(&from),
            NoteEvent::LegacyKept { values } => self.legacy = values,
            // What concerns the stage of the record, not its content.
            NoteEvent::Registered { .. }
            | NoteEvent::Archived
            | NoteEvent::Restored
            | NoteEvent::Held { .. }
            | NoteEvent::HoldLifted { .. }
            | NoteEvent::Erased { .. } => {}
            about_recording => self.recordings.change(about_recording),
        }
    }
}

impl NoteEvent {
    /// The recording that it is about, if it is about one.
    pub fn recording(&self) -> Option<RecordingId> {
        use NoteEvent as E;
        match self {
            E::RecordingAttached { recording, .. }
            | E::RecordingRenamed { recording, .. }
            | E::TranscriptionAsked { recording, .. }
            | E::Transcribed { recording, .. }
            | E::TranscriptionFailed { recording, .. }
            | E::TranscriptionCancelled { recording }
            | E::TranscriptCorrected { recording, .. }
            | E::SummaryAsked { recording, .. }
            | E::Summarised { recording, .. }
            | E::SummaryFailed { recording, .. }
            | E::SummaryCancelled { recording }
            | E::ActionItemsSuggested { recording, .. }
            | E::ActionItemAccepted { recording, .. }
            | E::ActionItemDismissed { recording, .. }
            | E::InterestSuggested { recording, .. }
            | E::InterestAccepted { recording, .. }
            | E::InterestDismissed { recording }
            | E::RecordingRemoved { recording } => Some(*recording),
            E::Registered { .. }
            | E::Renamed { .. }
            | E::Dated { .. }
            | E::TextRevised { .. }
            | E::UsefulnessMarked { .. }
            | E::DetailsAmended { .. }
            | E::Linked { .. }
            | E::Unlinked { .. }
            | E::LegacyKept { .. }
            | E::Archived
            | E::Restored
            | E::Held { .. }
            | E::HoldLifted { .. }
            | E::Erased { .. } => None,
        }
    }
}

aggregate!(Note = NoteRecord, Note, NoteCommand, NoteEvent,
    own: [], details: NoteDetails, beside: [links, hold, recordings], required: &["name"]);

#[cfg(test)]
mod tests;
