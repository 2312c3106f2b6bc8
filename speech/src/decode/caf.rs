//! CAF files whose head does not say how much sound they have, as those write who cannot go back to it, or that were cut off.
//! Their demuxer refuses both.

use std::io::{self, Read, Seek};

use super::told::{Head, bytes, read};

/// Who has more chunks before the sound is not looked at any further.
const MOST_CHUNKS: usize = 1 << 10;
/// Likewise, with more bytes. A list of the packets of a day is shorter.
const LONGEST: u64 = 1 << 24;
/// Where the first chunk begins: behind `caff`, version and flags.
const FIRST: u64 = 8;
/// Kind and size of a chunk.
const HEAD: u64 = 12;
/// How often the sound was edited, which stands before it and counts as part of it.
const EDITS: u64 = 4;

/// The head that a CAF should have whose own is wrong.
pub(super) fn head(file: &mut (impl Read + Seek), length: u64) -> io::Result<Option<Head>> {
    if read(file, 0, length)? != Some(*b"caff") {
        return Ok(None);
    }
    let mut at = FIRST;
    for _ in 0..MOST_CHUNKS {
        let Some(chunk) = read(file, at, length)? else { break };
        let [a, b, c, d, size @ ..]: [u8; HEAD as usize] = chunk;
        let size = u64::try_from(i64::from_be_bytes(size)).ok();
        match (&[a, b, c, d], size) {
            (b"data", size) => return sound(file, at, size, length),
            (_, Some(size)) => at = at.saturating_add(HEAD + size),
            (_, None) => break,
        }
    }
    Ok(None)
}

/// The head with this chunk of sound as its last, if that is said to have another size than it has.
fn sound(
    file: &mut (impl Read + Seek),
    chunk: u64,
    said: Option<u64>,
    length: u64,
) -> io::Result<Option<Head>> {
    let there = length.saturating_sub(chunk + HEAD);
    let begin = chunk + HEAD + EDITS;
    if said.is_some_and(|said| (EDITS..=there).contains(&said)) || begin > LONGEST {
        return Ok(None);
    }
    let Some(mut head) = bytes(file, 0, begin as usize, length)? else { return Ok(None) };
    let size = (begin - EDITS - 8) as usize;
    head[size..size + 8].copy_from_slice(&there.to_be_bytes());
    Ok(Some(Head { bytes: head, begin, size: length - begin }))
}
