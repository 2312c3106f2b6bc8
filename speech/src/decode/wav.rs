//! WAV files whose head does not say how much sound they have: their recorder died before it wrote that or wrote it anew, or it
//! is more than the head of a WAV can say. And those whose head is shorter than their demuxer wants it, as telephones write it.

use std::io::{self, Read, Seek};

use super::told::{Head, bytes, read};

/// Who has more chunks before the sound is not looked at any further.
const MOST_CHUNKS: usize = 1 << 10;
/// Kind and size of a chunk.
const HEAD: u64 = 8;
/// Where the first chunk begins: behind `RIFF`, the size of all, `WAVE`.
const FIRST: u64 = 12;
/// What stands for a size that is not known, or that stands elsewhere.
const UNKNOWN: u32 = u32::MAX;
/// What every description of sound has at least, and the most that one is read of.
const SHORTEST: usize = 16;
const LONGEST: u32 = 1 << 12;
/// Less than one part in so many of the sound, and so many bytes, is not taken for more of it.
const PART: u64 = 8;
const LITTLE: u64 = 1 << 15;

/// The head of a WAV as it should be: how its sound is encoded, and how much of it there is. None if it is no WAV.
pub(super) fn head(file: &mut (impl Read + Seek), length: u64) -> io::Result<Option<Head>> {
    let Some((marker, _)) = read_head(file, 0, length)? else { return Ok(None) };
    // RF64, or BW64, which are WAV for more than 4 GB: the sizes stand in a chunk of their own.
    let is_long = matches!(&marker, b"RF64" | b"BW64");
    let form = read(file, HEAD, length)?;
    if !is_long && marker != *b"RIFF" || form != Some(*b"WAVE") {
        return Ok(None);
    }
    let (mut at, mut format, mut long_size) = (FIRST, None, None);
    for _ in 0..MOST_CHUNKS {
        let Some((kind, size)) = read_head(file, at, length)? else { break };
        let begin = at + HEAD;
        match &kind {
            b"data" => {
                let written = match size {
                    UNKNOWN if is_long => long_size,
                    UNKNOWN => None,
                    size => Some(size.into()),
                };
                let size = size_of(file, begin, written, length)?;
                let head =
                    |format: Vec<u8>| Head { bytes: written_anew(format, size), begin, size };
                return Ok(format.map(head));
            }
            b"fmt " if size <= LONGEST => format = bytes(file, begin, size as usize, length)?,
            // The size of everything, then that of the sound.
            b"ds64" if is_long => {
                long_size = read(file, begin + 8, length)?.map(u64::from_le_bytes);
            }
            _ => {}
        }
        at = next(begin, size.into());
    }
    Ok(None)
}

/// A head with this description of the sound, and this size.
fn written_anew(mut format: Vec<u8>, size: u64) -> Vec<u8> {
    // Of A-law and µ-law the demuxer wants two more bytes, which say that nothing more comes.
    if let [6 | 7, 0, ..] = format[..]
        && format.len() >= SHORTEST
    {
        format.truncate(SHORTEST);
        format.extend([0, 0]);
    }
    if !format.len().is_multiple_of(2) {
        format.push(0);
    }
    let short = |size| u32::try_from(size).unwrap_or(UNKNOWN).to_le_bytes();
    let described = format.len() as u64;
    let all = short(4 + HEAD + described + HEAD + size);
    let (described, size) = (short(described), short(size));
    [&b"RIFF"[..], &all, b"WAVE", b"fmt ", &described, &format, b"data", &size].concat()
}

/// How much sound there is from here: as much as is written, or all to the end of the file if that was never written, or is
/// followed by much that is no chunk. A little may be anything, such as chunks that are not filled up or cut off.
fn size_of(
    file: &mut (impl Read + Seek),
    begin: u64,
    written: Option<u64>,
    length: u64,
) -> io::Result<u64> {
    let there = length.saturating_sub(begin);
    Ok(match written {
        Some(size) if size <= there && there - size < LITTLE.min(size / PART) => size,
        Some(size) if size <= there && are_chunks(file, next(begin, size), length)? => size,
        _ => there,
    })
}

/// Whether there are chunks alone from here to the end, and no sound.
fn are_chunks(file: &mut (impl Read + Seek), from: u64, length: u64) -> io::Result<bool> {
    let mut at = from;
    for _ in 0..MOST_CHUNKS {
        let Some((kind, size)) = read_head(file, at, length)? else { return Ok(true) };
        let end = at + HEAD + u64::from(size);
        if end > length || !kind.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            return Ok(false);
        }
        at = next(at + HEAD, size.into());
    }
    Ok(false)
}

/// Where the chunk after this one begins: an odd one is followed by a byte that fills up.
fn next(begin: u64, size: u64) -> u64 {
    begin.saturating_add(size).saturating_add(size & 1)
}

/// What kind of chunk begins here, and how long it is. None at the end of the file.
fn read_head(
    file: &mut (impl Read + Seek),
    at: u64,
    length: u64,
) -> io::Result<Option<([u8; 4], u32)>> {
    let head = read(file, at, length)?;
    Ok(head.map(|[a, b, c, d, size @ ..]: [u8; 8]| ([a, b, c, d], u32::from_le_bytes(size))))
}
