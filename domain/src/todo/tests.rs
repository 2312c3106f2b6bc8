//! What commands on todos lead to, given what has happened to them.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use serde_json::{Value, json};

use super::*;
use crate::{FundId, GpId, LpId, PersonId, RoadshowId, SourceValue};

const NEXT: TodoId = TodoId(51);

fn given(events: Vec<TodoEvent>) -> AggregateTestExecutor<Todo> {
    TestFramework::with(()).given(events)
}

fn changes(value: Value) -> TodoChanges {
    serde_json::from_value(value).unwrap()
}

fn moment(text: &str) -> Moment {
    Moment::parse(text).unwrap()
}

fn with(details: Value) -> TodoEvent {
    TodoEvent::Registered {
        title: "Send the deck".into(),
        status: TodoStatus::Pending,
        details: changes(details),
        legacy: Verbatim::default(),
    }
}

fn registered() -> TodoEvent {
    with(json!({"priority": "high", "due_date": "2025-01-31", "tags": "ir"}))
}

/// Due on 31 January and every week.
fn weekly() -> TodoEvent {
    with(json!({"description": "To all LPs", "priority": "high", "due_date": "2025-01-31",
        "recurrence_pattern": r#"{"type":"weekly"}"#, "tags": "ir", "note_id": 8,
        "created_at": "2025-01-01", "completed_at": "2025-01-02"}))
}

fn register(details: Value) -> TodoCommand {
    TodoCommand::Register {
        title: "Send the deck".into(),
        status: TodoStatus::Pending,
        details: changes(details),
        legacy: Verbatim::default(),
    }
}

fn revise(value: Value) -> TodoCommand {
    TodoCommand::Revise { title: None, status: None, changes: changes(value) }
}

fn now() -> Moment {
    moment("2025-02-03T09:00:00")
}

fn complete(value: Value) -> TodoCommand {
    TodoCommand::Complete { title: None, changes: changes(value), at: now(), next: Some(NEXT) }
}

fn completed(next: Option<TodoId>) -> TodoEvent {
    TodoEvent::Completed { at: now(), next }
}

fn kept() -> Verbatim {
    Verbatim([("created_at".to_owned(), SourceValue::Text("pronto".into()))].into())
}

fn lp(id: i64) -> RecordRef {
    LpId(id).into()
}

fn fund() -> RecordRef {
    FundId(9).into()
}

/// About LPs 1 and 2 and a fund.
fn linked() -> AggregateTestExecutor<Todo> {
    given(vec![registered(), TodoEvent::Linked { to: vec![lp(1), lp(2), fund()] }])
}

/// A PUT with something for every event.
fn revision() -> TodoCommand {
    TodoCommand::Revise {
        title: Some("Send the new deck".into()),
        status: Some(TodoStatus::InProgress),
        changes: changes(json!({"priority": "urgent", "due_date": null, "tags": "ir",
            "description": "By mail"})),
    }
}

#[test]
fn a_todo_is_registered_once_without_what_is_empty() {
    let details =
        json!({"priority": "high", "due_date": "2025-01-31", "tags": "ir", "note_id": null});
    given(vec![]).when(register(details)).then_expect_events(vec![registered()]);
    for history in [vec![registered()], vec![registered(), TodoEvent::Archived]] {
        given(history).when(register(json!({}))).then_expect_error(Refusal::AlreadyRegistered);
    }
}

#[test]
fn a_revision_records_only_what_changed_each_in_its_own_event() {
    given(vec![registered()]).when(revision()).then_expect_events(vec![
        TodoEvent::Retitled { title: "Send the new deck".into() },
        TodoEvent::StatusMoved { status: TodoStatus::InProgress },
        TodoEvent::Prioritised { priority: Some(Priority::Urgent) },
        TodoEvent::Rescheduled { due_date: None },
        TodoEvent::DetailsAmended { changes: changes(json!({"description": "By mail"})) },
    ]);
}

#[test]
fn a_revision_sent_again_changes_nothing() {
    let events = given(vec![registered()]).when(revision()).inspect_result().unwrap();
    given(vec![registered()]).and(events).when(revision()).then_expect_events(vec![]);
}

