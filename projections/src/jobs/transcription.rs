//! From the sound of a recording to its transcript, chunk by chunk, each in the journal before the next is begun.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use domain::Kind;
use domain::note::{
    AudioFile, Gap, Mark, MarkKind, Recording, RecordingCommand, Segment, Transcript,
};
use speech::chunks::{Chunk, Cutter};
use speech::decode::{Audio, DecodeError};
use speech::milliseconds;
use speech::transcribe::{self, ChunkText, Model, Options, TranscribeError};
use tokio::runtime::Handle;

use super::glossary;
use super::journal::{Finished, Heard, Journal, MOST_BEGUN, MOST_FAILURES};
use super::lease::Lease;
use super::trouble::Trouble;
use super::worker::{Leash, Tools};
use crate::files::FileError;
use crate::log::AsideError;
use crate::uploads::{self, CipherError, LOST};

/// From so many percent on it is sure which language is spoken, and the chunks that follow are in the same.
const SURE: u8 = 50;

/// Transcribes a recording and tells its note.
pub(super) async fn run(
    tools: &Tools,
    lease: &Lease,
    leash: &Arc<Leash>,
    recording: Recording,
) -> Result<RecordingCommand, Trouble> {
    // Without one, a large file is not copied in vain.
    tools.models.path(recording.model.as_deref())?;
    let preparing = async {
        let sound = sound(tools, lease, &recording.file).await?;
        let names = glossary::of(&tools.log.database().pool, lease.note).await?;
        let model = model(tools, recording.model.clone()).await?;
        Ok::<_, Trouble>((sound, names, model))
    };
    // The store may take hours, or be silent.
    let (sound, names, model) = tokio::select! {
        prepared = preparing => prepared?,
        () = leash.until_cut() => return Err(Trouble::Interrupted),
    };
    let work = Work {
        tools: tools.clone(),
        lease: lease.clone(),
        leash: leash.clone(),
        names,
        // Earlier releases kept it as it was said.
        language: recording
            .language
            .map(|said| speech::language::code(&said).map_or(said, str::to_owned)),
        model,
        sound,
    };
    // Hours of work: not on a thread that others wait for. Its heartbeat goes on beside it.
    let runtime = Handle::current();
    let working = tokio::task::spawn_blocking(move || work.run(&runtime));
    let transcript = working.await.map_err(|panic| Trouble::passing(&panic))??;
    Ok(RecordingCommand::KeepTranscript { round: lease.round, transcript })
}

/// The model that is asked for. Whoever does not wait for it leaves it in memory for the next recording.
async fn model(tools: &Tools, name: Option<String>) -> Result<Arc<Model>, Trouble> {
    let models = tools.models.clone();
    let loading = tokio::task::spawn_blocking(move || models.load(name.as_deref()));
    Ok(loading.await.map_err(|panic| Trouble::passing(&panic))??)
}

/// A copy of the recording, deciphered.
async fn sound(tools: &Tools, lease: &Lease, file: &AudioFile) -> Result<File, Trouble> {
    let (database, note) = (tools.log.database(), lease.note.0);
    let mut cipher = None;
    if file.sealed {
        let found = uploads::cipher(database, note, &file.key).await;
        let found = found.map_err(|error| match error {
            CipherError::File(error) => not_had(lease, error),
            CipherError::Database(error) => error.into(),
        })?;
        let missing = || Trouble::passing(&AsideError::NoKey(Kind::Note.record(note)));
        cipher = Some(found.ok_or_else(missing)?);
    }
    let error = match tools.files.copy(&file.key, &file.sha256, cipher).await {
        Err(error @ FileError::Missing(_)) => error,
        copied => return copied.map_err(|error| not_had(lease, error)),
    };
    if tools.files.store().is_known(&file.key) {
        return Err(Trouble::ForGood(LOST.to_owned()));
    }
    Err(match has_others(tools, lease).await? {
        Some(true) => Trouble::ForGood(LOST.to_owned()),
        // Another worker, or another attempt, may find it.
        Some(false) => not_had(lease, error),
        None => Trouble::Passing(LOST.to_owned()),
    })
}

