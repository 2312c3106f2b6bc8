//! What is done with recordings, given what has happened to them.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use serde_json::{Value, json};

use super::*;
use crate::todo::TodoEvent;
use crate::{Event, FactName, FundId, LpId, NoteId, Subject, TodoId};

const FIRST: RecordingId = RecordingId(5);
const SECOND: RecordingId = RecordingId(6);

fn event(value: Value) -> NoteEvent {
    serde_json::from_value(value).unwrap()
}

fn events(values: &[Value]) -> Vec<NoteEvent> {
    values.iter().cloned().map(event).collect()
}

fn registered() -> Value {
    json!({"Registered": {"details": {"name": "Call"}}})
}

fn file() -> Value {
    json!({"key": "recordings/ab", "size": 7, "media_type": "audio/webm", "sha256": "ab"})
}

fn attached(id: RecordingId) -> Value {
    json!({"RecordingAttached": {"recording": id, "file": file(), "name": "call.webm"}})
}

fn transcript(texts: &[&str]) -> Value {
    let segments = (0_u64..).zip(texts).map(|(at, text)| {
        json!({"start_ms": at * 1000, "end_ms": (at + 1) * 1000, "text": text, "confidence": 90})
    });
    json!({"model": "tiny.en", "language": "en", "duration_ms": 9000,
        "segments": segments.collect::<Vec<_>>()})
}

fn transcribed(id: RecordingId, round: u32) -> Value {
    let transcript = transcript(&["Pro future", "likes it."]);
    json!({"Transcribed": {"recording": id, "round": round, "transcript": transcript}})
}

fn summary(text: &str) -> Value {
    json!({"author": {"model": {"model": "m", "prompt": "1"}}, "text": text})
}

fn summarised(id: RecordingId, round: u32) -> Value {
    json!({"Summarised": {"recording": id, "round": round, "summary": summary("They like it.")}})
}

fn suggested() -> Value {
    json!({"ActionItemsSuggested": {"recording": FIRST, "items": [
        {"number": 1, "item": {"text": "Send the deck", "owner": "Ana", "due": "Friday",
            "quote": "I will send it", "start_ms": 4000}},
        {"number": 2, "item": {"text": "Call back"}}]}})
}

fn interest() -> Value {
    json!({"InterestSuggested": {"recording": FIRST,
        "suggestion": {"interest": "meeting", "fundraise": "Fund III"}}})
}

/// The details that say what recordings had them say.
fn paths(audio: Option<i64>, transcript: Option<i64>) -> Value {
    let mut changes = serde_json::Map::new();
    if let Some(id) = audio {
        changes.insert("audio_path".to_owned(), json!(format!("/recordings/{id}/audio")));
    }
    if let Some(id) = transcript {
        let path = json!(format!("/recordings/{id}/transcript"));
        changes.insert("transcription_path".to_owned(), path);
    }
    json!({"DetailsAmended": {"changes": changes}})
}

fn given(history: &[Value]) -> AggregateTestExecutor<Note> {
    let history = std::iter::once(registered()).chain(history.iter().cloned()).map(event);
    TestFramework::with(()).given(history.collect())
}

fn with_attached() -> Vec<Value> {
    vec![attached(FIRST), paths(Some(5), None)]
}

fn with_transcript() -> Vec<Value> {
    [with_attached(), vec![transcribed(FIRST, 1), paths(None, Some(5))]].concat()
}

fn with_suggestions() -> Vec<Value> {
    let amended = json!({"DetailsAmended": {"changes": {"ai_summary": "They like it."}}});
    [with_transcript(), vec![summarised(FIRST, 1), suggested(), interest(), amended]].concat()
}

fn of(recording: RecordingId, command: RecordingCommand) -> NoteCommand {
    NoteCommand::Process { recording, command }
}

fn first(command: RecordingCommand) -> NoteCommand {
    of(FIRST, command)
}

fn attach() -> RecordingCommand {
    RecordingCommand::Attach {
        file: serde_json::from_value(file()).unwrap(),
        name: "call.webm".into(),
        language: None,
    }
}

fn ask(language: Option<&str>) -> RecordingCommand {
    RecordingCommand::AskTranscription { language: language.map(str::to_owned), model: None }
}

fn keep_transcript(round: u32) -> RecordingCommand {
    let transcript = transcript(&["Pro future", "likes it."]);
    let transcript = serde_json::from_value(transcript).unwrap();
    RecordingCommand::KeepTranscript { round, transcript }
}

fn keep_summary(round: u32, items: &[&str]) -> RecordingCommand {
    let items = items.iter().map(|text| serde_json::from_value(json!({"text": text})).unwrap());
    RecordingCommand::KeepSummary {
        round,
        summary: serde_json::from_value(summary("They like it.")).unwrap(),
        items: items.collect(),
        interest: None,
    }
}

fn correct(corrections: Value) -> RecordingCommand {
    RecordingCommand::Correct { corrections: serde_json::from_value(corrections).unwrap() }
}

fn todo(id: i64) -> AcceptedTodo {
    AcceptedTodo {
        id: TodoId(id),
        title: "Send the deck to Profuturo".into(),
        due_date: Some(Moment::parse("2025-02-07").unwrap()),
        is_undated: false,
        owner: None,
        about: vec![],
        at: Moment::parse("2025-02-03T09:00:00").unwrap(),
    }
}

