//! `tokenizer.json`, as far as this model's tokenizer goes; of another kind it is refused.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::characters::Characters;
use super::unigram::Unigram;

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    added_tokens: Vec<Added<'a>>,
    #[serde(borrow)]
    normalizer: Normalizer<'a>,
    #[serde(borrow)]
    pre_tokenizer: Kind<'a>,
    #[serde(borrow)]
    model: Model<'a>,
}

#[derive(Deserialize)]
struct Added<'a> {
    #[serde(borrow)]
    content: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Normalizer<'a> {
    #[serde(borrow)]
    normalizers: Vec<Normal<'a>>,
}

#[derive(Deserialize)]
struct Normal<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    precompiled_charsmap: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    unk_id: Option<u32>,
    #[serde(deserialize_with = "pieces")]
    vocab: Unigram,
}

/// Reads the file; the errors are reasons why it is none.
pub fn read(content: &[u8], vocabulary: usize) -> Result<(Characters, Unigram), String> {
    let document: Document = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    let Document { added_tokens, normalizer, pre_tokenizer, model } = document;
    let steps: Vec<&str> = normalizer.normalizers.iter().map(|step| &*step.kind).collect();
    // The second makes one of several spaces.
    let (["Precompiled", "Replace"], "Metaspace", "Unigram") =
        (&steps[..], &*pre_tokenizer.kind, &*model.kind)
    else {
        return Err(format!("it works by {steps:?}, {} and {}", pre_tokenizer.kind, model.kind));
    };
    let table = normalizer.normalizers[0].precompiled_charsmap.as_deref().unwrap_or_default();
    let table =
        STANDARD.decode(table).map_err(|error| format!("its table of characters: {error}"))?;
    let characters = Characters::read(&table)?;
    let mut unigram = model.vocab;
    if unigram.len() > vocabulary {
        return Err(format!("it has {} tokens, and the weights know {vocabulary}", unigram.len()));
    }
    let unknown = model.unk_id.filter(|id| (*id as usize) < unigram.len());
    let unknown = unknown.ok_or("it has no token for what it does not know")?;
    let marks: HashSet<&str> = added_tokens.iter().map(|added| &*added.content).collect();
    unigram.finish(&marks, unknown);
    Ok((characters, unigram))
}

/// Reads the pieces one by one, since all of them would be large.
fn pieces<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Unigram, D::Error> {
    struct Pieces;
    #[derive(Deserialize)]
    struct Entry<'a>(#[serde(borrow)] Cow<'a, str>, f64);
    impl<'de> Visitor<'de> for Pieces {
        type Value = Unigram;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of pieces with their scores")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Unigram, A::Error> {
            let mut unigram = Unigram::default();
            while let Some(Entry(piece, score)) = list.next_element()? {
                unigram.push(&piece, score);
            }
            Ok(unigram)
        }
    }
    deserializer.deserialize_seq(Pieces)
}
