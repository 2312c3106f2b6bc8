//! The whole model on made-up weights, and files that are none.

use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;

use crate::linear::{BLOCK, STORED};
use crate::weights::{INNER, LAYERS};
use crate::{DIMENSIONS, E5, LONGEST, OpenError};

/// A model with six tokens whose weights nobody has trained.
struct Sample {
    folder: TempDir,
}

const PIECES: [&str; 6] = ["<s>", "<pad>", "</s>", "<unk>", "▁fund", "▁fondo"];

impl Sample {
    fn new() -> Self {
        let sample = Self { folder: TempDir::new().expect("a folder") };
        std::fs::write(sample.weights(), weights()).expect("written");
        std::fs::write(sample.tokenizer(), tokenizer(Some(3)).to_string()).expect("written");
        sample
    }

    fn weights(&self) -> PathBuf {
        self.folder.path().join("weights.bin")
    }

    fn tokenizer(&self) -> PathBuf {
        self.folder.path().join("tokenizer.json")
    }

    fn open(&self) -> Result<E5, OpenError> {
        E5::open(&self.weights(), &self.tokenizer())
    }

    /// What opening says when the file of weights holds this.
    fn refusal(&self, content: &[u8]) -> String {
        std::fs::write(self.weights(), content).expect("written");
        self.open().expect_err("no model").to_string()
    }
}

fn tokenizer(unknown: Option<usize>) -> serde_json::Value {
    let vocabulary: Vec<_> = PIECES.iter().map(|piece| json!([piece, -1.0])).collect();
    let added: Vec<_> = PIECES[..4].iter().map(|content| json!({"content": content})).collect();
    // A table in which nothing is written in another way: one unit, without children or texts.
    let table = "BAAAAAAAAAA=";
    json!({
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Precompiled", "precompiled_charsmap": table},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
        ]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": true},
        "model": {"type": "Unigram", "unk_id": unknown, "vocab": vocabulary},
    })
}

/// A file of weights, in the order in which the original has them.
fn weights() -> Vec<u8> {
    let mut tensors: Vec<(String, u8, Vec<u8>)> = Vec::new();
    let mut state = 1u32;
    let mut packed = |name: String, count: usize| {
        let mut content = Vec::with_capacity(count / BLOCK * STORED);
        for _ in 0..count / BLOCK {
            // A scale of about 0.01.
            content.extend([0x00, 0x20]);
            for _ in 0..BLOCK / 2 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                content.push((state >> 24) as u8);
            }
        }
        (name, 1, content)
    };
    let plain = |name: &str, count: usize, number: f32| {
        (name.to_owned(), 0, number.to_le_bytes().repeat(count))
    };
    tensors.push(packed("emb.word".to_owned(), PIECES.len() * DIMENSIONS));
    tensors.push(plain("emb.pos", LONGEST * DIMENSIONS, 0.01));
    tensors.push(plain("emb.type", 2 * DIMENSIONS, 0.02));
    tensors.push(plain("emb.ln.w", DIMENSIONS, 1.0));
    tensors.push(plain("emb.ln.b", DIMENSIONS, 0.0));
    for layer in 0..LAYERS {
        let maps = [
            ("q", DIMENSIONS, DIMENSIONS),
            ("k", DIMENSIONS, DIMENSIONS),
            ("v", DIMENSIONS, DIMENSIONS),
            ("ao", DIMENSIONS, DIMENSIONS),
            ("fi", DIMENSIONS, INNER),
            ("fo", INNER, DIMENSIONS),
        ];
        for (name, inputs, outputs) in maps {
            tensors.push(packed(format!("l{layer}.{name}.w"), inputs * outputs));
            tensors.push(plain(&format!("l{layer}.{name}.b"), outputs, 0.1));
        }
        for name in ["aln", "oln"] {
            tensors.push(plain(&format!("l{layer}.{name}.w"), DIMENSIONS, 1.0));
            tensors.push(plain(&format!("l{layer}.{name}.b"), DIMENSIONS, 0.0));
        }
    }
    let mut file = header();
    file.extend((tensors.len() as u32).to_le_bytes());
    let directory: usize = tensors.iter().map(|(name, ..)| 2 + name.len() + 21).sum();
    let mut offset = (file.len() + directory) as u64;
    for (name, kind, content) in &tensors {
        let numbers = match kind {
            0 => content.len() / 4,
            _ => content.len() / STORED * BLOCK,
        };
        file.extend((name.len() as u16).to_le_bytes());
        file.extend(name.as_bytes());
        file.push(*kind);
        file.extend((numbers as u32).to_le_bytes());
        file.extend(offset.to_le_bytes());
        file.extend((content.len() as u64).to_le_bytes());
        offset += content.len() as u64;
    }
    tensors.into_iter().for_each(|(_, _, content)| file.extend(content));
    file
}

