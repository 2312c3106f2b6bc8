//! Weights rewritten: the result is, byte by byte, the file that whisper.cpp's own converter makes.

use sha2::{Digest as _, Sha256};
use speech::convert::ct2_to_ggml;

use crate::weights;

fn refused(model: &[u8], vocabulary: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let [from, list, out] =
        ["model.bin", "vocabulary.txt", "out.bin"].map(|name| folder.path().join(name));
    std::fs::write(&from, model).unwrap();
    std::fs::write(&list, vocabulary).unwrap();
    let error = ct2_to_ggml(&from, &list, &out).expect_err("it is broken").to_string();
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "nothing half done is left: {left:?}");
    error
}

#[test]
fn converted_weights_are_the_published_ones() {
    let model = weights::TINY_EN.converted();
    let hash = format!("{:x}", Sha256::digest(std::fs::read(model).unwrap()));
    assert_eq!(hash, "3d4a527eeb697d6c2eb4537bca29bcf1324c3e5c109dc63d416b0496a49a365e");
}

#[test]
fn weights_that_are_none_are_refused() {
    assert!(refused(b"", "").contains("cut off"));
    assert!(refused(b"PK\x03\x04 this is an archive", "").contains("not with a version"));
    let mut other = 6_u32.to_le_bytes().to_vec();
    other.extend(16_u16.to_le_bytes());
    other.extend(b"TransformerSpec\0");
    assert!(refused(&other, "").contains("TransformerSpec"));
}

#[test]
fn weights_that_are_cut_off_or_have_no_vocabulary_are_refused() {
    let (model, vocabulary) = weights::TINY_EN.packed();
    let (model, vocabulary) =
        (std::fs::read(model).unwrap(), std::fs::read_to_string(vocabulary).unwrap());
    assert!(refused(&model[..model.len() / 2], &vocabulary).contains("cut off within"));
    assert!(refused(&model, "one\ntwo\n").contains("the vocabulary has 3 tokens"));
}
