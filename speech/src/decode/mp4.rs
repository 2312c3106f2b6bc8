//! MP4 files that were cut off. Their demuxer leaves out a box that is longer than the file, and all sound with it.

use std::io::{self, Read, Seek, SeekFrom};

/// Ten hours in fragments of a twentieth of a second. Who has more boxes is not looked at any further.
const MOST_BOXES: usize = 1 << 20;
/// Length and type of a box; some have a longer length behind them.
const HEAD: u64 = 8;
const LONG_HEAD: u64 = 16;

/// How long the file was before it was cut off within its sound; of all others, how long it is.
pub(super) fn whole_length(file: &mut (impl Read + Seek), length: u64) -> io::Result<u64> {
    let (mut at, mut has_index) = (0, false);
    for _ in 0..MOST_BOXES {
        let Some((kind, end)) = read_head(file, at, length)? else { break };
        match &kind {
            _ if at == 0 && kind != *b"ftyp" => break,
            b"mdat" if end > length && has_index => return Ok(end),
            b"moov" => has_index = true,
            _ => {}
        }
        at = end;
    }
    Ok(length)
}

/// What kind of box begins here, and where it says to end. None at the end of the file, and where no box can be.
fn read_head(
    file: &mut (impl Read + Seek),
    at: u64,
    length: u64,
) -> io::Result<Option<([u8; 4], u64)>> {
    // What is there to be read is read: an error is one of the disk.
    if length.checked_sub(at).is_none_or(|left| left < LONG_HEAD) {
        return Ok(None);
    }
    let mut head = [0; LONG_HEAD as usize];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut head)?;
    let [a, b, c, d, kind @ .., _, _, _, _, _, _, _, _] = head;
    let (size, least) = match u32::from_be_bytes([a, b, c, d]) {
        1 => (u64::from_be_bytes(std::array::from_fn(|place| head[place + 8])), LONG_HEAD),
        size => (size.into(), HEAD),
    };
    let end = at.checked_add(size).filter(|_| size >= least);
    Ok(end.map(|end| (kind, end)))
}
