//! What was said in a recording: segments with their times, and what people corrected in them.
//!
//! Corrections lie over a transcript and are bound to a span of time, not to a segment: a later transcript of the same
//! recording cuts it elsewhere. A segment gives way to corrections that cover at least half of it; otherwise it stands beside
//! them, since what was heard must not vanish for a word in its middle that was corrected.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Text between two moments of a recording, as a model heard it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Where it begins, in milliseconds from the beginning of the recording.
    pub start_ms: u64,
    /// Where it ends, likewise.
    pub end_ms: u64,
    /// What was said.
    pub text: String,
    /// How sure the model is, in percent.
    pub confidence: u8,
}

/// A part of a recording that could not be transcribed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// Where it begins, in milliseconds.
    pub start_ms: u64,
    /// Where it ends, in milliseconds.
    pub end_ms: u64,
    /// Why.
    pub reason: String,
}

/// What a part of a recording is beside speech.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// Nobody speaks.
    Silence,
    /// The model repeated itself; the repetitions were left out.
    Repetition,
    /// There is sound, but no word was understood.
    NoWords,
}

/// A part of a recording that is to be read with care.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// Where it begins, in milliseconds.
    pub start_ms: u64,
    /// Where it ends, in milliseconds.
    pub end_ms: u64,
    /// What it is.
    pub kind: MarkKind,
}

/// All that a model heard in a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transcript {
    /// Which model.
    pub model: String,
    /// The language that is spoken, as ISO 639-1 names it.
    pub language: String,
    /// How long the recording is, in milliseconds.
    pub duration_ms: u64,
    /// What was said, in the order of time.
    pub segments: Vec<Segment>,
    /// What could not be transcribed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
    /// What is to be read with care.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
}

/// A time in a recording, as people say it.
pub fn spoken_time(ms: u64) -> String {
    let seconds = ms / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// What a person makes of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// Where the segment begins, in milliseconds.
    pub start_ms: u64,
    /// Where it ends, in milliseconds.
    pub end_ms: u64,
    /// What was said; null goes back to what the model heard.
    pub text: Option<String>,
}

/// The corrections that lie over a transcript: from the beginning and end of a span, in milliseconds, to its text.
pub type Corrections = BTreeMap<(u64, u64), String>;

/// Corrections in JSON, whose maps have no pairs of numbers for keys.
pub(super) mod as_list {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::Corrections;

    pub(in crate::note) fn serialize<S: Serializer>(
        corrections: &Corrections,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        corrections.iter().collect::<Vec<_>>().serialize(s)
    }

    pub(in crate::note) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Corrections, D::Error> {
        Ok(Vec::<((u64, u64), String)>::deserialize(d)?.into_iter().collect())
    }
}

/// A segment as readers get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it begins, in milliseconds.
    pub start_ms: u64,
    /// Where it ends, in milliseconds.
    pub end_ms: u64,
    /// What was said. Empty where a person took out what the model heard.
    pub text: String,
    /// How sure the model is, in percent; `None` where a person corrected it.
    pub confidence: Option<u8>,
}

impl Line {
    /// Whether a person corrected it.
    pub fn is_corrected(&self) -> bool {
        self.confidence.is_none()
    }
}

impl Transcript {
    /// The transcript as people corrected it, in the order of time.
    pub fn corrected(&self, corrections: &Corrections) -> Vec<Line> {
        let spans = united(corrections);
        let is_covered = |segment: &Segment| is_covered(segment, &spans);
        let heard = self.segments.iter().filter(|segment| !is_covered(segment));
        let heard = heard.map(|segment| Line {
            start_ms: segment.start_ms,
            end_ms: segment.end_ms,
            text: segment.text.clone(),
            confidence: Some(segment.confidence),
        });
        let written = corrections.iter().map(|((start_ms, end_ms), text)| Line {
            start_ms: *start_ms,
            end_ms: *end_ms,
            text: text.clone(),
            confidence: None,
        });
        let mut lines: Vec<Line> = heard.chain(written).collect();
        lines.sort_by_key(|line| (line.start_ms, line.end_ms));
        lines
    }

