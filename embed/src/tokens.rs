//! Text → numbers of tokens, by the SentencePiece unigram model of XLM-RoBERTa.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::weights::OpenError;

/// The tokens that begin and end every input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    pub begin: u32,
    pub end: u32,
}

/// The tokenizer.
#[derive(Debug)]
pub struct Tokens {
    tokenizer: Tokenizer,
    marks: Marks,
}

impl Tokens {
    /// Reads a `tokenizer.json` whose tokens must all be among the model's `vocabulary`.
    pub fn open(path: &Path, marks: Marks, vocabulary: usize) -> Result<Self, OpenError> {
        let wrong = |reason: String| OpenError::Tokenizer { path: path.to_owned(), reason };
        let bytes = std::fs::read(path)
            .map_err(|error| OpenError::Read { path: path.to_owned(), error })?;
        let mut tokenizer =
            Tokenizer::from_bytes(&bytes).map_err(|error| wrong(error.to_string()))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| wrong(error.to_string()))?;
        let largest = tokenizer.get_vocab(true).into_values().max();
        match largest {
            None => return Err(wrong("it knows no tokens".to_owned())),
            Some(id) if id as usize >= vocabulary => {
                return Err(wrong(format!(
                    "it has a token {id}, and the weights know {vocabulary} tokens"
                )));
            }
            Some(_) => {}
        }
        // A unigram model without a token for the unknown fails on it; nothing else can fail later.
        let unknown = tokenizer.encode_fast("\u{10FFFD}", false);
        unknown.map_err(|error| wrong(format!("it fails on unknown text: {error}")))?;
        Ok(Self { tokenizer, marks })
    }

    /// The tokens of a text, without marks.
    pub fn of(&self, text: &str) -> Vec<u32> {
        let encoding = self.tokenizer.encode_fast(text, false).expect(
            "a unigram model with a token for the unknown takes any text, which `open` has tried",
        );
        encoding.get_ids().to_vec()
    }

    /// The tokens of a text between the marks, at most `longest` of them with the marks.
    pub fn marked(&self, text: &str, longest: usize) -> Vec<u32> {
        let Marks { begin, end } = self.marks;
        let inner = self.of(text);
        let kept = &inner[..inner.len().min(longest - 2)];
        [&[begin], kept, &[end]].concat()
    }
}
