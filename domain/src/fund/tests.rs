//! What commands on funds lead to, given what has happened to them.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use serde_json::{Value, json};

use super::*;
use crate::{NoteId, SourceValue};

const LP: LpId = LpId(7);

fn given(events: Vec<FundEvent>) -> AggregateTestExecutor<Fund> {
    TestFramework::with(()).given(events)
}

fn changes(value: Value) -> FundChanges {
    serde_json::from_value(value).unwrap()
}

fn moment(text: &str) -> Moment {
    Moment::parse(text).unwrap()
}

fn registered() -> FundEvent {
    FundEvent::Registered {
        fund_name: "Ardent VI".into(),
        details: changes(json!({"status": "premarketing", "roadshow_date": "2025-03-01",
            "gp_notion_id": "gp-1", "target_mn": 500.0})),
        legacy: Verbatim::default(),
    }
}

fn register(details: Value) -> FundCommand {
    let (fund_name, legacy) = ("Ardent VI".into(), Verbatim::default());
    FundCommand::Register { fund_name, details: changes(details), legacy }
}

/// A PUT while readers see the fund's own roadshow date.
fn revise(value: Value) -> FundCommand {
    let shown_roadshow_date = Some(moment("2025-03-01"));
    FundCommand::Revise { fund_name: None, changes: changes(value), shown_roadshow_date }
}

fn record(interest: Interest, remembered: Option<Remembered>) -> FundCommand {
    let (contact, legacy) = remembered.map(|it| (it.contact, it.legacy)).unzip();
    FundCommand::RecordInterest { lp: LP, interest, contact, legacy }
}

fn recorded(interest: Interest, contact: Option<Contact>, legacy: Option<Verbatim>) -> FundEvent {
    FundEvent::InterestRecorded { lp: LP, interest, contact, legacy }
}

fn contact() -> Contact {
    Contact { date: Some(moment("2024-11-05")), note: Some(NoteId(90)) }
}

fn kept() -> Verbatim {
    Verbatim([("last_contact_date".to_owned(), SourceValue::Text("ayer".into()))].into())
}

/// A PUT with something for every event, while readers see this roadshow date.
fn revision(shown: &str) -> FundCommand {
    FundCommand::Revise {
        fund_name: Some("Ardent Fund VI".into()),
        changes: changes(json!({"status": "fundraising", "gp_notion_id": null,
            "roadshow_date": "2025-04-01", "target_mn": 500.0, "closed": false})),
        shown_roadshow_date: Some(moment(shown)),
    }
}

#[test]
fn going_back_counts_from_the_roadshow_date_that_readers_see() {
    let set = |day: &str| FundEvent::RoadshowDateSet { roadshow_date: Some(moment(day)) };
    let date = |day: &str| {
        let mut then = Fund::default();
        cqrs_es::Aggregate::apply(&mut then, registered());
        cqrs_es::Aggregate::apply(&mut then, set(day));
        then
    };
    let check = |shown: &str, then: &str, expected: Vec<FundEvent>| {
        let command = date(shown).reversion(date(then));
        given(vec![registered()]).when(command).then_expect_events(expected);
    };
    // The fund's own date is the first of March.
    check("2025-05-01", "2025-03-01", vec![set("2025-03-01")]);
    check("2025-05-01", "2025-04-01", vec![set("2025-04-01")]);
    check("2025-05-01", "2025-05-01", vec![]);
    check("2025-03-01", "2025-03-01", vec![]);
}

#[test]
fn a_fund_is_registered_once_without_what_is_empty() {
    let details = json!({"status": "premarketing", "roadshow_date": "2025-03-01",
        "gp_notion_id": "gp-1", "target_mn": 500.0, "launch": null});
    given(vec![]).when(register(details)).then_expect_events(vec![registered()]);
    for history in [vec![registered()], vec![registered(), FundEvent::Archived]] {
        given(history).when(register(json!({}))).then_expect_error(Refusal::AlreadyRegistered);
    }
}

#[test]
fn a_revision_records_only_what_changed_each_in_its_own_event() {
    given(vec![registered()]).when(revision("2025-03-01")).then_expect_events(vec![
        FundEvent::Renamed { fund_name: "Ardent Fund VI".into() },
        FundEvent::StatusMoved { status: Some(FundStatus::Fundraising) },
        FundEvent::GpAssigned { gp_notion_id: None },
        FundEvent::RoadshowDateSet { roadshow_date: Some(moment("2025-04-01")) },
        FundEvent::DetailsAmended { changes: changes(json!({"closed": false})) },
    ]);
}

#[test]
fn a_revision_sent_again_changes_nothing() {
    let first = given(vec![registered()]).when(revision("2025-03-01"));
    let history = given(vec![registered()]).and(first.inspect_result().unwrap());
    history.when(revision("2025-04-01")).then_expect_events(vec![]);
}

