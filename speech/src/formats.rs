//! Transcripts as files: subtitles for players, and plain text for people.

use std::fmt::Write as _;

/// A pause from which on plain text begins a new paragraph, in milliseconds.
const PARAGRAPH: u64 = 2_000;
/// And after about so many characters, since few speakers pause.
const LONG_PARAGRAPH: usize = 600;

/// A piece of text with its time in the recording, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cue<'a> {
    /// When it begins.
    pub start_ms: u64,
    /// When it ends.
    pub end_ms: u64,
    /// What is said.
    pub text: &'a str,
}

/// WebVTT (`text/vtt`).
#[must_use]
pub fn vtt<'a>(cues: impl IntoIterator<Item = Cue<'a>>) -> String {
    let mut file = String::from("WEBVTT\n");
    for cue in cues {
        let text = line(cue.text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let (start, end) = (time(cue.start_ms, '.'), time(cue.end_ms, '.'));
        // Writing to a String cannot fail.
        let _ = write!(file, "\n{start} --> {end}\n{text}\n");
    }
    file
}

/// SubRip (`application/x-subrip`).
#[must_use]
pub fn subrip<'a>(cues: impl IntoIterator<Item = Cue<'a>>) -> String {
    let mut file = String::new();
    for (number, cue) in (1..).zip(cues) {
        let (start, end) = (time(cue.start_ms, ','), time(cue.end_ms, ','));
        // Players take an arrow for a line of times.
        let text = line(cue.text).replace("-->", "->");
        let gap = if number == 1 { "" } else { "\n" };
        let _ = write!(file, "{gap}{number}\n{start} --> {end}\n{text}\n");
    }
    file
}

/// Plain text in paragraphs, which end at a pause or when they are long (`text/plain`).
#[must_use]
pub fn plain<'a>(cues: impl IntoIterator<Item = Cue<'a>>) -> String {
    let mut text = String::new();
    let (mut paragraph, mut end) = (0, 0);
    for cue in cues {
        let said = line(cue.text);
        if said.is_empty() {
            continue;
        }
        let paused = cue.start_ms >= end + PARAGRAPH;
        let long = text.len() - paragraph >= LONG_PARAGRAPH && text.ends_with(['.', '?', '!']);
        if !text.is_empty() && (paused || long) {
            text.push_str("\n\n");
            paragraph = text.len();
        } else if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&said);
        end = cue.end_ms;
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// On one line: an empty one would end a cue.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `01:02:03.456`, with the mark that the format has before the thousandths.
fn time(milliseconds: u64, mark: char) -> String {
    let (seconds, thousandths) = (milliseconds / 1000, milliseconds % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}{mark}{thousandths:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUES: [Cue<'static>; 3] = [
        Cue { start_ms: 0, end_ms: 2_500, text: "Good morning,\n\nRosa." },
        Cue { start_ms: 2_500, end_ms: 61_007, text: "IRR > 20 % & <fees> --> low." },
        Cue { start_ms: 3_723_456, end_ms: 3_724_000, text: "¿Cuándo?" },
    ];

    #[test]
    fn webvtt_escapes_what_players_would_take_for_markup() {
        assert_eq!(
            vtt(CUES),
            "WEBVTT\n\n00:00:00.000 --> 00:00:02.500\nGood morning, Rosa.\n\n\
             00:00:02.500 --> 00:01:01.007\nIRR &gt; 20 % &amp; &lt;fees&gt; --&gt; low.\n\n\
             01:02:03.456 --> 01:02:04.000\n¿Cuándo?\n"
        );
        assert_eq!(vtt([]), "WEBVTT\n");
    }

    #[test]
    fn subrip_counts_its_cues() {
        assert_eq!(
            subrip(CUES),
            "1\n00:00:00,000 --> 00:00:02,500\nGood morning, Rosa.\n\n\
             2\n00:00:02,500 --> 00:01:01,007\nIRR > 20 % & <fees> -> low.\n\n\
             3\n01:02:03,456 --> 01:02:04,000\n¿Cuándo?\n"
        );
        assert_eq!(subrip([]), "");
    }

    #[test]
    fn plain_text_begins_a_paragraph_at_a_pause() {
        assert_eq!(plain(CUES), "Good morning, Rosa. IRR > 20 % & <fees> --> low.\n\n¿Cuándo?\n");
        assert_eq!(plain([]), "");
    }

    #[test]
    fn plain_text_breaks_long_talk_at_the_end_of_a_sentence() {
        let sentence = "We went through the terms of the fund once more. ".repeat(5);
        let cue =
            |number: u64| Cue { start_ms: number * 10, end_ms: number * 10 + 10, text: &sentence };
        let text = plain((0..6).map(cue));
        assert_eq!(text.matches("\n\n").count(), 1);
    }
}