    /// What is to be read with care; a silence that goes on from one chunk of the recording to the next is one.
    pub fn marks_as_one(&self) -> Vec<Mark> {
        let mut marks: Vec<Mark> = Vec::with_capacity(self.marks.len());
        for mark in &self.marks {
            match marks.last_mut() {
                Some(last)
                    if (last.kind, mark.kind) == (MarkKind::Silence, MarkKind::Silence)
                        && mark.start_ms <= last.end_ms =>
                {
                    last.end_ms = last.end_ms.max(mark.end_ms);
                }
                _ => marks.push(mark.clone()),
            }
        }
        marks
    }

    /// Whether a person may write what is said in exactly this span, where no word was understood.
    pub(super) fn has_hole(&self, start_ms: u64, end_ms: u64) -> bool {
        let wordless = self.marks.iter().filter(|mark| mark.kind == MarkKind::NoWords);
        let wordless = wordless.map(|mark| (mark.start_ms, mark.end_ms));
        let mut holes = self.gaps.iter().map(|gap| (gap.start_ms, gap.end_ms)).chain(wordless);
        holes.any(|hole| hole == (start_ms, end_ms))
    }

    /// What the model heard in exactly this span.
    pub(super) fn heard(&self, start_ms: u64, end_ms: u64) -> Option<&str> {
        let segment =
            self.segments.iter().find(|it| (it.start_ms, it.end_ms) == (start_ms, end_ms));
        segment.map(|segment| segment.text.as_str())
    }
}

/// Whether these lines say what is said in a span, or in half of it at least.
pub fn is_told(lines: &[Line], start_ms: u64, end_ms: u64) -> bool {
    let common = |line: &Line| line.end_ms.min(end_ms).saturating_sub(line.start_ms.max(start_ms));
    let is_it = |line: &Line| (line.start_ms, line.end_ms) == (start_ms, end_ms);
    let told: u64 = lines.iter().map(common).sum();
    lines.iter().any(is_it) || (end_ms > start_ms && told * 2 >= end_ms - start_ms)
}

/// The corrected spans in the order of time; those that touch or overlap are one.
fn united(corrections: &Corrections) -> Vec<(u64, u64)> {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for &(from, to) in corrections.keys() {
        match spans.last_mut() {
            Some((_, end)) if from <= *end => *end = to.max(*end),
            _ => spans.push((from, to)),
        }
    }
    spans
}

