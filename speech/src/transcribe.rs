//! A chunk of sound to text with times, by Whisper.
//!
//! Each chunk is transcribed with nothing of the chunks before it: the same chunk with the same prompt gives the same text, in this
//! process or the next.

mod control;
mod doubt;
mod engine;
mod file;
mod prompt;
mod shape;
mod tidy;
mod windows;

use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

pub use self::control::Control;
use self::engine::Engine;
use self::file::Fault;
use self::tidy::Heard;
use self::windows::{Listened, Listener, Sound};
use crate::{RATE, chunks, voice};

/// Whisper decides on the language by 30 s of sound.
const DETECTION: usize = 30 * RATE as usize;
/// In so much of it, in samples, somebody should be speaking.
const SPEECH: usize = 4 * RATE as usize;
/// Whoever is so sure of the language need not listen to more.
const SURE: f32 = 0.8;
/// How many pieces of a chunk are listened to for its language.
const PIECES: usize = 3;

/// What a model is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The language's code (`en`, `es`, …); detected where there is none.
    pub language: Option<&'a str>,
    /// What Whisper is to believe was said before: see [`Model::prompt`].
    pub prompt: &'a str,
    /// Threads, at least one; never more than one where they would spin ([`threads`](crate::threads)).
    pub threads: usize,
}

/// What was said in a chunk.
#[derive(Clone, Debug, PartialEq)]
pub struct ChunkText {
    /// The language's code, as asked for or detected.
    pub language: String,
    /// How sure the language is, from 0 to 1: nobody can tell it from a silence or the noise of a room.
    pub certainty: f32,
    /// In the order of time.
    pub segments: Vec<Segment>,
    /// What a reader should know of places where text is missing or was put right.
    pub marks: Vec<Mark>,
}

impl ChunkText {
    /// All that was said, in one line.
    #[must_use]
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self.segments.iter().map(|segment| segment.text.as_str()).collect();
        texts.join(" ")
    }
}

/// A sentence or a part of one. Times are milliseconds from the beginning of the chunk.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// When it begins.
    pub start_ms: u64,
    /// When it ends, not before it begins.
    pub end_ms: u64,
    /// Without spaces around it, never empty.
    pub text: String,
    /// How sure Whisper is, from 0 to 1: the geometric mean of its words' probabilities.
    pub confidence: f32,
}

/// A stretch of time, in milliseconds from the beginning of the chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What is to be known about it.
    pub kind: MarkKind,
    /// When it begins.
    pub start_ms: u64,
    /// When it ends.
    pub end_ms: u64,
}

/// What a [`Mark`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkKind {
    /// Nothing to be heard for ten seconds or longer.
    Silence,
    /// Whisper repeated itself, and the repetitions were left out: listen to it.
    Repetition,
    /// Sound for ten seconds or longer in which no words were understood.
    NoWords,
}

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file could not be read.
    #[error("the speech model {}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// It is something else, or cut off.
    #[error(
        "{} is not a whole Whisper model in ggml's format: get one by `crm models get speech`, or name another in WHISPER_MODEL",
        .0.display()
    )]
    NotAModel(PathBuf),
}

/// Why a chunk was not transcribed.
#[derive(Debug, thiserror::Error)]
pub enum TranscribeError {
    /// The caller wanted no more.
    #[error("transcription was cancelled")]
    Cancelled,
    /// Trying again will not help, another language or model will.
    #[error("the speech model {model} does not know the language {language:?}")]
    Language {
        /// What was asked for.
        language: String,
        /// The model's id.
        model: String,
    },
    /// Whisper could not do it: memory was short, most likely.
    #[error("Whisper failed: {0}")]
    Failed(String),
}

/// A Whisper model in memory. Several threads may use it at once; each transcription takes some hundred megabytes.
#[derive(Debug)]
pub struct Model {
    engine: Engine,
    id: String,
}

