//! GP: a manager of funds.

use serde::{Deserialize, Serialize};
use strum::AsRefStr;

use crate::lifecycle::aggregate;
use crate::links::check_linkable;
use crate::{DistributorId, Kind, Lifecycle, Links, RecordRef, Refusal, Verbatim};

attributes! {
    GpDetails / GpChanges {
        notion_id: String,
        location: String,
        contact_level: String,
        flagship_strategy: String,
        other_strategies: String,
        note: String,
        distributor_id: DistributorId,
    }
}

/// A GP as it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GpRecord {
    /// The manager's name.
    pub name: String,
    /// Everything optional.
    #[serde(flatten)]
    pub details: GpDetails,
    /// The LPs it has a relationship with.
    #[serde(skip)]
    pub links: Links,
    /// Source values that the attributes cannot hold.
    #[serde(skip)]
    pub legacy: Verbatim,
}

/// The aggregate.
pub type Gp = Lifecycle<GpRecord>;

/// What can be asked of a GP.
#[derive(Clone, Debug)]
pub enum GpCommand {
    /// Takes the GP up.
    Register {
        /// The manager's name.
        name: String,
        /// Everything optional.
        details: GpChanges,
        /// Source values that the attributes cannot hold.
        legacy: Verbatim,
    },
    /// PUT: what is absent stays, what changes nothing records nothing.
    Revise {
        /// The new name.
        name: Option<String>,
        /// The other changes.
        changes: GpChanges,
    },
    /// Records relationships with LPs.
    Link {
        /// The LPs.
        to: Vec<RecordRef>,
    },
    /// Ends relationships with LPs.
    Unlink {
        /// The LPs.
        from: Vec<RecordRef>,
    },
    /// Replaces the source values that the attributes cannot hold.
    KeepLegacy {
        /// All of them.
        values: Verbatim,
    },
    /// Removes the GP from use.
    Archive,
    /// Takes it into use again.
    Restore,
}

// Variant and field names are the storage format: rename only with an upcaster.
/// What has happened to a GP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, AsRefStr)]
#[allow(missing_docs, reason = "fields carry the names of the attributes")]
pub enum GpEvent {
    /// It was taken up.
    Registered {
        name: String,
        details: GpChanges,
        #[serde(default, skip_serializing_if = "Verbatim::is_empty")]
        legacy: Verbatim,
    },
    /// It got another name.
    Renamed { name: String },
    /// Another distributor, or none, places its funds.
    DistributorAssigned { distributor: Option<DistributorId> },
    /// Other attributes changed.
    DetailsAmended { changes: GpChanges },
    /// Relationships with LPs were recorded.
    Linked { to: Vec<RecordRef> },
    /// Relationships with LPs were ended.
    Unlinked { from: Vec<RecordRef> },
    /// The source values that the attributes cannot hold are now these.
    LegacyKept { values: Verbatim },
    /// It was removed from use.
    Archived,
    /// It was taken into use again.
    Restored,
}

impl Gp {
    /// The kinds of records that a GP links to.
    pub const LINKABLE: &'static [Kind] = &[Kind::Lp];

    /// What a command leads to.
    ///
    /// # Errors
    /// A [`Refusal`] when the rules do not allow it.
    pub fn decide(&self, command: GpCommand) -> Result<Vec<GpEvent>, Refusal> {
        match command {
            GpCommand::Register { name, details, legacy } => {
                self.check_unregistered()?;
                let details = details.against(&GpDetails::default());
                Ok(vec![GpEvent::Registered { name, details, legacy }])
            }
            GpCommand::Revise { name, changes } => Ok(self.active()?.revise(name, changes)),
            GpCommand::Link { to } => {
                check_linkable(Kind::Gp, Self::LINKABLE, &to)?;
                let to = self.active()?.links.missing(to);
                Ok(if to.is_empty() { vec![] } else { vec![GpEvent::Linked { to }] })
            }
            GpCommand::Unlink { mut from } => {
                let links = &self.active()?.links;
                from.retain(|&target| links.contains(target));
                Ok(if from.is_empty() { vec![] } else { vec![GpEvent::Unlinked { from }] })
            }
            GpCommand::KeepLegacy { values } if self.active()?.legacy == values => Ok(vec![]),
            GpCommand::KeepLegacy { values } => Ok(vec![GpEvent::LegacyKept { values }]),
            GpCommand::Archive => self.active().map(|_| vec![GpEvent::Archived]),
            GpCommand::Restore => self.check_archived().map(|()| vec![GpEvent::Restored]),
        }
    }

    fn evolve(&mut self, event: GpEvent) {
        match event {
            GpEvent::Registered { name, details, legacy } => {
                let details = details.into();
                *self = Gp::Active(GpRecord { name, details, links: Links::default(), legacy });
            }
            GpEvent::Archived => self.archive(),
            GpEvent::Restored => self.restore(),
            change => {
                if let Some(record) = self.changed() {
                    record.change(change);
                }
            }
        }
    }
}

impl GpRecord {
    fn revise(&self, name: Option<String>, changes: GpChanges) -> Vec<GpEvent> {
        let mut changes = changes.against(&self.details);
        let distributor = changes.distributor_id.take();
        let mut events = Vec::new();
        if let Some(name) = name.filter(|name| *name != self.name) {
            events.push(GpEvent::Renamed { name });
        }
        if let Some(distributor) = distributor.into_option() {
            events.push(GpEvent::DistributorAssigned { distributor });
        }
        if !changes.is_empty() {
            events.push(GpEvent::DetailsAmended { changes });
        }
        events
    }

    fn change(&mut self, event: GpEvent) {
        match event {
            GpEvent::Renamed { name } => self.name = name,
            GpEvent::DistributorAssigned { distributor } => {
                self.details.distributor_id = distributor;
            }
            GpEvent::DetailsAmended { changes } => self.details.amend(changes),
            GpEvent::Linked { to } => self.links.add(to),
            GpEvent::Unlinked { from } => self.links.remove(&from),
            GpEvent::LegacyKept { values } => self.legacy = values,
            GpEvent::Registered { .. } | GpEvent::Archived | GpEvent::Restored => {}
        }
    }
}

aggregate!(Gp = GpRecord, Gp, GpCommand, GpEvent,
    own: [name: String], details: GpDetails, required: &["name"]);
