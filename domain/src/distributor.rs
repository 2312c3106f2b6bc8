//! Distributor: a house that places funds with the LPs of its market.

use serde::{Deserialize, Serialize};
use strum::AsRefStr;

use crate::lifecycle::aggregate;
use crate::{Lifecycle, Refusal, Verbatim};

attributes! {
    DistributorDetails / DistributorChanges {
        notion_id: String,
        headquarter: String,
        mexico: String,
        text: String,
    }
}

/// A distributor as it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DistributorRecord {
    /// The house's name.
    pub name: String,
    /// Everything optional.
    #[serde(flatten)]
    pub details: DistributorDetails,
    /// Source values that the attributes cannot hold.
    #[serde(skip)]
    pub legacy: Verbatim,
}

/// The aggregate.
pub type Distributor = Lifecycle<DistributorRecord>;

/// What can be asked of a distributor.
#[derive(Clone, Debug)]
pub enum DistributorCommand {
    /// Takes the distributor up.
    Register {
        /// The house's name.
        name: String,
        /// Everything optional.
        details: DistributorChanges,
        /// Source values that the attributes cannot hold.
        legacy: Verbatim,
    },
    /// PUT: what is absent stays, what changes nothing records nothing.
    Revise {
        /// The new name.
        name: Option<String>,
        /// The other changes.
        changes: DistributorChanges,
    },
    /// Replaces the source values that the attributes cannot hold.
    KeepLegacy {
        /// All of them.
        values: Verbatim,
    },
    /// Removes the distributor from use.
    Archive,
    /// Takes it into use again.
    Restore,
}

// Variant and field names are the storage format: rename only with an upcaster.
/// What has happened to a distributor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, AsRefStr)]
#[allow(missing_docs, reason = "fields carry the names of the attributes")]
pub enum DistributorEvent {
    /// It was taken up.
    Registered {
        name: String,
        details: DistributorChanges,
        #[serde(default, skip_serializing_if = "Verbatim::is_empty")]
        legacy: Verbatim,
    },
    /// It got another name.
    Renamed { name: String },
    /// Other attributes changed.
    DetailsAmended { changes: DistributorChanges },
    /// The source values that the attributes cannot hold are now these.
    LegacyKept { values: Verbatim },
    /// It was removed from use.
    Archived,
    /// It was taken into use again.
    Restored,
}

impl Distributor {
    /// What a command leads to.
    ///
    /// # Errors
    /// A [`Refusal`] when the rules do not allow it.
    pub fn decide(&self, command: DistributorCommand) -> Result<Vec<DistributorEvent>, Refusal> {
        use DistributorCommand::{Archive, KeepLegacy, Register, Restore, Revise};
        match command {
            Register { name, details, legacy } => {
                self.check_unregistered()?;
                let details = details.against(&DistributorDetails::default());
                Ok(vec![DistributorEvent::Registered { name, details, legacy }])
            }
            Revise { name, changes } => Ok(self.active()?.revise(name, changes)),
            KeepLegacy { values } if self.active()?.legacy == values => Ok(vec![]),
            KeepLegacy { values } => Ok(vec![DistributorEvent::LegacyKept { values }]),
            Archive => self.active().map(|_| vec![DistributorEvent::Archived]),
            Restore => self.check_archived().map(|()| vec![DistributorEvent::Restored]),
        }
    }

    fn evolve(&mut self, event: DistributorEvent) {
        match event {
            DistributorEvent::Registered { name, details, legacy } => {
                *self = Distributor::Active(DistributorRecord {
                    name,
                    details: details.into(),
                    legacy,
                });
            }
            DistributorEvent::Archived => self.archive(),
            DistributorEvent::Restored => self.restore(),
            change => {
                if let Some(record) = self.changed() {
                    record.change(change);
                }
            }
        }
    }
}

impl DistributorRecord {
    fn revise(&self, name: Option<String>, changes: DistributorChanges) -> Vec<DistributorEvent> {
        let changes = changes.against(&self.details);
        let mut events = Vec::new();
        if let Some(name) = name.filter(|name| *name != self.name) {
            events.push(DistributorEvent::Renamed { name });
        }
        if !changes.is_empty() {
            events.push(DistributorEvent::DetailsAmended { changes });
        }
        events
    }

    fn change(&mut self, event: DistributorEvent) {
        match event {
            DistributorEvent::Renamed { name } => self.name = name,
            DistributorEvent::DetailsAmended { changes } => self.details.amend(changes),
            DistributorEvent::LegacyKept { values } => self.legacy = values,
            DistributorEvent::Registered { .. }
            | DistributorEvent::Archived
            | DistributorEvent::Restored => {}
        }
    }
}

aggregate!(Distributor = DistributorRecord, Distributor, DistributorCommand, DistributorEvent,
    own: [name: String], details: DistributorDetails, required: &["name"]);
