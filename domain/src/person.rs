//! Person: somebody at an LP, a GP, a distributor or elsewhere.

use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::erasure::{Holdable, Holds};
use crate::lifecycle::aggregate;
use crate::links::check_linkable;
use crate::{Kind, Lifecycle, Links, RecordRef, Refusal, Verbatim};

attributes! {
    PersonDetails / PersonChanges {
        notion_id: String,
        cell_phone: String,
        office_phone: String,
        email: String,
        location: String,
        position: String,
        people_type: String,
        personal_note: String,
        role: String,
        org_type: String,
        org_id: i64,
    }
}

/// A person as it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PersonRecord {
    /// The full name.
    pub name: String,
    /// Everything optional.
    #[serde(flatten)]
    pub details: PersonDetails,
    /// The organisations the person belongs to.
    #[serde(skip)]
    pub affiliations: Links,
    /// Source values that the attributes cannot hold.
    #[serde(skip)]
    pub legacy: Verbatim,
    /// Why it must not be erased, while legal holds are on it.
    #[serde(skip)]
    pub hold: Holds,
}

impl Holdable for PersonRecord {
    fn holds(&self) -> &Holds {
        &self.hold
    }
    fn holds_mut(&mut self) -> &mut Holds {
        &mut self.hold
    }
}

/// The aggregate.
pub type Person = Lifecycle<PersonRecord>;

