//! Which segments are rather made up than heard, or have lost words. Whisper does so now and then with speech that it hears badly,
//! repeats what it has said, or leaves out what is said in half a minute.

use std::collections::HashSet;
use std::ops::Range;

use super::windows::Sound;
use super::{Mark, MarkKind, Segment, tidy};
use crate::{RATE, voice};

/// A text of some words is doubted if Whisper is less confident of it than this. What it makes up is mostly at 0.3 and less; what
/// was said, if not always understood, at 0.45 and more.
const UNSURE: f32 = 0.4;
const SOME_WORDS: f64 = 3.0;

/// A word by itself is doubted if Whisper is less confident of it than this: of music it makes a "you" at 0.04.
const HARDLY: f32 = 0.1;

/// A text is doubted if so many seconds of sound, or more, have fewer words than one in two seconds. People say two or three in one.
const LONG: f64 = 8.0;
const WORDS_PER_SECOND: f64 = 0.5;

/// Nobody tells the time of a segment with so many seconds of speech: it is the half minute that Whisper listens to at a time.
const UNTIMED: f64 = 20.0;

/// A segment with so many seconds of speech has lost words if it has them at less than half of the usual rate, which is that of this
/// many segments or more.
const STRETCHED: f64 = 6.0;
const SOME_SEGMENTS: usize = 4;

/// What a word counts for that is doubted, beside one that is not.
const DOUBTED: f64 = 0.1;

/// Words are missing where somebody seems to speak for so long, in samples, and nothing is understood.
const UNHEARD: usize = 8 * RATE as usize;

/// A segment is repeated if so many of its words or more, in percent, stand in phrases of [`PHRASE`] words that were said before in the
/// same half minute, or just before it.
const REPEATED: usize = 50;
const PHRASE: usize = 4;

/// The first segment of a window that should be listened to again, or before which words are missing; the first as well if there is none,
/// but somebody seems to speak. The window is samples of the chunk, as all times are of the chunk. What was told to have been said before it may be
/// repeated as well.
pub(super) fn fault(
    segments: &[Segment],
    before: &[Segment],
    window: &Range<usize>,
    sound: &Sound<'_>,
) -> Option<usize> {
    let usual = usual_rate(segments, sound);
    let mut said = Said::before(before);
    let mut until = window.start;
    for (at, segment) in segments.iter().enumerate() {
        let start = super::sample_at(segment.start_ms);
        let is_unheard = voice::within(sound.voiced, &(until..start.max(until))) >= UNHEARD;
        let is_repeated = said.repeats(&segment.text);
        if is_unheard
            || is_repeated
            || is_doubtful(segment, sound.silences)
            || are_words_lost(segment, usual, sound)
        {
            return Some(at);
        }
        until = super::sample_at(segment.end_ms);
    }
    let is_unheard = segments.is_empty() && voice::within(sound.voiced, window) >= UNHEARD;
    is_unheard.then_some(0)
}

/// By how much one text of a window is better than another: how many words it has that are neither repeated nor, but for a little,
/// doubted, each as sure as Whisper is of it.
pub(super) fn worth(segments: &[Segment], before: &[Segment], sound: &Sound<'_>) -> f64 {
    let mut said = Said::before(before);
    let worth = segments.iter().map(|segment| {
        let share = match (said.repeats(&segment.text), is_doubtful(segment, sound.silences)) {
            (true, _) => 0.0,
            (false, true) => DOUBTED,
            (false, false) => 1.0,
        };
        share * words(segment) * f64::from(segment.confidence)
    });
    worth.sum()
}

/// What may be believed of a window that no way makes better, and what else stood there.
pub(super) fn credible(segments: Vec<Segment>, sound: &Sound<'_>) -> (Vec<Segment>, Vec<Mark>) {
    let mut said = Said::default();
    let mut left_out = Vec::new();
    let credible = segments.into_iter().filter(|segment| {
        let is_unsure = segment.confidence < UNSURE || is_doubtful(segment, sound.silences);
        let kind = match (said.repeats(&segment.text), is_unsure) {
            (_, true) => MarkKind::NoWords,
            (true, false) => MarkKind::Repetition,
            (false, false) => return true,
        };
        let Segment { start_ms, end_ms, .. } = *segment;
        left_out.push(Mark { kind, start_ms, end_ms });
        false
    });
    (credible.collect(), left_out)
}