#[test]
fn what_changes_nothing_records_nothing() {
    let commands = [
        TodoCommand::Revise {
            title: Some("Send the deck".into()),
            status: Some(TodoStatus::Pending),
            changes: changes(json!({"priority": "high", "due_date": "2025-01-31"})),
        },
        revise(json!({"tags": "ir", "note_id": null})),
        TodoCommand::Link { to: vec![lp(1), fund()] },
        TodoCommand::Relink { kinds: vec![Kind::Lp], to: vec![lp(2), lp(1), lp(1)] },
        TodoCommand::KeepLegacy { values: kept() },
    ];
    for command in commands {
        linked()
            .and(vec![TodoEvent::LegacyKept { values: kept() }])
            .when(command)
            .then_expect_events(vec![]);
    }
}

#[test]
fn every_completion_is_recorded_and_has_its_own_next_todo() {
    given(vec![registered()]).when(complete(json!({}))).then_expect_events(vec![completed(None)]);
    given(vec![registered(), completed(None)])
        .when(complete(json!({})))
        .then_expect_events(vec![completed(None)]);
    given(vec![weekly(), completed(Some(TodoId(50)))])
        .when(complete(json!({})))
        .then_expect_events(vec![completed(Some(NEXT))]);
}

#[test]
fn a_todo_that_recurs_is_not_completed_without_an_id_for_the_next() {
    let complete = || TodoCommand::Complete {
        title: None,
        changes: changes(json!({"recurrence_pattern": null})),
        at: now(),
        next: None,
    };
    given(vec![weekly()]).when(complete()).then_expect_error(Refusal::NextIdMissing);
    given(vec![registered()]).when(complete()).then_expect_events(vec![completed(None)]);
}

#[test]
fn other_changes_of_the_request_come_before_the_completion() {
    given(vec![registered()])
        .when(TodoCommand::Complete {
            title: Some("Sent the deck".into()),
            changes: changes(json!({"priority": "low", "due_date": "2025-02-01",
                "tags": null, "completed_at": "1999-01-01"})),
            at: now(),
            next: Some(NEXT),
        })
        .then_expect_events(vec![
            TodoEvent::Retitled { title: "Sent the deck".into() },
            TodoEvent::Prioritised { priority: Some(Priority::Low) },
            TodoEvent::Rescheduled { due_date: Some(moment("2025-02-01")) },
            TodoEvent::DetailsAmended { changes: changes(json!({"tags": null})) },
            completed(None),
        ]);
}

#[test]
fn a_todo_opened_again_keeps_the_time_of_its_completion() {
    let opened = TodoEvent::StatusMoved { status: TodoStatus::Pending };
    given(vec![registered(), completed(None)])
        .when(TodoCommand::Revise {
            title: None,
            status: Some(TodoStatus::Pending),
            changes: changes(json!({"completed_at": now().to_string()})),
        })
        .then_expect_events(vec![opened]);
}

