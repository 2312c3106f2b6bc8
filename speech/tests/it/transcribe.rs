//! Speech to text, with the real weights.

use std::path::Path;
use std::sync::{LazyLock, mpsc};
use std::time::Duration;

use speech::RATE;
use speech::transcribe::{
    ChunkText, Control, MarkKind, Model, ModelError, Options, TranscribeError,
};

use crate::clips::{self, decoded, meeting, sentence, speak};
use crate::weights::{BASE, TINY_EN};
use crate::words::error_rate;

static TINY: LazyLock<Model> = LazyLock::new(|| Model::open(&TINY_EN.converted()).unwrap());

fn transcribe(model: &Model, samples: &[f32], prompt: &str) -> ChunkText {
    let options = Options { prompt, threads: 1, ..Options::default() };
    model.transcribe(samples, &options, &Control::default()).unwrap()
}

#[test]
fn a_meeting_is_understood_as_well_as_the_weights_allow() {
    let sound = decoded(meeting());
    let without = transcribe(&TINY, &sound, "");
    let with = transcribe(&TINY, &sound, &TINY.prompt(clips::NAMES));
    let rate = |text: &ChunkText| error_rate(clips::MEETING, &text.text());
    assert!(rate(&without) < 0.14, "{:.3}: {}", rate(&without), without.text());
    assert_eq!(without.language, "en");
    assert_eq!(without.marks, []);
    let end = speech::milliseconds(sound.len() as u64);
    for segment in &with.segments {
        assert!(segment.start_ms <= segment.end_ms && segment.end_ms <= end, "{segment:?}");
        assert!((0.0..=1.0).contains(&segment.confidence), "{segment:?}");
    }
    let spoken: u64 = with.segments.iter().map(|segment| segment.end_ms - segment.start_ms).sum();
    assert!(spoken > end * 3 / 4, "of {end} ms only {spoken} have text");
}

#[test]
fn with_its_names_a_meeting_is_understood_better() {
    // From voice to voice more varies by chance than by names, so it takes some of them.
    let rates = ["en-us", "en-gb", "en-us+m3"].map(|voice| {
        let sound = decoded(&clips::speak(voice, clips::MEETING));
        let prompts = [String::new(), TINY.prompt(clips::NAMES)];
        prompts.map(|prompt| error_rate(clips::MEETING, &transcribe(&TINY, &sound, &prompt).text()))
    });
    let [without, with] = [0, 1].map(|at| rates.iter().map(|rates| rates[at]).sum::<f64>());
    assert!(with < without, "{rates:?}");
}

#[test]
fn a_prompt_costs_neither_times_nor_words() {
    let sound = decoded(meeting());
    let model = Model::open(&BASE.converted()).unwrap();
    let text = transcribe(&model, &sound, &model.prompt(["Granite Capital", "Helen"]));
    for segment in &text.segments {
        assert!(segment.end_ms - segment.start_ms < 15_000, "{segment:?}");
    }
    // Half a minute in.
    assert!(text.text().contains("charges a lower management fee"), "{}", text.text());
    let text = transcribe(&model, &sound, &model.prompt(clips::NAMES));
    let rate = error_rate(clips::MEETING, &text.text());
    assert!(rate < 0.10, "{rate:.3}: {}", text.text());
}

#[test]
fn numbers_are_heard_whole_after_names() {
    let said = "The net internal rate of return of the second fund was fourteen point three percent last year. \
        They asked whether the management fee of one point five percent could come down for large tickets. \
        The preferred return is eight point two five percent and the catch up is full.";
    let sound = decoded(&speak("en-us", said));
    let model = Model::open(&BASE.converted()).unwrap();
    let text = transcribe(&model, &sound, &model.prompt(clips::NAMES)).text();
    for number in ["14.3", "1.5", "8.25"] {
        assert!(text.contains(number), "{number}: {text}");
    }
}