#[test]
fn what_changes_nothing_records_nothing() {
    let history = || {
        vec![
            registered(),
            recorded(Interest::Meeting, Some(contact()), Some(kept())),
            FundEvent::LegacyKept { values: kept() },
        ]
    };
    let remembered = Remembered { contact: contact(), legacy: kept() };
    let commands = [
        FundCommand::Revise {
            fund_name: Some("Ardent VI".into()),
            changes: changes(json!({})),
            shown_roadshow_date: None,
        },
        revise(json!({"status": "premarketing", "gp_notion_id": "gp-1",
            "roadshow_date": "2025-03-01", "target_mn": 500.0, "launch": null})),
        record(Interest::Meeting, None),
        record(Interest::Meeting, Some(remembered)),
        FundCommand::ClearInterest { lp: LpId(8) },
        FundCommand::KeepLegacy { values: kept() },
    ];
    for command in commands {
        given(history()).when(command).then_expect_events(vec![]);
    }
}

#[test]
fn a_roadshow_date_counts_as_changed_if_readers_see_another() {
    let check = |sent: Value, shown: Option<&str>, expected: Vec<FundEvent>| {
        let shown_roadshow_date = shown.map(moment);
        let changes = changes(json!({"roadshow_date": sent}));
        given(vec![registered()])
            .when(FundCommand::Revise { fund_name: None, changes, shown_roadshow_date })
            .then_expect_events(expected);
    };
    let set =
        |date: Option<&str>| vec![FundEvent::RoadshowDateSet { roadshow_date: date.map(moment) }];
    check(json!("2025-03-01"), Some("2025-05-20"), set(Some("2025-03-01")));
    check(json!("2025-05-20"), Some("2025-05-20"), vec![]);
    check(json!(null), Some("2025-05-20"), set(None));
    check(json!(null), None, vec![]);
}

#[test]
fn an_lp_moves_through_the_funnel_and_out_of_it() {
    given(vec![registered()])
        .when(record(Interest::Interested, None))
        .then_expect_events(vec![recorded(Interest::Interested, None, None)]);
    let interested = || given(vec![registered(), recorded(Interest::Interested, None, None)]);
    interested().when(record(Interest::DueDiligence, None)).then_expect_events(vec![recorded(
        Interest::DueDiligence,
        None,
        None,
    )]);
    let cleared = FundEvent::InterestCleared { lp: LP };
    interested()
        .when(FundCommand::ClearInterest { lp: LP })
        .then_expect_events(vec![cleared.clone()]);
    interested()
        .and(vec![cleared])
        .when(record(Interest::Interested, None))
        .then_expect_events(vec![recorded(Interest::Interested, None, None)]);
}

#[test]
fn a_stage_that_nobody_knows_is_kept_as_it_was_written() {
    let hot = || Interest::from("Hot");
    given(vec![registered()]).when(record(hot(), None)).then_expect_events(vec![recorded(
        Interest::Other("Hot".into()),
        None,
        None,
    )]);
    given(vec![registered(), recorded(hot(), None, None)])
        .when(record("hot".into(), None))
        .then_expect_events(vec![recorded(Interest::Other("hot".into()), None, None)]);
}

#[test]
fn what_a_legacy_row_remembered_stays_until_it_is_replaced() {
    let remember = |contact, legacy| Some(Remembered { contact, legacy });
    given(vec![registered()])
        .when(record(Interest::Meeting, remember(contact(), Verbatim::default())))
        .then_expect_events(vec![recorded(Interest::Meeting, Some(contact()), None)]);
    let history = || {
        given(vec![
            registered(),
            recorded(Interest::Meeting, Some(contact()), Some(kept())),
            recorded(Interest::NoReply, None, None),
        ])
    };
    history()
        .when(record(Interest::NoReply, remember(contact(), kept())))
        .then_expect_events(vec![]);
    history()
        .when(record(Interest::NoReply, remember(Contact::default(), kept())))
        .then_expect_events(vec![recorded(Interest::NoReply, Some(Contact::default()), None)]);
    history()
        .when(record(Interest::NoReply, remember(contact(), Verbatim::default())))
        .then_expect_events(vec![recorded(Interest::NoReply, None, Some(Verbatim::default()))]);
}

#[test]
fn the_newest_note_in_common_is_remembered_and_stays_when_there_is_none_any_more() {
    let record =
        |interest, contact| FundCommand::RecordInterest { lp: LP, interest, contact, legacy: None };
    let newer = Contact { date: Some(moment("2025-02-01")), note: Some(NoteId(91)) };
    let check = |command, expected| {
        given(vec![registered(), recorded(Interest::Meeting, Some(contact()), Some(kept()))])
            .when(command)
            .then_expect_events(expected);
    };
    check(record(Interest::Meeting, None), vec![]);
    check(record(Interest::Meeting, Some(contact())), vec![]);
    check(
        record(Interest::Meeting, Some(newer)),
        vec![recorded(Interest::Meeting, Some(newer), None)],
    );
    check(record(Interest::NoReply, None), vec![recorded(Interest::NoReply, None, None)]);
    let known = record(Interest::NoReply, Some(contact()));
    check(known, vec![recorded(Interest::NoReply, None, None)]);
}