#[test]
fn a_recording_is_attached_once_and_shown_by_the_note() {
    given(&[]).when(first(attach())).then_expect_events(events(&with_attached()));
    given(&with_attached()).when(first(attach())).then_expect_events(vec![]);
    // The note goes on showing the first.
    given(&with_attached())
        .when(of(SECOND, attach()))
        .then_expect_events(events(&[attached(SECOND)]));
    let other = RecordingCommand::Attach {
        file: AudioFile::default(),
        name: String::new(),
        language: None,
    };
    given(&with_attached()).when(first(other)).then_expect_error(Refusal::RecordingTaken);
    let removed = json!({"RecordingRemoved": {"recording": FIRST}});
    given(&[attached(FIRST), removed])
        .when(first(attach()))
        .then_expect_error(Refusal::RecordingTaken);
}

#[test]
fn what_a_person_or_a_legacy_file_says_of_recordings_stays() {
    let own =
        json!({"DetailsAmended": {"changes": {"audio_path": "call.wav", "ai_summary": "Mine"}}});
    let history = vec![own];
    given(&history).when(first(attach())).then_expect_events(events(&[attached(FIRST)]));
    let history = [history, vec![attached(FIRST), transcribed(FIRST, 1)]].concat();
    given(&history)
        .when(first(keep_summary(1, &[])))
        .then_expect_events(events(&[summarised(FIRST, 1)]));
    // Cleared by a person: a second transcript does not bring it back.
    let cleared = json!({"DetailsAmended": {"changes": {"transcription_path": null}}});
    let asked = json!({"TranscriptionAsked": {"recording": FIRST, "round": 2}});
    given(&[with_transcript(), vec![cleared, asked]].concat())
        .when(first(keep_transcript(2)))
        .then_expect_events(events(&[transcribed(FIRST, 2)]));
}

#[test]
fn the_first_result_of_a_round_counts_and_those_of_earlier_rounds_do_not() {
    let check = |history: &[Value], command, expected: &[Value]| {
        given(history).when(first(command)).then_expect_events(events(expected));
    };
    let asked = json!({"TranscriptionAsked": {"recording": FIRST, "round": 2, "language": "es"}});
    let failed =
        json!({"TranscriptionFailed": {"recording": FIRST, "round": 1, "reason": "no audio"}});
    let fail = |round| RecordingCommand::FailTranscription { round, reason: "no audio".into() };
    let attached = with_attached();
    check(&attached, keep_transcript(1), &[transcribed(FIRST, 1), paths(None, Some(5))]);
    check(&with_transcript(), keep_transcript(1), &[]);
    check(&with_transcript(), fail(1), &[]);
    check(&attached, fail(1), &[failed]);
    check(&attached, ask(Some("es")), std::slice::from_ref(&asked));
    check(&attached, ask(None), &[]);
    let again = [attached, vec![asked]].concat();
    given(&again).when(first(keep_transcript(1))).then_expect_error(Refusal::Superseded);
    given(&again).when(first(fail(1))).then_expect_error(Refusal::Superseded);
    check(&again, keep_transcript(2), &[transcribed(FIRST, 2), paths(None, Some(5))]);
}

#[test]
fn what_was_cancelled_or_failed_is_tried_again_in_the_next_round() {
    let cancelled = json!({"TranscriptionCancelled": {"recording": FIRST}});
    let cancel = || first(RecordingCommand::Cancel);
    let retry = || first(RecordingCommand::Retry);
    let attached = with_attached();
    given(&attached).when(cancel()).then_expect_events(events(std::slice::from_ref(&cancelled)));
    given(&attached).when(retry()).then_expect_events(vec![]);
    let cancelled = [attached.clone(), vec![cancelled]].concat();
    given(&cancelled).when(cancel()).then_expect_events(vec![]);
    given(&cancelled).when(first(keep_transcript(1))).then_expect_error(Refusal::Superseded);
    let asked = json!({"TranscriptionAsked": {"recording": FIRST, "round": 2}});
    given(&cancelled).when(retry()).then_expect_events(events(&[asked]));

    let failed = json!({"SummaryFailed": {"recording": FIRST, "round": 1, "reason": "rubbish"}});
    let fail = || RecordingCommand::FailSummary { round: 1, reason: "rubbish".into() };
    given(&with_transcript())
        .when(first(fail()))
        .then_expect_events(events(std::slice::from_ref(&failed)));
    let failed = [with_transcript(), vec![failed]].concat();
    given(&failed).when(first(fail())).then_expect_events(vec![]);
    given(&failed).when(cancel()).then_expect_error(Refusal::NothingToCancel);
    let asked = json!({"SummaryAsked": {"recording": FIRST, "round": 2}});
    given(&failed).when(retry()).then_expect_events(events(&[asked]));

    let stopped = json!({"SummaryCancelled": {"recording": FIRST}});
    given(&with_transcript())
        .when(cancel())
        .then_expect_events(events(std::slice::from_ref(&stopped)));
    let stopped = [with_transcript(), vec![stopped]].concat();
    given(&stopped).when(first(keep_summary(1, &[]))).then_expect_error(Refusal::Superseded);
    given(&with_suggestions()).when(retry()).then_expect_error(Refusal::NothingToRetry);
    let instead = json!({"author": {"highlights_instead": {"why": "rubbish"}}, "text": ""});
    let instead = json!({"Summarised": {"recording": FIRST, "round": 1, "summary": instead}});
    let asked = json!({"SummaryAsked": {"recording": FIRST, "round": 2}});
    given(&[with_transcript(), vec![instead]].concat())
        .when(retry())
        .then_expect_events(events(&[asked]));
    given(&with_suggestions()).when(cancel()).then_expect_error(Refusal::NothingToCancel);
}

