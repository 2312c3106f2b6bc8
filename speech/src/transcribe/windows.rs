//! A chunk is listened to window by window, and what is to be doubted in one is listened to again at once, by other means.
//!
//! Whisper begins each window with its text so far before its eyes, which it needs to go on in the same manner. Left to itself it
//! also goes on repeating, or making up, what it once did, for minutes. So the text of a window is looked at before the next one is
//! begun: if something is doubted far into it, what comes before that stays, and the next window begins there; if it is doubted
//! from the beginning, the window is listened to without any text before it, and wider. Whatever no way makes better is no text for
//! the next window to go on from.

use std::ops::Range;

use super::doubt::{fault, worth};
use super::engine::{Engine, Search, Times, Token};
use super::{Control, Segment, TranscribeError, sample_at};
use crate::{RATE, milliseconds, voice};

/// What Whisper listens to at a time, in samples.
const WINDOW: usize = 30 * RATE as usize;

/// Sound shorter than this at the end of a chunk, in samples, holds no word that was missed.
const SCRAP: usize = 3 * RATE as usize / 2;

/// With a prompt, Whisper repeats it where there is as little sound as this.
const SHORT: usize = 5 * RATE as usize;

/// What begins so far into a window, in samples, may as well begin the next one.
const FAR: usize = 4 * RATE as usize;

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
    /// Whether it is the best that there is, and no good.
    is_doubted: bool,
}

/// Listens to a chunk, from its beginning to its end.
pub(super) struct Listener<'a> {
    pub engine: &'a Engine,
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
    pub(super) fn listen(&self) -> Result<Vec<Segment>, TranscribeError> {
        let end = self.sound.samples.len();
        let mut heard: Vec<Segment> = Vec::new();
        let mut just_now = JustNow::default();
        let mut from = 0;
        loop {
            from = beyond_silence(from, self.sound.silences);
            if end.saturating_sub(from) < SCRAP {
                return Ok(heard);
            }
            let window = from..end.min(from + WINDOW);
            let Taken { segments, until, is_doubted } = self.window(&window, &just_now)?;
            match is_doubted {
                true => just_now = JustNow::default(),
                false => self.remember(&mut just_now, &segments, window.start),
            }
            heard.extend(segments);
            from = until;
            self.control.reach(u8::try_from(from * 100 / end).unwrap_or(100));
        }
    }

    fn remember(&self, just_now: &mut JustNow, segments: &[Segment], begins: usize) {
        let JustNow { tokens, segments: last } = just_now;
        tokens.extend(self.engine.with_times(segments, milliseconds(begins as u64)));
        let most = MOST_TOKENS.saturating_sub(self.names.len());
        tokens.drain(..tokens.len().saturating_sub(most));
        last.extend_from_slice(segments);
        last.drain(..last.len().saturating_sub(LATELY));
    }

    fn window(&self, window: &Range<usize>, just_now: &JustNow) -> Result<Taken, TranscribeError> {
        let mut best: Option<(f64, Vec<Segment>)> = None;
        for way in if self.names.is_empty() { UNNAMED } else { NAMED } {
            let mut segments = self.hear(window, way, just_now)?;
            let before = if way.before == Before::All { &just_now.segments[..] } else { &[] };
            let Some(at) = fault(&segments, before, window, &self.sound) else {
                let until = goes_on(&segments, window, &self.sound);
                return Ok(Taken { segments, until, is_doubted: false });
            };
            let until = segments[..at].last().map_or(window.start, |last| sample_at(last.end_ms));
            if until >= window.start + FAR && until < window.end {
                segments.truncate(at);
                return Ok(Taken { segments, until, is_doubted: false });
            }
            let worth = worth(&segments, before);
            if best.as_ref().is_none_or(|(most, _)| worth > *most) {
                best = Some((worth, segments));
            }
        }
        let segments = best.map(|(_, segments)| segments).unwrap_or_default();
        let until = goes_on(&segments, window, &self.sound);
        Ok(Taken { segments, until, is_doubted: true })
    }

    fn hear(
        &self,
        window: &Range<usize>,
        way: Way,
        just_now: &JustNow,
    ) -> Result<Vec<Segment>, TranscribeError> {
        if self.control.is_cancelled() {
            return Err(TranscribeError::Cancelled);
        }
        let is_short = window.len() <= SHORT;
        let prompt = match way.before {
            Before::All if !is_short => [&self.names[..], &just_now.tokens].concat(),
            Before::Names if !is_short => self.names.clone(),
            _ => vec![],
        };
        let request = Request { language: self.language, prompt: &prompt, threads: self.threads };
        let samples = &self.sound.samples[window.clone()];
        let mut segments =
            self.engine.run(samples, request, (way.search, way.times), self.control)?;
        let offset = milliseconds(window.start as u64);
        for segment in &mut segments {
            segment.start_ms += offset;
            segment.end_ms += offset;
        }
        Ok(segments)
    }
}

/// What is silent for long is not listened to.
fn beyond_silence(from: usize, silences: &[Range<usize>]) -> usize {
    silences.iter().find(|silence| silence.contains(&from)).map_or(from, |silence| silence.end)
}

/// From where on the next window listens: behind what was said, unless nothing follows in this one.
fn goes_on(segments: &[Segment], window: &Range<usize>, sound: &Sound<'_>) -> usize {
    let end = segments.last().map_or(0, |last| sample_at(last.end_ms)).min(window.end);
    let is_quiet = |part: Range<usize>| voice::within(sound.voiced, &part) == 0;
    if is_quiet(end.max(window.start)..window.end) {
        window.end
    } else if end < window.start + SCRAP / 2 {
        window.end.min(window.start + STEP)
    } else {
        end
    }
}
