//! Fund: what a GP raises; it owns the interest of each LP, which is the sales funnel.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::facts::standing;
use crate::lifecycle::aggregate;
use crate::{Change, Contact, Lifecycle, LpId, Moment, Refusal, Remembered, Verbatim};

vocabulary! {
    /// Where a fund stands in its own life.
    FundStatus {
        Premarketing = "premarketing",
        Fundraising = "fundraising",
        Semiliquid = "semiliquid",
    }
}

vocabulary! {
    /// A stage of the sales funnel.
    Interest {
        Commitment = "commitment",
        DueDiligence = "due_diligence",
        Interested = "interested",
        Meeting = "meeting",
        MeetingOffered = "meeting_offered",
        NoReply = "no_reply",
        LowProbability = "low_probability",
        Inactive = "inactive",
    }
}

attributes! {
    FundDetails / FundChanges {
        notion_id: String,
        geography: String,
        target_multiple: f64,
        status: FundStatus,
        days_to_rs: i64,
        target_irr: String,
        hard_cap_mn: f64,
        target_mn: f64,
        roadshow_date: Moment,
        sectors: String,
        note: String,
        potential: String,
        asset_class: String,
        current_lps: String,
        launch: Moment,
        roadshows: String,
        final_close: Moment,
        closed: bool,
        gp_notion_id: String,
    }
}

/// How an LP stands to the fund.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Its stage.
    pub interest: Interest,
    /// What is remembered besides.
    pub remembered: Remembered,
}

standing!(Standing { interest: Interest });

/// A fund as it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FundRecord {
    /// The fund's name.
    pub fund_name: String,
    /// Everything optional.
    #[serde(flatten)]
    pub details: FundDetails,
    /// The LPs whose interest was ever recorded.
    #[serde(skip)]
    pub interests: BTreeMap<LpId, Standing>,
    /// Source values that the attributes cannot hold.
    #[serde(skip)]
    pub legacy: Verbatim,
}

/// The aggregate.
pub type Fund = Lifecycle<FundRecord>;

/// What can be asked of a fund.
#[derive(Clone, Debug)]
pub enum FundCommand {
    /// Takes the fund up.
    Register {
        /// The fund's name.
        fund_name: String,
        /// Everything optional.
        details: FundChanges,
        /// Source values that the attributes cannot hold.
        legacy: Verbatim,
    },
    /// PUT: what is absent stays, what changes nothing records nothing.
    Revise {
        /// The new name.
        fund_name: Option<String>,
        /// The other changes.
        changes: FundChanges,
        /// The roadshow date that readers see: a roadshow's arrival may have been copied over the fund's own.
        shown_roadshow_date: Option<Moment>,
    },
    /// Moves an LP in the funnel.
    RecordInterest {
        /// The LP.
        lp: LpId,
        /// Its new stage.
        interest: Interest,
        /// The newest note about both; without one the contact that is known stays.
        contact: Option<Contact>,
        /// Source values of a legacy row; `None` keeps those that are known.
        legacy: Option<Verbatim>,
    },
    /// Takes an LP out of the funnel.
    ClearInterest {
        /// The LP.
        lp: LpId,
    },
    /// Replaces the source values that the attributes cannot hold.
    KeepLegacy {
        /// All of them.
        values: Verbatim,
    },
    /// Removes the fund from use.
    Archive,
    /// Takes it into use again.
    Restore,
    /// Makes the fund what it was, or would have been: everything that differs is changed, in ordinary events.
    Revert {
        /// What it was.
        to: Box<Fund>,
        /// The roadshow date that readers see: a roadshow's arrival may have been copied over the fund's own.
        shown_roadshow_date: Option<Moment>,
    },
}

// Variant and field names are the storage format: rename only with an upcaster.
/// What has happened to a fund.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, AsRefStr, VariantNames)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "fields carry the names of the attributes")]
pub enum FundEvent {
    /// It was taken up.
    Registered {
        fund_name: String,
        details: FundChanges,
        #[serde(default, skip_serializing_if = "Verbatim::is_empty")]
        legacy: Verbatim,
    },
    /// It got another name.
    Renamed { fund_name: String },
    /// It entered another stage of its life.
    StatusMoved { status: Option<FundStatus> },
    /// It is managed by another GP, named by the GP's Notion id.
    GpAssigned { gp_notion_id: Option<String> },
    /// Its roadshow date was set by hand.
    RoadshowDateSet { roadshow_date: Option<Moment> },
    /// Other attributes changed.
    DetailsAmended { changes: FundChanges },
    /// An LP moved in the funnel.
    InterestRecorded {
        lp: LpId,
        interest: Interest,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        contact: Option<Contact>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        legacy: Option<Verbatim>,
    },
    /// An LP was taken out of the funnel.
    InterestCleared { lp: LpId },
    /// The source values that the attributes cannot hold are now these.
    LegacyKept { values: Verbatim },
    /// It was removed from use.
    Archived,
    /// It was taken into use again.
    Restored,
}