#[test]
fn a_summary_needs_a_transcript() {
    let ask = || first(RecordingCommand::AskSummary);
    let correct = first(correct(json!([])));
    given(&with_attached()).when(ask()).then_expect_error(Refusal::NotTranscribed);
    given(&with_attached()).when(correct).then_expect_error(Refusal::NotTranscribed);
    given(&with_transcript()).when(ask()).then_expect_events(vec![]);
    let asked = json!({"SummaryAsked": {"recording": FIRST, "round": 2}});
    given(&with_suggestions()).when(ask()).then_expect_events(events(&[asked]));
}

#[test]
fn summaries_of_several_recordings_stand_one_below_the_other() {
    let expected = json!({"DetailsAmended": {"changes":
        {"ai_summary": "Recording 5 (0:09):\nThey like it.\n\nRecording 6 (0:09):\nThey like it."}}});
    let history = [with_suggestions(), vec![attached(SECOND), transcribed(SECOND, 1)]].concat();
    given(&history)
        .when(of(SECOND, keep_summary(1, &[])))
        .then_expect_events(events(&[summarised(SECOND, 1), expected]));
    given(&history).when(first(RecordingCommand::Remove)).then_expect_events(events(&[
        json!({"RecordingRemoved": {"recording": FIRST}}),
        json!({"DetailsAmended": {"changes": {"audio_path": "/recordings/6/audio",
            "transcription_path": "/recordings/6/transcript", "ai_summary": null}}}),
    ]));
}

/// As they were joined before each said whose it is.
#[test]
fn summaries_that_were_joined_without_headings_still_follow_the_recordings() {
    let joined = "They like it.\n\nThey like it.";
    let second = vec![attached(SECOND), transcribed(SECOND, 1), summarised(SECOND, 1)];
    let history =
        [with_suggestions(), second, vec![details(json!({"ai_summary": joined}))]].concat();
    given(&history).when(of(SECOND, RecordingCommand::Remove)).then_expect_events(events(&[
        json!({"RecordingRemoved": {"recording": SECOND}}),
        details(json!({"ai_summary": "They like it."})),
    ]));
    let asked = [history.clone(), vec![json!({"SummaryAsked": {"recording": SECOND, "round": 2}})]];
    let headed = "Recording 5 (0:09):\nThey like it.\n\nRecording 6 (0:09):\nThey like it.";
    given(&asked.concat()).when(of(SECOND, keep_summary(2, &[]))).then_expect_events(events(&[
        summarised(SECOND, 2),
        details(json!({"ai_summary": headed})),
    ]));
    // Going back to a time when they stood without headings is no reason to lose them.
    let renamed = [history.clone(), vec![json!({"Renamed": {"name": "Dinner"}})]].concat();
    let to = Box::new(note(&history));
    let back = json!({"Renamed": {"name": "Call"}});
    given(&renamed).when(NoteCommand::Revert { to }).then_expect_events(events(&[back]));
}

#[test]
fn a_recording_gets_another_name() {
    let rename = |name: &str| first(RecordingCommand::Rename { name: name.to_owned() });
    given(&[]).when(rename("Lunch")).then_expect_error(Refusal::NoSuchRecording);
    given(&with_attached()).when(rename("call.webm")).then_expect_events(vec![]);
    let renamed = json!({"RecordingRenamed": {"recording": FIRST, "name": "Lunch"}});
    given(&with_attached())
        .when(rename("Lunch"))
        .then_expect_events(events(std::slice::from_ref(&renamed)));
    let history = [with_attached(), vec![renamed]].concat();
    given(&history).when(rename("Lunch")).then_expect_events(vec![]);
}

#[test]
fn a_summary_knows_whether_the_transcript_was_corrected_since_it_was_asked_for() {
    let corrected = || {
        json!({"TranscriptCorrected": {"recording": FIRST,
            "corrections": [{"start_ms": 0, "end_ms": 1000, "text": "Profuturo"}]}})
    };
    let asked = |round: u32| json!({"SummaryAsked": {"recording": FIRST, "round": round}});
    let check = |more: Vec<Value>, expected: bool| {
        let note = note(&[with_suggestions(), more].concat());
        let recording = note.record().unwrap().recordings.get(FIRST).unwrap();
        assert_eq!(recording.is_corrected_since, expected);
    };
    check(vec![], false);
    check(vec![corrected()], true);
    check(vec![corrected(), asked(2), summarised(FIRST, 2)], false);
    // Whatever the summary was made of, it may lack what came while it was made.
    check(vec![asked(2), corrected(), summarised(FIRST, 2)], true);
    check(vec![corrected(), transcribed(FIRST, 2)], false);
}

#[test]
fn highlights_of_which_there_are_none_are_no_summary_of_the_note() {
    let none = || json!({"author": "highlights", "text": ""});
    let keep = |round| RecordingCommand::KeepSummary {
        round,
        summary: serde_json::from_value(none()).unwrap(),
        items: vec![],
        interest: None,
    };
    let kept =
        |round: u32| json!({"Summarised": {"recording": FIRST, "round": round, "summary": none()}});
    given(&with_transcript()).when(first(keep(1))).then_expect_events(events(&[kept(1)]));
    // Nor do they leave the earlier one there.
    let asked = json!({"SummaryAsked": {"recording": FIRST, "round": 2}});
    let gone = json!({"DetailsAmended": {"changes": {"ai_summary": null}}});
    given(&[with_suggestions(), vec![asked]].concat())
        .when(first(keep(2)))
        .then_expect_events(events(&[kept(2), gone]));
}

