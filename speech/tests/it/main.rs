//! Recordings in, text out: sound is made by a speech synthesiser and packed by ffmpeg, as browsers and phones pack it.

mod clips;
mod convert;
mod decode;
mod transcribe;
mod weights;
mod words;
