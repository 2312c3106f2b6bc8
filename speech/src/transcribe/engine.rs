//! whisper.cpp, and all that must be known to call it.
//!
//! - whisper-rs's own way of setting an abort callback passes a closure as what it is not, so callbacks are set by hand.
//! - Its tokenizer trusts that its buffer suffices, so the buffer is as long as the text.
//! - A state in which was searched widely gives other text than a fresh one ever after, since its cache stays larger.
#![allow(
    unsafe_code,
    reason = "callbacks and the list of devices are C; nothing else here is unsafe"
)]

mod sentences;

use std::cell::Cell;
use std::ffi::c_void;

use whisper_rs::{
    FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperError,
    WhisperSegment, WhisperState, WhisperSysContext, WhisperSysState, WhisperTokenId,
};

use self::sentences::Sentences;
use super::windows::Request;
use super::{Control, DETECTION, Segment, TranscribeError};
use crate::threads;

/// How many texts are followed at a time in a wide search.
const BEAMS: i32 = 5;

/// What whisper.cpp works in: some hundred megabytes, of which making one takes a twentieth of what a window does.
pub(super) type State = WhisperState;

/// A piece of a text, or a time, as Whisper numbers them.
pub(super) type Token = WhisperTokenId;

/// Whisper tells times in steps of so many milliseconds, from 0 to 30 s.
const STEP_MS: u64 = 20;
const LAST_TIME: Token = 1_500;

/// What decides on the times of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Times {
    /// Whisper alone.
    Free,
    /// Each sentence has one: see [`sentences`].
    OfSentences,
}

/// How the likeliest text is searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Search {
    /// The likeliest word, one after the other.
    Greedy,
    /// Several texts at a time, of which some begin with less likely words: half as much work again.
    Wide,
}

/// Those of the processor's abilities that are made use of.
pub(super) fn built_for() -> String {
    let abilities = whisper_rs::print_system_info().split('|').filter_map(|ability| {
        let (name, value) = ability.rsplit_once('=')?;
        (value.trim() == "1").then(|| name.trim())
    });
    abilities.collect::<Vec<_>>().join(", ")
}

/// Whether there is a graphics card that Whisper was built for. As whisper.cpp looks for one: a build for cards has none on a
/// machine without, or where the driver is missing.
pub(super) fn has_card() -> bool {
    use whisper_rs::whisper_rs_sys as sys;
    // SAFETY: the list of devices is made at the first call and never changes; the numbers are within it.
    let kinds = unsafe {
        (0..sys::ggml_backend_dev_count())
            .map(|number| sys::ggml_backend_dev_type(sys::ggml_backend_dev_get(number)))
            .collect::<Vec<_>>()
    };
    kinds.into_iter().any(|kind| {
        kind == sys::ggml_backend_dev_type_GGML_BACKEND_DEVICE_TYPE_GPU
            || kind == sys::ggml_backend_dev_type_GGML_BACKEND_DEVICE_TYPE_IGPU
    })
}

#[derive(Debug)]
pub(super) struct Engine {
    context: WhisperContext,
    name: String,
    sentences: Sentences,
}

impl Engine {
    /// None if this is no whole model.
    pub(super) fn open(model: &[u8]) -> Option<Self> {
        // Without a backend for it, this silences whisper.cpp's log, which would go to stderr.
        whisper_rs::install_logging_hooks();
        let mut parameters = WhisperContextParameters::default();
        // On a processor, attention in blocks takes half as long again.
        let has_card = has_card();
        parameters.use_gpu(has_card).flash_attn(has_card);
        let context = WhisperContext::new_from_buffer_with_params(model, parameters).ok()?;
        let kind = context.model_type_readable_str_lossy().ok()?.into_owned();
        let name = if context.is_multilingual() { kind } else { format!("{kind}.en") };
        let sentences = Sentences::of(&context);
        Some(Self { context, name, sentences })
    }