#[test]
fn only_what_differs_from_what_was_heard_is_a_correction() {
    let corrected = |corrections: Value| {
        event(json!({"TranscriptCorrected": {"recording": FIRST, "corrections": corrections}}))
    };
    let one = |text: Value| json!([{"start_ms": 0, "end_ms": 1000, "text": text}]);
    let check = |history: &[Value], text: Value, expected: Option<Value>| {
        let expected = expected.map(|text| corrected(one(text)));
        given(history)
            .when(first(correct(one(text))))
            .then_expect_events(expected.into_iter().collect());
    };
    let right = || json!("Profuturo");
    check(&with_transcript(), right(), Some(right()));
    check(&with_transcript(), json!("Pro future"), None);
    check(&with_transcript(), json!(null), None);
    check(&with_transcript(), json!(""), Some(json!("")));
    let corrected =
        json!({"TranscriptCorrected": {"recording": FIRST, "corrections": one(right())}});
    let corrected = [with_transcript(), vec![corrected]].concat();
    check(&corrected, right(), None);
    check(&corrected, json!("Pro future"), Some(json!(null)));
    check(&corrected, json!(null), Some(json!(null)));
    let missing = correct(json!([{"start_ms": 0, "end_ms": 999, "text": "x"}]));
    given(&corrected)
        .when(first(missing))
        .then_expect_error(Refusal::NoSuchSegment { start_ms: 0, end_ms: 999 });
}

#[test]
fn what_is_said_where_nothing_was_understood_can_be_written() {
    let mut heard = transcript(&["Hello."]);
    heard["gaps"] = json!([{"start_ms": 1000, "end_ms": 4000, "reason": "Whisper failed"}]);
    heard["marks"] = json!([{"start_ms": 4000, "end_ms": 9000, "kind": "no_words"},
        {"start_ms": 9000, "end_ms": 9900, "kind": "silence"}]);
    let heard = json!({"Transcribed": {"recording": FIRST, "round": 1, "transcript": heard}});
    let history = [with_attached(), vec![heard]].concat();
    let one =
        |from: u64, to: u64, text: Value| json!([{"start_ms": from, "end_ms": to, "text": text}]);
    let corrected = |corrections: Value| json!({"TranscriptCorrected": {"recording": FIRST, "corrections": corrections}});
    for (from, to) in [(1000, 4000), (4000, 9000)] {
        let written = one(from, to, json!("We agree."));
        given(&history)
            .when(first(correct(written.clone())))
            .then_expect_events(events(&[corrected(written.clone())]));
        given(&history).when(first(correct(one(from, to, json!(null))))).then_expect_events(vec![]);
        let back = one(from, to, json!(null));
        given(&[history.clone(), vec![corrected(written)]].concat())
            .when(first(correct(back.clone())))
            .then_expect_events(events(&[corrected(back)]));
    }
    given(&history)
        .when(first(correct(one(9000, 9900, json!("x")))))
        .then_expect_error(Refusal::NoSuchSegment { start_ms: 9000, end_ms: 9900 });
}

#[test]
fn a_new_summary_suggests_only_what_nobody_has_decided_on() {
    let accepted = json!({"ActionItemAccepted": {"recording": FIRST, "item": 1,
        "todo": serde_json::to_value(todo(9)).unwrap()}});
    let asked = json!({"SummaryAsked": {"recording": FIRST, "round": 2}});
    let history = [with_suggestions(), vec![accepted, asked]].concat();
    let suggested = json!({"ActionItemsSuggested": {"recording": FIRST,
        "items": [{"number": 3, "item": {"text": "Call the lawyer"}}]}});
    given(&history)
        .when(first(keep_summary(2, &["Send the deck", "Call the lawyer"])))
        .then_expect_events(events(&[summarised(FIRST, 2), suggested.clone()]));
    // The number of what was withdrawn is nobody's.
    let history = [history, vec![summarised(FIRST, 2), suggested]].concat();
    let dismiss = |item| first(RecordingCommand::DismissItem { item });
    given(&history).when(dismiss(2)).then_expect_error(Refusal::NoSuchSuggestion);
    given(&history).when(dismiss(1)).then_expect_error(Refusal::SuggestionAccepted);
    let dismissed = json!({"ActionItemDismissed": {"recording": FIRST, "item": 3}});
    given(&history).when(dismiss(3)).then_expect_events(events(&[dismissed]));
}

