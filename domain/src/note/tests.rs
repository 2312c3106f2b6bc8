//! What commands on notes lead to, given what has happened to them.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use serde_json::{Value, json};

use super::*;
use crate::{FundId, GpId, LpId, PersonId, RoadshowId, SourceValue, TodoId};

fn given(events: Vec<NoteEvent>) -> AggregateTestExecutor<Note> {
    TestFramework::with(()).given(events)
}

fn changes(value: Value) -> NoteChanges {
    serde_json::from_value(value).unwrap()
}

fn registered() -> NoteEvent {
    NoteEvent::Registered {
        details: changes(json!({"name": "2025_01_31_Call", "date": "2025-01-31",
            "raw_notes": "They like it.", "summary": "", "useful": true})),
        legacy: Verbatim::default(),
    }
}

fn register(details: Value) -> NoteCommand {
    NoteCommand::Register { details: changes(details), legacy: Verbatim::default() }
}

fn revise(value: Value) -> NoteCommand {
    NoteCommand::Revise { changes: changes(value) }
}

fn kept() -> Verbatim {
    Verbatim([("useful".to_owned(), SourceValue::real(0.5))].into())
}

fn lp(id: i64) -> RecordRef {
    LpId(id).into()
}

fn fund() -> RecordRef {
    FundId(9).into()
}

/// About LPs 1 and 2 and a fund.
fn linked() -> AggregateTestExecutor<Note> {
    given(vec![registered(), NoteEvent::Linked { to: vec![lp(1), lp(2), fund()] }])
}

#[test]
fn a_note_is_registered_once_without_what_is_empty() {
    let details = json!({"name": "2025_01_31_Call", "date": "2025-01-31", "interest": null,
        "raw_notes": "They like it.", "summary": "", "useful": true});
    given(vec![]).when(register(details)).then_expect_events(vec![registered()]);
    for history in [vec![registered()], vec![registered(), NoteEvent::Archived]] {
        given(history).when(register(json!({}))).then_expect_error(Refusal::AlreadyRegistered);
    }
}

#[test]
fn name_date_text_and_usefulness_change_each_in_its_own_event() {
    let check = |value: Value, expected: Vec<NoteEvent>| {
        given(vec![registered()]).when(revise(value)).then_expect_events(expected);
    };
    check(
        json!({"name": "Call", "date": "2025-02-01", "raw_notes": "They love it.",
            "summary": "", "useful": false, "pin": "Yes"}),
        vec![
            NoteEvent::Renamed { name: Some("Call".into()) },
            NoteEvent::Dated { date: Some(Moment::parse("2025-02-01").unwrap()) },
            NoteEvent::TextRevised {
                raw_notes: Change::Set("They love it.".into()),
                summary: Change::Keep,
            },
            NoteEvent::UsefulnessMarked { useful: Some(false) },
            NoteEvent::DetailsAmended { changes: changes(json!({"pin": "Yes"})) },
        ],
    );
    check(
        json!({"name": null, "date": null, "summary": null, "useful": null}),
        vec![
            NoteEvent::Renamed { name: None },
            NoteEvent::Dated { date: None },
            NoteEvent::TextRevised { raw_notes: Change::Keep, summary: Change::Clear },
            NoteEvent::UsefulnessMarked { useful: None },
        ],
    );
}

#[test]
fn a_revision_sent_again_changes_nothing() {
    for revision in [
        json!({"name": "Call", "date": "2025-02-01", "raw_notes": "They love it.",
            "summary": "Love", "useful": false, "pin": "Yes"}),
        json!({"name": null, "date": null, "raw_notes": null, "summary": null, "useful": null}),
    ] {
        let revise = || revise(revision.clone());
        let events = given(vec![registered()]).when(revise()).inspect_result().unwrap();
        given(vec![registered()]).and(events).when(revise()).then_expect_events(vec![]);
    }
}

