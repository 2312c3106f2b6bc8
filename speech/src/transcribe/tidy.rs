//! What Whisper heard, put right: no text in silence, no loops, and marks where a reader should listen.

use std::ops::Range;

use super::windows::Listened;
use super::{Mark, MarkKind, Segment, sample_at};
use crate::{milliseconds, voice};

/// A phrase of up to this many words may be a loop.
const PHRASE: usize = 12;
/// Nobody says a phrase this often in a row, words and times, if it is one word and if it is more.
const TIMES_ONE: usize = 6;
const TIMES_MORE: usize = 4;
/// Nobody says the same sentence so many times in a row.
const SEGMENTS: usize = 3;
/// A stretch without words is worth telling from here on, in milliseconds.
const NO_WORDS: u64 = 10_000;

/// Whisper is less sure than this of what it makes up where nobody speaks: mostly 0.05, but 0.41 was seen for "Thank you."
const MADE_UP: f32 = 0.5;
/// Nobody speaks in a segment of which not a fourth may be speech.
const SPEECH: usize = 4;

/// What Whisper heard in a chunk, and what is known of the chunk's sound, in samples.
pub(super) struct Heard<'a> {
    pub words: Listened,
    pub silences: &'a [Range<usize>],
    pub voiced: &'a [Range<usize>],
}

/// Segments in order, within the chunk of so many samples, and the marks.
pub(super) fn tidy(heard: Heard<'_>, samples: usize) -> (Vec<Segment>, Vec<Mark>) {
    let Heard { words: Listened { segments: heard, left_out }, silences, voiced } = heard;
    let length = milliseconds(samples as u64);
    let silences: Vec<Mark> = silences
        .iter()
        .map(|silence| mark(MarkKind::Silence, silence.start, silence.end))
        .collect();
    let mut segments = ordered(heard, length);
    segments.retain(|segment| !silences.iter().any(|silence| is_within(segment, silence)));
    let made_up: Vec<Segment> =
        segments.extract_if(.., |segment| is_made_up(segment, voiced)).collect();
    segments.iter_mut().for_each(|segment| keep_out_of(&silences, segment));
    let mut marks = Vec::new();
    let mut segments = without_repeated_segments(segments, &mut marks);
    for segment in &mut segments {
        if let Some(shorter) = without_loops(&segment.text) {
            segment.text = shorter;
            let Segment { start_ms, end_ms, .. } = *segment;
            marks.push(Mark { kind: MarkKind::Repetition, start_ms, end_ms });
        }
    }
    let wordless = wordless(&segments, &silences, length);
    let made_up = made_up.iter().map(|&Segment { start_ms, end_ms, .. }| Mark {
        kind: MarkKind::NoWords,
        start_ms,
        end_ms,
    });
    let is_told = |mark: &Mark| {
        wordless.iter().any(|told| told.start_ms <= mark.start_ms && mark.end_ms <= told.end_ms)
    };
    marks.extend(left_out.into_iter().chain(made_up).filter(|mark| !is_told(mark)));
    marks.extend(wordless);
    marks.extend(silences);
    marks.sort_by_key(|mark| (mark.start_ms, mark.end_ms));
    (segments, marks)
}

fn mark(kind: MarkKind, start: usize, end: usize) -> Mark {
    Mark { kind, start_ms: milliseconds(start as u64), end_ms: milliseconds(end as u64) }
}

/// Whisper's times may pass the end, or go back a little.
fn ordered(heard: Vec<Segment>, length: u64) -> Vec<Segment> {
    let mut after = 0;
    heard
        .into_iter()
        .map(|segment| {
            let start_ms = segment.start_ms.clamp(after, length.max(after));
            let end_ms = segment.end_ms.clamp(start_ms, length.max(start_ms));
            after = start_ms;
            Segment { start_ms, end_ms, ..segment }
        })
        .collect()
}

/// What is said in a silence was not said. A second on either side is what Whisper's times may be off.
fn is_within(segment: &Segment, silence: &Mark) -> bool {
    let middle = segment.start_ms.midpoint(segment.end_ms);
    let overlap =
        segment.end_ms.min(silence.end_ms).saturating_sub(segment.start_ms.max(silence.start_ms));
    let outside = (segment.end_ms - segment.start_ms).saturating_sub(overlap);
    (silence.start_ms..=silence.end_ms).contains(&middle) && outside <= 1000
}

/// Words where all of the sound is as steady as the noise of a room, or most of it and Whisper hardly believes them itself. How
/// sure it is of what it makes up of mere noise depends on the processor.
fn is_made_up(segment: &Segment, voiced: &[Range<usize>]) -> bool {
    let span = sample_at(segment.start_ms)..sample_at(segment.end_ms);
    let speech = voice::within(voiced, &span);
    speech == 0 || segment.confidence < MADE_UP && speech * SPEECH <= span.len()
}

