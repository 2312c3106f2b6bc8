//! Roadshow: a trip on which a fund's GP meets LPs; it owns the status of each LP.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::facts::standing;
use crate::lifecycle::aggregate;
use crate::{
    Change, Contact, Document, FundId, Lifecycle, LpId, Moment, Refusal, Remembered, Verbatim,
};

vocabulary! {
    /// How far a piece of logistics is.
    Logistics {
        NotNeeded = "None",
        Needed = "Needed",
        Done = "Done",
    }
}

vocabulary! {
    /// How an LP stands to a roadshow.
    LpStatus {
        Confirmed = "confirmed",
        Interested = "interested",
        Offered = "offered",
        Declined = "declined",
        Inactive = "inactive",
    }
}

attributes! {
    RoadshowDetails / RoadshowChanges {
        arrival: Moment,
        arrival_city: String,
        second_city: String,
        second_arrival: Moment,
        departure: Moment,
        lv_flight: Logistics,
        lv_hotel: Logistics,
        mty_driver: Logistics,
        cdmx_driver: Logistics,
        flight_images: Document,
        notes: String,
    }
}

/// How an LP stands to the roadshow.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Its status.
    pub status: LpStatus,
    /// What is remembered besides.
    pub remembered: Remembered,
}

standing!(Standing { status: LpStatus });

/// A roadshow as it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoadshowRecord {
    /// What the team calls it.
    pub name: String,
    /// The fund that it is for; a legacy id may point nowhere, and a legacy value may be no id.
    pub fund_id: Option<FundId>,
    /// Everything optional.
    #[serde(flatten)]
    pub details: RoadshowDetails,
    /// The LPs whose status was ever recorded.
    #[serde(skip)]
    pub statuses: BTreeMap<LpId, Standing>,
    /// Source values that the attributes cannot hold.
    #[serde(skip)]
    pub legacy: Verbatim,
}

/// The aggregate.
pub type Roadshow = Lifecycle<RoadshowRecord>;

/// What can be asked of a roadshow.
#[derive(Clone, Debug)]
pub enum RoadshowCommand {
    /// Takes the roadshow up.
    Register {
        /// What the team calls it.
        name: String,
        /// The fund that it is for; only a legacy file names none.
        fund_id: Option<FundId>,
        /// Everything optional.
        details: RoadshowChanges,
        /// Source values that the attributes cannot hold.
        legacy: Verbatim,
    },
    /// PUT: what is absent stays, what changes nothing records nothing.
    Revise {
        /// The new name.
        name: Option<String>,
        /// Another fund.
        fund_id: Change<FundId>,
        /// The other changes.
        changes: RoadshowChanges,
        /// The roadshow date that readers see at the fund: any PUT puts this roadshow's arrival there.
        fund_date: Option<Moment>,
    },
    /// Records how an LP stands to the roadshow.
    RecordStatus {
        /// The LP.
        lp: LpId,
        /// Its status.
        status: LpStatus,
        /// The newest note about both; without one the contact that is known stays.
        contact: Option<Contact>,
        /// Source values of a legacy row; `None` keeps those that are known.
        legacy: Option<Verbatim>,
    },
    /// Forgets how an LP stands to the roadshow.
    ClearStatus {
        /// The LP.
        lp: LpId,
    },
    /// Replaces the source values that the attributes cannot hold.
    KeepLegacy {
        /// All of them.
        values: Verbatim,
    },
    /// Removes the roadshow from use.
    Archive,
    /// Takes it into use again.
    Restore,
    /// Makes the roadshow what it was, or would have been: everything that differs is changed, in ordinary events.
    Revert {
        /// What it was.
        to: Box<Roadshow>,
    },
}

