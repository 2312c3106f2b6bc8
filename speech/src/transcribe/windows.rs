//! A chunk is listened to window by window, and what is to be doubted in one is listened to again at once, by other means.
//!
//! Whisper begins each window with its text so far before its eyes, which it needs to go on in the same manner. Left to itself it
//! also goes on repeating, or making up, what it once did, for minutes. So the text of a window is looked at before the next one is
//! begun: if something is doubted far into it, what comes before that stays, and the next window begins there; if it is doubted
//! from the beginning, the window is listened to without the text before it, and wider. Of what no way makes better, the parts that
//! remain doubted are left out, since they are rather music or noise than words, and the next window does not go on from it.

use std::ops::Range;

use super::doubt::{credible, fault, worth};
use super::engine::{Engine, Search, State, Times, Token};
use super::{Control, Mark, Segment, TranscribeError, sample_at};
use crate::{RATE, chunks, milliseconds, voice};

/// What Whisper listens to at a time, in samples.
const WINDOW: usize = 30 * RATE as usize;

/// Sound shorter than this at the end of a chunk, in samples, holds no word that was missed.
const SCRAP: usize = 3 * RATE as usize / 2;

/// With a prompt, Whisper repeats it where there is as little sound as this.
const SHORT: usize = 5 * RATE as usize;

/// What begins so far into a window, in samples, may as well begin the next one.
const FAR: usize = 4 * RATE as usize;

/// What is so much fainter than the speech before it is a pause.
const FAINTER: f32 = 0.15;

/// After so many windows in a row that no way made better, the others are not tried any more until one is good.
const PATIENCE: usize = 2;

/// Where Whisper hears nothing of what is there, it listens again from so much later on.
const STEP: usize = 10 * RATE as usize;

/// What Whisper reads of what was said before: half of its text context, less the token that begins it.
const MOST_TOKENS: usize = 223;

/// How many segments before a window it may repeat.
const LATELY: usize = 6;

/// A chunk, and what is known of its sound, in samples.
pub(super) struct Sound<'a> {
    pub samples: &'a [f32],
    pub silences: &'a [Range<usize>],
    pub voiced: &'a [Range<usize>],
}

/// What is asked of Whisper for a window.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub language: &'a str,
    /// What it is to believe was said before.
    pub prompt: &'a [Token],
    pub threads: usize,
}

/// A way to listen to a window.
#[derive(Clone, Copy)]
struct Way {
    search: Search,
    times: Times,
    before: Before,
}

/// What Whisper is told to have been said before.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    /// The names, and what was said just now.
    All,
    Names,
    Nothing,
}

/// Where there are no names. What was said just now carries its times, so that Whisper goes on telling them.
const UNNAMED: [Way; 3] = [
    Way { search: Search::Greedy, times: Times::Free, before: Before::All },
    Way { search: Search::Wide, times: Times::Free, before: Before::Nothing },
    Way { search: Search::Wide, times: Times::OfSentences, before: Before::Nothing },
];

/// After names Whisper may leave times out, and words with them; made to tell them, it may leave out other words.
const NAMED: [Way; 3] = [
    Way { search: Search::Greedy, times: Times::OfSentences, before: Before::All },
    Way { search: Search::Wide, times: Times::OfSentences, before: Before::Names },
    Way { search: Search::Wide, times: Times::Free, before: Before::Nothing },
];

/// What was said just before a window, as far as it is not doubted.
#[derive(Default)]
struct JustNow {
    tokens: Vec<Token>,
    /// The last of it, which Whisper may repeat.
    segments: Vec<Segment>,
}

/// What was understood of a window, and up to where it was listened to.
struct Taken {
    segments: Vec<Segment>,
    until: usize,
    /// What was left out, if this is the best that there is, and no good.
    doubted: Option<Vec<Mark>>,
}

/// What was understood of a chunk, and what was left out.
#[derive(Default)]
pub(super) struct Listened {
    pub segments: Vec<Segment>,
    pub left_out: Vec<Mark>,
}

/// Listens to a chunk, from its beginning to its end.
pub(super) struct Listener<'a> {
    pub engine: &'a Engine,
    /// That of the windows before, if it is as good as a fresh one.
    pub state: Option<State>,
    pub sound: Sound<'a>,
    pub language: &'a str,
    pub threads: usize,
    pub control: &'a Control,
    /// Names that may be said.
    pub names: Vec<Token>,
}