/// What begins or ends within a silence begins after or ends before it.
fn keep_out_of(silences: &[Mark], segment: &mut Segment) {
    for silence in silences {
        let (begins, ends) = (
            (silence.start_ms..silence.end_ms).contains(&segment.start_ms),
            (silence.start_ms..=silence.end_ms).contains(&segment.end_ms),
        );
        match (begins, ends) {
            (true, false) => segment.start_ms = silence.end_ms,
            (false, true) => segment.end_ms = silence.start_ms,
            _ => {}
        }
    }
}

/// Of the same sentence again and again, the first stays.
fn without_repeated_segments(segments: Vec<Segment>, marks: &mut Vec<Mark>) -> Vec<Segment> {
    let mut kept: Vec<Segment> = Vec::new();
    for run in segments.chunk_by(|a, b| same(&a.text, &b.text)) {
        let [first, .., last] = run else {
            kept.extend_from_slice(run);
            continue;
        };
        if run.len() < SEGMENTS {
            kept.extend_from_slice(run);
            continue;
        }
        let (start_ms, end_ms) = (first.start_ms, last.end_ms);
        marks.push(Mark { kind: MarkKind::Repetition, start_ms, end_ms });
        kept.push(first.clone());
    }
    kept
}

fn same(a: &str, b: &str) -> bool {
    plain(a) == plain(b)
}

/// Without punctuation and case.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The text with each loop said once; none if there is no loop.
fn without_loops(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let plain: Vec<String> = words.iter().map(|word| plain(word)).collect();
    let mut kept = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let (length, times) = repeated(&plain[at..]);
        kept.extend_from_slice(&words[at..at + length]);
        at += length * times;
    }
    (kept.len() < words.len()).then(|| kept.join(" "))
}

/// The phrase that begins here and is said too often, and how often; otherwise one word, once.
fn repeated(words: &[String]) -> (usize, usize) {
    (1..=PHRASE.min(words.len() / TIMES_MORE))
        .map(|length| {
            let phrase = &words[..length];
            let times = words.chunks_exact(length).take_while(|chunk| *chunk == phrase).count();
            (length, times)
        })
        .find(|&(length, times)| times >= if length == 1 { TIMES_ONE } else { TIMES_MORE })
        .unwrap_or((1, 1))
}

