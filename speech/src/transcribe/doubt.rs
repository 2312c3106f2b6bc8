//! Which segments are rather made up than heard. Whisper does so now and then with speech that it hears badly, and from there on it
//! goes on making up, or leaves out what is said in half a minute.

use std::ops::Range;

use super::Segment;

/// A text of some words is doubted if Whisper is less confident of it than this. What it makes up is mostly at 0.3 and less; what
/// was said, if not always understood, at 0.45 and more.
const UNSURE: f32 = 0.4;
const SOME_WORDS: usize = 3;

/// A text is doubted if so many seconds of sound, or more, have fewer words than one in two seconds. People say two or three in one.
const LONG: f64 = 8.0;
const WORDS_PER_SECOND: f64 = 0.5;

/// Nobody tells the time of a segment this long, in milliseconds: it is the half minute that Whisper listens to at a time.
const UNTIMED: u64 = 20_000;

/// A segment of this length, in milliseconds, has lost words if it has them at less than half of the usual rate.
const STRETCHED: u64 = 6_000;

/// Whether a chunk has segments as long as Whisper listens at a time, or some in which much less is said than in most.
pub(super) fn are_times_lost(segments: &[Segment]) -> bool {
    let length = |segment: &Segment| segment.end_ms.saturating_sub(segment.start_ms);
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of a chunk, and its words")]
    let rate = |segment: &Segment| {
        segment.text.split_whitespace().count() as f64 / length(segment).max(1) as f64
    };
    let mut rates: Vec<f64> = segments.iter().map(rate).collect();
    rates.sort_by(f64::total_cmp);
    let usual = rates.get(rates.len() / 2).copied().unwrap_or_default();
    let is_lost = |segment: &Segment| {
        length(segment) >= UNTIMED || length(segment) >= STRETCHED && rate(segment) < usual / 2.0
    };
    segments.iter().any(is_lost)
}

/// Whether a segment should be listened to again. Silences are those of its chunk, in samples.
pub(super) fn is_doubtful(segment: &Segment, silences: &[Range<usize>]) -> bool {
    let words = segment.text.split_whitespace().count();
    if segment.confidence < UNSURE && words >= SOME_WORDS {
        return true;
    }
    let ms = |samples: usize| crate::milliseconds(samples as u64);
    let silent: u64 = silences
        .iter()
        .map(|silence| {
            let from = ms(silence.start).max(segment.start_ms);
            ms(silence.end).min(segment.end_ms).saturating_sub(from)
        })
        .sum();
    let sound = segment.end_ms.saturating_sub(segment.start_ms).saturating_sub(silent);
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of a chunk, and its words")]
    let (sound, words) = (sound as f64 / 1000.0, words as f64);
    sound >= LONG && words < sound * WORDS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RATE;

    fn check(seconds: u64, text: &str, confidence: f32, silences: &[Range<usize>]) -> bool {
        let (start_ms, end_ms) = (10_000, 10_000 + seconds * 1000);
        let segment = Segment { start_ms, end_ms, text: text.to_owned(), confidence };
        is_doubtful(&segment, silences)
    }

    #[test]
    fn times_are_lost_where_segments_are_as_long_as_whisper_listens_or_say_far_less_than_others() {
        let segment = |from: u64, to: u64, words: usize| {
            let text = vec!["word"; words].join(" ");
            Segment { start_ms: from * 1000, end_ms: to * 1000, text, confidence: 0.9 }
        };
        let usual = [segment(0, 4, 10), segment(4, 10, 15), segment(10, 14, 9)];
        assert!(!are_times_lost(&usual) && !are_times_lost(&[]));
        assert!(are_times_lost(&[segment(0, 30, 70), segment(30, 34, 10)]));
        assert!(are_times_lost(&[usual.to_vec(), vec![segment(14, 28, 10)]].concat()));
        assert!(!are_times_lost(&[usual.to_vec(), vec![segment(14, 18, 3)]].concat()));
    }

    #[test]
    fn what_whisper_is_unsure_of_is_doubted() {
        assert!(check(5, "The company's own budget is a new mandate", 0.14, &[]));
        assert!(!check(5, "That a fork of health has already signed", 0.5, &[]));
        assert!(!check(1, "Yes.", 0.2, &[]));
    }

    #[test]
    fn much_sound_with_few_words_is_doubted() {
        assert!(check(22, "We're explained that", 0.6, &[]));
        assert!(check(23, "The", 0.06, &[]));
        assert!(!check(7, "Well", 0.9, &[]));
        let second = RATE as usize;
        let (begin, end) = (0..second * 12, second * 31..second * 40);
        assert!(!check(22, "We're explained that", 0.6, &[second * 13..second * 30, end.clone()]));
        assert!(check(22, "We're explained that", 0.6, &[begin, end]));
    }
}