/// What was said before a text, in its window and just before that.
#[derive(Default)]
struct Said {
    words: Vec<String>,
    phrases: HashSet<Vec<String>>,
}

impl Said {
    fn before(segments: &[Segment]) -> Self {
        let mut said = Self::default();
        segments.iter().for_each(|segment| _ = said.repeats(&segment.text));
        said
    }

    /// Whether a text repeats itself or what was said before. It has been said then.
    fn repeats(&mut self, text: &str) -> bool {
        let before = self.words.len();
        self.words.extend(text.split_whitespace().map(tidy::plain).filter(|word| !word.is_empty()));
        let mut repeated = vec![false; self.words.len()];
        // Those phrases as well that begin before this text.
        let first = before.saturating_sub(PHRASE - 1);
        for (at, phrase) in self.words.windows(PHRASE).enumerate().skip(first) {
            if self.phrases.contains(phrase) {
                repeated[at..at + PHRASE].fill(true);
            } else {
                self.phrases.insert(phrase.to_vec());
            }
        }
        let repeated = repeated[before..].iter().filter(|is_repeated| **is_repeated).count();
        repeated > 0 && repeated * 100 >= (self.words.len() - before) * REPEATED
    }
}

#[allow(clippy::cast_precision_loss, reason = "some words")]
fn words(segment: &Segment) -> f64 {
    segment.text.split_whitespace().count() as f64
}

/// Words in a second of speech.
fn rate(segment: &Segment, sound: &Sound<'_>) -> f64 {
    words(segment) / speech(segment, sound).max(0.1)
}

/// For how many seconds of a segment somebody seems to speak.
#[allow(clippy::cast_precision_loss, reason = "samples of a chunk")]
fn speech(segment: &Segment, sound: &Sound<'_>) -> f64 {
    let span = super::sample_at(segment.start_ms)..super::sample_at(segment.end_ms);
    voice::within(sound.voiced, &span) as f64 / f64::from(RATE)
}

/// The median of the segments' rates; none of too few.
fn usual_rate(segments: &[Segment], sound: &Sound<'_>) -> f64 {
    let mut rates: Vec<f64> = segments.iter().map(|segment| rate(segment, sound)).collect();
    rates.sort_by(f64::total_cmp);
    if rates.len() < SOME_SEGMENTS { 0.0 } else { rates[rates.len() / 2] }
}

/// Whether a segment is as long as Whisper listens at a time, or says much less than others in its time.
fn are_words_lost(segment: &Segment, usual: f64, sound: &Sound<'_>) -> bool {
    let speech = speech(segment, sound);
    speech >= UNTIMED || speech >= STRETCHED && rate(segment, sound) < usual / 2.0
}