impl Listener<'_> {
    /// All that was said, in the order of time.
    ///
    /// # Errors
    /// When it is cancelled, and when Whisper fails.
    pub(super) fn listen(mut self) -> Result<Listened, TranscribeError> {
        let end = self.sound.samples.len();
        let mut heard = Listened::default();
        let mut just_now = JustNow::default();
        let mut from = 0;
        let mut in_vain = 0;
        while let Some(window) = next_window(from, end, self.sound.silences) {
            self.control.reach(u8::try_from(window.start * 100 / end).unwrap_or(100));
            // Music and the like no way makes better.
            let ways = if in_vain < PATIENCE { 3 } else { 1 };
            let Taken { segments, until, doubted } = self.window(&window, &just_now, ways)?;
            if let Some(left_out) = doubted {
                in_vain += 1;
                just_now = JustNow::default();
                heard.left_out.extend(left_out);
            } else {
                in_vain = 0;
                self.remember(&mut just_now, &segments, window.start);
            }
            heard.segments.extend(segments);
            from = until;
        }
        self.control.reach(100);
        Ok(heard)
    }

    fn remember(&self, just_now: &mut JustNow, segments: &[Segment], begins: usize) {
        let JustNow { tokens, segments: last } = just_now;
        tokens.extend(self.engine.with_times(segments, milliseconds(begins as u64)));
        let most = MOST_TOKENS.saturating_sub(self.names.len());
        tokens.drain(..tokens.len().saturating_sub(most));
        last.extend_from_slice(segments);
        last.drain(..last.len().saturating_sub(LATELY));
    }

    /// What is said in a window, listened to in at most so many ways.
    fn window(
        &mut self,
        window: &Range<usize>,
        just_now: &JustNow,
        ways: usize,
    ) -> Result<Taken, TranscribeError> {
        let mut best: Option<(f64, Vec<Segment>)> = None;
        let is_short = window.start > 0 && window.len() <= SHORT;
        let all = if self.names.is_empty() || is_short { UNNAMED } else { NAMED };
        for mut way in all.into_iter().take(ways) {
            if is_short {
                way.before = Before::Nothing;
            }
            let mut segments = self.hear(window, way, just_now)?;
            let before = if way.before == Before::All { &just_now.segments[..] } else { &[] };
            let Some(at) = fault(&segments, before, window, &self.sound) else {
                let until = goes_on(&segments, window, &self.sound);
                return Ok(Taken { segments, until, doubted: None });
            };
            let until = segments[..at].last().map_or(window.start, |last| sample_at(last.end_ms));
            if until >= window.start + FAR && until < window.end {
                segments.truncate(at);
                return Ok(Taken { segments, until, doubted: None });
            }
            let worth = worth(&segments, &just_now.segments, &self.sound);
            if best.as_ref().is_none_or(|(most, _)| worth > *most) {
                best = Some((worth, segments));
            }
        }
        let segments = best.map(|(_, segments)| segments).unwrap_or_default();
        let until = goes_on(&segments, window, &self.sound);
        let until = until.max(window.start + SHORT).min(window.end);
        let (segments, left_out) = credible(segments, &self.sound);
        Ok(Taken { segments, until, doubted: Some(left_out) })
    }

    fn hear(
        &mut self,
        window: &Range<usize>,
        way: Way,
        just_now: &JustNow,
    ) -> Result<Vec<Segment>, TranscribeError> {
        if self.control.is_cancelled() {
            return Err(TranscribeError::Cancelled);
        }
        let prompt = match way.before {
            Before::All => [&self.names[..], &just_now.tokens].concat(),
            Before::Names => self.names.clone(),
            Before::Nothing => vec![],
        };
        let request = Request { language: self.language, prompt: &prompt, threads: self.threads };
        let samples = &self.sound.samples[window.clone()];
        let (search, times) = (way.search, way.times);
        // Only one at a time: it is large.
        let kept = self.state.take().filter(|_| search == Search::Greedy);
        let mut state = kept.map_or_else(|| self.engine.state(), Ok)?;
        let mut segments =
            self.engine.run(&mut state, samples, request, (search, times), self.control)?;
        self.state = (search == Search::Greedy).then_some(state);
        let offset = milliseconds(window.start as u64);
        for segment in &mut segments {
            segment.start_ms += offset;
            segment.end_ms += offset;
        }
        Ok(segments)
    }
}