#[test]
fn an_item_that_is_suggested_again_in_other_words_is_the_same_one() {
    let item = |text: &str, quote: &str, start: u64| json!({"text": text, "quote": quote, "start_ms": start});
    let before = json!({"ActionItemsSuggested": {"recording": FIRST, "items": [
        {"number": 1, "item": item("I will send the deck by Friday.", "I will send the deck by Friday.", 4000)},
        {"number": 2, "item": item("Le mando el análisis a Ana.", "Le mando el análisis a Ana.", 9000)},
        {"number": 3, "item": item("We call you back.", "We call you back.", 12_000)}]}});
    let accepted = json!({"ActionItemAccepted": {"recording": FIRST, "item": 1,
        "todo": serde_json::to_value(todo(9)).unwrap()}});
    let dismissed = json!({"ActionItemDismissed": {"recording": FIRST, "item": 2}});
    let asked = json!({"SummaryAsked": {"recording": FIRST, "round": 2}});
    let amended = json!({"DetailsAmended": {"changes": {"ai_summary": "They like it."}}});
    let then = vec![summarised(FIRST, 1), before, amended, accepted, dismissed, asked];
    let history = [with_transcript(), then].concat();
    let check = |items: Value, expected: Value| {
        let items: Vec<ActionItem> = serde_json::from_value(items).unwrap();
        let summary = serde_json::from_value(summary("They like it.")).unwrap();
        let kept = RecordingCommand::KeepSummary { round: 2, summary, items, interest: None };
        let suggested = json!({"ActionItemsSuggested": {"recording": FIRST, "items": expected}});
        let expected = events(&[summarised(FIRST, 2), suggested]);
        given(&history).when(first(kept)).then_expect_events(expected);
    };
    // Words of a model, read from the same sentence; the very words again; an open one, and a fresh one.
    let open = item("Call back", "we call you back", 12_000);
    let fresh = item("Check the fees", "I check the fees", 20_000);
    check(
        json!([item("Send the deck", "I will send the deck by Friday", 4000),
            {"text": "le mando  el analisis a ANA"}, open, fresh]),
        json!([{"number": 3, "item": open}, {"number": 4, "item": fresh}]),
    );
    // The same words at another time are said again, and what has no quote is known by its text alone.
    let later = item("Send the new deck", "I will send the deck by Friday", 60_000);
    let bare = json!({"text": "Send it"});
    check(json!([later, bare]), json!([{"number": 4, "item": later}, {"number": 5, "item": bare}]));
    // Of two that were promised at once only one can be that which is known.
    let second = item("Call Ana", "I will send the deck by Friday.", 4000);
    check(
        json!([
            second,
            item("i will send the deck, by friday", "I will send the deck by Friday.", 4000)
        ]),
        json!([{"number": 4, "item": second}]),
    );
    // Nor can either be that which is known, if both say something else.
    let (call, mail) = (
        item("Call Ana", "I will send the deck by Friday.", 4000),
        item("Mail the deck", "I will send the deck by Friday.", 4000),
    );
    let both = json!([{"number": 4, "item": call}, {"number": 5, "item": mail}]);
    check(json!([call, mail]), both);
    // Nobody is asked twice by one summary.
    check(json!([bare, {"text": "send it!"}]), json!([{"number": 4, "item": bare}]));
}

#[test]
fn an_action_item_becomes_one_todo() {
    let instead =
        |id, deleted| first(RecordingCommand::AcceptItem { item: 1, todo: todo(id), deleted });
    let accept = |id| instead(id, None);
    let accepted = || NoteEvent::ActionItemAccepted { recording: FIRST, item: 1, todo: todo(9) };
    given(&with_suggestions()).when(accept(9)).then_expect_events(vec![accepted()]);
    let mut history = with_suggestions();
    history.push(json!({"ActionItemDismissed": {"recording": FIRST, "item": 1}}));
    given(&history).when(accept(9)).then_expect_events(vec![accepted()]);
    history.push(serde_json::to_value(accepted()).unwrap());
    given(&history).when(accept(10)).then_expect_events(vec![]);
    // Only the todo that it is now can have another in its place.
    given(&history).when(instead(10, Some(TodoId(8)))).then_expect_events(vec![]);
    let again = NoteEvent::ActionItemAccepted { recording: FIRST, item: 1, todo: todo(10) };
    given(&history).when(instead(10, Some(TodoId(9)))).then_expect_events(vec![again]);
}

/// The todo that the first item becomes, if it is suggested as this and accepted so.
fn became(item: Value, todo: AcceptedTodo) -> (TodoId, Vec<TodoEvent>) {
    let suggested = json!({"ActionItemsSuggested": {"recording": FIRST,
        "items": [{"number": 1, "item": item}]}});
    let mut note = Note::default();
    let before = [vec![registered()], with_transcript(), vec![summarised(FIRST, 1), suggested]];
    let before = before.concat().into_iter().map(event);
    before.for_each(|event| cqrs_es::Aggregate::apply(&mut note, event));
    let accepted = NoteEvent::ActionItemAccepted { recording: FIRST, item: 1, todo };
    note.follow_up(NoteId(7), &[accepted]).unwrap()
}

#[test]
fn the_todo_of_an_action_item_says_where_it_was_said_and_is_about_whom_the_note_is_about() {
    let accepted = AcceptedTodo {
        owner: Some("Ana  Ruiz".into()),
        about: vec![LpId(1).into(), FundId(2).into()],
        ..todo(9)
    };
    let item = json!({"text": "Send the deck", "owner": "Ana", "due": "by Friday",
        "quote": "I will send it", "start_ms": 4000});
    let todo: TodoEvent = serde_json::from_value(json!({"Registered": {
        "title": "Send the deck to Profuturo", "status": "pending",
        "details": {"description": "Owner: Ana Ruiz\nSaid in /recordings/5, at 0:04", "priority": "medium",
            "created_at": "2025-02-03T09:00:00", "due_date": "2025-02-07T00:00:00", "note_id": 7}}}))
    .unwrap();
    let to = vec![NoteId(7).into(), LpId(1).into(), FundId(2).into()];
    assert_eq!(became(item, accepted), (TodoId(9), vec![todo, TodoEvent::Linked { to }]));
}

