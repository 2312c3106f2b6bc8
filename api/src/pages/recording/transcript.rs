//! The transcript on the page: what was said and when, what could not be heard, and a way to correct it.

use domain::note::{Gap, Line, Mark, MarkKind, Stage, Transcript, is_told, spoken_time};
use maud::{Markup, html};

use super::super::empty;
use super::{Shown, seek};

/// Below this the model was guessing, in percent.
const UNSURE: u8 = 50;

/// Something that stands in a transcript, by where it begins.
enum Part<'a> {
    Said(Line),
    Hole(&'a Gap),
    Marked(&'a Mark),
}

impl Part<'_> {
    fn start(&self) -> u64 {
        match self {
            Part::Said(line) => line.start_ms,
            Part::Hole(gap) => gap.start_ms,
            Part::Marked(mark) => mark.start_ms,
        }
    }
}

/// The transcript, or what is there instead of it.
pub fn section(shown: &Shown) -> Markup {
    let recording = &shown.now.stored.recording;
    let all = recording.transcript.as_ref().map(|it| all(it, recording.lines()));
    let is_said = all.as_ref().is_some_and(|all| !all.is_empty());
    html! {
        section aria-labelledby="transcript-title" {
            div.bar {
                h2 id="transcript-title" { "Transcript" }
                @if is_said {
                    div.actions {
                        button id="follow" type="button" aria-pressed="true" { "Follow" }
                        @for (format, text) in [("txt", "Text"), ("vtt", "WebVTT"), ("srt", "SubRip")] {
                            a href={(shown.path("/transcript")) "?format=" (format)} download { (text) }
                        }
                    }
                }
            }
            @match &all {
                Some(all) => (parts(all)),
                None if recording.stage == Stage::AwaitsTranscript => (empty("There is no transcript yet.")),
                None => (empty("There is no transcript.")),
            }
        }
    }
}

fn all(transcript: &Transcript, lines: Vec<Line>) -> Vec<Part<'_>> {
    let is_open = |start, end| !is_told(&lines, start, end);
    let holes = transcript.gaps.iter().filter(|gap| is_open(gap.start_ms, gap.end_ms));
    let holes: Vec<_> = holes.map(Part::Hole).collect();
    let marks = transcript.marks.iter().filter(|mark| match mark.kind {
        // Silence is worth no word, but what was left out is.
        MarkKind::Silence => false,
        MarkKind::Repetition => true,
        MarkKind::NoWords => is_open(mark.start_ms, mark.end_ms),
    });
    let marks: Vec<_> = marks.map(Part::Marked).collect();
    let mut parts: Vec<_> = lines.into_iter().map(Part::Said).chain(holes).chain(marks).collect();
    parts.sort_by_key(Part::start);
    parts
}

fn parts(parts: &[Part<'_>]) -> Markup {
    if parts.is_empty() {
        return empty("Nobody says anything in it.");
    }
    html! {
        ol.transcript id="transcript" {
            @for part in parts {
                @match part {
                    Part::Said(line) => (said(line)),
                    Part::Hole(gap) => (hole(gap.start_ms, gap.end_ms, &format!("Could not be transcribed: {}", gap.reason))),
                    Part::Marked(Mark { kind: MarkKind::Repetition, start_ms, .. }) => li {
                        (seek(*start_ms))
                        p.hole { "What the model only repeated was left out." }
                    },
                    Part::Marked(mark) => (hole(mark.start_ms, mark.end_ms, "There is sound, but no word was understood.")),
                }
            }
        }
    }
}

/// What the page calls the part of a transcript between these times.
fn place(start: u64, end: u64) -> String {
    format!("line-{start}-{end}")
}

/// Where nothing was understood, and a person may write what is said.
fn hole(start: u64, end: u64, why: &str) -> Markup {
    let time = spoken_time(start);
    html! {
        li id=(place(start, end)) data-start=(start) data-end=(end) data-empty data-part {
            (seek(start))
            p.hole { (why) }
            button.edit type="button" data-edit aria-label={"Write what is said at " (time)} { "Write" }
        }
    }
}

fn said(line: &Line) -> Markup {
    let is_unsure = line.confidence.is_some_and(|confidence| confidence < UNSURE);
    let time = spoken_time(line.start_ms);
    html! {
        li id=(place(line.start_ms, line.end_ms)) data-start=(line.start_ms) data-end=(line.end_ms)
            data-corrected[line.is_corrected()] data-part {
            (seek(line.start_ms))
            p.unsure[is_unsure].corrected[line.is_corrected()] title=[is_unsure.then_some("The model was not sure of this")] { bdi { (line.text) } }
            button.edit type="button" data-edit aria-label={"Edit what is said at " (time)} { "Edit" }
        }
    }
}

/// What takes the place of a line that is corrected.
pub fn editor() -> Markup {
    html! {
        template id="editor" {
            form {
                label { "What is said" textarea name="text" rows="3" {} }
                div.actions {
                    button.primary type="submit" { "Save" }
                    button type="button" data-cancel { "Cancel" }
                    button type="button" data-heard hidden { "Back to what the model heard" }
                }
            }
        }
    }
}