/// What can be asked of a person's record.
#[derive(Clone, Debug)]
pub enum PersonCommand {
    /// Takes the person up.
    Register {
        /// The full name.
        name: String,
        /// Everything optional.
        details: PersonChanges,
        /// Source values that the attributes cannot hold.
        legacy: Verbatim,
    },
    /// PUT: what is absent stays, what changes nothing records nothing.
    Revise {
        /// The new name.
        name: Option<String>,
        /// The other changes.
        changes: PersonChanges,
    },
    /// Records that the person belongs to organisations.
    Affiliate {
        /// LPs, GPs, distributors.
        with: Vec<RecordRef>,
    },
    /// Records that the person has left organisations.
    Disaffiliate {
        /// LPs, GPs, distributors.
        from: Vec<RecordRef>,
    },
    /// Replaces the source values that the attributes cannot hold.
    KeepLegacy {
        /// All of them.
        values: Verbatim,
    },
    /// Removes the person from use.
    Archive,
    /// Takes the person into use again.
    Restore,
    /// Makes the person what it was, or would have been: everything that differs is changed, in ordinary events.
    Revert {
        /// What it was.
        to: Box<Person>,
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

impl PersonCommand {
    /// Whether it takes no more than the plain events of the stream to decide it: see [`Lifecycle::in_plain`].
    pub fn is_decided_in_plain(&self) -> bool {
        matches!(self, Self::Hold { .. } | Self::LiftHold { .. } | Self::Erase { .. })
    }
}

// Variant and field names are the storage format: rename only with an upcaster.
/// What has happened to a person's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, AsRefStr, VariantNames)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "fields carry the names of the attributes")]
pub enum PersonEvent {
    /// The person was taken up.
    Registered {
        name: String,
        details: PersonChanges,
        #[serde(default, skip_serializing_if = "Verbatim::is_empty")]
        legacy: Verbatim,
    },
    /// The person goes by another name.
    Renamed { name: String },
    /// Other attributes changed.
    DetailsAmended { changes: PersonChanges },
    /// The person belongs to organisations.
    Affiliated { with: Vec<RecordRef> },
    /// The person has left organisations.
    Disaffiliated { from: Vec<RecordRef> },
    /// The source values that the attributes cannot hold are now these.
    LegacyKept { values: Verbatim },
    /// The person was removed from use.
    Archived,
    /// The person was taken into use again.
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

impl Person {
    /// The kinds of organisations a person belongs to.
    pub const LINKABLE: &'static [Kind] = &[Kind::Lp, Kind::Gp, Kind::Distributor];

    /// What a command leads to.
    ///
    /// # Errors
    /// A [`Refusal`] when the rules do not allow it.
    pub fn decide(&self, command: PersonCommand) -> Result<Vec<PersonEvent>, Refusal> {
        use PersonCommand::{
            Affiliate, Archive, Disaffiliate, Erase, Hold, KeepLegacy, LiftHold, Register, Restore,
            Revert, Revise,
        };
        match command {
            Register { name, details, legacy } => {
                self.check_unregistered()?;
                let details = details.against(&PersonDetails::default());
                Ok(vec![PersonEvent::Registered { name, details, legacy }])
            }
            Revise { name, changes } => Ok(self.active()?.revise(name, changes)),
            Affiliate { with } => {
                check_linkable(Kind::Person, Self::LINKABLE, &with)?;
                let with = self.active()?.affiliations.missing(with);
                Ok(if with.is_empty() { vec![] } else { vec![PersonEvent::Affiliated { with }] })
            }
            Disaffiliate { from } => {
                let from = self.active()?.affiliations.present(&from);
                Ok(if from.is_empty() { vec![] } else { vec![PersonEvent::Disaffiliated { from }] })
            }
            KeepLegacy { values } if self.active()?.legacy == values => Ok(vec![]),
            KeepLegacy { values } => Ok(vec![PersonEvent::LegacyKept { values }]),
            Archive => self.active().map(|_| vec![PersonEvent::Archived]),
            Restore => self.check_archived().map(|()| vec![PersonEvent::Restored]),
            Revert { to } => {
                self.revert(&to, PersonRecord::toward, PersonEvent::Archived, PersonEvent::Restored)
            }
            Hold { reason } if self.holds_anew(&reason)? => Ok(vec![PersonEvent::Held { reason }]),
            LiftHold { reason, of } => {
                let lifted = self.lifts(&reason, of.as_deref())?.into_iter();
                let event = |of| PersonEvent::HoldLifted { reason: reason.clone(), of: Some(of) };
                Ok(lifted.map(event).collect())
            }
            Erase { reason } if self.erases(&reason)? => Ok(vec![PersonEvent::Erased { reason }]),
            Hold { .. } | Erase { .. } => Ok(vec![]),
        }
    }

    fn evolve(&mut self, event: PersonEvent) {
        match event {
            PersonEvent::Registered { name, details, legacy } => {
                *self = Person::Active(PersonRecord {
                    name,
                    details: details.into(),
                    affiliations: Links::default(),
                    legacy,
                    hold: Holds::default(),
                });
            }
            PersonEvent::Archived => self.archive(),
            PersonEvent::Restored => self.restore(),
            PersonEvent::Held { reason } => {
                self.there_mut().into_iter().for_each(|it| it.hold.put(reason.clone()));
            }
            PersonEvent::HoldLifted { of, .. } => {
                self.there_mut().into_iter().for_each(|it| it.hold.lift(of.as_deref()));
            }
            // A rebuild sees this event alone: what came before can no longer be read.
            PersonEvent::Erased { .. } => *self = Person::Erased,
            change => {
                if let Some(record) = self.changed() {
                    record.change(change);
                }
            }
        }
    }
}

impl PersonRecord {
    fn revise(&self, name: Option<String>, changes: PersonChanges) -> Vec<PersonEvent> {
        let changes = changes.against(&self.details);
        let mut events = Vec::new();
        if let Some(name) = name.filter(|name| *name != self.name) {
            events.push(PersonEvent::Renamed { name });
        }
        if !changes.is_empty() {
            events.push(PersonEvent::DetailsAmended { changes });
        }
        events
    }

    /// What makes this record the other.
    fn toward(&self, to: &Self) -> Vec<PersonEvent> {
        let mut events = self.revise(Some(to.name.clone()), self.details.toward(&to.details));
        let from = self.affiliations.without(&to.affiliations);
        let with = to.affiliations.without(&self.affiliations);
        if !from.is_empty() {
            events.push(PersonEvent::Disaffiliated { from });
        }
        if !with.is_empty() {
            events.push(PersonEvent::Affiliated { with });
        }
        if self.legacy != to.legacy {
            events.push(PersonEvent::LegacyKept { values: to.legacy.clone() });
        }
        events
    }

    fn change(&mut self, event: PersonEvent) {
        match event {
            PersonEvent::Renamed { name } => self.name = name,
            PersonEvent::DetailsAmended { changes } => self.details.amend(changes),
            PersonEvent::Affiliated { with } => self.affiliations.add(with),
            PersonEvent::Disaffiliated { from } => self.affiliations.remove(&from),
            PersonEvent::LegacyKept { values } => self.legacy = values,
            // What concerns the stage of the record, not its content.
            PersonEvent::Registered { .. }
            | PersonEvent::Archived
            | PersonEvent::Restored
            | PersonEvent::Held { .. }
            | PersonEvent::HoldLifted { .. }
            | PersonEvent::Erased { .. } => {}
        }
    }
}

aggregate!(Person = PersonRecord, Person, PersonCommand, PersonEvent,
    own: [name: String], details: PersonDetails, beside: [affiliations, hold], required: &["name"]);

#[cfg(test)]
mod tests;