    /// The model's size, and `.en` if it knows only English.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_multilingual(&self) -> bool {
        self.context.is_multilingual()
    }

    pub(super) fn knows(&self, language: &str) -> bool {
        // C would take a zero for the end.
        let exists = !language.contains('\0') && whisper_rs::get_lang_id(language).is_some();
        exists && (self.is_multilingual() || language == "en")
    }

    /// How many tokens a text is.
    pub(super) fn tokens(&self, text: &str) -> usize {
        self.encode(text).map_or(usize::MAX, |tokens| tokens.len())
    }

    /// A text as tokens; none if it is no text for Whisper.
    pub(super) fn encode(&self, text: &str) -> Option<Vec<Token>> {
        let text = text.replace('\0', "");
        // No token is shorter than a byte.
        self.context.tokenize(&text, text.len() + 1).ok()
    }

    /// What was said in a window that begins at this time of the chunk, in milliseconds, with its times as Whisper tells them.
    pub(super) fn with_times(&self, segments: &[Segment], begins_ms: u64) -> Vec<Token> {
        let time = |ms: u64| {
            let steps = ms.saturating_sub(begins_ms) / STEP_MS;
            self.context.token_beg() + Token::try_from(steps).unwrap_or(Token::MAX).min(LAST_TIME)
        };
        let mut tokens = Vec::new();
        for segment in segments {
            tokens.push(time(segment.start_ms));
            tokens.extend(self.encode(&format!(" {}", segment.text)).unwrap_or_default());
            tokens.push(time(segment.end_ms));
        }
        tokens
    }

    pub(super) fn detect(
        &self,
        samples: &[f32],
        threads: usize,
    ) -> Result<(String, f32), TranscribeError> {
        let mut state = self.state()?;
        let threads = threads::harmless(threads);
        state.pcm_to_mel(&samples[..samples.len().min(DETECTION)], threads).map_err(failed)?;
        let (language, probabilities) = state.lang_detect(0, threads).map_err(failed)?;
        let code = whisper_rs::get_lang_str(language).unwrap_or("en");
        let probability = usize::try_from(language).ok().and_then(|at| probabilities.get(at));
        Ok((code.to_owned(), probability.copied().unwrap_or_default()))
    }

    /// What Whisper understands of the beginning of this sound, at most half a minute.
    pub(super) fn run(
        &self,
        state: &mut State,
        samples: &[f32],
        request: Request<'_>,
        (search, times): (Search, Times),
        control: &Control,
    ) -> Result<Vec<Segment>, TranscribeError> {
        let mut parameters = parameters(request, search);
        let (of_control, of_sentences) = (&raw const *control, &raw const self.sentences);
        let has_begun = Cell::new(false);
        // SAFETY: each callback is given what it casts to, and it outlives the call of `full` below, which is the last to use
        // these parameters.
        unsafe {
            parameters.set_abort_callback(Some(is_cancelled));
            parameters.set_abort_callback_user_data(of_control.cast_mut().cast());
            parameters.set_start_encoder_callback(Some(begin));
            parameters
                .set_start_encoder_callback_user_data((&raw const has_begun).cast_mut().cast());
            if times == Times::OfSentences {
                parameters.set_filter_logits_callback(Some(sentences::time));
                parameters.set_filter_logits_callback_user_data(of_sentences.cast_mut().cast());
            }
        }
        match state.full(parameters, samples) {
            Ok(()) => Ok(state.as_iter().filter_map(|segment| self.segment(&segment)).collect()),
            Err(_) if control.is_cancelled() => Err(TranscribeError::Cancelled),
            Err(error) => Err(failed(error)),
        }
    }

    pub(super) fn state(&self) -> Result<State, TranscribeError> {
        self.context.create_state().map_err(failed)
    }

    /// None without any word.
    fn segment(&self, segment: &WhisperSegment<'_>) -> Option<Segment> {
        let text = segment.to_str_lossy().ok()?.split_whitespace().collect::<Vec<_>>().join(" ");
        let [start_ms, end_ms] = [segment.start_timestamp(), segment.end_timestamp()]
            .map(|hundredths| u64::try_from(hundredths).unwrap_or(0) * 10);
        let confidence = self.confidence(segment);
        // Of the noise of a room Whisper may make a full stop, and be sure of it.
        let says_something = text.contains(char::is_alphanumeric);
        says_something.then_some(Segment { start_ms, end_ms, text, confidence })
    }

    /// Geometric mean over the tokens that are text, to a thousandth.
    fn confidence(&self, segment: &WhisperSegment<'_>) -> f32 {
        let text =
            |token: &whisper_rs::WhisperToken<'_, '_>| token.token_id() < self.context.token_eot();
        let logarithms: Vec<f32> = (0..segment.n_tokens())
            .filter_map(|number| segment.get_token(number).filter(text))
            .map(|token| token.token_probability().max(f32::MIN_POSITIVE).ln())
            .collect();
        #[allow(clippy::cast_precision_loss, reason = "at most some hundred tokens")]
        let mean = logarithms.iter().sum::<f32>() / logarithms.len().max(1) as f32;
        (mean.exp().min(1.0) * 1000.0).round() / 1000.0
    }
}

fn parameters(request: Request<'_>, search: Search) -> FullParams<'_, '_> {
    let Request { language, prompt, threads } = request;
    let mut parameters = FullParams::new(match search {
        Search::Greedy => SamplingStrategy::Greedy { best_of: 1 },
        Search::Wide => SamplingStrategy::BeamSearch { beam_size: BEAMS, patience: -1.0 },
    });
    // Where Whisper is unsure, it would draw words by chance until it likes some. Looking wider finds better ones.
    parameters.set_temperature_inc(0.0);
    parameters.set_n_threads(i32::try_from(threads::harmless(threads)).unwrap_or(1));
    parameters.set_language(Some(language));
    parameters.set_print_progress(false);
    parameters.set_print_special(false);
    parameters.set_print_realtime(false);
    parameters.set_print_timestamps(false);
    // Nothing of an earlier call; the prompt is all there is.
    parameters.set_no_context(true);
    // No "(music)" and the like: Whisper writes them into silence.
    parameters.set_suppress_nst(true);
    if !prompt.is_empty() {
        parameters.set_tokens(prompt);
    }
    parameters
}

/// Whether the control behind the pointer was told to end. Asked before each window and each word.
///
/// # Safety
/// The pointer must be one to a `Control` that is alive.
unsafe extern "C" fn is_cancelled(control: *mut c_void) -> bool {
    // SAFETY: the caller promises it.
    unsafe { &*control.cast::<Control>() }.is_cancelled()
}

/// Whether a window is to be listened to: the first alone, which is remembered behind the pointer. Called before each.
///
/// # Safety
/// The last pointer must be one to a `Cell<bool>` that is alive.
unsafe extern "C" fn begin(
    _: *mut WhisperSysContext,
    _: *mut WhisperSysState,
    has_begun: *mut c_void,
) -> bool {
    // SAFETY: the caller promises it.
    !unsafe { &*has_begun.cast::<Cell<bool>>() }.replace(true)
}

fn failed(error: WhisperError) -> TranscribeError {
    TranscribeError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_build_for_processors_uses_no_card_whatever_the_machine_has() {
        assert!(!super::has_card());
    }
}