#[test]
fn only_a_fund_in_use_is_changed() {
    let commands = [
        revise(json!({})),
        record(Interest::Meeting, None),
        FundCommand::ClearInterest { lp: LP },
        FundCommand::KeepLegacy { values: kept() },
        FundCommand::Archive,
    ];
    for history in [vec![], vec![registered(), FundEvent::Archived]] {
        for command in commands.clone() {
            given(history.clone()).when(command).then_expect_error(Refusal::NotRegistered);
        }
    }
}

#[test]
fn a_restored_fund_is_as_it_was() {
    use FundEvent::{Archived, Restored};
    let active = || given(vec![registered(), recorded(Interest::Meeting, None, None)]);
    active().when(FundCommand::Archive).then_expect_events(vec![Archived]);
    active().when(FundCommand::Restore).then_expect_error(Refusal::NotArchived);
    let archived = || active().and(vec![Archived]);
    archived().when(FundCommand::Restore).then_expect_events(vec![Restored]);
    let restored = || archived().and(vec![Restored]);
    restored().when(revise(json!({"target_mn": 500.0}))).then_expect_events(vec![]);
    restored().when(record(Interest::Meeting, None)).then_expect_events(vec![]);
}

fn check_stored(event: FundEvent, stored: Value) {
    assert_eq!(serde_json::to_value(&event).unwrap(), stored);
    assert_eq!(serde_json::from_value::<FundEvent>(stored).unwrap(), event);
}

#[test]
fn the_stored_form_of_an_event_never_changes() {
    let check = check_stored;
    check(
        registered(),
        json!({"Registered": {"fund_name": "Ardent VI", "details": {
            "status": "premarketing", "roadshow_date": "2025-03-01T00:00:00",
            "gp_notion_id": "gp-1", "target_mn": 500.0}}}),
    );
    check(
        FundEvent::Registered {
            fund_name: "Ardent VI".into(),
            details: changes(json!({})),
            legacy: kept(),
        },
        json!({"Registered": {"fund_name": "Ardent VI", "details": {},
            "legacy": {"last_contact_date": "ayer"}}}),
    );
    check(FundEvent::Renamed { fund_name: "X".into() }, json!({"Renamed": {"fund_name": "X"}}));
    check(
        FundEvent::StatusMoved { status: Some(FundStatus::Semiliquid) },
        json!({"StatusMoved": {"status": "semiliquid"}}),
    );
    check(FundEvent::StatusMoved { status: None }, json!({"StatusMoved": {"status": null}}));
    check(
        FundEvent::GpAssigned { gp_notion_id: Some("gp-1".into()) },
        json!({"GpAssigned": {"gp_notion_id": "gp-1"}}),
    );
    check(
        FundEvent::RoadshowDateSet { roadshow_date: Some(moment("2025-03-01")) },
        json!({"RoadshowDateSet": {"roadshow_date": "2025-03-01T00:00:00"}}),
    );
    let all = json!({"notion_id": "n", "geography": null, "target_multiple": 2.5,
        "status": "closed?", "days_to_rs": 30, "target_irr": "20%", "hard_cap_mn": 750.0,
        "target_mn": 500.0, "roadshow_date": "2025-03-01T00:00:00", "sectors": "tech",
        "note": "n", "potential": "p", "asset_class": "PE", "current_lps": "c",
        "launch": "2024-01-01T09:30:00.500000", "roadshows": "r",
        "final_close": "2026-01-01T00:00:00Z", "closed": true, "gp_notion_id": "gp-1"});
    check(
        FundEvent::DetailsAmended { changes: changes(all.clone()) },
        json!({"DetailsAmended": {"changes": all}}),
    );
    check(
        FundEvent::LegacyKept { values: kept() },
        json!({"LegacyKept": {"values": {"last_contact_date": "ayer"}}}),
    );
    check(FundEvent::Archived, json!("Archived"));
    check(FundEvent::Restored, json!("Restored"));
}

#[test]
fn the_stored_form_of_an_interest_never_changes() {
    check_stored(
        recorded(Interest::MeetingOffered, None, None),
        json!({"InterestRecorded": {"lp": 7, "interest": "meeting_offered"}}),
    );
    check_stored(
        recorded("Hot".into(), Some(contact()), Some(kept())),
        json!({"InterestRecorded": {"lp": 7, "interest": "Hot",
            "contact": {"date": "2024-11-05T00:00:00", "note": 90},
            "legacy": {"last_contact_date": "ayer"}}}),
    );
    check_stored(
        recorded(Interest::Inactive, Some(Contact::default()), Some(Verbatim::default())),
        json!({"InterestRecorded": {"lp": 7, "interest": "inactive",
            "contact": {"date": null, "note": null}, "legacy": {}}}),
    );
    check_stored(FundEvent::InterestCleared { lp: LP }, json!({"InterestCleared": {"lp": 7}}));
}
