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
    /// The fund that it is for; a legacy id may point nowhere.
    pub fund_id: FundId,
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
        /// The fund that it is for.
        fund_id: FundId,
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
        fund_id: Option<FundId>,
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

// Variant and field names are the storage format: rename only with an upcaster.
/// What has happened to a roadshow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, AsRefStr, VariantNames)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "fields carry the names of the attributes")]
pub enum RoadshowEvent {
    /// It was taken up.
    Registered {
        name: String,
        fund_id: FundId,
        details: RoadshowChanges,
        #[serde(default, skip_serializing_if = "Verbatim::is_empty")]
        legacy: Verbatim,
    },
    /// It got another name.
    Renamed { name: String },
    /// It is for another fund.
    FundAssigned { fund_id: FundId },
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
        fund_id: Option<FundId>,
        changes: RoadshowChanges,
        fund_date: Option<Moment>,
    ) -> Vec<RoadshowEvent> {
        let mut changes = changes.against(&self.details);
        let arrival = changes.arrival.take();
        let (second_arrival, departure) = (changes.second_arrival.take(), changes.departure.take());
        let mut events = Vec::new();
        if let Some(name) = name.filter(|name| *name != self.name) {
            events.push(RoadshowEvent::Renamed { name });
        }
        if let Some(fund_id) = fund_id.filter(|fund| *fund != self.fund_id) {
            events.push(RoadshowEvent::FundAssigned { fund_id });
        }
        if !(arrival.is_keep() && second_arrival.is_keep() && departure.is_keep()) {
            events.push(RoadshowEvent::Rescheduled { arrival, second_arrival, departure });
        }
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
        let changes = self.details.toward(&to.details);
        // Its arrival is not announced again: it is the roadshow that is taken back, not its fund.
        let shown = self.details.arrival;
        let mut events = self.revise(Some(to.name.clone()), Some(to.fund_id), changes, shown);
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
mod tests {
    use cqrs_es::test::{AggregateTestExecutor, TestFramework};
    use serde_json::{Value, json};

    use super::*;
    use crate::{NoteId, SourceValue};

    const LP: LpId = LpId(7);

    fn given(events: Vec<RoadshowEvent>) -> AggregateTestExecutor<Roadshow> {
        TestFramework::with(()).given(events)
    }

    fn changes(value: Value) -> RoadshowChanges {
        serde_json::from_value(value).unwrap()
    }

    fn moment(text: &str) -> Moment {
        Moment::parse(text).unwrap()
    }

    fn registered() -> RoadshowEvent {
        RoadshowEvent::Registered {
            name: "Mexico May".into(),
            fund_id: FundId(4),
            details: changes(json!({"arrival": "2025-05-20", "lv_hotel": "Needed"})),
            legacy: Verbatim::default(),
        }
    }

    fn register(details: Value) -> RoadshowCommand {
        let (name, fund_id) = ("Mexico May".into(), FundId(4));
        let legacy = Verbatim::default();
        RoadshowCommand::Register { name, fund_id, details: changes(details), legacy }
    }

    /// A PUT while the fund shows this roadshow's arrival.
    fn revise(value: Value) -> RoadshowCommand {
        RoadshowCommand::Revise {
            name: None,
            fund_id: None,
            changes: changes(value),
            fund_date: Some(moment("2025-05-20")),
        }
    }

    fn record(status: LpStatus, remembered: Option<Remembered>) -> RoadshowCommand {
        let (contact, legacy) = remembered.map(|it| (it.contact, it.legacy)).unzip();
        RoadshowCommand::RecordStatus { lp: LP, status, contact, legacy }
    }

    fn recorded(
        status: LpStatus,
        contact: Option<Contact>,
        legacy: Option<Verbatim>,
    ) -> RoadshowEvent {
        RoadshowEvent::StatusRecorded { lp: LP, status, contact, legacy }
    }

    fn contact() -> Contact {
        Contact { date: Some(moment("2024-11-05")), note: Some(NoteId(90)) }
    }

    fn kept() -> Verbatim {
        Verbatim([("fund_id".to_owned(), SourceValue::Null)].into())
    }

    /// A PUT with something for every event.
    fn revision() -> RoadshowCommand {
        RoadshowCommand::Revise {
            name: Some("Mexico June".into()),
            fund_id: Some(FundId(5)),
            changes: changes(json!({"arrival": "2025-06-20", "departure": "2025-06-24T18:00:00",
                "second_arrival": "2025-06-22", "lv_hotel": "Done", "lv_flight": null})),
            fund_date: Some(moment("2025-06-20")),
        }
    }

    #[test]
    fn a_roadshow_is_registered_once_without_what_is_empty() {
        let details = json!({"arrival": "2025-05-20", "lv_hotel": "Needed", "notes": null});
        given(vec![]).when(register(details)).then_expect_events(vec![registered()]);
        for history in [vec![registered()], vec![registered(), RoadshowEvent::Archived]] {
            given(history).when(register(json!({}))).then_expect_error(Refusal::AlreadyRegistered);
        }
    }

    #[test]
    fn a_revision_records_only_what_changed_each_in_its_own_event() {
        given(vec![registered()]).when(revision()).then_expect_events(vec![
            RoadshowEvent::Renamed { name: "Mexico June".into() },
            RoadshowEvent::FundAssigned { fund_id: FundId(5) },
            RoadshowEvent::Rescheduled {
                arrival: Change::Set(moment("2025-06-20")),
                second_arrival: Change::Set(moment("2025-06-22")),
                departure: Change::Set(moment("2025-06-24T18:00:00")),
            },
            RoadshowEvent::DetailsAmended { changes: changes(json!({"lv_hotel": "Done"})) },
        ]);
    }

    #[test]
    fn a_revision_sent_again_changes_nothing() {
        let events = given(vec![registered()]).when(revision()).inspect_result().unwrap();
        given(vec![registered()]).and(events).when(revision()).then_expect_events(vec![]);
    }

    #[test]
    fn what_changes_nothing_records_nothing() {
        let history = || {
            vec![
                registered(),
                recorded(LpStatus::Offered, Some(contact()), Some(kept())),
                RoadshowEvent::LegacyKept { values: kept() },
            ]
        };
        let remembered = Remembered { contact: contact(), legacy: kept() };
        let commands = [
            RoadshowCommand::Revise {
                name: Some("Mexico May".into()),
                fund_id: Some(FundId(4)),
                changes: changes(json!({"arrival": "2025-05-20", "lv_hotel": "Needed"})),
                fund_date: Some(moment("2025-05-20")),
            },
            record(LpStatus::Offered, None),
            record(LpStatus::Offered, Some(remembered)),
            RoadshowCommand::ClearStatus { lp: LpId(8) },
            RoadshowCommand::KeepLegacy { values: kept() },
        ];
        for command in commands {
            given(history()).when(command).then_expect_events(vec![]);
        }
    }

    #[test]
    fn an_unchanged_arrival_is_reaffirmed_only_if_the_fund_shows_another_date() {
        let check = |history: Vec<RoadshowEvent>, shown: Option<&str>, expected| {
            let changes = changes(json!({"lv_hotel": "Needed"}));
            let fund_date = shown.map(moment);
            given(history)
                .when(RoadshowCommand::Revise { name: None, fund_id: None, changes, fund_date })
                .then_expect_events(expected);
        };
        let reaffirmed =
            || vec![RoadshowEvent::ArrivalReaffirmed { arrival: moment("2025-05-20") }];
        check(vec![registered()], Some("2025-03-01"), reaffirmed());
        check(vec![registered()], None, reaffirmed());
        check(vec![registered()], Some("2025-05-20"), vec![]);
        let without_arrival = RoadshowEvent::Rescheduled {
            arrival: Change::Clear,
            second_arrival: Change::Keep,
            departure: Change::Keep,
        };
        check(vec![registered(), without_arrival], Some("2025-03-01"), vec![]);
    }

    #[test]
    fn a_change_announces_the_arrival_without_reaffirming_it() {
        given(vec![registered()])
            .when(RoadshowCommand::Revise {
                name: None,
                fund_id: Some(FundId(5)),
                changes: changes(json!({})),
                fund_date: Some(moment("2025-03-01")),
            })
            .then_expect_events(vec![RoadshowEvent::FundAssigned { fund_id: FundId(5) }]);
    }

    #[test]
    fn the_arrival_is_announced_when_the_roadshow_is_written_as_a_whole() {
        let check = |event: RoadshowEvent, announces: bool| {
            assert_eq!(event.announces_arrival(), announces, "{event:?}");
        };
        check(registered(), true);
        check(RoadshowEvent::Renamed { name: "X".into() }, true);
        check(RoadshowEvent::FundAssigned { fund_id: FundId(5) }, true);
        let departure = Change::Set(moment("2025-05-24"));
        check(
            RoadshowEvent::Rescheduled {
                arrival: Change::Keep,
                second_arrival: Change::Keep,
                departure,
            },
            true,
        );
        check(RoadshowEvent::ArrivalReaffirmed { arrival: moment("2025-05-20") }, true);
        check(RoadshowEvent::DetailsAmended { changes: changes(json!({"notes": "x"})) }, true);
        check(recorded(LpStatus::Offered, None, None), false);
        check(RoadshowEvent::StatusCleared { lp: LP }, false);
        check(RoadshowEvent::LegacyKept { values: kept() }, false);
        check(RoadshowEvent::Archived, false);
        check(RoadshowEvent::Restored, false);
    }

    #[test]
    fn the_status_of_an_lp_is_recorded_and_forgotten() {
        given(vec![registered()])
            .when(record(LpStatus::Offered, None))
            .then_expect_events(vec![recorded(LpStatus::Offered, None, None)]);
        let offered = || given(vec![registered(), recorded(LpStatus::Offered, None, None)]);
        offered().when(record(LpStatus::Confirmed, None)).then_expect_events(vec![recorded(
            LpStatus::Confirmed,
            None,
            None,
        )]);
        let cleared = RoadshowEvent::StatusCleared { lp: LP };
        offered()
            .when(RoadshowCommand::ClearStatus { lp: LP })
            .then_expect_events(vec![cleared.clone()]);
        offered()
            .and(vec![cleared])
            .when(record(LpStatus::Offered, None))
            .then_expect_events(vec![recorded(LpStatus::Offered, None, None)]);
    }

    #[test]
    fn a_status_that_nobody_knows_is_kept_as_it_was_written() {
        given(vec![registered()])
            .when(record("Confirmed".into(), None))
            .then_expect_events(vec![recorded(LpStatus::Other("Confirmed".into()), None, None)]);
    }

    #[test]
    fn what_a_legacy_row_remembered_stays_until_it_is_replaced() {
        let history = || {
            given(vec![
                registered(),
                recorded(LpStatus::Offered, Some(contact()), Some(kept())),
                recorded(LpStatus::Declined, None, None),
            ])
        };
        let remember = |contact, legacy| Some(Remembered { contact, legacy });
        history()
            .when(record(LpStatus::Declined, remember(contact(), kept())))
            .then_expect_events(vec![]);
        history()
            .when(record(LpStatus::Declined, remember(Contact::default(), Verbatim::default())))
            .then_expect_events(vec![recorded(
                LpStatus::Declined,
                Some(Contact::default()),
                Some(Verbatim::default()),
            )]);
    }

    #[test]
    fn the_newest_note_in_common_is_remembered_and_stays_when_there_is_none_any_more() {
        let record = |status, contact| RoadshowCommand::RecordStatus {
            lp: LP,
            status,
            contact,
            legacy: None,
        };
        let newer = Contact { date: None, note: Some(NoteId(91)) };
        let check = |command, expected| {
            given(vec![registered(), recorded(LpStatus::Offered, Some(contact()), Some(kept()))])
                .when(command)
                .then_expect_events(expected);
        };
        check(record(LpStatus::Offered, None), vec![]);
        check(record(LpStatus::Offered, Some(contact())), vec![]);
        check(
            record(LpStatus::Offered, Some(newer)),
            vec![recorded(LpStatus::Offered, Some(newer), None)],
        );
        check(record(LpStatus::Declined, None), vec![recorded(LpStatus::Declined, None, None)]);
        let known = record(LpStatus::Declined, Some(contact()));
        check(known, vec![recorded(LpStatus::Declined, None, None)]);
    }

    #[test]
    fn only_a_roadshow_in_use_is_changed() {
        let commands = [
            revise(json!({})),
            record(LpStatus::Offered, None),
            RoadshowCommand::ClearStatus { lp: LP },
            RoadshowCommand::KeepLegacy { values: kept() },
            RoadshowCommand::Archive,
        ];
        for history in [vec![], vec![registered(), RoadshowEvent::Archived]] {
            for command in commands.clone() {
                given(history.clone()).when(command).then_expect_error(Refusal::NotRegistered);
            }
        }
    }

    #[test]
    fn a_restored_roadshow_is_as_it_was() {
        use RoadshowEvent::{Archived, Restored};
        let active = || given(vec![registered(), recorded(LpStatus::Offered, None, None)]);
        active().when(RoadshowCommand::Archive).then_expect_events(vec![Archived]);
        active().when(RoadshowCommand::Restore).then_expect_error(Refusal::NotArchived);
        let archived = || active().and(vec![Archived]);
        archived().when(RoadshowCommand::Restore).then_expect_events(vec![Restored]);
        let restored = || archived().and(vec![Restored]);
        restored().when(revise(json!({"lv_hotel": "Needed"}))).then_expect_events(vec![]);
        restored().when(record(LpStatus::Offered, None)).then_expect_events(vec![]);
    }

    fn check_stored(event: RoadshowEvent, stored: Value) {
        assert_eq!(serde_json::to_value(&event).unwrap(), stored);
        assert_eq!(serde_json::from_value::<RoadshowEvent>(stored).unwrap(), event);
    }

    #[test]
    fn the_stored_form_of_an_event_never_changes() {
        let check = check_stored;
        check(
            registered(),
            json!({"Registered": {"name": "Mexico May", "fund_id": 4,
                "details": {"arrival": "2025-05-20T00:00:00", "lv_hotel": "Needed"}}}),
        );
        check(
            RoadshowEvent::Registered {
                name: "Mexico May".into(),
                fund_id: FundId(0),
                details: changes(json!({})),
                legacy: kept(),
            },
            json!({"Registered": {"name": "Mexico May", "fund_id": 0, "details": {},
                "legacy": {"fund_id": null}}}),
        );
        check(RoadshowEvent::Renamed { name: "X".into() }, json!({"Renamed": {"name": "X"}}));
        check(
            RoadshowEvent::FundAssigned { fund_id: FundId(5) },
            json!({"FundAssigned": {"fund_id": 5}}),
        );
        check(
            RoadshowEvent::ArrivalReaffirmed { arrival: moment("2025-05-20") },
            json!({"ArrivalReaffirmed": {"arrival": "2025-05-20T00:00:00"}}),
        );
        let all = json!({"arrival": "2025-05-20T00:00:00", "arrival_city": "CDMX",
            "second_city": "MTY", "second_arrival": null, "departure": "2025-05-24T18:00:00",
            "lv_flight": "None", "lv_hotel": "Needed", "mty_driver": "Done", "cdmx_driver": "done",
            "flight_images": {"sha256": "ab", "size": 2048, "media_type": "text/plain"},
            "notes": "n"});
        check(
            RoadshowEvent::DetailsAmended { changes: changes(all.clone()) },
            json!({"DetailsAmended": {"changes": all}}),
        );
        let text = Change::Set(Document::Text("data:,".into()));
        check(
            RoadshowEvent::DetailsAmended {
                changes: RoadshowChanges { flight_images: text, ..RoadshowChanges::default() },
            },
            json!({"DetailsAmended": {"changes": {"flight_images": "data:,"}}}),
        );
        check(
            RoadshowEvent::LegacyKept { values: kept() },
            json!({"LegacyKept": {"values": {"fund_id": null}}}),
        );
        check(RoadshowEvent::Archived, json!("Archived"));
        check(RoadshowEvent::Restored, json!("Restored"));
    }

    #[test]
    fn the_stored_form_of_a_schedule_never_changes() {
        let (arrival, second_arrival) = (moment("2025-05-20"), moment("2025-05-22"));
        check_stored(
            RoadshowEvent::Rescheduled {
                arrival: Change::Set(arrival),
                second_arrival: Change::Set(second_arrival),
                departure: Change::Clear,
            },
            json!({"Rescheduled": {"arrival": "2025-05-20T00:00:00",
                "second_arrival": "2025-05-22T00:00:00", "departure": null}}),
        );
        check_stored(
            RoadshowEvent::Rescheduled {
                arrival: Change::Clear,
                second_arrival: Change::Keep,
                departure: Change::Keep,
            },
            json!({"Rescheduled": {"arrival": null}}),
        );
    }

    #[test]
    fn the_stored_form_of_a_status_never_changes() {
        check_stored(
            recorded(LpStatus::Declined, None, None),
            json!({"StatusRecorded": {"lp": 7, "status": "declined"}}),
        );
        check_stored(
            recorded("Hot".into(), Some(contact()), Some(kept())),
            json!({"StatusRecorded": {"lp": 7, "status": "Hot",
                "contact": {"date": "2024-11-05T00:00:00", "note": 90},
                "legacy": {"fund_id": null}}}),
        );
        check_stored(RoadshowEvent::StatusCleared { lp: LP }, json!({"StatusCleared": {"lp": 7}}));
    }
}