// Variant and field names are the storage format: rename only with an upcaster. A fund that is null is none, and one that
// is missing an error.
/// What has happened to a roadshow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, AsRefStr, VariantNames)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "fields carry the names of the attributes")]
pub enum RoadshowEvent {
    /// It was taken up.
    Registered {
        name: String,
        #[serde(deserialize_with = "Option::deserialize")]
        fund_id: Option<FundId>,
        details: RoadshowChanges,
        #[serde(default, skip_serializing_if = "Verbatim::is_empty")]
        legacy: Verbatim,
    },
    /// It got another name.
    Renamed { name: String },
    /// It is for another fund.
    FundAssigned {
        #[serde(deserialize_with = "Option::deserialize")]
        fund_id: Option<FundId>,
    },
    /// A leg of the trip is at another time.
    Rescheduled {
        #[serde(default, skip_serializing_if = "Change::is_keep")]
        arrival: Change<Moment>,
        #[serde(default, skip_serializing_if = "Change::is_keep")]
        second_arrival: Change<Moment>,
        #[serde(default, skip_serializing_if = "Change::is_keep")]
        departure: Change<Moment>,
    },
    /// Nothing about it changed, but its arrival counts as the fund's roadshow date again.
    ArrivalReaffirmed { arrival: Moment },
    /// Other attributes changed.
    DetailsAmended { changes: RoadshowChanges },
    /// An undoing made it what it was, but for its fund and its arrival. Unlike a PUT, that announces no arrival: it is the
    /// roadshow that is taken back, and the fund may have another date by now.
    TakenBack {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(default, skip_serializing_if = "RoadshowChanges::is_empty")]
        changes: RoadshowChanges,
    },
    /// How an LP stands to it was recorded.
    StatusRecorded {
        lp: LpId,
        status: LpStatus,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        contact: Option<Contact>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        legacy: Option<Verbatim>,
    },
    /// How an LP stands to it was forgotten.
    StatusCleared { lp: LpId },
    /// The source values that the attributes cannot hold are now these.
    LegacyKept { values: Verbatim },
    /// It was removed from use.
    Archived,
    /// It was taken into use again.
    Restored,
}

impl RoadshowEvent {
    /// Whether the event comes from the roadshow being written as a whole, which copies its arrival to its fund.
    pub fn announces_arrival(&self) -> bool {
        use RoadshowEvent::{
            ArrivalReaffirmed, DetailsAmended, FundAssigned, Registered, Renamed, Rescheduled,
        };
        matches!(
            self,
            Registered { .. }
                | Renamed { .. }
                | FundAssigned { .. }
                | Rescheduled { .. }
                | ArrivalReaffirmed { .. }
                | DetailsAmended { .. }
        )
    }

    /// The fund that it puts the roadshow to, if it does.
    pub fn fund(&self) -> Option<FundId> {
        match self {
            Self::Registered { fund_id, .. } | Self::FundAssigned { fund_id } => *fund_id,
            _ => None,
        }
    }
}

impl Roadshow {
    /// What a command leads to.
    ///
    /// # Errors
    /// A [`Refusal`] when the rules do not allow it.
    pub fn decide(&self, command: RoadshowCommand) -> Result<Vec<RoadshowEvent>, Refusal> {
        use RoadshowCommand::{
            Archive, ClearStatus, KeepLegacy, RecordStatus, Register, Restore, Revert, Revise,
        };
        match command {
            Register { name, fund_id, details, legacy } => {
                self.check_unregistered()?;
                let details = details.against(&RoadshowDetails::default());
                Ok(vec![RoadshowEvent::Registered { name, fund_id, details, legacy }])
            }
            Revise { name, fund_id, changes, fund_date } => {
                Ok(self.active()?.revise(name, fund_id, changes, fund_date))
            }
            RecordStatus { lp, status, contact, legacy } => {
                Ok(self.active()?.record_status(lp, status, contact, legacy))
            }
            ClearStatus { lp } => match self.active()?.statuses.contains_key(&lp) {
                true => Ok(vec![RoadshowEvent::StatusCleared { lp }]),
                false => Ok(vec![]),
            },
            KeepLegacy { values } if self.active()?.legacy == values => Ok(vec![]),
            KeepLegacy { values } => Ok(vec![RoadshowEvent::LegacyKept { values }]),
            Archive => self.active().map(|_| vec![RoadshowEvent::Archived]),
            Restore => self.check_archived().map(|()| vec![RoadshowEvent::Restored]),
            Revert { to } => self.revert(
                &to,
                RoadshowRecord::toward,
                RoadshowEvent::Archived,
                RoadshowEvent::Restored,
            ),
        }
    }

    fn evolve(&mut self, event: RoadshowEvent) {
        match event {
            RoadshowEvent::Registered { name, fund_id, details, legacy } => {
                let (details, statuses) = (details.into(), BTreeMap::new());
                *self =
                    Roadshow::Active(RoadshowRecord { name, fund_id, details, statuses, legacy });
            }
            RoadshowEvent::Archived => self.archive(),
            RoadshowEvent::Restored => self.restore(),
            change => {
                if let Some(record) = self.changed() {
                    record.change(change);
                }
            }
        }
    }
}

