//! Note: what was said in a meeting, and with whom.

use serde::{Deserialize, Serialize};
use strum::AsRefStr;

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
    /// Removes the note from use.
    Archive,
    /// Takes it into use again.
    Restore,
}

// Variant and field names are the storage format: rename only with an upcaster.
/// What has happened to a note.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, AsRefStr)]
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
    /// It was removed from use.
    Archived,
    /// It was taken into use again.
    Restored,
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
        use NoteCommand::{Archive, KeepLegacy, Link, Register, Relink, Restore, Revise, Unlink};
        match command {
            Register { details, legacy } => {
                self.check_unregistered()?;
                let details = details.against(&NoteDetails::default());
                Ok(vec![NoteEvent::Registered { details, legacy }])
            }
            Revise { changes } => Ok(self.active()?.revise(changes)),
            Link { to } => self.active()?.relink(&to, vec![]),
            Unlink { mut from } => {
                let record = self.active()?;
                from.retain(|&target| record.links.contains(target));
                record.relink(&[], from)
            }
            Relink { kinds, to } => {
                let record = self.active()?;
                let (_, surplus) = record.links.difference(&kinds, &to);
                record.relink(&to, surplus)
            }
            KeepLegacy { values } if self.active()?.legacy == values => Ok(vec![]),
            KeepLegacy { values } => Ok(vec![NoteEvent::LegacyKept { values }]),
            Archive => self.active().map(|_| vec![NoteEvent::Archived]),
            Restore => self.check_archived().map(|()| vec![NoteEvent::Restored]),
        }
    }

    fn evolve(&mut self, event: NoteEvent) {
        match event {
            NoteEvent::Registered { details, legacy } => {
                let details = details.into();
                *self = Note::Active(NoteRecord { details, links: Links::default(), legacy });
            }
            NoteEvent::Archived => self.archive(),
            NoteEvent::Restored => self.restore(),
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
            NoteEvent::Registered { .. } | NoteEvent::Archived | NoteEvent::Restored => {}
        }
    }
}

aggregate!(Note = NoteRecord, Note, NoteCommand, NoteEvent,
    own: [], details: NoteDetails, required: &["name"]);
