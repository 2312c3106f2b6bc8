//! A transcript as it is read here: its lines, as people corrected them.

use domain::note::Line;

use crate::prose::words;

/// Whether there is no word in it.
pub(super) fn is_empty(lines: &[Line]) -> bool {
    lines.iter().all(|line| words(&line.text).is_empty())
}

/// A line for a model to read: when, and what.
pub(super) fn timed(line: &Line) -> String {
    let seconds = line.start_ms / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let words = line.text.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{hours:02}:{minutes:02}:{seconds:02} {words}")
}