impl RoadshowRecord {
    fn revise(
        &self,
        name: Option<String>,
        fund_id: Change<FundId>,
        changes: RoadshowChanges,
        fund_date: Option<Moment>,
    ) -> Vec<RoadshowEvent> {
        let mut changes = changes.against(&self.details);
        let arrival = changes.arrival.take();
        let (second_arrival, departure) = (changes.second_arrival.take(), changes.departure.take());
        let mut events = Vec::new();
        // Each event announces the arrival as it is then: one that is cleared must be gone before it goes to the fund again.
        let is_called_off = arrival == Change::Clear;
        let rescheduled = !(arrival.is_keep() && second_arrival.is_keep() && departure.is_keep());
        let rescheduled = rescheduled.then_some(RoadshowEvent::Rescheduled {
            arrival,
            second_arrival,
            departure,
        });
        let (first, later) = if is_called_off { (rescheduled, None) } else { (None, rescheduled) };
        events.extend(first);
        if let Some(name) = name.filter(|name| *name != self.name) {
            events.push(RoadshowEvent::Renamed { name });
        }
        if let Some(fund_id) = fund_id.against(&self.fund_id).into_option() {
            events.push(RoadshowEvent::FundAssigned { fund_id });
        }
        events.extend(later);
        if !changes.is_empty() {
            events.push(RoadshowEvent::DetailsAmended { changes });
        }
        match self.details.arrival {
            Some(arrival) if events.is_empty() && fund_date != Some(arrival) => {
                events.push(RoadshowEvent::ArrivalReaffirmed { arrival });
            }
            _ => {}
        }
        events
    }

    fn record_status(
        &self,
        lp: LpId,
        status: LpStatus,
        contact: Option<Contact>,
        legacy: Option<Verbatim>,
    ) -> Vec<RoadshowEvent> {
        let current = self.statuses.get(&lp);
        let nothing = Remembered::default();
        let known = current.map_or(&nothing, |standing| &standing.remembered);
        let (contact, legacy) = known.differing(contact, legacy);
        let same = current.is_some_and(|standing| standing.status == status);
        if same && contact.is_none() && legacy.is_none() {
            return vec![];
        }
        vec![RoadshowEvent::StatusRecorded { lp, status, contact, legacy }]
    }

    /// What makes this record the other.
    fn toward(&self, to: &Self) -> Vec<RoadshowEvent> {
        let mut changes = self.details.toward(&to.details);
        let arrival = RoadshowChanges { arrival: changes.arrival.take(), ..Default::default() };
        let name = (to.name != self.name).then(|| to.name.clone());
        let mut events = Vec::new();
        if name.is_some() || !changes.is_empty() {
            events.push(RoadshowEvent::TakenBack { name, changes });
        }
        events.extend(self.revise(None, to.fund_id.into(), arrival, self.details.arrival));
        let cleared = self.statuses.keys().filter(|lp| !to.statuses.contains_key(lp));
        events.extend(cleared.map(|lp| RoadshowEvent::StatusCleared { lp: *lp }));
        for (lp, Standing { status, remembered }) in &to.statuses {
            let Remembered { contact, legacy } = remembered.clone();
            events.extend(self.record_status(*lp, status.clone(), Some(contact), Some(legacy)));
        }
        if self.legacy != to.legacy {
            events.push(RoadshowEvent::LegacyKept { values: to.legacy.clone() });
        }
        events
    }

    fn change(&mut self, event: RoadshowEvent) {
        match event {
            RoadshowEvent::Renamed { name } => self.name = name,
            RoadshowEvent::FundAssigned { fund_id } => self.fund_id = fund_id,
            RoadshowEvent::Rescheduled { arrival, second_arrival, departure } => {
                arrival.apply(&mut self.details.arrival);
                second_arrival.apply(&mut self.details.second_arrival);
                departure.apply(&mut self.details.departure);
            }
            RoadshowEvent::DetailsAmended { changes } => self.details.amend(changes),
            RoadshowEvent::TakenBack { name, changes } => {
                self.name = name.unwrap_or(std::mem::take(&mut self.name));
                self.details.amend(changes);
            }
            RoadshowEvent::StatusRecorded { lp, status, contact, legacy } => {
                let old = self.statuses.remove(&lp);
                let mut remembered = old.map(|old| old.remembered).unwrap_or_default();
                remembered.amend(contact, legacy);
                self.statuses.insert(lp, Standing { status, remembered });
            }
            RoadshowEvent::StatusCleared { lp } => {
                self.statuses.remove(&lp);
            }
            RoadshowEvent::LegacyKept { values } => self.legacy = values,
            RoadshowEvent::ArrivalReaffirmed { .. }
            | RoadshowEvent::Registered { .. }
            | RoadshowEvent::Archived
            | RoadshowEvent::Restored => {}
        }
    }
}

aggregate!(Roadshow = RoadshowRecord, Roadshow, RoadshowCommand, RoadshowEvent,
    own: [name: String, fund_id: FundId], details: RoadshowDetails, beside: [statuses],
    required: &["name", "fund_id", "lv_flight", "lv_hotel", "mty_driver", "cdmx_driver"]);

#[cfg(test)]
mod tests;