#[test]
fn what_was_said_of_the_time_stays_in_a_todo_without_a_date() {
    let check = |due: Option<&str>, date: Option<&str>, expected: &str| {
        let due_date = date.map(|date| Moment::parse(date).unwrap());
        let (_, events) = became(
            json!({"text": "Send the deck", "due": due}),
            AcceptedTodo { due_date, ..todo(9) },
        );
        let registered = serde_json::to_value(&events[0]).unwrap();
        let details = &registered["Registered"]["details"];
        assert_eq!(details["description"], json!(expected), "{due:?} {date:?}");
    };
    let words = Some("when the committee\nhas met");
    check(words, None, "Due: when the committee has met\nSaid in /recordings/5");
    check(words, Some("2025-03-01"), "Said in /recordings/5");
    check(None, None, "Said in /recordings/5");
    // Who says that there is no date does not mean that one.
    let undated = AcceptedTodo { due_date: None, is_undated: true, ..todo(9) };
    let (_, events) = became(json!({"text": "Send the deck", "due": words}), undated);
    let registered = serde_json::to_value(&events[0]).unwrap();
    let description = &registered["Registered"]["details"]["description"];
    assert_eq!(*description, json!("Said in /recordings/5"));
}

#[test]
fn a_suggested_interest_is_accepted_or_dismissed() {
    let accept = |interest: &str| {
        let as_recorded =
            AcceptedInterest { fund: FundId(2), lp: LpId(1), interest: interest.to_owned() };
        RecordingCommand::AcceptInterest { as_recorded }
    };
    let accepted = json!({"InterestAccepted": {"recording": FIRST,
        "as_recorded": {"fund": 2, "lp": 1, "interest": "meeting"}}});
    let dismissed = json!({"InterestDismissed": {"recording": FIRST}});
    let dismiss = || first(RecordingCommand::DismissInterest);
    given(&with_transcript()).when(dismiss()).then_expect_error(Refusal::NoSuchSuggestion);
    given(&with_suggestions())
        .when(dismiss())
        .then_expect_events(events(std::slice::from_ref(&dismissed)));
    let dismissed = [with_suggestions(), vec![dismissed]].concat();
    given(&dismissed).when(dismiss()).then_expect_events(vec![]);
    given(&dismissed)
        .when(first(accept("meeting")))
        .then_expect_events(events(std::slice::from_ref(&accepted)));
    let accepted = [dismissed, vec![accepted]].concat();
    given(&accepted).when(first(accept("meeting"))).then_expect_events(vec![]);
    given(&accepted).when(first(accept("offered"))).then_expect_error(Refusal::SuggestionAccepted);
    given(&accepted).when(dismiss()).then_expect_error(Refusal::SuggestionAccepted);
}

#[test]
fn an_interest_that_was_decided_on_is_never_suggested_again() {
    let suggestion = |interest: &str| json!({"interest": interest, "fundraise": "Fund III"});
    let suggested = |interest: &str| json!({"InterestSuggested": {"recording": FIRST, "suggestion": suggestion(interest)}});
    let asked = |round: u32| json!({"SummaryAsked": {"recording": FIRST, "round": round}});
    let keep = |interest: &str| RecordingCommand::KeepSummary {
        round: 3,
        summary: serde_json::from_value(summary("They like it.")).unwrap(),
        items: vec![],
        interest: Some(serde_json::from_value(suggestion(interest)).unwrap()),
    };
    let dismissed = json!({"InterestDismissed": {"recording": FIRST}});
    let meanwhile = vec![dismissed, asked(2), summarised(FIRST, 2), suggested("offered"), asked(3)];
    let history = [with_suggestions(), meanwhile].concat();
    given(&history)
        .when(first(keep("meeting")))
        .then_expect_events(events(&[summarised(FIRST, 3)]));
    // Other words for it make it no other.
    let mut again = suggestion("meeting");
    (again["quote"], again["start_ms"]) = (json!("let us meet"), json!(3000));
    let again = RecordingCommand::KeepSummary {
        round: 3,
        summary: serde_json::from_value(summary("They like it.")).unwrap(),
        items: vec![],
        interest: Some(serde_json::from_value(again).unwrap()),
    };
    given(&history).when(first(again)).then_expect_events(events(&[summarised(FIRST, 3)]));
    // One that nobody has looked at may come again.
    given(&history)
        .when(first(keep("offered")))
        .then_expect_events(events(&[summarised(FIRST, 3), suggested("offered")]));
}

#[test]
fn a_recording_is_removed_once() {
    let remove = || first(RecordingCommand::Remove);
    given(&[]).when(remove()).then_expect_error(Refusal::NoSuchRecording);
    let removed = json!({"RecordingRemoved": {"recording": FIRST}});
    given(&[attached(FIRST), removed.clone()]).when(remove()).then_expect_events(vec![]);
    given(&[attached(FIRST), removed])
        .when(first(RecordingCommand::Cancel))
        .then_expect_error(Refusal::NoSuchRecording);
    let archived = TestFramework::<Note>::with(()).given(events(&[
        registered(),
        attached(FIRST),
        json!("Archived"),
    ]));
    archived.when(remove()).then_expect_error(Refusal::NotRegistered);
}

#[test]
fn a_legal_hold_on_a_note_keeps_its_recordings() {
    let remove = || first(RecordingCommand::Remove);
    let held = || json!({"Held": {"reason": "case 7"}});
    let removed = || json!({"RecordingRemoved": {"recording": FIRST}});
    let refusal = Refusal::Held { reason: "case 7".into() };
    given(&[attached(FIRST), held()]).when(remove()).then_expect_error(refusal);
    given(&[attached(FIRST), held()])
        .when(first(RecordingCommand::Cancel))
        .then_expect_events(events(&[json!({"TranscriptionCancelled": {"recording": FIRST}})]));
    let lifted = json!({"HoldLifted": {"reason": "settled"}});
    given(&[attached(FIRST), held(), lifted])
        .when(remove())
        .then_expect_events(events(&[removed()]));
    given(&[attached(FIRST), removed(), held()]).when(remove()).then_expect_events(vec![]);
}