/// Stretches that are neither silent nor have words.
fn wordless(segments: &[Segment], silences: &[Mark], length: u64) -> Vec<Mark> {
    let mut told: Vec<(u64, u64)> = segments.iter().map(|s| (s.start_ms, s.end_ms)).collect();
    told.extend(silences.iter().map(|silence| (silence.start_ms, silence.end_ms)));
    told.push((length, length));
    told.sort_unstable();
    let mut until = 0;
    let mut marks = Vec::new();
    for (start_ms, end_ms) in told {
        if start_ms >= until + NO_WORDS {
            marks.push(Mark { kind: MarkKind::NoWords, start_ms: until, end_ms: start_ms });
        }
        until = until.max(end_ms);
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: usize = crate::RATE as usize;

    fn heard(texts: &[(u64, u64, &str)]) -> Vec<Segment> {
        let segment = |&(start, end, text): &(u64, u64, &str)| Segment {
            start_ms: start * 1000,
            end_ms: end * 1000,
            text: text.to_owned(),
            confidence: 0.9,
        };
        texts.iter().map(segment).collect()
    }

    fn listened(segments: Vec<Segment>) -> Listened {
        Listened { segments, left_out: vec![] }
    }

    fn told(texts: &[(u64, u64, &str)], silences: &[(usize, usize)], seconds: usize) -> String {
        let silences: Vec<_> =
            silences.iter().map(|(from, to)| from * SECOND..to * SECOND).collect();
        let whole = 0..seconds * SECOND;
        let voiced = std::slice::from_ref(&whole);
        let heard = Heard { words: listened(heard(texts)), silences: &silences, voiced };
        let (segments, marks) = tidy(heard, seconds * SECOND);
        let segments = segments.iter().map(|segment| {
            format!("{}-{} {}", segment.start_ms / 1000, segment.end_ms / 1000, segment.text)
        });
        let marks = marks.iter().map(|mark| {
            format!("[{:?} {}-{}]", mark.kind, mark.start_ms / 1000, mark.end_ms / 1000)
        });
        segments.chain(marks).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_is_said_stays_as_it_is() {
        let said = [(0, 4, "We met Profuturo."), (4, 9, "No, no, no, they said."), (9, 12, "Bye.")];
        let all = "0-4 We met Profuturo.; 4-9 No, no, no, they said.; 9-12 Bye.";
        assert_eq!(told(&said, &[], 12), all);
    }

    #[test]
    fn text_in_silence_was_not_said() {
        let said = [(0, 5, "Hello."), (10, 20, "Thank you for watching!"), (30, 33, "So.")];
        let all = "0-5 Hello.; 30-33 So.; [Silence 5-30]";
        assert_eq!(told(&said, &[(5, 30)], 34), all);
    }

    #[test]
    fn a_sentence_beside_a_silence_does_not_reach_into_it() {
        let said = [(0, 7, "Hello."), (18, 33, "So.")];
        assert_eq!(told(&said, &[(5, 30)], 34), "0-5 Hello.; 30-33 So.; [Silence 5-30]");
    }

    #[test]
    fn a_sentence_again_and_again_is_said_once_and_marked() {
        let said =
            [(0, 3, "Yes."), (3, 5, "We go."), (5, 7, "We go."), (7, 9, "we go"), (9, 11, "Now.")];
        let all = "0-3 Yes.; 3-5 We go.; 9-11 Now.; [Repetition 3-9]";
        assert_eq!(told(&said, &[], 11), all);
    }

    #[test]
    fn a_loop_within_a_sentence_is_said_once_and_marked() {
        let said = [(0, 20, "I think that it is, it is, it is, it is, it is, it is good.")];
        assert_eq!(told(&said, &[], 20), "0-20 I think that it is, good.; [Repetition 0-20]");
        let said = [(0, 20, "so so so so so so so")];
        assert_eq!(told(&said, &[], 20), "0-20 so; [Repetition 0-20]");
    }

    #[test]
    fn long_stretches_without_words_are_marked() {
        let said = [(12, 15, "Hello."), (20, 21, "Bye.")];
        let all = "12-15 Hello.; 20-21 Bye.; [NoWords 0-12]; [NoWords 21-40]; [Silence 40-60]";
        assert_eq!(told(&said, &[(40, 60)], 60), all);
    }

    #[test]
    fn times_stay_within_the_chunk_and_in_order() {
        let said = [(0, 6, "One."), (5, 9, "Two."), (4, 40, "Three.")];
        assert_eq!(told(&said, &[], 12), "0-6 One.; 5-9 Two.; 5-12 Three.");
    }

    #[test]
    fn a_silent_chunk_has_no_text() {
        assert_eq!(told(&[], &[(0, 10)], 10), "[Silence 0-10]");
    }

    #[test]
    fn what_is_made_up_of_the_noise_of_a_room_is_a_mark_and_no_text() {
        let check = |confidence: f32, voiced: &[Range<usize>], expected: &[Mark]| {
            let mut segments = heard(&[(0, 6, "Thank you."), (6, 11, "Hello.")]);
            segments[0].confidence = confidence;
            let words = listened(segments);
            let (segments, marks) = tidy(Heard { words, silences: &[], voiced }, 11 * SECOND);
            assert_eq!(marks, expected);
            assert_eq!(segments.len(), 2 - expected.len());
        };
        let speech = 6 * SECOND..11 * SECOND;
        let mark = Mark { kind: MarkKind::NoWords, start_ms: 0, end_ms: 6000 };
        check(0.03, std::slice::from_ref(&speech), &[mark]);
        check(0.9, std::slice::from_ref(&speech), &[mark]);
        check(0.7, &[2 * SECOND..3 * SECOND, speech.clone()], &[]);
        check(0.3, &[2 * SECOND..3 * SECOND, speech.clone()], &[mark]);
        check(0.03, &[2 * SECOND..4 * SECOND, speech], &[]);
    }

    #[test]
    fn a_long_stretch_of_noise_has_one_mark() {
        let mut segments = heard(&[(0, 4, "Thank you."), (4, 29, "You")]);
        segments.iter_mut().for_each(|segment| segment.confidence = 0.02);
        let words = listened(segments);
        let (segments, marks) = tidy(Heard { words, silences: &[], voiced: &[] }, 45 * SECOND);
        assert_eq!(segments, []);
        assert_eq!(marks, [Mark { kind: MarkKind::NoWords, start_ms: 0, end_ms: 45_000 }]);
    }

    #[test]
    fn what_was_left_out_is_marked_unless_a_longer_mark_has_it() {
        let whole = 0..30 * SECOND;
        let voiced = std::slice::from_ref(&whole);
        let mark = |start_ms, end_ms| Mark { kind: MarkKind::NoWords, start_ms, end_ms };
        let segments = heard(&[(0, 5, "Hello."), (8, 14, "Now.")]);
        let words = Listened { segments, left_out: vec![mark(5_000, 8_000), mark(20_000, 24_000)] };
        let (_, marks) = tidy(Heard { words, silences: &[], voiced }, 30 * SECOND);
        assert_eq!(marks, [mark(5_000, 8_000), mark(14_000, 30_000)]);
    }
}
