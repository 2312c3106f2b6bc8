//! Characters as the model knows them: SentencePiece's table of what is written in another way (NFKC and more), a trie
//! whose leaves point into a list of texts.

use unicode_segmentation::UnicodeSegmentation as _;

/// Characters that belong together are looked up together only if they are shorter, in bytes.
const TOGETHER: usize = 6;

/// The table.
#[derive(Debug)]
pub struct Characters {
    /// A double array: of each unit label, offset of the children, and whether there is a leaf.
    trie: Vec<u32>,
    /// Texts, each ended by a zero.
    texts: String,
}

impl Characters {
    /// Reads SentencePiece's binary form: the trie's length in bytes, the trie, the texts.
    pub fn read(table: &[u8]) -> Result<Self, String> {
        let cut_short = || "its table of characters is cut short".to_owned();
        let (length, rest) = table.split_first_chunk::<4>().ok_or_else(cut_short)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (trie, texts) = rest.split_at_checked(length).ok_or_else(cut_short)?;
        let trie = trie.as_chunks().0.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        let texts = String::from_utf8(texts.to_vec())
            .map_err(|_| "its table of characters holds what is no text".to_owned())?;
        Ok(Self { trie, texts })
    }

    /// The text in the model's characters.
    pub fn normalise(&self, text: &str) -> String {
        let mut normal = String::with_capacity(text.len());
        for together in text.graphemes(true) {
            let found = if together.len() < TOGETHER { self.find(together) } else { None };
            if let Some(found) = found {
                normal.push_str(found);
                continue;
            }
            for character in together.chars() {
                match self.find(character.encode_utf8(&mut [0; 4])) {
                    Some(found) => normal.push_str(found),
                    None => normal.push(character),
                }
            }
        }
        normal
    }

    /// What stands for the shortest beginning of this text that is in the table. (Whoever trained the model has replaced
    /// the whole text by it, so that is what it knows.)
    fn find(&self, text: &str) -> Option<&str> {
        let mut at = offset(*self.trie.first()?);
        for byte in text.bytes().take_while(|byte| *byte != 0) {
            at ^= u32::from(byte);
            let unit = *self.trie.get(at as usize)?;
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                return None;
            }
            at ^= offset(unit);
            if unit >> 8 & 1 == 1 {
                let leaf = *self.trie.get(at as usize)? & !(1 << 31);
                return self.texts.get(leaf as usize..)?.split('\0').next();
            }
        }
        None
    }
}

fn offset(unit: u32) -> u32 {
    (unit >> 10) << ((unit & 1 << 9) >> 6)
}