#[test]
fn what_changes_nothing_records_nothing() {
    let commands = [
        revise(json!({"name": "2025_01_31_Call", "date": "2025-01-31", "summary": "",
            "raw_notes": "They like it.", "useful": true, "pin": null})),
        NoteCommand::Link { to: vec![lp(1), fund()] },
        NoteCommand::Unlink { from: vec![lp(3)] },
        NoteCommand::Relink { kinds: vec![Kind::Lp], to: vec![lp(2), lp(1), lp(1)] },
        NoteCommand::Relink { kinds: vec![], to: vec![] },
        NoteCommand::KeepLegacy { values: kept() },
    ];
    for command in commands {
        linked()
            .and(vec![NoteEvent::LegacyKept { values: kept() }])
            .when(command)
            .then_expect_events(vec![]);
    }
}

#[test]
fn a_link_is_added_or_removed_once() {
    linked()
        .when(NoteCommand::Link { to: vec![lp(3), lp(1), lp(3)] })
        .then_expect_events(vec![NoteEvent::Linked { to: vec![lp(3)] }]);
    linked()
        .when(NoteCommand::Unlink { from: vec![fund(), lp(3), fund()] })
        .then_expect_events(vec![NoteEvent::Unlinked { from: vec![fund()] }]);
    linked()
        .and(vec![NoteEvent::Unlinked { from: vec![fund()] }])
        .when(NoteCommand::Link { to: vec![fund()] })
        .then_expect_events(vec![NoteEvent::Linked { to: vec![fund()] }]);
}

#[test]
fn relinking_replaces_only_the_kinds_named() {
    let check = |kinds: &[Kind], to: &[RecordRef], expected: Vec<NoteEvent>| {
        let (kinds, to) = (kinds.to_vec(), to.to_vec());
        linked().when(NoteCommand::Relink { kinds, to }).then_expect_events(expected);
    };
    check(
        &[Kind::Lp, Kind::Gp],
        &[lp(2), lp(3), GpId(4).into()],
        vec![
            NoteEvent::Unlinked { from: vec![lp(1)] },
            NoteEvent::Linked { to: vec![lp(3), GpId(4).into()] },
        ],
    );
    check(&[Kind::Lp], &[], vec![NoteEvent::Unlinked { from: vec![lp(1), lp(2)] }]);
    check(&[Kind::Gp], &[GpId(4).into()], vec![NoteEvent::Linked { to: vec![GpId(4).into()] }]);
}

#[test]
fn a_note_is_not_about_notes_or_todos() {
    for to in [TodoId(1).into(), Kind::Note.record(2)] {
        let refusal = Refusal::CannotLink { from: Kind::Note, to };
        let commands = [
            NoteCommand::Link { to: vec![lp(1), to] },
            NoteCommand::Relink { kinds: vec![Kind::Lp], to: vec![to] },
        ];
        for command in commands {
            linked().when(command).then_expect_error(refusal.clone());
        }
    }
}

#[test]
fn source_values_are_replaced_as_a_whole() {
    given(vec![registered(), NoteEvent::LegacyKept { values: kept() }])
        .when(NoteCommand::KeepLegacy { values: Verbatim::default() })
        .then_expect_events(vec![NoteEvent::LegacyKept { values: Verbatim::default() }]);
}

#[test]
fn only_a_note_in_use_is_changed() {
    let commands = [
        revise(json!({})),
        NoteCommand::Link { to: vec![lp(1)] },
        NoteCommand::Unlink { from: vec![lp(1)] },
        NoteCommand::Relink { kinds: vec![Kind::Lp], to: vec![] },
        NoteCommand::KeepLegacy { values: kept() },
        NoteCommand::Archive,
    ];
    for history in [vec![], vec![registered(), NoteEvent::Archived]] {
        for command in commands.clone() {
            given(history.clone()).when(command).then_expect_error(Refusal::NotRegistered);
        }
    }
}

#[test]
fn a_restored_note_is_as_it_was() {
    use NoteEvent::{Archived, Restored};
    linked().when(NoteCommand::Archive).then_expect_events(vec![Archived]);
    linked().when(NoteCommand::Restore).then_expect_error(Refusal::NotArchived);
    let archived = || linked().and(vec![Archived]);
    archived().when(NoteCommand::Restore).then_expect_events(vec![Restored]);
    let restored = || archived().and(vec![Restored]);
    restored().when(revise(json!({"useful": true}))).then_expect_events(vec![]);
    restored().when(NoteCommand::Link { to: vec![lp(1), fund()] }).then_expect_events(vec![]);
}

