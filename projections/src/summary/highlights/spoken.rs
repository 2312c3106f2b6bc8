//! Sentences of a transcript with their times. Lines end where the speech recognition took a breath, which is
//! seldom where a sentence does.

use domain::note::Line;

use crate::prose::sentences;

/// A silence of so many milliseconds ends a sentence.
const SILENCE: u64 = 2_500;

/// Speech without a full stop is cut after so many words.
const MOST_WORDS: usize = 60;

/// A sentence that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sentence {
    pub(super) text: String,
    /// When the line begins that it begins in, in milliseconds.
    pub(super) start_ms: u64,
}

/// The sentences in the order in which they were said.
pub(super) fn spoken(lines: &[Line]) -> Vec<Sentence> {
    let (mut all, mut stretch) = (Vec::new(), Stretch::default());
    for line in lines {
        if line.start_ms.saturating_sub(stretch.end_ms) > SILENCE || stretch.text.len() > 1 << 14 {
            stretch.end(&mut all);
        }
        stretch.begins.push((stretch.text.len(), line.start_ms));
        for word in line.text.split_whitespace() {
            stretch.text.push_str(word);
            stretch.text.push(' ');
        }
        stretch.end_ms = line.end_ms.max(line.start_ms);
    }
    stretch.end(&mut all);
    all
}

/// Lines that follow each other closely.
#[derive(Default)]
struct Stretch {
    text: String,
    /// Where in the text each line begins, and when.
    begins: Vec<(usize, u64)>,
    end_ms: u64,
}

impl Stretch {
    fn end(&mut self, all: &mut Vec<Sentence>) {
        let Self { text, begins, .. } = std::mem::take(self);
        let mut at = 0;
        for sentence in sentences(&text) {
            // They come in the order of the text, so each is found from where the one before it ends.
            at += text[at..].find(sentence).unwrap_or(0);
            for piece in pieces(sentence) {
                let begin = at + sentence.find(piece).unwrap_or(0);
                let line = begins.partition_point(|(begins, _)| *begins <= begin);
                let start_ms =
                    begins.get(line.saturating_sub(1)).map_or(0, |(_, start_ms)| *start_ms);
                all.push(Sentence { text: piece.to_owned(), start_ms });
            }
            at += sentence.len();
        }
    }
}

/// A sentence, or if it is endless, pieces of it.
fn pieces(sentence: &str) -> Vec<&str> {
    let spaces: Vec<usize> = sentence.match_indices(' ').map(|(at, _)| at).collect();
    let (mut pieces, mut begin) = (Vec::new(), 0);
    for end in spaces.iter().skip(MOST_WORDS - 1).step_by(MOST_WORDS) {
        pieces.push(sentence[begin..*end].trim());
        begin = *end;
    }
    pieces.push(sentence[begin..].trim());
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::line;

    #[test]
    fn a_sentence_may_span_lines_but_no_silence() {
        let lines = [
            line(0, 900, " We like it. And we"),
            line(1000, 1900, " would commit. Soon"),
            line(9000, 9900, " okay then"),
        ];
        let sentences: Vec<(String, u64)> =
            spoken(&lines).into_iter().map(|it| (it.text, it.start_ms)).collect();
        let expected =
            [("We like it.", 0), ("And we would commit.", 0), ("Soon", 1000), ("okay then", 9000)];
        assert_eq!(sentences, expected.map(|(text, at)| (text.to_owned(), at)));
    }

    #[test]
    fn speech_without_full_stops_is_cut() {
        let lines = [line(0, 1, "word ".repeat(150))];
        let lengths: Vec<usize> =
            spoken(&lines).iter().map(|it| it.text.split(' ').count()).collect();
        assert_eq!(lengths, [60, 60, 30]);
        assert_eq!(spoken(&[]), []);
    }
}