fn header() -> Vec<u8> {
    let count = PIECES.len() as u32;
    let mut file = b"E5S1".to_vec();
    let heads = DIMENSIONS as u32 / 32;
    let shape =
        [1, DIMENSIONS as u32, LAYERS as u32, heads, INNER as u32, count, LONGEST as u32, 2];
    let tokens = [1e-12f32.to_bits(), BLOCK as u32, count, 0, 2, 1, 3];
    file.extend(shape.into_iter().chain(tokens).flat_map(u32::to_le_bytes));
    let texts = PIECES.concat();
    file.extend((texts.len() as u64).to_le_bytes());
    file.extend(vec![0; (2 * PIECES.len() + 1) * 4]);
    file.extend(texts.as_bytes());
    // No characters are normalised.
    file.extend([0; 8]);
    file
}

#[test]
fn threads_may_share_it() {
    fn shared<T: Send + Sync>() {}
    shared::<E5>();
}

#[test]
fn a_vector_has_length_1_and_depends_on_text_and_prefix_alone() {
    let model = Sample::new().open().expect("a model");
    let passages = model.passages(&["fund fondo", "fondo fund", "fund fondo", ""]);
    for vector in &passages {
        let length: f32 = vector.iter().map(|number| number * number).sum();
        assert!(vector.len() == DIMENSIONS && (length - 1.0).abs() < 1e-5, "{length}");
    }
    assert_eq!(passages[0], passages[2]);
    assert_ne!(passages[0], passages[1]);
    // The one prefix is as unknown to this model as the other, and both are a token long.
    assert_eq!(model.query("fund fondo"), passages[0]);
    assert!(model.id().starts_with("multilingual-e5-small:") && model.id().len() > 40);
}

#[test]
fn what_is_longer_than_the_model_takes_is_cut_off() {
    let model = Sample::new().open().expect("a model");
    // With the two marks and the prefix, which is one token that nobody knows.
    let full = vec!["fund"; LONGEST - 3].join(" ");
    assert_eq!(model.tokens(&full), LONGEST - 3);
    let longer = format!("{full} fondo fondo");
    assert_eq!(model.tokens(&longer), LONGEST - 1);
    assert_eq!(model.query(&longer), model.query(&full));
    assert_ne!(model.query(&full[5..]), model.query(&full));
}

#[test]
fn a_file_that_is_cut_short_is_refused_wherever_it_is_cut() {
    let sample = Sample::new();
    let whole = weights();
    for length in (0..600).step_by(13).chain((600..whole.len()).step_by(whole.len() / 20)) {
        let refusal = sample.refusal(&whole[..length]);
        let expected = if length < 8 { "does not begin as one does" } else { "it is cut short" };
        assert!(refusal.contains(expected), "{length}: {refusal}");
        assert!(refusal.contains("crm models get embed"), "{refusal}");
    }
}

#[test]
fn a_file_that_is_something_else_is_refused() {
    let sample = Sample::new();
    assert!(sample.refusal(&[0x50; 100_000]).contains("does not begin as one does"));
    let mut other = weights();
    other[8] = 1;
    assert!(sample.refusal(&other).contains("a model of another shape"));
    // Any byte of header and directory may be wrong; none of them may end the process.
    let (whole, end) = (weights(), header().len() + 4_000);
    for at in (8..end).step_by(103) {
        let mut wrong = whole.clone();
        wrong[at] ^= 0xff;
        std::fs::write(sample.weights(), &wrong).expect("written");
        if let Ok(model) = sample.open() {
            assert_eq!(model.query("fund").len(), DIMENSIONS);
        }
    }
    std::fs::remove_file(sample.weights()).expect("removed");
    assert!(matches!(sample.open(), Err(OpenError::Read { .. })));
}

#[test]
fn a_tokenizer_that_does_not_fit_is_refused() {
    let sample = Sample::new();
    let refusal = |content: &str| {
        std::fs::write(sample.tokenizer(), content).expect("written");
        sample.open().expect_err("no model").to_string()
    };
    assert!(refusal("{\"version\":").contains("is no tokenizer"));
    assert!(refusal(&tokenizer(None).to_string()).contains("no token for what it does not know"));
    let mut other = tokenizer(Some(3));
    other["model"]["type"] = json!("BPE");
    assert!(refusal(&other.to_string()).contains("Metaspace and BPE"));
    let mut cut = tokenizer(Some(3));
    cut["normalizer"]["normalizers"][0]["precompiled_charsmap"] = json!("////fw==");
    assert!(refusal(&cut.to_string()).contains("its table of characters is cut short"));
    let mut larger = tokenizer(Some(3));
    larger["model"]["vocab"].as_array_mut().expect("a list").push(json!(["▁more", -1.0]));
    assert!(refusal(&larger.to_string()).contains("it has 7 tokens, and the weights know 6"));
}