#[test]
fn what_whisper_repeats_or_leaves_out_is_heard_after_all() {
    // Names that nobody says make base repeat itself for half a minute here, if it is left to itself.
    let sound = decoded(&speak("en-us+m3", clips::COUNSEL));
    let model = Model::open(&BASE.converted()).unwrap();
    let names =
        ["Rosa Delgado", "Profuturo", "Lakeshore Teachers", "Afore Coppel", "Granite Capital"];
    for prompt in [String::new(), model.prompt(names)] {
        let text = transcribe(&model, &sound, &prompt);
        let is_loop = |mark: &speech::transcribe::Mark| mark.kind == MarkKind::Repetition;
        assert!(!text.marks.iter().any(is_loop), "{text:?}");
        let rate = error_rate(clips::COUNSEL, &text.text());
        assert!(rate < 0.30, "{rate:.3}: {}", text.text());
    }
}

#[test]
fn silence_has_no_text() {
    let ten_seconds = 10 * RATE as usize;
    let silent = transcribe(&TINY, &vec![0.0; ten_seconds], "");
    assert_eq!(silent.segments, []);
    let [mark] = silent.marks[..] else { panic!("{:?}", silent.marks) };
    assert_eq!((mark.kind, mark.start_ms, mark.end_ms), (MarkKind::Silence, 0, 10_000));
    assert_eq!(transcribe(&TINY, &[], "").segments, []);
}

#[test]
fn text_after_a_long_silence_is_found_at_its_time() {
    let mut sound = decoded(sentence());
    let once = sound.len();
    sound.resize(once + 40 * RATE as usize, 0.0);
    sound.extend(decoded(sentence()));
    let text = transcribe(&TINY, &sound, "");
    let later = speech::milliseconds((once + 39 * RATE as usize) as u64);
    let after: Vec<_> = text.segments.iter().filter(|s| s.start_ms >= later).collect();
    assert!(after.iter().any(|s| s.text.contains("October")), "{text:?}");
    assert!(text.marks.iter().any(|mark| mark.kind == MarkKind::Silence), "{text:?}");
    assert!(text.segments.len() - after.len() >= 1, "{text:?}");
}

#[test]
fn music_is_marked_and_gets_no_words() {
    let model = Model::open(&BASE.converted()).unwrap();
    let mut sound = clips::music(60);
    let begins_ms = speech::milliseconds(sound.len() as u64);
    sound.extend(decoded(sentence()));
    let text = transcribe(&model, &sound, "");
    let made_up: usize = text
        .segments
        .iter()
        .filter(|segment| segment.end_ms < begins_ms)
        .map(|segment| segment.text.split_whitespace().count())
        .sum();
    assert!(made_up <= 2, "{text:?}");
    let marked: u64 = text.marks.iter().map(|mark| mark.end_ms - mark.start_ms).sum();
    assert!(marked > begins_ms * 9 / 10, "{text:?}");
    assert!(text.text().contains("October"), "{text:?}");
}

#[test]
fn spanish_is_recognised() {
    let model = Model::open(&BASE.converted()).unwrap();
    let said = "Buenos días. El comité de inversiones se reúne otra vez en octubre, \
                y les gusta el fondo de infraestructura.";
    let sound = decoded(&speak("es-419", said));
    let (language, probability) = model.detect(&sound, 1).unwrap();
    assert!(language == "es" && probability > 0.5, "{language}: {probability}");
    let text = transcribe(&model, &sound, "");
    assert_eq!(text.language, "es");
    assert!(error_rate(said, &text.text()) < 0.35, "{}", text.text());
    assert!(model.id().starts_with("whisper-base-ba8ad06f2b54"), "{}", model.id());
}

/// Speech after half a minute and more of nothing but this room, whose noise goes on under it.
fn in_a_room(speech: &[f32], level: f32) -> Vec<f32> {
    let quiet = 40 * RATE as usize;
    let mut sound = clips::noise(40 + speech.len() / RATE as usize + 1, level);
    sound.truncate(quiet + speech.len());
    sound[quiet..].iter_mut().zip(speech).for_each(|(sample, said)| *sample += said);
    sound
}