#[test]
fn a_legal_hold_forbids_erasure_until_it_is_lifted() {
    let held = || NoteEvent::Held { reason: "case 7".into() };
    let of = Some("case 7".into());
    let lifted = || NoteEvent::HoldLifted { reason: "settled".into(), of: of.clone() };
    let erase = || NoteCommand::Erase { reason: "asked to".into() };
    let refusal = || Refusal::Held { reason: "case 7".into() };
    for history in [vec![registered()], vec![registered(), NoteEvent::Archived]] {
        let given = || given(history.clone());
        let hold = |reason: &str| NoteCommand::Hold { reason: reason.into() };
        let lift = || NoteCommand::LiftHold { reason: "settled".into(), of: None };
        given().when(hold("case 7")).then_expect_events(vec![held()]);
        given().and(vec![held()]).when(hold("case 7")).then_expect_events(vec![]);
        let other = NoteEvent::Held { reason: "case 8".into() };
        given().and(vec![held()]).when(hold("case 8")).then_expect_events(vec![other]);
        given().and(vec![held()]).when(erase()).then_expect_error(refusal());
        given().when(lift()).then_expect_events(vec![]);
        given().and(vec![held()]).when(lift()).then_expect_events(vec![lifted()]);
        let erased = NoteEvent::Erased { reason: "asked to".into() };
        given().and(vec![held(), lifted()]).when(erase()).then_expect_events(vec![erased]);
        given().when(hold(" ")).then_expect_error(Refusal::ReasonMissing);
    }
    given(vec![]).when(erase()).then_expect_error(Refusal::NotRegistered);
}

#[test]
fn nothing_is_done_with_a_record_that_was_erased() {
    let reason = || "asked to".to_owned();
    let erased = || NoteEvent::Erased { reason: reason() };
    // The second is all that a reader can see of the first once the key is gone.
    for history in [vec![registered(), erased()], vec![erased()]] {
        let given = || given(history.clone());
        given().when(NoteCommand::Erase { reason: reason() }).then_expect_events(vec![]);
        for command in [
            register(json!({})),
            revise(json!({})),
            NoteCommand::Archive,
            NoteCommand::Restore,
            NoteCommand::KeepLegacy { values: kept() },
            NoteCommand::Hold { reason: reason() },
            NoteCommand::LiftHold { reason: reason(), of: None },
        ] {
            given().when(command).then_expect_error(Refusal::Erased);
        }
    }
}

fn check_stored(event: NoteEvent, stored: Value) {
    assert_eq!(serde_json::to_value(&event).unwrap(), stored);
    assert_eq!(serde_json::from_value::<NoteEvent>(stored).unwrap(), event);
}

