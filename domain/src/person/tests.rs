//! What commands on people lead to, given what has happened to them.

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
    let of = Some("case 7".into());
    let lifted = || PersonEvent::HoldLifted { reason: "settled".into(), of: of.clone() };
    let erase = || PersonCommand::Erase { reason: "asked to".into() };
    let refusal = || Refusal::Held { reason: "case 7".into() };
    for history in [vec![registered()], vec![registered(), PersonEvent::Archived]] {
        let given = || given(history.clone());
        let hold = |reason: &str| PersonCommand::Hold { reason: reason.into() };
        let lift = || PersonCommand::LiftHold { reason: "settled".into(), of: None };
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
            PersonCommand::LiftHold { reason: reason(), of: None },
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
        PersonEvent::HoldLifted { reason: reason(), of: None },
        json!({"HoldLifted": {"reason": "case 7"}}),
    );
    check(
        PersonEvent::HoldLifted { reason: reason(), of: Some("case 3".into()) },
        json!({"HoldLifted": {"reason": "case 7", "of": "case 3"}}),
    );
    check(PersonEvent::Erased { reason: reason() }, json!({"Erased": {"reason": "case 7"}}));
}

#[test]
fn a_record_is_held_and_erased_by_its_plain_events_alone_where_others_cannot_be_read() {
    let told = |events: &[(&str, Option<PersonEvent>)]| {
        Person::in_plain(events.iter().map(|(name, event)| ((*name).to_owned(), event.clone())))
    };
    let held = || Some(PersonEvent::Held { reason: "case 7".into() });
    let lifting = |of| Some(PersonEvent::HoldLifted { reason: "settled".into(), of });
    let (lifted, lifted_alone) = (|| lifting(None), || lifting(Some("case 7".into())));
    let lost = || ("Registered", None);
    let erase = |person: Person| person.decide(PersonCommand::Erase { reason: "asked".into() });
    let erased = vec![PersonEvent::Erased { reason: "asked".into() }];
    let held_by = |reason: &str| Err(Refusal::Held { reason: reason.into() });
    for (events, expected) in [
        (vec![lost()], Ok(erased.clone())),
        (vec![lost(), ("Archived", Some(PersonEvent::Archived))], Ok(erased.clone())),
        (vec![lost(), ("Held", held())], held_by("case 7")),
        (vec![lost(), ("Held", held()), ("HoldLifted", lifted())], Ok(erased.clone())),
        (vec![lost(), ("Held", None)], held_by("its reason cannot be read")),
        (vec![lost(), ("Held", held()), ("HoldLifted", None)], held_by("case 7")),
        (vec![lost(), ("Held", None), ("HoldLifted", lifted())], Ok(erased)),
        (
            vec![lost(), ("Held", None), ("Held", held()), ("HoldLifted", lifted_alone())],
            held_by("its reason cannot be read"),
        ),
        (vec![lost(), ("Erased", None)], Ok(vec![])),
    ] {
        assert_eq!(erase(told(&events)), expected, "{events:?}");
    }
}

#[test]
fn each_legal_hold_is_lifted_by_itself() {
    let held = |reason: &str| PersonEvent::Held { reason: reason.into() };
    let lifted = |of: Option<&str>| PersonEvent::HoldLifted {
        reason: "settled".into(),
        of: of.map(str::to_owned),
    };
    let lift = |of: Option<&str>| PersonCommand::LiftHold {
        reason: "settled".into(),
        of: of.map(str::to_owned),
    };
    let erase = || PersonCommand::Erase { reason: "asked to".into() };
    let refusal = |reasons: &str| Refusal::Held { reason: reasons.into() };
    let erased = || vec![PersonEvent::Erased { reason: "asked to".into() }];
    let one = || given(vec![registered(), held("A")]);
    let two = || one().and(vec![held("B")]);
    let unknown = |reasons: &str| Refusal::NoSuchHold { reasons: reasons.into() };
    // Of one, nothing has to be said.
    for of in [None, Some("A"), Some("*")] {
        one().when(lift(of)).then_expect_events(vec![lifted(Some("A"))]);
    }
    given(vec![registered()]).when(lift(Some("A"))).then_expect_events(vec![]);
    one().when(lift(Some("B"))).then_expect_error(unknown("A"));
    // Of several it has to be said which.
    two().when(erase()).then_expect_error(refusal("A; B"));
    two().when(lift(None)).then_expect_error(Refusal::SeveralHolds { reasons: "A; B".into() });
    two().when(lift(Some("C"))).then_expect_error(unknown("A; B"));
    two().when(lift(Some("A"))).then_expect_events(vec![lifted(Some("A"))]);
    two().when(lift(Some("*"))).then_expect_events(vec![lifted(Some("A")), lifted(Some("B"))]);
    let without = |of| two().and(vec![lifted(of)]);
    without(Some("A")).when(erase()).then_expect_error(refusal("B"));
    without(Some("B")).when(erase()).then_expect_error(refusal("A"));
    without(Some("B")).and(vec![lifted(Some("A"))]).when(erase()).then_expect_events(erased());
    // A hold may be called as all are.
    let starred = || two().and(vec![held("*")]);
    starred().when(lift(Some("*"))).then_expect_events(vec![lifted(Some("*"))]);
    // An event of an earlier release lifts all, as it did there.
    without(None).when(erase()).then_expect_events(erased());
}

#[test]
fn what_is_told_of_holds_can_be_learnt_again() {
    let held = |reason: &str| PersonEvent::Held { reason: reason.into() };
    for (reasons, told) in
        [(vec![], None), (vec!["A"], Some(json!("A"))), (vec!["A", "B"], Some(json!(["A", "B"])))]
    {
        let mut record = Person::default();
        record.evolve(registered());
        reasons.iter().for_each(|reason| record.evolve(held(reason)));
        let name = crate::FactName { field: "hold".to_owned(), about: None };
        assert_eq!(record.facts().get(&name), told.as_ref());
        let learnt = Person::from_facts(record.facts()).unwrap();
        assert_eq!(learnt.record().unwrap().hold.reasons(), reasons);
    }
}
