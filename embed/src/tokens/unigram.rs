//! Words → tokens: of all ways to cut a word into pieces that the model knows, the most likely one.

use std::collections::HashSet;

/// How much less likely than the rarest piece a character is that no piece has.
const UNKNOWN: f64 = 10.0;

/// Pieces of words, each with the logarithm of how likely it is, in one text and a hash table of their numbers: a quarter of a million of them would be large as strings.
#[derive(Debug, Default)]
pub struct Unigram {
    text: String,
    ends: Vec<u32>,
    scores: Vec<f64>,
    /// Number of a piece + 1, or 0, where the hash of its text points or in the next free place.
    slots: Vec<u32>,
    /// Of the longest piece, in bytes.
    longest: usize,
    unknown: u32,
    unknown_score: f64,
}

/// The best way to a place in a word.
#[derive(Clone, Copy)]
struct Step {
    score: f64,
    from: usize,
    token: u32,
}

impl Unigram {
    /// Adds a piece; the first has the number 0.
    pub fn push(&mut self, piece: &str, score: f64) {
        self.text.push_str(piece);
        self.ends.push(self.text.len() as u32);
        self.scores.push(score);
    }

    /// How many pieces there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Makes the pieces ready to be found, but for the marks. `unknown` is the token for what no piece has.
    pub fn finish(&mut self, marks: &HashSet<&str>, unknown: u32) {
        self.unknown = unknown;
        self.unknown_score = self.scores.iter().copied().fold(0.0, f64::min) - UNKNOWN;
        self.slots = vec![0; (2 * self.len()).next_power_of_two()];
        for number in 0..self.len() as u32 {
            let piece = self.piece(number);
            if marks.contains(piece) {
                continue;
            }
            let hash = piece.bytes().fold(Hash::default(), Hash::with);
            let length = piece.len();
            let mut slot = hash.slot(&self.slots);
            while self.slots[slot] != 0 {
                slot = (slot + 1) % self.slots.len();
            }
            self.slots[slot] = number + 1;
            self.longest = self.longest.max(length);
        }
    }

    /// Appends the tokens of a word.
    pub fn cut(&self, word: &str, tokens: &mut Vec<u32>) {
        let nowhere = Step { score: 0.0, from: usize::MAX, token: 0 };
        let mut steps = vec![nowhere; word.len() + 1];
        for (start, character) in word.char_indices() {
            let score = steps[start].score;
            let single = start + character.len_utf8();
            let mut single_is_known = false;
            let mut hash = Hash::default();
            for (at, byte) in word.bytes().enumerate().skip(start).take(self.longest) {
                hash = hash.with(byte);
                let end = at + 1;
                if word.is_char_boundary(end)
                    && let Some(token) = self.find(&word[start..end], hash)
                {
                    single_is_known |= end == single;
                    let score = score + self.scores[token as usize];
                    steps[end].improve(Step { score, from: start, token });
                }
            }
            if !single_is_known {
                let score = score + self.unknown_score;
                steps[single].improve(Step { score, from: start, token: self.unknown });
            }
        }
        self.walk_back(&steps, tokens);
    }

    /// Appends the tokens of the best way to the end; what is unknown side by side is one token.
    fn walk_back(&self, steps: &[Step], tokens: &mut Vec<u32>) {
        let first = tokens.len();
        let mut end = steps.len() - 1;
        while end > 0 {
            let Step { from, token, .. } = steps[end];
            let repeated = tokens.len() > first && tokens.last() == Some(&self.unknown);
            if !(token == self.unknown && repeated) {
                tokens.push(token);
            }
            end = from;
        }
        tokens[first..].reverse();
    }

    fn piece(&self, number: u32) -> &str {
        let at = number as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.text[start as usize..self.ends[at] as usize]
    }

    fn find(&self, text: &str, hash: Hash) -> Option<u32> {
        let mut slot = hash.slot(&self.slots);
        while let Some(number) = self.slots[slot].checked_sub(1) {
            if self.piece(number) == text {
                return Some(number);
            }
            slot = (slot + 1) % self.slots.len();
        }
        None
    }
}

impl Step {
    /// Of two equally good ways the one that was found first stays.
    fn improve(&mut self, other: Step) {
        if self.from == usize::MAX || other.score > self.score {
            *self = other;
        }
    }
}

/// FNV-1a, which takes one byte after the other.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    fn with(self, byte: u8) -> Self {
        Self((self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// Where to begin to look; the number of slots is a power of two.
    fn slot(self, slots: &[u32]) -> usize {
        (self.0 ^ self.0 >> 32) as usize % slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unigram() -> Unigram {
        let mut unigram = Unigram::default();
        for (piece, score) in [
            ("<unk>", 0.0),
            ("</s>", 0.0),
            ("▁", -3.0),
            ("▁fund", -2.0),
            ("▁fun", -1.0),
            ("d", -2.5),
            ("s", -1.0),
            ("é", -4.0),
        ] {
            unigram.push(piece, score);
        }
        unigram.finish(&HashSet::from(["<unk>", "</s>"]), 0);
        unigram
    }

    #[test]
    fn the_most_likely_pieces_are_taken() {
        let check = |word: &str, expected: &[u32]| {
            let mut tokens = Vec::new();
            unigram().cut(word, &mut tokens);
            assert_eq!(tokens, expected, "{word}");
        };
        check("", &[]);
        check("▁fund", &[3]);
        check("▁funds", &[3, 6]);
        check("▁funs", &[4, 6]);
        check("▁dé", &[2, 5, 7]);
        // What nobody knows is one token, however long; a mark is such text.
        check("▁日本語d", &[2, 0, 5]);
        check("▁日d本", &[2, 0, 5, 0]);
        check("▁</s>", &[2, 0, 6, 0]);
    }
}
