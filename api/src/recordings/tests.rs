use std::collections::BTreeMap;

use domain::NoteId;
use domain::note::{AudioFile, Author, Recording, Summary, Transcript};

use super::*;

fn standing(stage: Stage) -> Standing {
    let recording = Recording {
        file: AudioFile::default(),
        name: "call.webm".into(),
        language: None,
        model: None,
        round: 1,
        stage,
        transcript: None,
        corrections: BTreeMap::new(),
        summary: None,
        is_corrected_since: false,
        numbered: 0,
        items: BTreeMap::new(),
        interest: None,
        decided: vec![],
    };
    let stored = StoredRecording {
        id: RecordingId(5),
        note: NoteId(7),
        position: 1,
        attached_at: None,
        recording,
    };
    let workers = Present { any: true, transcribers: true };
    let deleted = HashSet::new();
    Standing { stored, progress: None, length_ms: None, workers, deleted, said_on: None }
}

fn progress(is_running: bool, reason: Option<&str>) -> Option<Progress> {
    Some(Progress {
        recording_id: 5,
        is_running,
        done_ms: 30_000,
        total_ms: Some(90_000),
        reason: reason.map(str::to_owned),
        next_attempt_at: None,
        waits_for_model: false,
    })
}

#[test]
fn a_recording_that_waits_says_for_what() {
    let check = |workers: (bool, bool), progress: Option<Progress>, state: &str, why: &str| {
        let (any, transcribers) = workers;
        let workers = Present { any, transcribers };
        let it = Standing { progress, workers, ..standing(Stage::AwaitsTranscript) };
        let (found, reason) = it.state();
        assert_eq!(found, state);
        assert!(reason.unwrap_or_default().contains(why), "{state}");
    };
    check((true, true), None, "stored", "");
    check((true, true), progress(true, None), "transcribing", "");
    // Whoever is at it need not have been seen just now.
    check((false, false), progress(true, None), "transcribing", "");
    check((true, false), progress(false, None), "waiting_for_model", "crm models get speech");
    check((false, false), progress(false, None), "stored", "CRM_WORKERS");
    check((true, true), progress(false, Some("disk")), "stored", "disk; crm tries again");
    let lacking = |is_running| {
        let progress = progress(is_running, Some("no model large"))?;
        Some(Progress { waits_for_model: true, ..progress })
    };
    check((true, true), lacking(false), "waiting_for_model", "no model large");
    check((true, true), lacking(true), "transcribing", "");
}

#[test]
fn whoever_waits_for_another_attempt_can_have_it_now_if_somebody_is_there_to_make_it() {
    let all = Present { any: true, transcribers: true };
    let check = |stage: Stage, workers: Present, is_later: bool, expected: bool| {
        let next_attempt_at = is_later.then(Utc::now);
        let progress = progress(false, Some("the file storage does not answer"));
        let progress = progress.map(|it| Progress { next_attempt_at, ..it });
        let it = Standing { progress, workers, ..standing(stage.clone()) };
        assert_eq!(it.is_put_off(), expected, "{stage:?} {workers:?} {is_later}");
    };
    check(Stage::AwaitsTranscript, all, true, true);
    check(Stage::AwaitsTranscript, all, false, false);
    check(Stage::AwaitsTranscript, Present { transcribers: false, ..all }, true, false);
    check(Stage::AwaitsSummary, Present { transcribers: false, ..all }, true, true);
    check(Stage::AwaitsSummary, Present { any: false, transcribers: false }, true, false);
    // A job that is over may not be cleared away yet.
    check(Stage::Done, all, true, false);
}

#[test]
fn lists_choose_by_the_phase_that_a_state_belongs_to() {
    let reason = || "no sound".to_owned();
    for stage in [
        Stage::AwaitsTranscript,
        Stage::AwaitsSummary,
        Stage::Done,
        Stage::TranscriptionCancelled,
        Stage::SummaryCancelled,
        Stage::TranscriptionFailed { reason: reason() },
        Stage::SummaryFailed { reason: reason() },
    ] {
        for (transcript, summary) in [
            (None, None),
            (heard("whisper-base-ba8ad06f2b54"), None),
            (heard("whisper-base-ba8ad06f2b54"), highlights()),
        ] {
            let mut it = standing(stage.clone());
            (it.stored.recording.transcript, it.stored.recording.summary) = (transcript, summary);
            let (state, _) = it.state();
            let (_, phase) = list::STATES.iter().find(|(name, _)| *name == state).unwrap();
            assert_eq!(
                projections::read::Phase::of(&it.stored.recording),
                *phase,
                "{stage:?} {state}"
            );
        }
    }
}

