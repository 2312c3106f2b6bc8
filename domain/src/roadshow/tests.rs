//! What commands on roadshows lead to, given what has happened to them.

use cqrs_es::Aggregate as _;
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
        fund_id: Some(FundId(4)),
        details: changes(json!({"arrival": "2025-05-20", "lv_hotel": "Needed"})),
        legacy: Verbatim::default(),
    }
}

fn register(details: Value) -> RoadshowCommand {
    let (name, fund_id) = ("Mexico May".into(), Some(FundId(4)));
    let legacy = Verbatim::default();
    RoadshowCommand::Register { name, fund_id, details: changes(details), legacy }
}

/// A PUT while the fund shows this roadshow's arrival.
fn revise(value: Value) -> RoadshowCommand {
    RoadshowCommand::Revise {
        name: None,
        fund_id: Change::Keep,
        changes: changes(value),
        fund_date: Some(moment("2025-05-20")),
    }
}

fn record(status: LpStatus, remembered: Option<Remembered>) -> RoadshowCommand {
    let (contact, legacy) = remembered.map(|it| (it.contact, it.legacy)).unzip();
    RoadshowCommand::RecordStatus { lp: LP, status, contact, legacy }
}

fn recorded(status: LpStatus, contact: Option<Contact>, legacy: Option<Verbatim>) -> RoadshowEvent {
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
        fund_id: Change::Set(FundId(5)),
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
        RoadshowEvent::FundAssigned { fund_id: Some(FundId(5)) },
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
            fund_id: Change::Set(FundId(4)),
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
            .when(RoadshowCommand::Revise { name: None, fund_id: Change::Keep, changes, fund_date })
            .then_expect_events(expected);
    };
    let reaffirmed = || vec![RoadshowEvent::ArrivalReaffirmed { arrival: moment("2025-05-20") }];
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
            fund_id: Change::Set(FundId(5)),
            changes: changes(json!({})),
            fund_date: Some(moment("2025-03-01")),
        })
        .then_expect_events(vec![RoadshowEvent::FundAssigned { fund_id: Some(FundId(5)) }]);
}

#[test]
fn the_arrival_is_announced_when_the_roadshow_is_written_as_a_whole() {
    let check = |event: RoadshowEvent, announces: bool| {
        assert_eq!(event.announces_arrival(), announces, "{event:?}");
    };
    check(registered(), true);
    check(RoadshowEvent::Renamed { name: "X".into() }, true);
    check(RoadshowEvent::FundAssigned { fund_id: Some(FundId(5)) }, true);
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
    check(taken_back(), false);
    check(RoadshowEvent::StatusCleared { lp: LP }, false);
    check(RoadshowEvent::LegacyKept { values: kept() }, false);
    check(RoadshowEvent::Archived, false);
    check(RoadshowEvent::Restored, false);
}

#[test]
fn an_arrival_that_is_called_off_is_gone_before_anything_announces_it() {
    let called_off = RoadshowEvent::Rescheduled {
        arrival: Change::Clear,
        second_arrival: Change::Keep,
        departure: Change::Keep,
    };
    given(vec![registered()])
        .when(RoadshowCommand::Revise {
            name: Some("Called off".into()),
            fund_id: Change::Set(FundId(5)),
            changes: changes(json!({"arrival": null})),
            fund_date: None,
        })
        .then_expect_events(vec![
            called_off,
            RoadshowEvent::Renamed { name: "Called off".into() },
            RoadshowEvent::FundAssigned { fund_id: Some(FundId(5)) },
        ]);
}

fn taken_back() -> RoadshowEvent {
    RoadshowEvent::TakenBack {
        name: Some("Mexico May".into()),
        changes: changes(json!({"lv_hotel": "Needed"})),
    }
}

#[test]
fn undoing_announces_an_arrival_only_if_that_is_what_is_undone() {
    let amended = RoadshowEvent::DetailsAmended { changes: changes(json!({"lv_hotel": "Done"})) };
    let arrives = |arrival| RoadshowEvent::Rescheduled {
        arrival,
        second_arrival: Change::Keep,
        departure: Change::Keep,
    };
    let june = arrives(Change::Set(moment("2025-06-20")));
    let check = |since: Vec<RoadshowEvent>, expected: Vec<RoadshowEvent>| {
        let mut target = Roadshow::default();
        target.apply(registered());
        given(vec![registered()])
            .and(since)
            .when(target.reversion(target.clone()))
            .then_expect_events(expected);
    };
    let renamed = RoadshowEvent::Renamed { name: "June".into() };
    check(vec![amended, renamed], vec![taken_back()]);
    check(vec![june], vec![arrives(Change::Set(moment("2025-05-20")))]);
    check(vec![], vec![]);
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
    let record =
        |status, contact| RoadshowCommand::RecordStatus { lp: LP, status, contact, legacy: None };
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
            fund_id: Some(FundId(0)),
            details: changes(json!({})),
            legacy: kept(),
        },
        json!({"Registered": {"name": "Mexico May", "fund_id": 0, "details": {},
            "legacy": {"fund_id": null}}}),
    );
    check(RoadshowEvent::Renamed { name: "X".into() }, json!({"Renamed": {"name": "X"}}));
    check(
        RoadshowEvent::FundAssigned { fund_id: Some(FundId(5)) },
        json!({"FundAssigned": {"fund_id": 5}}),
    );
    check(
        RoadshowEvent::Registered {
            name: "Mexico May".into(),
            fund_id: None,
            details: changes(json!({})),
            legacy: Verbatim::default(),
        },
        json!({"Registered": {"name": "Mexico May", "fund_id": null, "details": {}}}),
    );
    check(
        RoadshowEvent::FundAssigned { fund_id: None },
        json!({"FundAssigned": {"fund_id": null}}),
    );
    let without = json!({"Registered": {"name": "Mexico May", "details": {}}});
    let error = serde_json::from_value::<RoadshowEvent>(without).unwrap_err().to_string();
    assert_eq!(error, "missing field `fund_id`");
    check(
        taken_back(),
        json!({"TakenBack": {"name": "Mexico May", "changes": {"lv_hotel": "Needed"}}}),
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