/// Why the file cannot be had, in plain words; all that is known of it is for the log alone, since it may name buckets and folders.
fn not_had(lease: &Lease, error: FileError) -> Trouble {
    tracing::warn!(recording = lease.recording.0, %error, "the file of a recording cannot be had");
    error.into()
}

/// Whether the file of any other recording is there, of the newest; none if there is no other recording. Where none of them
/// is, this worker keeps files elsewhere than the server, or its folder is not mounted.
async fn has_others(tools: &Tools, lease: &Lease) -> Result<Option<bool>, Trouble> {
    const OTHERS: &str =
        "select record->'file'->>'key' from recording where id <> $1 order by id desc limit 20";
    let database = tools.log.database();
    let asking = sqlx::query_scalar(OTHERS).bind(lease.recording.0).fetch_all(&database.pool);
    let keys: Vec<String> = database.ask(asking).await?;
    for key in &keys {
        let facts = tools.files.store().facts(key).await;
        if facts.map_err(|error| not_had(lease, error))?.is_some() {
            return Ok(Some(true));
        }
    }
    Ok((!keys.is_empty()).then_some(false))
}

/// A transcription on a thread of its own.
struct Work {
    tools: Tools,
    lease: Lease,
    leash: Arc<Leash>,
    names: Vec<String>,
    language: Option<String>,
    model: Arc<Model>,
    sound: File,
}

/// The copy of a recording, which cannot be read any more once the leash is cut: so decoding ends wherever it is.
struct Leashed {
    file: File,
    leash: Arc<Leash>,
}

impl Read for Leashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.leash.is_cut() {
            true => Err(io::Error::other("nobody wants it any more")),
            false => self.file.read(buffer),
        }
    }
}

