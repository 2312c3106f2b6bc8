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
    /// The first token that is a time; all behind it are.
    times: usize,
    /// How many tokens there are.
    all: usize,
}

impl Sentences {
    pub(super) fn of(context: &WhisperContext) -> Self {
        let ends = |token| {
            let text = context.token_to_bytes(token).unwrap_or_default();
            text.last().is_some_and(|last| SIGNS.contains(last))
        };
        let number = |token| usize::try_from(token).unwrap_or_default();
        Self {
            ends: (0..context.token_eot()).map(ends).collect(),
            times: number(context.token_beg()),
            all: number(context.n_vocab()),
        }
    }

    /// Where a sentence has just ended, the last time that it may be told to end at, as a token.
    fn latest_end(&self, tokens: &[whisper_token_data]) -> Option<usize> {
        let number = |token: &whisper_token_data| usize::try_from(token.id).unwrap_or_default();
        let is_text = |token: &&whisper_token_data| number(token) < self.times;
        let said = tokens.iter().rev().take_while(is_text).count();
        let ends = |token| self.ends.get(number(token)).copied().unwrap_or(false);
        if said < SENTENCE || !tokens.last().is_some_and(ends) {
            return None;
        }
        let before =
            tokens.len().checked_sub(said + 1).map_or(self.times, |at| number(&tokens[at]));
        Some((before + said * LONGEST + PAUSE).min(self.all - 1))
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
    if let Some(latest) = sentences.latest_end(tokens) {
        // SAFETY: the caller promises it.
        let logits = unsafe { std::slice::from_raw_parts_mut(logits, sentences.all) };
        logits[..sentences.times].fill(f32::NEG_INFINITY);
        logits[latest + 1..].fill(f32::NEG_INFINITY);
    }
}
