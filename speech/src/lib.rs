//! Recordings decoded to samples, and transcribed by Whisper: sound goes in, text with times comes out. No database.
//!
//! The way of a recording: [`decode::Audio`] gives its sound in blocks, [`chunks::Cutter`] gathers them into chunks of some
//! minutes that end where it is quiet, [`transcribe::Model`] turns each chunk into text, and [`formats`] writes subtitles of it.
//! Every step depends on nothing but the sound from the chunk's beginning, so that a transcription may go on after any chunk
//! as if it had never been interrupted.

pub mod chunks;
pub mod convert;
pub mod decode;
pub mod formats;
pub mod language;
pub mod threads;
pub mod transcribe;
mod voice;

/// Samples per second of all sound in this crate, which is what Whisper takes.
pub const RATE: u32 = 16_000;

/// When in the recording a sample is, in milliseconds.
#[must_use]
pub fn milliseconds(sample: u64) -> u64 {
    sample * 1000 / u64::from(RATE)
}