impl Seek for Leashed {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Work {
    fn run(mut self, runtime: &Handle) -> Result<Transcript, Trouble> {
        let model = self.model.clone();
        let database = self.tools.log.database().clone();
        let lease = self.lease.clone();
        let journal = Journal::of(&database, &lease);
        let names = std::mem::take(&mut self.names);
        self.names = runtime.block_on(journal.settle(model.id(), names))?;
        let mut finished = runtime.block_on(journal.finished())?;
        let mut audio = self.open()?;
        let total = match audio.duration() {
            Some(said) => Some(said),
            None => {
                // A browser does not say it. Both read through one position in the file.
                let measured = self.open()?.measure();
                audio = self.open()?;
                measured
            }
        };
        self.go_on()?;
        let total = total.map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX));
        let start = finished.last().map_or(0, |chunk| chunk.end);
        runtime.block_on(self.lease.begin(&database.pool, milliseconds(start), total))?;
        audio.skip_to(start).map_err(|error| self.not_decoded(&error))?;
        for chunk in Cutter::new(audio, start, self.tools.chunk) {
            let chunk = chunk.map_err(|error| self.not_decoded(&error))?;
            self.go_on()?;
            let number = i32::try_from(finished.len()).unwrap_or(i32::MAX);
            let heard = self.listen(runtime, &journal, &model, number, &chunk, &finished)?;
            runtime.block_on(journal.finish(number, chunk.end(), &heard))?;
            runtime.block_on(self.lease.advance(&database.pool, milliseconds(chunk.end())))?;
            finished.push(Finished { start: chunk.start, end: chunk.end(), heard });
        }
        self.go_on()?;
        Ok(together(model.id(), finished))
    }

    /// Whether anybody still wants it. Else what was decoded last may end too soon.
    fn go_on(&self) -> Result<(), Trouble> {
        if self.leash.is_cut() { Err(Trouble::Interrupted) } else { Ok(()) }
    }

    fn open(&self) -> Result<Audio, Trouble> {
        let file = self.sound.try_clone().map_err(|error| Trouble::passing(&error))?;
        let sound = Leashed { file, leash: self.leash.clone() };
        Audio::open(BufReader::new(sound)).map_err(|error| self.not_decoded(&error))
    }

    fn not_decoded(&self, error: &DecodeError) -> Trouble {
        if self.leash.is_cut() {
            return Trouble::Interrupted;
        }
        if let Some(problem) = error.technical() {
            tracing::warn!(recording = self.lease.recording.0, %error, problem,
                "a recording cannot be decoded");
        }
        match error {
            DecodeError::Read(_) => Trouble::passing(error),
            _ => Trouble::ForGood(error.to_string()),
        }
    }

    /// What is said in a chunk. One that was given up says nothing, and why.
    fn listen(
        &self,
        runtime: &Handle,
        journal: &Journal<'_>,
        model: &Model,
        number: i32,
        chunk: &Chunk,
        before: &[Finished],
    ) -> Result<Heard, Trouble> {
        let (begun, failed) = runtime.block_on(journal.begin(number, chunk.start))?;
        if failed >= MOST_FAILURES || begun >= MOST_BEGUN {
            let why = match failed {
                0 => format!("the worker died {begun} times at this place"),
                failed => format!("Whisper failed {failed} times at this place"),
            };
            return Ok(Heard { gap: Some(why), ..Heard::nothing() });
        }
        let prompt = model.prompt(self.names.iter().map(String::as_str));
        let language = self.language.as_deref().or_else(|| spoken(before));
        let options = Options { language, prompt: &prompt, threads: self.tools.threads };
        self.leash.listen_to(milliseconds(chunk.start)..milliseconds(chunk.end()));
        match model.transcribe(&chunk.samples, &options, self.leash.control()) {
            Ok(text) => Ok(Heard::of(text, milliseconds(chunk.start))),
            Err(TranscribeError::Cancelled) => {
                // Whoever stops in order has not died of this chunk.
                let _ = runtime.block_on(journal.unbegin(number));
                Err(Trouble::Interrupted)
            }
            Err(error @ TranscribeError::Language { .. }) => {
                Err(Trouble::ForGood(error.to_string()))
            }
            Err(error @ TranscribeError::Failed(_)) => {
                runtime.block_on(journal.fail(number))?;
                Err(Trouble::passing(&error))
            }
        }
    }
}

impl Heard {
    fn nothing() -> Self {
        Self { language: String::new(), certainty: 0, segments: vec![], marks: vec![], gap: None }
    }