#[test]
fn undoing_takes_back_names_and_corrections_and_nothing_else_of_a_recording() {
    let corrected = |text: &str| {
        json!({"TranscriptCorrected": {"recording": FIRST,
            "corrections": [{"start_ms": 0, "end_ms": 1000, "text": text}]}})
    };
    let subject = |history: &[Value]| {
        let mut subject = Subject::new(Kind::Note);
        let all = std::iter::once(registered()).chain(history.iter().cloned()).map(event);
        all.for_each(|event| subject.apply(&Event::Note(event)));
        subject
    };
    let check = |now: &[Value], then: &[Value], expected: &[Value]| {
        let (now, then) = (subject(now), subject(then));
        let expected: Vec<_> = events(expected).into_iter().map(Event::Note).collect();
        assert_eq!(now.revert(&then).unwrap(), expected);
        let said = Subject::from_facts(Kind::Note, then.facts()).unwrap();
        assert_eq!(now.revert(&said).unwrap(), expected);
    };
    let first = [with_transcript(), vec![corrected("Profuturo")]].concat();
    let second = [first.clone(), vec![corrected("ProFuturo")]].concat();
    check(&second, &first, &[corrected("Profuturo")]);
    let back = json!({"TranscriptCorrected": {"recording": FIRST,
        "corrections": [{"start_ms": 0, "end_ms": 1000, "text": null}]}});
    check(&second, &with_transcript(), &[back]);
    let renamed = |name: &str| json!({"RecordingRenamed": {"recording": FIRST, "name": name}});
    let named = [first.clone(), vec![renamed("Lunch")]].concat();
    check(&named, &first, &[renamed("call.webm")]);
    let removed = json!({"RecordingRemoved": {"recording": FIRST}});
    check(&[second, vec![removed]].concat(), &first, &[]);
    check(&with_suggestions(), &[paths(Some(5), Some(5)), with_suggestions()[7].clone()], &[]);
}

/// A note to which this has happened.
fn note(history: &[Value]) -> Note {
    let mut note = Note::default();
    let all = std::iter::once(registered()).chain(history.iter().cloned()).map(event);
    all.for_each(|event| cqrs_es::Aggregate::apply(&mut note, event));
    note
}

fn details(changes: Value) -> Value {
    json!({"DetailsAmended": {"changes": changes}})
}

#[test]
fn going_back_names_no_recording_that_is_gone_and_forgets_none_that_is_there() {
    let check = |now: &[Value], then: &[Value], expected: &[Value]| {
        let to = Box::new(note(then));
        given(now).when(NoteCommand::Revert { to }).then_expect_events(events(expected));
    };
    let removed = [
        with_suggestions(),
        vec![
            json!({"RecordingRemoved": {"recording": FIRST}}),
            details(json!({"audio_path": null, "transcription_path": null, "ai_summary": null})),
        ],
    ]
    .concat();
    check(&removed, &with_suggestions(), &[]);
    check(&with_suggestions(), &[], &[]);
    let own = [with_attached(), vec![details(json!({"audio_path": "tape 7"}))]].concat();
    // What a person wrote goes and comes back, and what followed then follows what is there now.
    check(&own, &with_attached(), &[paths(Some(5), None)]);
    check(&own, &[], &[paths(Some(5), None)]);
    check(&with_attached(), &own, &[details(json!({"audio_path": "tape 7"}))]);
    let gone = [own, vec![json!({"RecordingRemoved": {"recording": FIRST}})]].concat();
    check(&gone, &with_attached(), &[details(json!({"audio_path": null}))]);
    let legacy = [details(json!({"audio_path": "tape 7", "ai_summary": "They like it."}))];
    check(&[], &legacy, &legacy);
    let cleared = details(json!({"audio_path": null, "ai_summary": null}));
    check(&legacy, &[], &[cleared]);
}

#[test]
fn taking_one_change_back_leaves_what_follows_the_recordings() {
    let (now, set) = (note(&with_attached()), FactName { field: "audio_path".into(), about: None });
    let mut facts = now.facts();
    facts.remove(&set);
    let to = Box::new(Note::from_facts(facts).unwrap());
    given(&with_attached()).when(NoteCommand::Revert { to }).then_expect_events(vec![]);
    let removed = [
        with_attached(),
        vec![
            json!({"RecordingRemoved": {"recording": FIRST}}),
            details(json!({"audio_path": null})),
        ],
    ]
    .concat();
    let mut facts = note(&removed).facts();
    facts.insert(set, json!("/recordings/5/audio"));
    let to = Box::new(Note::from_facts(facts).unwrap());
    given(&removed).when(NoteCommand::Revert { to }).then_expect_events(vec![]);
}

#[test]
fn after_going_back_the_note_goes_on_following_its_recordings() {
    let to = Box::new(note(&[]));
    let back = given(&with_attached()).when(NoteCommand::Revert { to }).inspect_result().unwrap();
    let history: Vec<NoteEvent> =
        std::iter::once(event(registered())).chain(events(&with_attached())).chain(back).collect();
    TestFramework::<Note>::with(())
        .given(history)
        .when(first(RecordingCommand::Remove))
        .then_expect_events(events(&[
            json!({"RecordingRemoved": {"recording": FIRST}}),
            details(json!({"audio_path": null})),
        ]));
}