#[test]
fn what_failed_is_told_with_the_reason() {
    let check = |stage: Stage, state: &str, why: Option<&str>| {
        assert_eq!(standing(stage).state(), (state, why.map(str::to_owned)));
    };
    let reason = || "no sound".to_owned();
    check(Stage::TranscriptionFailed { reason: reason() }, "failed", Some("no sound"));
    let why = Some("there is no summary: no sound");
    check(Stage::SummaryFailed { reason: reason() }, "transcribed", why);
    check(Stage::TranscriptionCancelled, "cancelled", None);
    check(Stage::SummaryCancelled, "transcribed", Some("the summary was cancelled"));
    check(Stage::Done, "summarised", None);
}

fn heard(model: &str) -> Option<Transcript> {
    Some(Transcript {
        model: model.into(),
        language: "en".into(),
        duration_ms: 9_000,
        segments: vec![],
        gaps: vec![],
        marks: vec![],
    })
}

fn highlights() -> Option<Summary> {
    let text = "They like the fund.".into();
    Some(Summary { author: Author::Highlights, text, key_points: vec![] })
}

#[test]
fn what_was_made_earlier_is_told_of_when_nothing_newer_is_made() {
    let check = |stage: Stage, summary: Option<Summary>, expected: (&str, &str, &str)| {
        let (state, what, reason) = expected;
        let mut it = standing(stage);
        it.stored.recording.transcript = heard("whisper-base-ba8ad06f2b54");
        it.stored.recording.summary = summary;
        let why = format!("no newer {what} was made, and the earlier one is kept: {reason}");
        assert_eq!(it.state(), (state, Some(why)));
    };
    let reason = || "no answer".to_owned();
    let failed = || Stage::SummaryFailed { reason: reason() };
    check(failed(), highlights(), ("summarised", "summary", "no answer"));
    let cancelled = ("summarised", "summary", "it was cancelled");
    check(Stage::SummaryCancelled, highlights(), cancelled);
    let failed = || Stage::TranscriptionFailed { reason: reason() };
    check(failed(), highlights(), ("summarised", "transcript", "no answer"));
    check(failed(), None, ("transcribed", "transcript", "no answer"));
    let cancelled = ("transcribed", "transcript", "it was cancelled");
    check(Stage::TranscriptionCancelled, None, cancelled);
}

#[test]
fn a_model_that_knows_only_english_is_told_of_unless_somebody_named_the_language() {
    let check = |model: &str, language: Option<&str>, is_told: bool| {
        let mut it = standing(Stage::Done);
        it.stored.recording.transcript = heard(model);
        it.stored.recording.language = language.map(str::to_owned);
        let (state, why) = it.state();
        assert_eq!(state, "summarised");
        assert_eq!(why.is_some_and(|why| why.contains("only English")), is_told, "{model}");
    };
    check("whisper-tiny.en-921e4cf8686f", None, true);
    check("whisper-tiny.en-921e4cf8686f", Some("en"), false);
    check("whisper-base-ba8ad06f2b54", None, false);
}

#[test]
fn a_speech_model_has_a_name_that_people_can_read() {
    let check = |id: &str, expected: &str| assert_eq!(speech_model(id), expected);
    check("whisper-base-ba8ad06f2b54", "Whisper base");
    check("whisper-tiny.en-921e4cf8686f", "Whisper tiny.en");
    check("whisper-large-v3-turbo-0123456789ab", "Whisper large-v3-turbo");
    check("whisper-tiny.en", "Whisper tiny.en");
    check("base", "base");
}

#[test]
fn highlights_that_stand_in_for_a_summary_say_why() {
    let mut it = standing(Stage::Done);
    it.stored.recording.transcript = heard("whisper-base-ba8ad06f2b54");
    let why = "the language model m writes nonsense".to_owned();
    let author = Author::HighlightsInstead { why };
    it.stored.recording.summary = highlights().map(|summary| Summary { author, ..summary });
    let told = "the language model m writes nonsense; these are highlights, not AI-written";
    assert_eq!(it.state(), ("summarised", Some(told.to_owned())));
}

#[test]
fn a_time_of_another_day_says_so() {
    let at = |text: &str| text.parse().unwrap();
    let now = at("2026-11-28T05:39:10Z");
    assert_eq!(told(at("2026-11-28T23:59:59Z"), now), "23:59:59 UTC");
    assert_eq!(told(at("2026-11-29T05:39:10Z"), now), "05:39:10 UTC on 29 November 2026");
}

#[test]
fn progress_is_a_part_of_the_whole() {
    let running = Standing { progress: progress(true, None), ..standing(Stage::AwaitsTranscript) };
    assert_eq!(running.done(), Some(0.333));
    assert_eq!(standing(Stage::AwaitsTranscript).done(), None);
}