/// What is to be listened to next, from a sample of the chunk on: nothing that is silent for long, and no scrap before that or at the end.
fn next_window(mut from: usize, end: usize, silences: &[Range<usize>]) -> Option<Range<usize>> {
    loop {
        if let Some(silence) = silences.iter().find(|silence| silence.contains(&from)) {
            from = silence.end;
        }
        if from >= end {
            return None;
        }
        let silent = silences.iter().map(|silence| silence.start).filter(|start| *start > from);
        let window = from..end.min(from + WINDOW).min(silent.min().unwrap_or(end));
        if window.len() >= SCRAP {
            return Some(window);
        }
        from = window.end;
    }
}

/// From where on the next window listens: behind what was said, unless nothing follows in this one.
fn goes_on(segments: &[Segment], window: &Range<usize>, sound: &Sound<'_>) -> usize {
    let Some(last) = segments.last() else {
        let is_quiet = voice::within(sound.voiced, window) == 0;
        return if is_quiet { window.end } else { window.end.min(window.start + STEP) };
    };
    let end = sample_at(last.end_ms).clamp(window.start + SCRAP / 2, window.end);
    let rest = end..window.end;
    // At the end of a chunk, or before a silence, the pause behind the last word invites to make something up.
    let is_last = window.len() < WINDOW;
    let loudness = |part: Range<usize>| chunks::loudness(&sound.samples[part]);
    let is_quiet = voice::within(sound.voiced, &rest) == 0
        || is_last && loudness(rest) <= FAINTER * loudness(window.start..end);
    if is_quiet { window.end } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: usize = RATE as usize;

    /// Where the next window begins after one of ten seconds from the fifth second on, in which this was said, in milliseconds, and
    /// somebody speaks until this second.
    fn next(said: &[(u64, u64)], speaks_until: usize) -> usize {
        let mut samples = vec![0.0; 15 * SECOND];
        samples[..speaks_until * SECOND].fill(0.1);
        let segment = |&(start_ms, end_ms): &(u64, u64)| Segment {
            start_ms,
            end_ms,
            text: "Yes.".to_owned(),
            confidence: 0.9,
        };
        let segments: Vec<Segment> = said.iter().map(segment).collect();
        let speaks = 0..speaks_until.next_multiple_of(2) * SECOND;
        let voiced = std::slice::from_ref(&speaks);
        let sound = Sound { samples: &samples, silences: &[], voiced };
        goes_on(&segments, &(5 * SECOND..15 * SECOND), &sound) / (SECOND / 10)
    }

    #[test]
    fn the_next_window_begins_where_the_last_word_ends_if_others_follow() {
        assert_eq!(next(&[(5_000, 8_000), (8_000, 11_500)], 15), 115);
        // Whisper's times may pass the end.
        assert_eq!(next(&[(5_000, 19_000)], 15), 150);
        // What is said at once is not the end.
        assert_eq!(next(&[(5_000, 5_300)], 15), 57);
        // Only a pause follows, in a stretch in which somebody spoke.
        assert_eq!(next(&[(5_000, 13_000)], 13), 150);
        assert_eq!(next(&[(5_000, 12_000)], 12), 150);
        assert_eq!(next(&[], 5), 150);
    }

    #[test]
    fn neither_long_silences_nor_scraps_are_listened_to() {
        let check = |from: usize, expected: Option<Range<usize>>| {
            let silences = [20 * SECOND..40 * SECOND, 41 * SECOND..60 * SECOND];
            let found = next_window(from * SECOND, 100 * SECOND, &silences);
            let expected = expected.map(|it| it.start * SECOND..it.end * SECOND);
            assert_eq!(found, expected, "{from}");
        };
        check(0, Some(0..20));
        check(18, Some(18..20));
        // A second between two silences is one.
        check(19, Some(60..90));
        check(30, Some(60..90));
        check(80, Some(80..100));
        check(99, None);
        check(100, None);
    }
}
