//! What words look like from afar.

/// What tells most words from each other without looking at them letter by letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) first: char,
    /// How many letters.
    pub(super) length: u8,
    /// Which letters, as bits; those that are not Latin share some.
    letters: u32,
}

impl Shape {
    pub(super) fn of(word: &str) -> Self {
        let bit = |letter: char| 1 << (u32::from(letter) % 32);
        let length = u8::try_from(word.chars().count()).unwrap_or(u8::MAX);
        let first = word.chars().next().unwrap_or_default();
        Self { first, length, letters: word.chars().map(bit).fold(0, |all, bit| all | bit) }
    }

    /// Whether so many errors may make one of the other: each adds a letter, takes one away, or both.
    pub(super) fn is_near(self, other: Self, errors: usize) -> bool {
        usize::from(self.length.abs_diff(other.length)) <= errors
            && (self.letters ^ other.letters).count_ones() as usize <= 2 * errors
    }
}
