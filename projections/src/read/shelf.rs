//! A whole list kept in memory, sorted and ready to send, and brought up to date by what changed since.
//!
//! The list lies in blocks of JSON text. A change renews the blocks it touches and leaves the others as they are, so
//! that a list of thousands of notes costs a few rows and one block when one note has changed.

use std::collections::{BTreeSet, HashMap};

use bytes::{Buf as _, Bytes, BytesMut};
use domain::Kind;

/// Where a row stands in its list: bytes that compare as the list is sorted, then the id.
pub(super) type Key = (Vec<u8>, i64);

/// A row on its way onto the shelf; without text it leaves the list.
pub(super) struct Change {
    pub(super) id: i64,
    pub(super) key: Key,
    pub(super) text: Option<String>,
}

/// The list.
#[derive(Default)]
pub(super) struct Shelf {
    blocks: Vec<Block>,
    keys: HashMap<i64, Key>,
}

#[derive(Default)]
struct Block {
    /// The key of the first row when the block was packed.
    first: Key,
    rows: Vec<(Key, Bytes)>,
    /// The rows' texts, each after a comma; the rows are slices of it unless the block has changed.
    text: Bytes,
}

/// How much text a block holds, more or less.
const BLOCK: usize = 128 * 1024;

impl Shelf {
    /// Puts changes into effect, each row at most once.
    pub(super) fn update(&mut self, changes: Vec<Change>) {
        let mut dirty = BTreeSet::new();
        for Change { id, .. } in &changes {
            if let Some(key) = self.keys.remove(id) {
                let at = self.block_of(&key);
                self.blocks[at].rows.retain(|((_, other), _)| other != id);
                dirty.insert(at);
            }
        }
        if self.blocks.is_empty() {
            self.blocks.push(Block::default());
        }
        for Change { id, key, text } in changes {
            if let Some(text) = text {
                let at = self.block_of(&key);
                self.blocks[at].rows.push((key.clone(), Bytes::from(text)));
                self.keys.insert(id, key);
                dirty.insert(at);
            }
        }
        // From the back, so that splitting or dropping a block does not move those still to come.
        for at in dirty.into_iter().rev() {
            let mut rows = std::mem::take(&mut self.blocks[at].rows);
            // Stable, since that takes one pass over what is in order but for a few at the end.
            rows.sort_by(|(one, _), (other, _)| one.cmp(other));
            self.blocks.splice(at..=at, split(rows));
        }
    }

    /// The block that a key belongs to: the last that begins at or before it, or else the first. Where a block begins
    /// stays as it was packed while its rows come and go, so the answer is the same until it is packed again.
    fn block_of(&self, key: &Key) -> usize {
        self.blocks.partition_point(|block| block.first <= *key).saturating_sub(1)
    }

    /// The JSON array, block by block.
    pub(super) fn chunks(&self) -> Vec<Bytes> {
        let mut chunks = vec![Bytes::from_static(b"[")];
        chunks.extend(self.blocks.iter().map(|block| block.text.clone()));
        if let Some(first) = chunks.get_mut(1) {
            first.advance(first.len().min(1));
        }
        chunks.push(Bytes::from_static(b"]"));
        chunks
    }
}

/// Packs rows into blocks of text.
fn split(rows: Vec<(Key, Bytes)>) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let mut size = 0;
        let mut taken = Vec::new();
        while let Some(row) = rows.next_if(|_| size < BLOCK) {
            size += row.1.len() + 1;
            taken.push(row);
        }
        blocks.push(pack(taken, size));
    }
    blocks
}

fn pack(rows: Vec<(Key, Bytes)>, size: usize) -> Block {
    let first = rows.first().map(|(key, _)| key.clone()).unwrap_or_default();
    let mut text = BytesMut::with_capacity(size);
    let mut places = Vec::with_capacity(rows.len());
    for (key, row) in rows {
        text.extend_from_slice(b",");
        let start = text.len();
        text.extend_from_slice(&row);
        places.push((key, start..text.len()));
    }
    let text = text.freeze();
    let rows = places.into_iter().map(|(key, place)| (key, text.slice(place))).collect();
    Block { first, rows, text }
}

