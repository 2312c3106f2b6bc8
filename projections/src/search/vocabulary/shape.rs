//! What words look and sound like from afar.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::search::sound::sound;

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

/// How a word sounds, hashed; 0 if it is too short to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sound(u64);

impl Sound {
    pub(super) fn of(word: &str) -> Self {
        let hash = |sound: String| {
            let mut hasher = DefaultHasher::new();
            sound.hash(&mut hasher);
            hasher.finish()
        };
        Self(sound(word).map_or(0, hash))
    }

    /// Whether it is the same.
    pub(super) fn is(self, other: Self) -> bool {
        self.0 != 0 && self == other
    }
}