impl Fund {
    /// What a command leads to.
    ///
    /// # Errors
    /// A [`Refusal`] when the rules do not allow it.
    pub fn decide(&self, command: FundCommand) -> Result<Vec<FundEvent>, Refusal> {
        use FundCommand::{
            Archive, ClearInterest, KeepLegacy, RecordInterest, Register, Restore, Revert, Revise,
        };
        match command {
            Register { fund_name, details, legacy } => {
                self.check_unregistered()?;
                let details = details.against(&FundDetails::default());
                Ok(vec![FundEvent::Registered { fund_name, details, legacy }])
            }
            Revise { fund_name, changes, shown_roadshow_date } => {
                Ok(self.active()?.revise(fund_name, changes, shown_roadshow_date))
            }
            RecordInterest { lp, interest, contact, legacy } => {
                Ok(self.active()?.record_interest(lp, interest, contact, legacy))
            }
            ClearInterest { lp } => match self.active()?.interests.contains_key(&lp) {
                true => Ok(vec![FundEvent::InterestCleared { lp }]),
                false => Ok(vec![]),
            },
            KeepLegacy { values } if self.active()?.legacy == values => Ok(vec![]),
            KeepLegacy { values } => Ok(vec![FundEvent::LegacyKept { values }]),
            Archive => self.active().map(|_| vec![FundEvent::Archived]),
            Restore => self.check_archived().map(|()| vec![FundEvent::Restored]),
            Revert { to, shown_roadshow_date } => {
                let toward =
                    |now: &FundRecord, to: &FundRecord| now.toward(to, shown_roadshow_date);
                self.revert(&to, toward, FundEvent::Archived, FundEvent::Restored)
            }
        }
    }

    fn evolve(&mut self, event: FundEvent) {
        match event {
            FundEvent::Registered { fund_name, details, legacy } => {
                let details = details.into();
                let interests = BTreeMap::new();
                *self = Fund::Active(FundRecord { fund_name, details, interests, legacy });
            }
            FundEvent::Archived => self.archive(),
            FundEvent::Restored => self.restore(),
            // What a roadshow announces is told as this as well, also of a fund that is out of use.
            FundEvent::RoadshowDateSet { roadshow_date } => match self {
                Fund::Active(record) | Fund::Archived(record) => {
                    record.details.roadshow_date = roadshow_date;
                }
                Fund::Unregistered | Fund::Erased => {}
            },
            change => {
                if let Some(record) = self.changed() {
                    record.change(change);
                }
            }
        }
    }
}

impl FundRecord {
    fn revise(
        &self,
        fund_name: Option<String>,
        mut changes: FundChanges,
        shown_roadshow_date: Option<Moment>,
    ) -> Vec<FundEvent> {
        let roadshow_date = changes.roadshow_date.take().against(&shown_roadshow_date);
        let mut changes = changes.against(&self.details);
        let (status, gp) = (changes.status.take(), changes.gp_notion_id.take());
        let mut events = Vec::new();
        if let Some(fund_name) = fund_name.filter(|name| *name != self.fund_name) {
            events.push(FundEvent::Renamed { fund_name });
        }
        if let Some(status) = status.into_option() {
            events.push(FundEvent::StatusMoved { status });
        }
        if let Some(gp_notion_id) = gp.into_option() {
            events.push(FundEvent::GpAssigned { gp_notion_id });
        }
        if let Some(roadshow_date) = roadshow_date.into_option() {
            events.push(FundEvent::RoadshowDateSet { roadshow_date });
        }
        if !changes.is_empty() {
            events.push(FundEvent::DetailsAmended { changes });
        }
        events
    }

    fn record_interest(
        &self,
        lp: LpId,
        interest: Interest,
        contact: Option<Contact>,
        legacy: Option<Verbatim>,
    ) -> Vec<FundEvent> {
        let current = self.interests.get(&lp);
        let nothing = Remembered::default();
        let known = current.map_or(&nothing, |standing| &standing.remembered);
        let (contact, legacy) = known.differing(contact, legacy);
        let same = current.is_some_and(|standing| standing.interest == interest);
        if same && contact.is_none() && legacy.is_none() {
            return vec![];
        }
        vec![FundEvent::InterestRecorded { lp, interest, contact, legacy }]
    }

    /// What makes this record, which shows this date, the other.
    fn toward(&self, to: &Self, shown_roadshow_date: Option<Moment>) -> Vec<FundEvent> {
        let mut changes = self.details.toward(&to.details);
        changes.roadshow_date = Change::from(to.details.roadshow_date);
        let mut events = self.revise(Some(to.fund_name.clone()), changes, shown_roadshow_date);
        let cleared = self.interests.keys().filter(|lp| !to.interests.contains_key(lp));
        events.extend(cleared.map(|lp| FundEvent::InterestCleared { lp: *lp }));
        for (lp, Standing { interest, remembered }) in &to.interests {
            let Remembered { contact, legacy } = remembered.clone();
            events.extend(self.record_interest(*lp, interest.clone(), Some(contact), Some(legacy)));
        }
        if self.legacy != to.legacy {
            events.push(FundEvent::LegacyKept { values: to.legacy.clone() });
        }
        events
    }

    fn change(&mut self, event: FundEvent) {
        match event {
            FundEvent::Renamed { fund_name } => self.fund_name = fund_name,
            FundEvent::StatusMoved { status } => self.details.status = status,
            FundEvent::GpAssigned { gp_notion_id } => self.details.gp_notion_id = gp_notion_id,
            FundEvent::DetailsAmended { changes } => self.details.amend(changes),
            FundEvent::InterestRecorded { lp, interest, contact, legacy } => {
                let old = self.interests.remove(&lp);
                let mut remembered = old.map(|old| old.remembered).unwrap_or_default();
                remembered.amend(contact, legacy);
                self.interests.insert(lp, Standing { interest, remembered });
            }
            FundEvent::InterestCleared { lp } => {
                self.interests.remove(&lp);
            }
            FundEvent::LegacyKept { values } => self.legacy = values,
            FundEvent::Registered { .. }
            | FundEvent::RoadshowDateSet { .. }
            | FundEvent::Archived
            | FundEvent::Restored => {}
        }
    }
}

aggregate!(Fund = FundRecord, Fund, FundCommand, FundEvent,
    own: [fund_name: String], details: FundDetails, beside: [interests], required: &["fund_name"]);

#[cfg(test)]
mod tests;