#[test]
fn a_next_todo_follows_only_a_pattern_with_a_due_date() {
    let check = |pattern: Value, due_date: Value, parent: Value, next: Option<TodoId>| {
        let details = json!({"recurrence_pattern": pattern, "due_date": due_date,
            "parent_todo_id": parent});
        given(vec![with(details)])
            .when(complete(json!({})))
            .then_expect_events(vec![completed(next)]);
    };
    let (due, none) = (json!("2025-01-31"), Value::Null);
    let weekly = json!(r#"{"type": "weekly"}"#);
    let repeating = json!(r#"{"type": "weekly", "repeat": true}"#);
    check(weekly.clone(), due.clone(), none.clone(), Some(NEXT));
    check(none.clone(), due.clone(), none.clone(), None);
    check(weekly.clone(), none.clone(), none.clone(), None);
    check(weekly, due.clone(), json!(3), None);
    check(repeating.clone(), due.clone(), json!(3), Some(NEXT));
    check(repeating, due.clone(), none.clone(), Some(NEXT));
    let ended = json!(r#"{"type": "weekly", "end_date": "2025-02-06"}"#);
    check(ended, due.clone(), none.clone(), None);
    for unusable in ["weekly", "{}", "{", r#"{"type": "yearly"}"#] {
        check(json!(unusable), due.clone(), none.clone(), None);
    }
    check(json!(r#"{"type": "daily"}"#), json!("9999-12-31"), none, None);
}

#[test]
fn whether_a_todo_recurs_is_judged_before_the_request_that_completes_it() {
    let check = |history: TodoEvent, request: Value, expected: Option<TodoId>| {
        let events = given(vec![history]).when(complete(request)).inspect_result().unwrap();
        assert_eq!(events.last(), Some(&completed(expected)));
    };
    check(weekly(), json!({"recurrence_pattern": null}), Some(NEXT));
    check(weekly(), json!({"due_date": null, "parent_todo_id": 3}), Some(NEXT));
    check(registered(), json!({"recurrence_pattern": r#"{"type":"weekly"}"#}), None);
}

#[test]
fn the_next_todo_copies_what_stood_before_the_request() {
    let mut todo = Todo::default();
    todo.evolve(weekly());
    todo.evolve(TodoEvent::StatusMoved { status: TodoStatus::InProgress });
    todo.evolve(TodoEvent::Linked { to: vec![lp(1)] });
    todo.evolve(TodoEvent::LegacyKept { values: kept() });
    let request = complete(json!({"description": "new", "due_date": "2030-01-01"}));
    let events = todo.decide(request).unwrap();
    let copy = with(json!({"description": "To all LPs", "priority": "high",
        "due_date": "2025-02-07", "recurrence_pattern": r#"{"type":"weekly"}"#, "tags": "ir",
        "note_id": 8, "created_at": now().to_string(), "parent_todo_id": 50}));
    assert_eq!(todo.follow_up(TodoId(50), &events), Some((NEXT, copy.clone())));
    given(vec![copy]).when(complete(json!({}))).then_expect_events(vec![completed(None)]);
}

#[test]
fn nothing_follows_a_todo_that_was_not_completed_or_does_not_recur() {
    let check = |history: TodoEvent, events: Vec<TodoEvent>| {
        let mut todo = Todo::default();
        todo.evolve(history);
        assert_eq!(todo.follow_up(TodoId(50), &events), None, "{events:?}");
    };
    check(weekly(), vec![]);
    check(weekly(), vec![TodoEvent::StatusMoved { status: TodoStatus::Completed }]);
    check(weekly(), vec![completed(None)]);
    check(registered(), vec![completed(Some(NEXT))]);
    assert_eq!(Todo::default().follow_up(TodoId(50), &[completed(Some(NEXT))]), None);
}

#[test]
fn relinking_replaces_only_the_kinds_named() {
    linked()
        .when(TodoCommand::Link { to: vec![lp(3), lp(1), lp(3)] })
        .then_expect_events(vec![TodoEvent::Linked { to: vec![lp(3)] }]);
    let kinds = vec![Kind::Lp, Kind::Gp];
    let to = vec![lp(2), lp(3), GpId(4).into()];
    linked().when(TodoCommand::Relink { kinds, to }).then_expect_events(vec![
        TodoEvent::Unlinked { from: vec![lp(1)] },
        TodoEvent::Linked { to: vec![lp(3), GpId(4).into()] },
    ]);
    let nothing = TodoCommand::Relink { kinds: Todo::LINKABLE.into(), to: vec![] };
    linked()
        .when(nothing)
        .then_expect_events(vec![TodoEvent::Unlinked { from: vec![lp(1), lp(2), fund()] }]);
}

#[test]
fn a_todo_is_not_about_distributors_or_todos() {
    for to in [Kind::Distributor.record(1), NEXT.into()] {
        let refusal = Refusal::CannotLink { from: Kind::Todo, to };
        let commands = [
            TodoCommand::Link { to: vec![lp(1), to] },
            TodoCommand::Relink { kinds: vec![Kind::Lp], to: vec![to] },
        ];
        for command in commands {
            linked().when(command).then_expect_error(refusal.clone());
        }
    }
}

#[test]
fn source_values_are_replaced_as_a_whole() {
    given(vec![registered(), TodoEvent::LegacyKept { values: kept() }])
        .when(TodoCommand::KeepLegacy { values: Verbatim::default() })
        .then_expect_events(vec![TodoEvent::LegacyKept { values: Verbatim::default() }]);
}

#[test]
fn only_a_todo_in_use_is_changed() {
    let commands = [
        revise(json!({})),
        complete(json!({})),
        TodoCommand::Link { to: vec![lp(1)] },
        TodoCommand::Relink { kinds: vec![Kind::Lp], to: vec![] },
        TodoCommand::KeepLegacy { values: kept() },
        TodoCommand::Archive,
    ];
    for history in [vec![], vec![registered(), TodoEvent::Archived]] {
        for command in commands.clone() {
            given(history.clone()).when(command).then_expect_error(Refusal::NotRegistered);
        }
    }
}

#[test]
fn a_restored_todo_is_as_it_was() {
    use TodoEvent::{Archived, Restored};
    linked().when(TodoCommand::Archive).then_expect_events(vec![Archived]);
    linked().when(TodoCommand::Restore).then_expect_error(Refusal::NotArchived);
    let archived = || linked().and(vec![Archived]);
    archived().when(TodoCommand::Restore).then_expect_events(vec![Restored]);
    let restored = || archived().and(vec![Restored]);
    restored().when(revise(json!({"tags": "ir"}))).then_expect_events(vec![]);
    restored().when(TodoCommand::Link { to: vec![lp(1), fund()] }).then_expect_events(vec![]);
}

fn check_stored(event: TodoEvent, stored: Value) {
    assert_eq!(serde_json::to_value(&event).unwrap(), stored);
    assert_eq!(serde_json::from_value::<TodoEvent>(stored).unwrap(), event);
}

#[test]
fn the_stored_form_of_an_event_never_changes() {
    let check = check_stored;
    check(
        registered(),
        json!({"Registered": {"title": "Send the deck", "status": "pending", "details": {
            "priority": "high", "due_date": "2025-01-31T00:00:00", "tags": "ir"}}}),
    );
    check(
        TodoEvent::Registered {
            title: "".into(),
            status: "done".into(),
            details: changes(json!({})),
            legacy: kept(),
        },
        json!({"Registered": {"title": "", "status": "done", "details": {},
            "legacy": {"created_at": "pronto"}}}),
    );
    check(TodoEvent::Retitled { title: "X".into() }, json!({"Retitled": {"title": "X"}}));
    check(
        TodoEvent::StatusMoved { status: TodoStatus::InProgress },
        json!({"StatusMoved": {"status": "in_progress"}}),
    );
    check(completed(None), json!({"Completed": {"at": "2025-02-03T09:00:00"}}));
    check(completed(Some(NEXT)), json!({"Completed": {"at": "2025-02-03T09:00:00", "next": 51}}));
    check(
        TodoEvent::Prioritised { priority: Some(Priority::Urgent) },
        json!({"Prioritised": {"priority": "urgent"}}),
    );
    check(TodoEvent::Prioritised { priority: None }, json!({"Prioritised": {"priority": null}}));
    check(
        TodoEvent::Rescheduled { due_date: Some(moment("2025-01-31")) },
        json!({"Rescheduled": {"due_date": "2025-01-31T00:00:00"}}),
    );
    check(TodoEvent::Rescheduled { due_date: None }, json!({"Rescheduled": {"due_date": null}}));
    let all = json!({"description": null, "priority": "HIGH",
        "created_at": "2025-01-01T10:00:00.000001", "due_date": "2025-01-31T00:00:00",
        "completed_at": "2025-02-03T09:00:00Z", "recurrence_pattern": "weekly",
        "parent_todo_id": 3, "tags": " legal , ,IR,", "note_id": 8});
    check(
        TodoEvent::DetailsAmended { changes: changes(all.clone()) },
        json!({"DetailsAmended": {"changes": all}}),
    );
    check(
        TodoEvent::LegacyKept { values: kept() },
        json!({"LegacyKept": {"values": {"created_at": "pronto"}}}),
    );
    check(TodoEvent::Archived, json!("Archived"));
    check(TodoEvent::Restored, json!("Restored"));
}

#[test]
fn the_stored_form_of_a_link_never_changes() {
    let all = vec![
        lp(1),
        GpId(2).into(),
        PersonId(3).into(),
        fund(),
        RoadshowId(4).into(),
        Kind::Note.record(5),
    ];
    check_stored(
        TodoEvent::Linked { to: all },
        json!({"Linked": {"to": [{"lp": 1}, {"gp": 2}, {"person": 3}, {"fund": 9},
            {"roadshow": 4}, {"note": 5}]}}),
    );
    check_stored(
        TodoEvent::Unlinked { from: vec![fund()] },
        json!({"Unlinked": {"from": [{"fund": 9}]}}),
    );
}
