//! Text → numbers of tokens, by the SentencePiece unigram model of XLM-RoBERTa.
//!
//! Read from the `tokenizer.json` that models come with, and computed here: the usual crate for it takes 290 MB for this
//! vocabulary of 250,000, this takes 10. It gives the same tokens, but that marks such as `</s>` are ordinary text here,
//! since nothing in a text may end it.

mod characters;
mod file;
mod unigram;

use std::path::Path;

use characters::Characters;
use unigram::Unigram;

use crate::weights::OpenError;

/// Stands for a space, at the beginning of every word.
const SPACE: char = '\u{2581}';

/// The tokens that begin and end every input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    pub begin: u32,
    pub end: u32,
}

/// The tokenizer.
#[derive(Debug)]
pub struct Tokens {
    characters: Characters,
    unigram: Unigram,
    marks: Marks,
}

impl Tokens {
    /// Reads a `tokenizer.json` whose tokens must all be among the model's `vocabulary`.
    pub fn open(path: &Path, marks: Marks, vocabulary: usize) -> Result<Self, OpenError> {
        let content = std::fs::read(path)
            .map_err(|error| OpenError::Read { path: path.to_owned(), error })?;
        let read = file::read(&content, vocabulary);
        let (characters, unigram) =
            read.map_err(|reason| OpenError::Tokenizer { path: path.to_owned(), reason })?;
        Ok(Self { characters, unigram, marks })
    }

    /// The tokens of a text, without marks.
    pub fn of(&self, text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        let normal = self.characters.normalise(text);
        let mut word = String::new();
        let mut before = None;
        for character in normal.chars() {
            // Of several spaces one counts, but each sign that stands for a space does.
            let again = character == ' ' && before == Some(' ');
            let begins = before.is_none() || character == ' ' || character == SPACE;
            before = Some(character);
            if again {
                continue;
            }
            if begins {
                self.unigram.cut(&word, &mut tokens);
                word.clear();
                word.push(SPACE);
            }
            if character != ' ' && character != SPACE {
                word.push(character);
            }
        }
        self.unigram.cut(&word, &mut tokens);
        tokens
    }

    /// The tokens of a text between the marks, at most `longest` of them with the marks.
    pub fn marked(&self, text: &str, longest: usize) -> Vec<u32> {
        let Marks { begin, end } = self.marks;
        let inner = self.of(text);
        let kept = &inner[..inner.len().min(longest - 2)];
        [&[begin], kept, &[end]].concat()
    }
}
