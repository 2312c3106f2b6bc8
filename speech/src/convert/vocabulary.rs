//! The vocabulary: byte-level BPE writes each byte as a printable character, ggml has the bytes themselves.

use std::collections::HashMap;

/// Text tokens, and the end of text: those that stand in the file. Whisper's others are known by their number.
const TOKENS: usize = 50_257;

/// The tokens of a list with one on each line, as bytes.
pub(super) fn tokens(list: &str) -> Result<Vec<Vec<u8>>, String> {
    let bytes = bytes_of_characters();
    let tokens: Vec<Vec<u8>> = list
        .split('\n')
        .take(TOKENS)
        .map(|token| {
            let as_bytes = token.chars().map(|character| bytes.get(&character).copied()).collect();
            // Special tokens are no text and stand for themselves.
            Option::<Vec<u8>>::unwrap_or(as_bytes, token.as_bytes().to_vec())
        })
        .collect();
    if tokens.len() < TOKENS {
        return Err(format!("the vocabulary has {} tokens, not {TOKENS}", tokens.len()));
    }
    Ok(tokens)
}

/// Printable Latin-1 stands for itself, the other bytes for characters from U+0100 on, in order.
fn bytes_of_characters() -> HashMap<char, u8> {
    let printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut others = (0x100_u32..).filter_map(char::from_u32);
    (0..=u8::MAX)
        .filter_map(|byte| {
            let character = if printable(byte) { Some(char::from(byte)) } else { others.next() };
            character.map(|character| (character, byte))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_become_the_bytes_they_stand_for() {
        let bytes = bytes_of_characters();
        assert_eq!(bytes.len(), 256);
        for (character, byte) in [('a', b'a'), ('Ġ', b' '), ('Ċ', b'\n'), ('Ã', 0xc3), ('Ń', 0xad)]
        {
            assert_eq!(bytes[&character], byte, "{character}");
        }
    }

    #[test]
    fn a_list_that_is_too_short_is_refused() {
        assert_eq!(tokens("a\nb").unwrap_err(), "the vocabulary has 2 tokens, not 50257");
    }
}
