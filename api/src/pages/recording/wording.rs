//! What stands on pages about recordings, in plain words.

use domain::note::{Transcript, spoken_time};
use maud::{Markup, html};

use super::super::recorder::language;
use crate::recordings::speech_model;

/// What a state means.
pub fn words(state: &str, has_reason: bool) -> &'static str {
    match (state, has_reason) {
        ("stored", _) => "It is stored, and waits for its turn to be transcribed.",
        ("waiting_for_model", _) => "It is stored, and cannot be transcribed yet.",
        ("transcribing", _) => "It is being transcribed.",
        ("transcribed", false) => "It is transcribed. Its summary is being made.",
        ("transcribed", true) => "It is transcribed.",
        ("summarised", _) => "It is transcribed and summarised.",
        ("cancelled", _) => "The transcription was stopped.",
        ("failed", _) => "It cannot be transcribed.",
        _ => "",
    }
}

/// A reason as a sentence; what is to be typed, which stands between backticks, as such.
pub fn reason(why: &str) -> Markup {
    let why = domain::telling::capitalised(why);
    html! {
        @for (at, part) in why.split('`').enumerate() {
            @if at % 2 == 1 { code { (part) } } @else { (part) }
        }
        "."
    }
}

/// How long a recording is, and its language where something is said in it.
pub fn length(transcript: &Transcript) -> String {
    let time = spoken_time(transcript.duration_ms);
    match language(&transcript.language) {
        "" => time,
        language => format!("{time}, {language}"),
    }
}

/// How long a recording is, in which language, and who heard that; which weights exactly is told to whoever points at it.
pub fn heard(transcript: &Transcript) -> Markup {
    html! { (length(transcript)) ", by " span title=(transcript.model) { (speech_model(&transcript.model)) } "." }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_words() {
        for state in [
            "stored",
            "waiting_for_model",
            "transcribing",
            "transcribed",
            "summarised",
            "cancelled",
            "failed",
        ] {
            assert!(!words(state, false).is_empty() && !words(state, true).is_empty(), "{state}");
        }
    }

    #[test]
    fn what_is_to_be_typed_is_shown_as_such() {
        let check = |why: &str, expected: &str| assert_eq!(reason(why).into_string(), expected);
        check("no model: run `crm <x>`", "No model: run <code>crm &lt;x&gt;</code>.");
        check("no sound", "No sound.");
    }
}