/// Whether at least half of a segment lies in the spans; one without length, whether it does.
fn is_covered(segment: &Segment, spans: &[(u64, u64)]) -> bool {
    let &Segment { start_ms, end_ms, .. } = segment;
    if start_ms == end_ms {
        return spans.iter().any(|(from, to)| (*from..=*to).contains(&start_ms));
    }
    let common = |&(from, to): &(u64, u64)| to.min(end_ms).saturating_sub(from.max(start_ms));
    2 * spans.iter().map(common).sum::<u64>() >= end_ms - start_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_short_as_they_can_be() {
        let check = |ms: u64, expected: &str| assert_eq!(spoken_time(ms), expected);
        check(0, "0:00");
        check(61_999, "1:01");
        check(3_600_000, "1:00:00");
        check(7_384_000, "2:03:04");
    }

    fn segment(start_ms: u64, end_ms: u64, text: &str) -> Segment {
        Segment { start_ms, end_ms, text: text.to_owned(), confidence: 90 }
    }

    fn read(segments: Vec<Segment>, corrections: &[(u64, u64, &str)]) -> Vec<(u64, String)> {
        let transcript = Transcript {
            model: "tiny.en".into(),
            language: "en".into(),
            duration_ms: 9000,
            segments,
            gaps: vec![],
            marks: vec![],
        };
        let corrections =
            corrections.iter().map(|(from, to, text)| ((*from, *to), (*text).to_owned())).collect();
        let lines = transcript.corrected(&corrections);
        lines.into_iter().map(|line| (line.start_ms, line.text)).collect()
    }

    fn lines(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
        expected.iter().map(|(start, text)| (*start, (*text).to_owned())).collect()
    }

    #[test]
    fn a_silence_that_goes_on_over_the_end_of_a_chunk_is_one() {
        use MarkKind::{NoWords, Silence};
        let mark = |(start_ms, end_ms, kind)| Mark { start_ms, end_ms, kind };
        let check = |marks: &[(u64, u64, MarkKind)], expected: &[(u64, u64, MarkKind)]| {
            let transcript = Transcript {
                model: "tiny.en".into(),
                language: "en".into(),
                duration_ms: 99_000,
                segments: vec![],
                gaps: vec![],
                marks: marks.iter().copied().map(mark).collect(),
            };
            let expected: Vec<_> = expected.iter().copied().map(mark).collect();
            assert_eq!(transcript.marks_as_one(), expected);
        };
        check(
            &[(0, 30, Silence), (30, 60, Silence), (60, 70, Silence), (71, 80, Silence)],
            &[(0, 70, Silence), (71, 80, Silence)],
        );
        // Each of these is a place where a person may write.
        let wordless = [(0, 30, NoWords), (30, 60, NoWords), (60, 70, Silence)];
        check(&wordless, &wordless);
    }

    #[test]
    fn a_span_is_told_by_lines_that_have_half_of_it() {
        let line =
            |start_ms, end_ms| Line { start_ms, end_ms, text: String::new(), confidence: None };
        let lines = [line(0, 2000), line(2000, 3000), line(7000, 7000)];
        for (from, to, expected) in [
            (0, 2000, true),
            (1000, 5000, true),
            (1500, 6000, false),
            (3000, 4000, false),
            (7000, 7000, true),
            (3000, 3000, false),
        ] {
            assert_eq!(is_told(&lines, from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn a_correction_stands_in_for_what_the_model_heard() {
        let heard = || vec![segment(0, 2000, "Pro future"), segment(2000, 4000, "likes it.")];
        assert_eq!(read(heard(), &[]), lines(&[(0, "Pro future"), (2000, "likes it.")]));
        assert_eq!(
            read(heard(), &[(0, 2000, "Profuturo")]),
            lines(&[(0, "Profuturo"), (2000, "likes it.")])
        );
    }

    #[test]
    fn a_correction_covers_whatever_a_later_transcript_has_in_its_time() {
        let corrected: &[_] = &[(2000, 4000, "Profuturo")];
        let check = |segments: Vec<Segment>, expected: &[(u64, &str)]| {
            assert_eq!(read(segments, corrected), lines(expected));
        };
        check(
            vec![segment(0, 2100, "A"), segment(2100, 3000, "b"), segment(3000, 3900, "c")],
            &[(0, "A"), (2000, "Profuturo")],
        );
        check(
            vec![segment(0, 2500, "A"), segment(3800, 6000, "D")],
            &[(0, "A"), (2000, "Profuturo"), (3800, "D")],
        );
        // Nothing was heard there this time; what a person wrote stays.
        check(vec![segment(5000, 6000, "E")], &[(2000, "Profuturo"), (5000, "E")]);
    }

    #[test]
    fn a_word_corrected_within_a_longer_segment_does_not_take_its_place() {
        let heard = || vec![segment(0, 10_000, "All that was said")];
        let short = read(heard(), &[(4000, 6000, "Profuturo")]);
        assert_eq!(short, lines(&[(0, "All that was said"), (4000, "Profuturo")]));
        assert_eq!(read(heard(), &[(0, 7000, "All")]), lines(&[(0, "All")]));
        // Two together may cover what neither does.
        let both = read(heard(), &[(0, 3000, "All"), (3000, 6000, "that")]);
        assert_eq!(both, lines(&[(0, "All"), (3000, "that")]));
    }

    /// All spans that begin and end within so many seconds.
    fn spans(seconds: u64) -> impl Iterator<Item = (u64, u64)> {
        (0..=seconds).flat_map(move |from| (from..=seconds).map(move |to| (from, to)))
    }

    #[test]
    fn what_was_heard_vanishes_only_if_at_least_half_of_it_is_corrected() {
        let within = |at: u64, (from, to): (u64, u64)| (from..to).contains(&at);
        for (start, end) in spans(6).filter(|(start, end)| start < end) {
            for one in spans(6) {
                for other in spans(6) {
                    let corrections = [(one.0, one.1, "a"), (other.0, other.1, "b")];
                    let read = read(vec![segment(start, end, "heard")], &corrections);
                    let seconds = (start..end).filter(|at| within(*at, one) || within(*at, other));
                    let is_corrected = 2 * seconds.count() as u64 >= end - start;
                    let is_there = read.iter().any(|(_, text)| text == "heard");
                    assert_eq!(is_there, !is_corrected, "{start}-{end} {one:?} {other:?}");
                }
            }
        }
    }
}