#[test]
fn a_recording_is_read_as_it_was_written_into_a_read_model() {
    let mut note = Note::default();
    let corrected = json!({"TranscriptCorrected": {"recording": FIRST,
        "corrections": [{"start_ms": 0, "end_ms": 1000, "text": "Profuturo"}]}});
    let accepted = json!({"ActionItemAccepted": {"recording": FIRST, "item": 1,
        "todo": serde_json::to_value(todo(9)).unwrap()}});
    let history = [vec![registered()], with_suggestions(), vec![corrected, accepted]].concat();
    history.into_iter().map(event).for_each(|event| cqrs_es::Aggregate::apply(&mut note, event));
    let recording = note.record().unwrap().recordings.get(FIRST).unwrap();
    let written = serde_json::to_string(recording).unwrap();
    assert_eq!(serde_json::from_str::<Recording>(&written).unwrap(), *recording);
}

#[test]
fn the_stored_form_of_an_event_never_changes() {
    let every = [
        json!({"RecordingAttached": {"recording": 5, "file": file(), "name": "call.webm",
            "language": "es"}}),
        json!({"RecordingAttached": {"recording": 5, "name": "call.webm", "file": {
            "key": "recordings/ab", "size": 7, "media_type": "audio/webm", "sha256": "ab", "sealed": true}}}),
        attached(FIRST),
        json!({"RecordingRenamed": {"recording": 5, "name": "Lunch"}}),
        json!({"TranscriptionAsked": {"recording": 5, "round": 2}}),
        json!({"TranscriptionAsked": {"recording": 5, "round": 2, "language": "es",
            "model": "base"}}),
        json!({"Transcribed": {"recording": 5, "round": 1, "transcript": {
            "model": "tiny.en", "language": "en", "duration_ms": 61000,
            "segments": [{"start_ms": 0, "end_ms": 2000, "text": "Hello", "confidence": 87}],
            "gaps": [{"start_ms": 3000, "end_ms": 4000, "reason": "damaged"}],
            "marks": [{"start_ms": 5000, "end_ms": 6000, "kind": "silence"},
                {"start_ms": 6000, "end_ms": 7000, "kind": "repetition"},
                {"start_ms": 7000, "end_ms": 8000, "kind": "no_words"}]}}}),
        transcribed(FIRST, 1),
        json!({"TranscriptionFailed": {"recording": 5, "round": 1, "reason": "no audio"}}),
        json!({"TranscriptionCancelled": {"recording": 5}}),
        json!({"TranscriptCorrected": {"recording": 5, "corrections": [
            {"start_ms": 0, "end_ms": 2000, "text": "Hola"},
            {"start_ms": 2000, "end_ms": 3000, "text": null}]}}),
        json!({"SummaryAsked": {"recording": 5, "round": 2}}),
        json!({"Summarised": {"recording": 5, "round": 1, "summary": {
            "author": {"model": {"model": "m", "prompt": "1"}}, "text": "They like it.",
            "key_points": [{"text": "Size", "start_ms": 4000}, {"text": "Fees"}]}}}),
        json!({"Summarised": {"recording": 5, "round": 1, "summary": {
            "author": "highlights", "text": ""}}}),
        json!({"Summarised": {"recording": 5, "round": 1, "summary": {
            "author": {"highlights_instead": {"why": "rubbish"}}, "text": ""}}}),
        json!({"SummaryFailed": {"recording": 5, "round": 1, "reason": "rubbish"}}),
        json!({"SummaryCancelled": {"recording": 5}}),
        suggested(),
        json!({"ActionItemAccepted": {"recording": 5, "item": 1, "todo": {"id": 9, "title": "T",
            "due_date": "2025-02-07T00:00:00", "at": "2025-02-03T09:00:00"}}}),
        json!({"ActionItemAccepted": {"recording": 5, "item": 1, "todo": {"id": 9, "title": "T",
            "at": "2025-02-03T09:00:00"}}}),
        json!({"ActionItemAccepted": {"recording": 5, "item": 1, "todo": {"id": 9, "title": "T",
            "due_date": "2025-02-07T00:00:00", "owner": "Ana Ruiz",
            "about": [{"lp": 1}, {"fund": 2}, {"person": 3}], "at": "2025-02-03T09:00:00"}}}),
        json!({"ActionItemAccepted": {"recording": 5, "item": 1, "todo": {"id": 9, "title": "T",
            "is_undated": true, "at": "2025-02-03T09:00:00"}}}),
        json!({"ActionItemDismissed": {"recording": 5, "item": 1}}),
        interest(),
        json!({"InterestSuggested": {"recording": 5, "suggestion": {"interest": "high"}}}),
        json!({"InterestSuggested": {"recording": 5, "suggestion": {"interest": "meeting",
            "quote": "let us meet", "start_ms": 3000}}}),
        json!({"InterestAccepted": {"recording": 5,
            "as_recorded": {"fund": 2, "lp": 1, "interest": "meeting"}}}),
        json!({"InterestDismissed": {"recording": 5}}),
        json!({"RecordingRemoved": {"recording": 5}}),
    ];
    for stored in every {
        let event = event(stored.clone());
        assert_eq!(event.recording(), Some(FIRST));
        assert_eq!(serde_json::to_value(&event).unwrap(), stored);
    }
}
