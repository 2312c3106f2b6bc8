//! Embeddings of text by multilingual-e5-small on the CPU.
//!
//! Text goes in, a vector of [`DIMENSIONS`] numbers of length 1 comes out; texts that mean much the same, in whichever of
//! a hundred languages, have vectors that point much the same way. No database, no network, no thread of its own.
//!
//! `weights` reads the file of 4-bit weights, `tokens` cuts text into what the model knows, `encoder` is the model: twelve
//! layers of `linear` maps, `attention` and the functions of `pass`. `kernel` has what depends on the processor. Every
//! processor computes the same bits (no fused operations, one order of summing), so that vectors may be kept and compared
//! wherever they were made.

mod attention;
mod encoder;
mod kernel;
mod linear;
mod pass;
mod tokens;
mod weights;

use std::path::Path;

use encoder::Encoder;
use tokens::Tokens;
pub use weights::OpenError;
use weights::Weights;

/// Numbers in a vector.
pub const DIMENSIONS: usize = 384;

/// Most tokens that the model takes, its two marks of beginning and end included. What is longer is cut off.
pub const LONGEST: usize = 512;

/// The model, ready to embed; it may be used by several threads at once. Each call works on the thread that makes it.
#[derive(Debug)]
pub struct E5 {
    id: String,
    tokens: Tokens,
    encoder: Encoder,
}

impl E5 {
    /// Reads the weights (`e5-small-q4.bin`) and the tokenizer (`tokenizer.json`), about 75 MB and 17 MB. Takes a second.
    ///
    /// # Errors
    /// When a file cannot be read, is cut short, or is something else.
    pub fn open(weights: &Path, tokenizer: &Path) -> Result<Self, OpenError> {
        let mut file = Weights::open(weights)?;
        let tokens = Tokens::open(tokenizer, file.marks(), file.vocabulary())?;
        let encoder = Encoder::read(&mut file)?;
        let id = format!("multilingual-e5-small:{}:query/passage:{LONGEST}", file.digest()?);
        Ok(Self { id, tokens, encoder })
    }

    /// What vectors depend on: the weights, by the first 16 digits of their SHA-256, the prefixes and the longest input.
    /// Vectors of different ids must not be compared.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The vector of what somebody looks for.
    pub fn query(&self, text: &str) -> Vec<f32> {
        self.vector("query: ", text)
    }

    /// The vectors of what may be found, in the order of the texts.
    pub fn passages(&self, texts: &[&str]) -> Vec<Vec<f32>> {
        texts.iter().map(|text| self.vector("passage: ", text)).collect()
    }

    /// How many tokens a text is, with neither the prefix nor the two marks, and however long.
    pub fn tokens(&self, text: &str) -> usize {
        self.tokens.of(text).len()
    }

    fn vector(&self, prefix: &str, text: &str) -> Vec<f32> {
        self.encoder.embed(&self.tokens.marked(&format!("{prefix}{text}"), LONGEST))
    }
}

#[cfg(test)]
mod tests;
