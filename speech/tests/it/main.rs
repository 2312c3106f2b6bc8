//! Recordings in, text out: sound is made by a speech synthesiser and packed by ffmpeg, as browsers and phones pack it.

#![allow(clippy::unwrap_used, reason = "a test that fails on an unwrap says where")]

mod clips;
mod convert;
mod decode;
mod threads;
mod transcribe;
mod weights;
mod words;
