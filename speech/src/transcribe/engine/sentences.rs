//! Makes Whisper tell the time at the end of each sentence.
//!
//! After names, which have no times, it may leave them out: half a minute becomes one segment, and what is cut at the end
//! of that window is lost, since the next window begins behind it. With a time at each sentence it goes on from the last whole
//! one.

use std::ffi::{c_int, c_void};

use whisper_rs::whisper_rs_sys::whisper_token_data;
use whisper_rs::{WhisperContext, WhisperSysContext, WhisperSysState};

/// What ends a sentence, in English and Spanish.
const SIGNS: [u8; 3] = *b".?!";

/// Fewer tokens than these since the last time are no sentence yet: an abbreviation may end with a full stop.
const SENTENCE: usize = 8;

/// The longest that a token is taken to last, and a pause beside, in steps of a time: a second, and two. Whisper may jump to the
/// end of the half minute otherwise, and leave out what is said until then.
const LONGEST: usize = 50;
const PAUSE: usize = 100;

/// The tokens of a model, by what they say.
#[derive(Debug)]
pub(super) struct Sentences {
    /// Whether each token that is text ends a sentence.
    ends: Vec<bool>,
    /// Whether each begins and ends with a digit, so that a point between two of them is one of a number.
    digits: Vec<[bool; 2]>,
    /// The first token that is a time; all behind it are.
    times: usize,
    /// How many tokens there are.
    all: usize,
}

impl Sentences {
    pub(super) fn of(context: &WhisperContext) -> Self {
        let said = |token| context.token_to_bytes(token).unwrap_or_default();
        let texts: Vec<_> = (0..context.token_eot()).map(said).collect();
        let ends = |text: &[u8]| text.last().is_some_and(|last| SIGNS.contains(last));
        let digits =
            |text: &[u8]| [text.first(), text.last()].map(|it| it.is_some_and(u8::is_ascii_digit));
        let number = |token| usize::try_from(token).unwrap_or_default();
        Self {
            ends: texts.iter().map(|text| ends(text)).collect(),
            digits: texts.iter().map(|text| digits(text)).collect(),
            times: number(context.token_beg()),
            all: number(context.n_vocab()),
        }
    }

    /// Where a sentence has just ended, the last time that it may be told to end at, as a token. Of each token that may follow it is
    /// known how likely that is.
    fn latest_end(&self, tokens: &[usize], likely: &[f32]) -> Option<usize> {
        let said = tokens.iter().rev().take_while(|token| **token < self.times).count();
        let ends = |token: &usize| self.ends.get(*token).copied().unwrap_or(false);
        if said < SENTENCE || !tokens.last().is_some_and(ends) || self.is_number(tokens, likely) {
            return None;
        }
        let before = tokens.len().checked_sub(said + 1).map_or(self.times, |at| tokens[at]);
        Some((before + said * LONGEST + PAUSE).min(self.all - 1))
    }

    /// Whether the last sign is the point of a number that goes on: a digit stands before it, and of all texts one is most likely to
    /// follow.
    fn is_number(&self, tokens: &[usize], likely: &[f32]) -> bool {
        let digit = |token: usize, side: usize| self.digits.get(token).is_some_and(|it| it[side]);
        let [.., before, _] = tokens else { return false };
        let texts = likely.iter().enumerate().take(self.ends.len());
        let next = texts.max_by(|(_, one), (_, other)| one.total_cmp(other));
        digit(*before, 1) && next.is_some_and(|(token, _)| digit(token, 0))
    }
}

/// Rules out everything but likely times where a sentence has just ended. Called before each token.
///
/// # Safety
/// `tokens` must have so many elements, `logits` one for each token of the model, and the last pointer must be one to the model's
/// `Sentences`.
pub(super) unsafe extern "C" fn time(
    _: *mut WhisperSysContext,
    _: *mut WhisperSysState,
    tokens: *const whisper_token_data,
    count: c_int,
    logits: *mut f32,
    sentences: *mut c_void,
) {
    let count = usize::try_from(count).unwrap_or_default();
    // Of no tokens the pointer may be null.
    if count < SENTENCE {
        return;
    }
    // SAFETY: the caller promises it.
    let (tokens, sentences) =
        unsafe { (std::slice::from_raw_parts(tokens, count), &*sentences.cast::<Sentences>()) };
    let number = |token: &whisper_token_data| usize::try_from(token.id).unwrap_or_default();
    let tokens: Vec<usize> = tokens.iter().map(number).collect();
    // SAFETY: the caller promises it.
    let logits = unsafe { std::slice::from_raw_parts_mut(logits, sentences.all) };
    if let Some(latest) = sentences.latest_end(&tokens, logits) {
        logits[..sentences.times].fill(f32::NEG_INFINITY);
        logits[latest + 1..].fill(f32::NEG_INFINITY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts that are tokens, the first six; behind them come times.
    const TEXTS: usize = 6;
    const WORD: usize = 0;
    const POINT: usize = 1;
    const ONE: usize = 2;
    const FIVE: usize = 3;
    const FIVE_POINT: usize = 4;
    const FOUR_APART: usize = 5;

    fn latest(last: &[usize], next: usize) -> Option<usize> {
        let sentences = Sentences {
            ends: vec![false, true, false, false, true, false],
            digits: [[0, 0], [0, 0], [1, 1], [1, 1], [1, 0], [0, 1]]
                .map(|it| it.map(|is_digit| is_digit == 1))
                .to_vec(),
            times: TEXTS,
            all: 2_000,
        };
        let mut tokens = vec![WORD; SENTENCE];
        tokens.extend(last);
        let mut likely = vec![0.0; 2_000];
        // Whisper is sure that it could tell the time.
        (likely[next], likely[TEXTS + 9]) = (1.0, 2.0);
        sentences.latest_end(&tokens, &likely)
    }

    #[test]
    fn a_point_in_a_number_ends_no_sentence() {
        assert_eq!(latest(&[ONE, POINT], FIVE), None);
        assert_eq!(latest(&[FOUR_APART, POINT], FIVE_POINT), None);
    }

    #[test]
    fn a_sentence_ends_also_behind_a_number_and_where_another_number_follows() {
        for (last, next) in [
            (&[WORD, POINT][..], WORD),
            (&[ONE, POINT], WORD),
            (&[ONE, POINT], FOUR_APART),
            (&[WORD, POINT], FIVE),
            (&[FIVE_POINT], FIVE),
        ] {
            assert!(latest(last, next).is_some(), "{last:?} {next}");
        }
        assert_eq!(latest(&[WORD], WORD), None);
    }
}