/// Whether a segment should be listened to again. Silences are those of its chunk, in samples.
fn is_doubtful(segment: &Segment, silences: &[Range<usize>]) -> bool {
    let words = words(segment);
    if segment.confidence < HARDLY || segment.confidence < UNSURE && words >= SOME_WORDS {
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
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of a chunk")]
    let sound = sound as f64 / 1000.0;
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

    fn segment(from: u64, to: u64, text: &str) -> Segment {
        let (start_ms, end_ms) = (from * 1000, to * 1000);
        Segment { start_ms, end_ms, text: text.to_owned(), confidence: 0.9 }
    }

    /// Which of these segments, of a window of half a minute in which somebody speaks throughout, is the first to be listened to
    /// again.
    fn first(segments: &[Segment]) -> Option<usize> {
        let window = 0..30 * RATE as usize;
        let voiced = std::slice::from_ref(&window);
        fault(segments, &[], &window, &Sound { samples: &[], silences: &[], voiced })
    }

    fn words(from: u64, to: u64, words: Range<usize>) -> Segment {
        let text: Vec<String> = words.map(|number| format!("word{number}")).collect();
        segment(from, to, &text.join(" "))
    }

    #[test]
    fn words_are_lost_where_segments_are_as_long_as_whisper_listens_or_say_far_less_than_others() {
        let usual = [words(0, 4, 0..10), words(4, 10, 10..25), words(10, 14, 25..34)];
        assert_eq!(first(&usual), None);
        assert_eq!(first(&[words(0, 30, 0..70)]), Some(0));
        assert_eq!(first(&[usual.to_vec(), vec![words(14, 28, 40..50)]].concat()), Some(3));
        // Of few segments nobody knows which is unusual.
        assert_eq!(first(&[words(0, 4, 0..20), words(4, 11, 20..26)]), None);
        assert_eq!(first(&[usual.to_vec(), vec![words(14, 18, 40..43)]].concat()), None);
    }

    #[test]
    fn words_are_missing_where_somebody_speaks_and_nothing_is_understood() {
        assert_eq!(first(&[]), Some(0));
        assert_eq!(first(&[words(9, 13, 0..10)]), Some(0));
        assert_eq!(first(&[words(0, 4, 0..10), words(13, 17, 10..20)]), Some(1));
        // What comes behind the last is listened to next.
        assert_eq!(first(&[words(0, 4, 0..10)]), None);
    }

    #[test]
    fn what_stood_before_a_window_is_doubted_in_it_and_of_two_texts_the_credible_one_is_worth_more()
    {
        let before = [segment(20, 30, "They will not proceed to the committee this year.")];
        let window = 30 * RATE as usize..60 * RATE as usize;
        let voiced = std::slice::from_ref(&window);
        let sound = Sound { samples: &[], silences: &[], voiced };
        let again = [segment(30, 38, "They will not proceed to the committee this year.")];
        assert_eq!(fault(&again, &before, &window, &sound), Some(0));
        assert_eq!(fault(&again, &[], &window, &sound), None);
        assert_eq!(worth(&again, &before, &sound), 0.0);
        let mut unsure = words(30, 58, 0..60);
        unsure.confidence = 0.35;
        let sure = words(30, 38, 0..20);
        assert!(worth(&[sure], &[], &sound) > worth(&[unsure], &[], &sound));
    }

    #[test]
    fn of_what_no_way_makes_better_only_what_whisper_is_sure_of_and_did_not_say_before_is_believed()
    {
        let sure = words(0, 4, 0..10);
        let mut unsure = words(4, 8, 10..20);
        unsure.confidence = 0.34;
        let mut hardly = segment(8, 9, "you");
        hardly.confidence = 0.04;
        let again = words(9, 13, 0..10);
        let sound = Sound { samples: &[], silences: &[], voiced: &[] };
        let (believed, left_out) = credible(vec![sure.clone(), unsure, hardly, again], &sound);
        assert_eq!(believed, [sure]);
        let mark = |kind, start_ms, end_ms| Mark { kind, start_ms, end_ms };
        let expected = [
            mark(MarkKind::NoWords, 4000, 8000),
            mark(MarkKind::NoWords, 8000, 9000),
            mark(MarkKind::Repetition, 9000, 13_000),
        ];
        assert_eq!(left_out, expected);
    }

    #[test]
    fn what_was_just_said_is_doubted() {
        let said = "The first part of the facility will not proceed to the committee.";
        let like = "The second part of the facility will not proceed to the committee.";
        let check = |texts: &[&str], expected: Option<usize>| {
            let segments: Vec<Segment> =
                (0..).zip(texts).map(|(at, text)| segment(at * 4, at * 4 + 4, text)).collect();
            assert_eq!(first(&segments), expected, "{texts:?}");
        };
        check(&[said, "They like the fund and will come back to us.", like], Some(2));
        check(&[said, "What the committee decides we will hear."], None);
        check(&["Yes, of course.", "It is, it is, it is, it is, it is good."], Some(1));
        check(&["Yes, of course.", "Yes, of course.", "No, no, they said."], None);
        check(&["It is in year three.", "Year three.", "Year three.", "Year three."], Some(2));
    }

    #[test]
    fn what_whisper_is_unsure_of_is_doubted() {
        assert!(check(5, "The company's own budget is a new mandate", 0.14, &[]));
        assert!(!check(5, "That a fork of health has already signed", 0.5, &[]));
        assert!(!check(1, "Yes.", 0.2, &[]));
        assert!(check(2, "you", 0.04, &[]));
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