    /// With the times of the recording, whose chunk begins at this millisecond.
    fn of(text: ChunkText, start: u64) -> Self {
        let segments = text.segments.into_iter().map(|segment| Segment {
            start_ms: start + segment.start_ms,
            end_ms: start + segment.end_ms,
            confidence: percent(segment.confidence),
            text: segment.text,
        });
        let marks = text.marks.into_iter().map(|mark| {
            let kind = match mark.kind {
                transcribe::MarkKind::Silence => MarkKind::Silence,
                transcribe::MarkKind::Repetition => MarkKind::Repetition,
                transcribe::MarkKind::NoWords => MarkKind::NoWords,
            };
            (start + mark.start_ms, start + mark.end_ms, kind)
        });
        Self {
            segments: segments.collect(),
            marks: marks.collect(),
            language: text.language,
            certainty: percent(text.certainty),
            gap: None,
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is between 0 and 100"
)]
fn percent(confidence: f32) -> u8 {
    (confidence.clamp(0.0, 1.0) * 100.0).round() as u8
}

/// The language of a recording is that of the first chunk in which anything was said and Whisper was sure of it. As long as
/// there is none, each chunk is asked again.
fn spoken(chunks: &[Finished]) -> Option<&str> {
    let sure =
        |chunk: &&Finished| chunk.heard.certainty >= SURE && !chunk.heard.segments.is_empty();
    chunks.iter().find(sure).map(|chunk| chunk.heard.language.as_str())
}

/// Of languages that are all unsure, the surest.
fn likely(chunks: &[Finished]) -> Option<&str> {
    let said = chunks.iter().rev().filter(|chunk| !chunk.heard.segments.is_empty());
    said.max_by_key(|chunk| chunk.heard.certainty).map(|chunk| chunk.heard.language.as_str())
}

fn together(model: &str, chunks: Vec<Finished>) -> Transcript {
    let language = spoken(&chunks).or_else(|| likely(&chunks)).unwrap_or_default().to_owned();
    let mut transcript = Transcript {
        model: model.to_owned(),
        language,
        duration_ms: chunks.last().map_or(0, |chunk| milliseconds(chunk.end)),
        segments: vec![],
        gaps: vec![],
        marks: vec![],
    };
    for Finished { start, end, heard } in chunks {
        let (start_ms, end_ms) = (milliseconds(start), milliseconds(end));
        transcript.gaps.extend(heard.gap.map(|reason| Gap { start_ms, end_ms, reason }));
        transcript.segments.extend(heard.segments);
        let marks = heard.marks.into_iter();
        transcript.marks.extend(marks.map(|(start_ms, end_ms, kind)| Mark {
            start_ms,
            end_ms,
            kind,
        }));
    }
    transcript
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(start: u64, end: u64, language: &str, texts: &[&str]) -> Finished {
        let segments = texts.iter().map(|text| Segment {
            start_ms: milliseconds(start),
            end_ms: milliseconds(end),
            text: (*text).to_owned(),
            confidence: 90,
        });
        let segments = segments.collect();
        Finished {
            start,
            end,
            heard: Heard { segments, language: language.into(), certainty: 90, ..Heard::nothing() },
        }
    }

    #[test]
    fn the_language_is_that_of_the_first_words() {
        let silence = || finished(0, 16_000, "en", &[]);
        assert_eq!(spoken(&[silence()]), None);
        let hola = finished(16_000, 32_000, "es", &["Hola."]);
        assert_eq!(spoken(&[silence(), hola, finished(32_000, 48_000, "en", &["Hi"])]), Some("es"));
    }

    #[test]
    fn a_language_that_is_not_sure_is_asked_for_again() {
        let guess = |language, certainty| {
            let mut chunk = finished(0, 16_000, language, &["Thank you."]);
            chunk.heard.certainty = certainty;
            chunk
        };
        let guesses = [guess("en", 30), guess("es", 40), guess("en", 40)];
        assert_eq!((spoken(&guesses), likely(&guesses)), (None, Some("es")));
        assert_eq!(spoken(&[guess("en", 30), guess("es", 80)]), Some("es"));
        assert_eq!(together("base", vec![guess("en", 30), guess("es", 80)]).language, "es");
    }

    #[test]
    fn what_was_given_up_is_a_gap_in_the_whole() {
        let mut lost = finished(16_000, 48_000, "", &[]);
        lost.heard.gap = Some("Whisper failed 3 times at this place".into());
        let chunks = vec![finished(0, 16_000, "en", &["Hi."]), lost];
        let whole = together("tiny.en", chunks);
        assert_eq!((whole.duration_ms, whole.segments.len()), (3000, 1));
        assert_eq!((whole.gaps[0].start_ms, whole.gaps[0].end_ms), (1000, 3000));
    }

    #[test]
    fn times_are_those_of_the_recording() {
        let text = ChunkText {
            language: "en".into(),
            certainty: 0.9,
            segments: vec![transcribe::Segment {
                start_ms: 500,
                end_ms: 900,
                text: "Hi.".into(),
                confidence: 0.874,
            }],
            marks: vec![transcribe::Mark {
                kind: transcribe::MarkKind::Silence,
                start_ms: 900,
                end_ms: 20_000,
            }],
        };
        let heard = Heard::of(text, 300_000);
        let segment = &heard.segments[0];
        assert_eq!((segment.start_ms, segment.end_ms, segment.confidence), (300_500, 300_900, 87));
        assert_eq!(heard.marks, [(300_900, 320_000, MarkKind::Silence)]);
    }
}