impl Model {
    /// Loads a model from a file in ggml's format.
    ///
    /// # Errors
    /// When the file cannot be read or is no such model.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let not_a_model = || ModelError::NotAModel(path.to_owned());
        file::check(path).map_err(|fault| match fault {
            Fault::NotAModel => not_a_model(),
            Fault::Unreadable(source) => ModelError::File { path: path.to_owned(), source },
        })?;
        let hash = hash(path)?;
        let model = shape::reshape(path)
            .map_err(|source| ModelError::File { path: path.to_owned(), source })?;
        let engine = Engine::open(&model).ok_or_else(not_a_model)?;
        let id = format!("whisper-{}-{hash}", engine.name());
        Ok(Self { engine, id })
    }

    /// Says which weights these are, for the record: `whisper-base-ba8ad06f2b54`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it knows other languages than English.
    #[must_use]
    pub fn is_multilingual(&self) -> bool {
        self.engine.is_multilingual()
    }

    /// The prompt for a chunk: names that may be said in it, the most likely first. Whisper writes names as the prompt has them. It
    /// reads no more than 223 tokens, some of which are what was said just before, so not all names may be in it.
    #[must_use]
    pub fn prompt<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> String {
        prompt::compose(names, |text| self.engine.tokens(text))
    }

    /// The language that is spoken at the beginning of this sound, and how sure that is, from 0 to 1.
    ///
    /// # Errors
    /// When Whisper fails.
    pub fn detect(
        &self,
        samples: &[f32],
        threads: usize,
    ) -> Result<(String, f32), TranscribeError> {
        self.engine.detect(samples, threads)
    }

    /// Transcribes a chunk of sound at [`RATE`]. When it is cancelled it ends with [`TranscribeError::Cancelled`] before the
    /// next window of at most 30 s of sound, or the next word.
    ///
    /// # Errors
    /// When it is cancelled, when the model does not know the language, and when Whisper fails.
    pub fn transcribe(
        &self,
        samples: &[f32],
        options: &Options<'_>,
        control: &Control,
    ) -> Result<ChunkText, TranscribeError> {
        let silences = chunks::silences(samples);
        let is_silent = matches!(&silences[..], [all] if *all == (0..samples.len()));
        let voiced = voice::voiced(samples);
        let (language, certainty) = match options.language {
            Some(language) if self.engine.knows(language) => (language.to_owned(), 1.0),
            Some(language) => {
                let (language, model) = (language.to_owned(), self.id.clone());
                return Err(TranscribeError::Language { language, model });
            }
            None if !self.is_multilingual() => ("en".to_owned(), 1.0),
            None if is_silent => ("en".to_owned(), 0.0),
            None => self.spoken(samples, &voiced, options.threads, control)?,
        };
        let words = match is_silent || samples.is_empty() {
            true => Listened::default(),
            false => {
                let sound = Sound { samples, silences: &silences, voiced: &voiced };
                let names = self.engine.encode(options.prompt).unwrap_or_default();
                let (engine, language, threads) = (&self.engine, &language, options.threads);
                Listener { engine, state: None, sound, language, threads, control, names }
                    .listen()?
            }
        };
        let heard = Heard { words, silences: &silences, voiced: &voiced };
        let (segments, marks) = tidy::tidy(heard, samples.len());
        Ok(ChunkText { language, certainty, segments, marks })
    }

    /// The language that is spoken in a chunk, and how sure that is: by the piece that says it most surely, of some in which
    /// somebody speaks. Where nobody seems to speak it is a guess at best.
    fn spoken(
        &self,
        samples: &[f32],
        voiced: &[Range<usize>],
        threads: usize,
        control: &Control,
    ) -> Result<(String, f32), TranscribeError> {
        let mut surest: Option<(String, f32)> = None;
        for piece in pieces(voiced, samples.len()) {
            if control.is_cancelled() {
                return Err(TranscribeError::Cancelled);
            }
            let found = self.engine.detect(&samples[piece], threads)?;
            let is_sure = found.1 >= SURE;
            if surest.as_ref().is_none_or(|(_, certainty)| found.1 > *certainty) {
                surest = Some(found);
            }
            if is_sure {
                break;
            }
        }
        match surest {
            Some(surest) => Ok(surest),
            None => Ok((self.engine.detect(samples, threads)?.0, 0.0)),
        }
    }
}

/// What Whisper's code makes use of, as it was built: AVX2, CUDA and the like. For a report of how fast it is.
#[must_use]
pub fn built_for() -> String {
    engine::built_for()
}

/// Whether Whisper was built for a graphics card and finds none: it transcribes on the processor then.
#[must_use]
pub fn misses_card() -> bool {
    cfg!(feature = "cuda") && !engine::has_card()
}

/// The pieces of a chunk by which its language is found: each begins where somebody begins to speak. Those in which more than
/// a word or two is said, or, without any, the one in which most is.
fn pieces(voiced: &[Range<usize>], end: usize) -> Vec<Range<usize>> {
    let mut pieces: Vec<Range<usize>> = Vec::new();
    for part in voiced {
        let mut from = part.start.max(pieces.last().map_or(0, |piece| piece.end));
        while from < part.end {
            let piece = from..end.min(from + DETECTION);
            from = piece.end;
            pieces.push(piece);
        }
    }
    let said = |piece: &Range<usize>| voice::within(voiced, piece);
    let most = pieces.iter().max_by_key(|piece| said(piece)).cloned();
    pieces.retain(|piece| said(piece) >= SPEECH);
    pieces.truncate(PIECES);
    if pieces.is_empty() { most.into_iter().collect() } else { pieces }
}

/// Which sample is at this time of a chunk, in milliseconds.
fn sample_at(ms: u64) -> usize {
    usize::try_from(ms * u64::from(RATE) / 1000).unwrap_or(usize::MAX)
}

/// The beginning of the file's SHA-256, as hexadecimal digits.
fn hash(path: &Path) -> Result<String, ModelError> {
    let failed = |source| ModelError::File { path: path.to_owned(), source };
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(hasher.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect())
}