/// The key of a row by its two sort columns, as the contract orders this kind: funds by the bytes of their name;
/// notes by date, newest first, undated last; todos by due date, undated first, then by priority as text, descending.
pub(super) fn sort_key(kind: Kind, first: Option<&str>, second: Option<&str>) -> Vec<u8> {
    match kind {
        Kind::Fund => first.unwrap_or_default().as_bytes().to_vec(),
        Kind::Note => descending(first),
        Kind::Todo => {
            let mut key = match first {
                None => vec![0],
                Some(text) => [&[1], text.as_bytes(), &[0]].concat(),
            };
            key.extend(descending(second));
            key
        }
        Kind::Lp | Kind::Gp | Kind::Distributor | Kind::Person | Kind::Roadshow => vec![],
    }
}

/// Text in descending order, nothing last.
fn descending(text: Option<&str>) -> Vec<u8> {
    match text {
        None => vec![1],
        Some(text) => {
            let mut key = vec![0];
            key.extend(text.bytes().map(|byte| !byte));
            key.push(0xff);
            key
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(shelf: &Shelf) -> String {
        String::from_utf8(shelf.chunks().concat()).unwrap()
    }

    fn put(id: i64, text: &str) -> Change {
        Change { id, key: (vec![], id), text: Some(text.to_owned()) }
    }

    #[test]
    fn a_shelf_is_always_the_sorted_list_of_what_was_put_on_it() {
        // A small generator of numbers, so that the same changes come every time.
        let mut seed = 7_u64;
        let mut random = move |below: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let mut shelf = Shelf::default();
        let mut model = std::collections::BTreeMap::new();
        for _ in 0..300 {
            let mut changes = HashMap::new();
            for _ in 0..random(20) {
                let id = i64::try_from(random(200)).unwrap();
                let key = vec![u8::try_from(random(5)).unwrap()];
                let text = (random(4) > 0).then(|| {
                    // Now and then a row that is a block by itself.
                    let longest = if random(8) == 0 { 300_000 } else { 9_000 };
                    "x".repeat(usize::try_from(random(longest)).unwrap() + 1)
                });
                changes.insert(id, Change { id, key: (key, id), text });
            }
            for change in changes.values() {
                model.retain(|(_, id): &Key, _| *id != change.id);
                if let Some(text) = &change.text {
                    model.insert(change.key.clone(), text.clone());
                }
            }
            shelf.update(changes.into_values().collect());
            let expected: Vec<String> = model.values().cloned().collect();
            assert_eq!(text(&shelf), format!("[{}]", expected.join(",")));
        }
    }

    #[test]
    fn an_empty_shelf_is_an_empty_list() {
        let mut shelf = Shelf::default();
        assert_eq!(text(&shelf), "[]");
        shelf.update(vec![put(1, "1")]);
        shelf.update(vec![Change { id: 1, key: (vec![], 1), text: None }]);
        assert_eq!(text(&shelf), "[]");
    }

    #[test]
    fn lists_are_sorted_as_the_legacy_server_sorted_them() {
        let check = |kind, mut rows: Vec<(Option<&str>, Option<&str>)>| {
            let expected = rows.clone();
            rows.reverse();
            rows.sort_by_key(|(first, second)| sort_key(kind, *first, *second));
            assert_eq!(rows, expected, "{kind}");
        };
        check(
            Kind::Fund,
            vec![(Some(" a"), None), (Some("B"), None), (Some("a"), None), (Some("É"), None)],
        );
        check(
            Kind::Note,
            vec![
                (Some("2025-02-01 00:00:00.000000"), None),
                (Some("2025-01-31 15:04:00.000000+00:00"), None),
                (Some("2025-01-31 15:04:00.000000"), None),
                (None, None),
            ],
        );
        check(
            Kind::Todo,
            vec![
                (None, Some("urgent")),
                (None, Some("low")),
                (None, None),
                (Some("2025-01-01"), Some("medium")),
                (Some("2025-01-01"), Some("high")),
                (Some("2025-01-02"), Some("urgent")),
            ],
        );
    }
}
