//! Recordings decoded to samples, and transcribed by Whisper.
