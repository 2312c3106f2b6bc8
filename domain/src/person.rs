//! Person: somebody at an LP, a GP, a distributor or elsewhere.

use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::erasure::Holdable;
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
    /// Why it must not be erased, while a legal hold is on it.
    #[serde(skip)]
    pub hold: Option<String>,
}

impl Holdable for PersonRecord {
    fn hold(&self) -> Option<&str> {
        self.hold.as_deref()
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
    },
    /// Destroys everything the record ever said. The reason must not contain personal data.
    Erase {
        /// Why.
        reason: String,
    },
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
    HoldLifted { reason: String },
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
            LiftHold { reason } if self.lifts(&reason)? => {
                Ok(vec![PersonEvent::HoldLifted { reason }])
            }
            Erase { reason } if self.erases(&reason)? => Ok(vec![PersonEvent::Erased { reason }]),
            Hold { .. } | LiftHold { .. } | Erase { .. } => Ok(vec![]),
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
                    hold: None,
                });
            }
            PersonEvent::Archived => self.archive(),
            PersonEvent::Restored => self.restore(),
            PersonEvent::Held { reason } => {
                self.there_mut().into_iter().for_each(|it| it.hold = Some(reason.clone()));
            }
            PersonEvent::HoldLifted { .. } => {
                self.there_mut().into_iter().for_each(|it| it.hold = None)
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
mod tests {
    use cqrs_es::test::{AggregateTestExecutor, TestFramework};
    use serde_json::{Value, json};

    use super::*;
    use crate::{DistributorId, FundId, GpId, LpId, SourceValue};

    fn given(events: Vec<PersonEvent>) -> AggregateTestExecutor<Person> {
        TestFramework::with(()).given(events)
    }

    fn changes(value: Value) -> PersonChanges {
        serde_json::from_value(value).unwrap()
    }

    fn registered() -> PersonEvent {
        PersonEvent::Registered {
            name: "Ana Ruiz".into(),
            details: changes(json!({"email": "ana@example.com", "org_id": 7})),
            legacy: Verbatim::default(),
        }
    }

    fn register(details: Value) -> PersonCommand {
        let (name, legacy) = ("Ana Ruiz".into(), Verbatim::default());
        PersonCommand::Register { name, details: changes(details), legacy }
    }

    fn revise(value: Value) -> PersonCommand {
        PersonCommand::Revise { name: None, changes: changes(value) }
    }

    fn kept() -> Verbatim {
        Verbatim([("org_id".to_owned(), SourceValue::Text("abc".into()))].into())
    }

    fn lp() -> RecordRef {
        LpId(1).into()
    }

    fn gp() -> RecordRef {
        GpId(2).into()
    }

    fn distributor() -> RecordRef {
        DistributorId(3).into()
    }

    /// A PUT with something for every event.
    fn revision() -> PersonCommand {
        PersonCommand::Revise {
            name: Some("Ana Ruiz Soto".into()),
            changes: changes(json!({"email": null, "org_id": 7, "role": "CIO"})),
        }
    }

    #[test]
    fn a_person_is_registered_once_without_what_is_empty() {
        let details = json!({"email": "ana@example.com", "org_id": 7, "role": null});
        given(vec![]).when(register(details)).then_expect_events(vec![registered()]);
        for history in [vec![registered()], vec![registered(), PersonEvent::Archived]] {
            given(history).when(register(json!({}))).then_expect_error(Refusal::AlreadyRegistered);
        }
    }

    #[test]
    fn a_revision_records_only_what_changed_each_in_its_own_event() {
        given(vec![registered()]).when(revision()).then_expect_events(vec![
            PersonEvent::Renamed { name: "Ana Ruiz Soto".into() },
            PersonEvent::DetailsAmended { changes: changes(json!({"email": null, "role": "CIO"})) },
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
                PersonEvent::Affiliated { with: vec![lp()] },
                PersonEvent::LegacyKept { values: kept() },
            ]
        };
        let commands = [
            PersonCommand::Revise { name: Some("Ana Ruiz".into()), changes: changes(json!({})) },
            revise(json!({"email": "ana@example.com", "org_id": 7, "role": null})),
            PersonCommand::Affiliate { with: vec![lp()] },
            PersonCommand::Disaffiliate { from: vec![gp()] },
            PersonCommand::KeepLegacy { values: kept() },
        ];
        for command in commands {
            given(history()).when(command).then_expect_events(vec![]);
        }
    }

    #[test]
    fn a_person_joins_and_leaves_an_organisation_once() {
        let affiliated =
            || given(vec![registered(), PersonEvent::Affiliated { with: vec![lp(), gp()] }]);
        affiliated()
            .when(PersonCommand::Affiliate { with: vec![distributor(), gp(), distributor()] })
            .then_expect_events(vec![PersonEvent::Affiliated { with: vec![distributor()] }]);
        affiliated()
            .when(PersonCommand::Disaffiliate { from: vec![gp(), distributor(), gp()] })
            .then_expect_events(vec![PersonEvent::Disaffiliated { from: vec![gp()] }]);
        affiliated()
            .and(vec![PersonEvent::Disaffiliated { from: vec![gp()] }])
            .when(PersonCommand::Affiliate { with: vec![lp(), gp()] })
            .then_expect_events(vec![PersonEvent::Affiliated { with: vec![gp()] }]);
    }

    #[test]
    fn a_person_belongs_to_organisations_only() {
        let to = FundId(4).into();
        given(vec![registered()])
            .when(PersonCommand::Affiliate { with: vec![lp(), to] })
            .then_expect_error(Refusal::CannotLink { from: Kind::Person, to });
    }

    #[test]
    fn source_values_are_replaced_as_a_whole() {
        given(vec![registered(), PersonEvent::LegacyKept { values: kept() }])
            .when(PersonCommand::KeepLegacy { values: Verbatim::default() })
            .then_expect_events(vec![PersonEvent::LegacyKept { values: Verbatim::default() }]);
    }

    #[test]
    fn only_a_person_in_use_is_changed() {
        let commands = [
            revise(json!({})),
            PersonCommand::Affiliate { with: vec![lp()] },
            PersonCommand::Disaffiliate { from: vec![lp()] },
            PersonCommand::KeepLegacy { values: kept() },
            PersonCommand::Archive,
        ];
        for history in [vec![], vec![registered(), PersonEvent::Archived]] {
            for command in commands.clone() {
                given(history.clone()).when(command).then_expect_error(Refusal::NotRegistered);
            }
        }
    }

    #[test]
    fn a_restored_person_is_as_before() {
        use PersonEvent::{Archived, Restored};
        let active = || given(vec![registered(), PersonEvent::Affiliated { with: vec![lp()] }]);
        active().when(PersonCommand::Archive).then_expect_events(vec![Archived]);
        active().when(PersonCommand::Restore).then_expect_error(Refusal::NotArchived);
        let archived = || active().and(vec![Archived]);
        archived().when(PersonCommand::Restore).then_expect_events(vec![Restored]);
        let restored = || archived().and(vec![Restored]);
        restored().when(revise(json!({"org_id": 7}))).then_expect_events(vec![]);
        restored().when(PersonCommand::Affiliate { with: vec![lp()] }).then_expect_events(vec![]);
    }

    #[test]
    fn a_legal_hold_forbids_erasure_until_it_is_lifted() {
        let held = || PersonEvent::Held { reason: "case 7".into() };
        let lifted = || PersonEvent::HoldLifted { reason: "settled".into() };
        let erase = || PersonCommand::Erase { reason: "asked to".into() };
        let refusal = || Refusal::Held { reason: "case 7".into() };
        for history in [vec![registered()], vec![registered(), PersonEvent::Archived]] {
            let given = || given(history.clone());
            let hold = |reason: &str| PersonCommand::Hold { reason: reason.into() };
            let lift = || PersonCommand::LiftHold { reason: "settled".into() };
            given().when(hold("case 7")).then_expect_events(vec![held()]);
            given().and(vec![held()]).when(hold("case 7")).then_expect_events(vec![]);
            let other = PersonEvent::Held { reason: "case 8".into() };
            given().and(vec![held()]).when(hold("case 8")).then_expect_events(vec![other]);
            given().and(vec![held()]).when(erase()).then_expect_error(refusal());
            given().when(lift()).then_expect_events(vec![]);
            given().and(vec![held()]).when(lift()).then_expect_events(vec![lifted()]);
            let erased = PersonEvent::Erased { reason: "asked to".into() };
            given().and(vec![held(), lifted()]).when(erase()).then_expect_events(vec![erased]);
            given().when(hold(" ")).then_expect_error(Refusal::ReasonMissing);
        }
        given(vec![]).when(erase()).then_expect_error(Refusal::NotRegistered);
    }

    #[test]
    fn nothing_is_done_with_a_record_that_was_erased() {
        let reason = || "asked to".to_owned();
        let erased = || PersonEvent::Erased { reason: reason() };
        // The second is all that a reader can see of the first once the key is gone.
        for history in [vec![registered(), erased()], vec![erased()]] {
            let given = || given(history.clone());
            given().when(PersonCommand::Erase { reason: reason() }).then_expect_events(vec![]);
            for command in [
                register(json!({})),
                revise(json!({})),
                PersonCommand::Archive,
                PersonCommand::Restore,
                PersonCommand::KeepLegacy { values: kept() },
                PersonCommand::Hold { reason: reason() },
                PersonCommand::LiftHold { reason: reason() },
            ] {
                given().when(command).then_expect_error(Refusal::Erased);
            }
        }
    }

    #[test]
    fn the_stored_form_of_an_event_never_changes() {
        let check = |event: PersonEvent, stored: Value| {
            assert_eq!(serde_json::to_value(&event).unwrap(), stored);
            assert_eq!(serde_json::from_value::<PersonEvent>(stored).unwrap(), event);
        };
        check(
            registered(),
            json!({"Registered": {"name": "Ana Ruiz",
                "details": {"email": "ana@example.com", "org_id": 7}}}),
        );
        check(
            PersonEvent::Registered {
                name: "Ana Ruiz".into(),
                details: changes(json!({})),
                legacy: kept(),
            },
            json!({"Registered": {"name": "Ana Ruiz", "details": {}, "legacy": {"org_id": "abc"}}}),
        );
        check(PersonEvent::Renamed { name: "X".into() }, json!({"Renamed": {"name": "X"}}));
        let all = json!({"notion_id": "n", "cell_phone": "1", "office_phone": "2", "email": null,
            "location": "Lima", "position": "p", "people_type": "t", "personal_note": "n",
            "role": "CIO", "org_type": "lp", "org_id": 7});
        check(
            PersonEvent::DetailsAmended { changes: changes(all.clone()) },
            json!({"DetailsAmended": {"changes": all}}),
        );
        check(
            PersonEvent::Affiliated { with: vec![lp(), gp(), distributor()] },
            json!({"Affiliated": {"with": [{"lp": 1}, {"gp": 2}, {"distributor": 3}]}}),
        );
        check(
            PersonEvent::Disaffiliated { from: vec![gp()] },
            json!({"Disaffiliated": {"from": [{"gp": 2}]}}),
        );
        check(
            PersonEvent::LegacyKept { values: kept() },
            json!({"LegacyKept": {"values": {"org_id": "abc"}}}),
        );
        check(PersonEvent::Archived, json!("Archived"));
        check(PersonEvent::Restored, json!("Restored"));
        let reason = || "case 7".to_owned();
        check(PersonEvent::Held { reason: reason() }, json!({"Held": {"reason": "case 7"}}));
        check(
            PersonEvent::HoldLifted { reason: reason() },
            json!({"HoldLifted": {"reason": "case 7"}}),
        );
        check(PersonEvent::Erased { reason: reason() }, json!({"Erased": {"reason": "case 7"}}));
    }
}