#[test]
fn a_meeting_that_begins_with_a_quiet_room_is_in_the_language_that_is_spoken() {
    let model = Model::open(&BASE.converted()).unwrap();
    let said = "Buenos días. El comité de inversiones se reúne otra vez en octubre, \
                y les gusta el fondo de infraestructura.";
    for (voice, said, language) in [
        ("es-419", said, "es"),
        (
            "en-us",
            "The investment committee will meet again in October. They like the pipeline.",
            "en",
        ),
    ] {
        let speech = decoded(&speak(voice, said));
        for level in [-64.0, -50.0] {
            let text = transcribe(&model, &in_a_room(&speech, level), "");
            assert_eq!(text.language, language, "{level} dB: {text:?}");
            assert!(text.certainty > 0.5, "{level} dB: {text:?}");
            assert!(error_rate(said, &text.text()) < 0.45, "{level} dB: {text:?}");
            assert_eq!(text.marks[0].kind, MarkKind::NoWords, "{level} dB: {text:?}");
        }
    }
}

#[test]
fn a_quiet_room_says_nothing_in_no_language() {
    let model = Model::open(&BASE.converted()).unwrap();
    for level in [-64.0, -54.0, -44.0] {
        let text = transcribe(&model, &clips::noise(45, level), "");
        assert_eq!(text.segments, [], "{level} dB");
        assert_eq!(text.certainty, 0.0, "{level} dB");
        let [mark] = text.marks[..] else { panic!("{level} dB: {:?}", text.marks) };
        assert_eq!((mark.kind, mark.start_ms, mark.end_ms), (MarkKind::NoWords, 0, 45_000));
    }
}

#[test]
fn a_language_that_the_model_does_not_know_is_refused() {
    for language in ["es", "klingon", "e\0n", ""] {
        let options = Options { language: Some(language), ..Options::default() };
        let result = TINY.transcribe(&[0.1; 16_000], &options, &Control::default());
        assert!(matches!(result, Err(TranscribeError::Language { .. })), "{language}: {result:?}");
    }
}

/// How long a thread has computed, as the kernel counts it.
fn computed(schedstat: &Path) -> Duration {
    let spent = std::fs::read_to_string(schedstat).unwrap();
    Duration::from_nanos(spent.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn cancelling_ends_a_transcription_that_is_going_on() {
    let (sound, model) = (decoded(meeting()), &*TINY);
    let control = Control::default();
    let (says, who) = mpsc::channel();
    let result = std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let thread = std::fs::read_link("/proc/thread-self").unwrap();
            let schedstat = Path::new("/proc").join(thread).join("schedstat");
            says.send(schedstat).unwrap();
            let options = Options { threads: 1, ..Options::default() };
            model.transcribe(&sound, &options, &control)
        });
        let thread = who.recv().unwrap();
        // When so much was computed, it is in the middle of it.
        while computed(&thread) < Duration::from_millis(300) {
            std::thread::yield_now();
        }
        control.cancel();
        running.join().unwrap()
    });
    assert!(matches!(result, Err(TranscribeError::Cancelled)), "{result:?}");
}

#[test]
fn how_much_was_listened_to_is_seen_while_it_goes_on() {
    let sound = decoded(meeting());
    // Several windows of 30 s.
    let long: Vec<f32> = sound.iter().copied().cycle().take(70 * RATE as usize).collect();
    let control = Control::default();
    let mut seen = std::collections::BTreeSet::new();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let options = Options { threads: 1, ..Options::default() };
            TINY.transcribe(&long, &options, &control).unwrap()
        });
        while !running.is_finished() {
            seen.insert(control.percent());
            std::thread::yield_now();
        }
    });
    assert!(seen.iter().any(|percent| (1..100).contains(percent)), "{seen:?}");
}

#[test]
fn files_that_are_no_models_are_refused() {
    let open = |bytes: &[u8]| Model::open(&clips::file(bytes, "bin")).unwrap_err().to_string();
    for bytes in [&b""[..], b"not a model", &[0x6c, 0x6d, 0x67, 0x67, 1, 2, 3]] {
        assert!(open(bytes).contains("is not a whole Whisper model"), "{}", open(bytes));
    }
    let whole = std::fs::read(TINY_EN.converted()).unwrap();
    for length in [100, whole.len() / 2, whole.len() - 1] {
        assert!(open(&whole[..length]).contains("is not a whole Whisper model"), "{length}");
    }
    assert!(open(&std::fs::read(TINY_EN.packed().0).unwrap()).contains("crm models get speech"));
    let missing = Model::open(Path::new("/nowhere/model.bin"));
    assert!(matches!(missing, Err(ModelError::File { .. })));
}