#[test]
fn the_stored_form_of_an_event_never_changes() {
    let check = check_stored;
    check(
        registered(),
        json!({"Registered": {"details": {"name": "2025_01_31_Call",
            "date": "2025-01-31T00:00:00", "raw_notes": "They like it.", "summary": "",
            "useful": true}}}),
    );
    let real = json!({"useful": {"real_bits": "3fe0000000000000"}});
    check(
        NoteEvent::Registered { details: changes(json!({})), legacy: kept() },
        json!({"Registered": {"details": {}, "legacy": real}}),
    );
    check(NoteEvent::Renamed { name: Some("X".into()) }, json!({"Renamed": {"name": "X"}}));
    check(NoteEvent::Renamed { name: None }, json!({"Renamed": {"name": null}}));
    check(
        NoteEvent::Dated { date: Some(Moment::parse("2025-01-31 09:00:00").unwrap()) },
        json!({"Dated": {"date": "2025-01-31T09:00:00"}}),
    );
    check(NoteEvent::Dated { date: None }, json!({"Dated": {"date": null}}));
    check(
        NoteEvent::TextRevised { raw_notes: Change::Set("r".into()), summary: Change::Clear },
        json!({"TextRevised": {"raw_notes": "r", "summary": null}}),
    );
    check(
        NoteEvent::TextRevised { raw_notes: Change::Keep, summary: Change::Set("s".into()) },
        json!({"TextRevised": {"summary": "s"}}),
    );
    check(
        NoteEvent::UsefulnessMarked { useful: Some(false) },
        json!({"UsefulnessMarked": {"useful": false}}),
    );
    check(
        NoteEvent::UsefulnessMarked { useful: None },
        json!({"UsefulnessMarked": {"useful": null}}),
    );
    let all = json!({"notion_id": "n", "name": "N", "date": "2025-01-31T00:00:00",
        "contact_type": "chats", "local_mf": "1", "local_alts": "2", "intl_mf": "3",
        "intl_alts": "4", "roadshows": "r", "pin": "Yes", "useful": null, "fundraise": "f",
        "ai_summary": "a", "content_text": "c", "content_json": "[]", "image_paths": "i",
        "raw_notes": "r", "summary": "s", "interest": "i", "audio_path": "a.wav",
        "transcription_path": "a.txt"});
    check(
        NoteEvent::DetailsAmended { changes: changes(all.clone()) },
        json!({"DetailsAmended": {"changes": all}}),
    );
    check(NoteEvent::LegacyKept { values: kept() }, json!({"LegacyKept": {"values": real}}));
    check(NoteEvent::Archived, json!("Archived"));
    check(NoteEvent::Restored, json!("Restored"));
    let reason = || "case 7".to_owned();
    check(NoteEvent::Held { reason: reason() }, json!({"Held": {"reason": "case 7"}}));
    check(
        NoteEvent::HoldLifted { reason: reason(), of: None },
        json!({"HoldLifted": {"reason": "case 7"}}),
    );
    check(
        NoteEvent::HoldLifted { reason: reason(), of: Some("case 3".into()) },
        json!({"HoldLifted": {"reason": "case 7", "of": "case 3"}}),
    );
    check(NoteEvent::Erased { reason: reason() }, json!({"Erased": {"reason": "case 7"}}));
}

#[test]
fn the_stored_form_of_a_link_never_changes() {
    let all = vec![
        lp(1),
        GpId(2).into(),
        fund(),
        RoadshowId(3).into(),
        Kind::Distributor.record(4),
        PersonId(5).into(),
    ];
    check_stored(
        NoteEvent::Linked { to: all },
        json!({"Linked": {"to": [{"lp": 1}, {"gp": 2}, {"fund": 9}, {"roadshow": 3},
            {"distributor": 4}, {"person": 5}]}}),
    );
    check_stored(
        NoteEvent::Unlinked { from: vec![fund()] },
        json!({"Unlinked": {"from": [{"fund": 9}]}}),
    );
}

#[test]
fn each_legal_hold_is_lifted_by_itself() {
    let held = |reason: &str| NoteEvent::Held { reason: reason.into() };
    let lifted = |of: Option<&str>| NoteEvent::HoldLifted {
        reason: "settled".into(),
        of: of.map(str::to_owned),
    };
    let lift = |of: Option<&str>| NoteCommand::LiftHold {
        reason: "settled".into(),
        of: of.map(str::to_owned),
    };
    let erase = || NoteCommand::Erase { reason: "asked to".into() };
    let refusal = |reasons: &str| Refusal::Held { reason: reasons.into() };
    let erased = || vec![NoteEvent::Erased { reason: "asked to".into() }];
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
    let held = |reason: &str| NoteEvent::Held { reason: reason.into() };
    for (reasons, told) in
        [(vec![], None), (vec!["A"], Some(json!("A"))), (vec!["A", "B"], Some(json!(["A", "B"])))]
    {
        let mut record = Note::default();
        record.evolve(registered());
        reasons.iter().for_each(|reason| record.evolve(held(reason)));
        let name = crate::FactName { field: "hold".to_owned(), about: None };
        assert_eq!(record.facts().get(&name), told.as_ref());
        let learnt = Note::from_facts(record.facts()).unwrap();
        assert_eq!(learnt.record().unwrap().hold.reasons(), reasons);
    }
}
