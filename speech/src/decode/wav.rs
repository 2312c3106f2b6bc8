//! WAV files whose head does not say how much sound they have: their recorder died before it wrote that, or it is more than
//! the head of a WAV can say. Their demuxer goes by what stands there, so it is told what is there instead.

use std::io::{self, Read, Seek, SeekFrom};

/// Who has more chunks before the sound is not looked at any further.
const MOST_CHUNKS: usize = 1 << 10;
/// Kind and size of a chunk.
const HEAD: u64 = 8;
/// Where the first chunk begins: behind `RIFF`, the size of all, `WAVE`.
const FIRST: u64 = 12;
/// What stands for a size that is not known, or that stands elsewhere.
const UNKNOWN: u32 = u32::MAX;

/// A file as the demuxers are to see it: a WAV with the sizes that it has, anything else as it is.
pub(super) struct Told<S> {
    file: S,
    at: u64,
    /// Where it ends for the demuxers.
    end: u64,
    /// What stands where instead of what is in the file.
    told: Vec<(u64, [u8; 4])>,
}

impl<S: Read + Seek> Told<S> {
    pub(super) fn new(mut file: S) -> io::Result<Self> {
        let length = file.seek(SeekFrom::End(0))?;
        let (told, end) = match Sound::find(&mut file, length)? {
            Some(sound) => (sound.head(), sound.end(length)),
            None => (Vec::new(), length),
        };
        file.rewind()?;
        Ok(Self { file, at: 0, end, told })
    }

    pub(super) fn length(&self) -> u64 {
        self.end
    }
}

impl<S: Read> Read for Told<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let read = self.file.read(&mut buffer[..most])?;
        for (place, bytes) in &self.told {
            for (place, byte) in (*place..).zip(bytes) {
                let within = place.checked_sub(self.at).and_then(|it| usize::try_from(it).ok());
                if let Some(within) = within.filter(|within| *within < read) {
                    buffer[within] = *byte;
                }
            }
        }
        self.at += read as u64;
        Ok(read)
    }
}

impl<S: Seek> Seek for Told<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::End(by) => {
                let place = self.end.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput)?;
                SeekFrom::Start(place)
            }
            to => to,
        };
        self.at = self.file.seek(to)?;
        Ok(self.at)
    }
}

/// Where a WAV has its sound.
struct Sound {
    /// RF64, or BW64, which are WAV for more than 4 GB: the sizes stand in a chunk of their own.
    is_long: bool,
    /// The size of everything, as it is written.
    all: u32,
    /// The first byte of the sound.
    begin: u64,
    /// How much of it there is.
    size: u64,
}

impl Sound {
    fn find(file: &mut (impl Read + Seek), length: u64) -> io::Result<Option<Self>> {
        let Some((marker, all)) = read_head(file, 0, length)? else { return Ok(None) };
        let is_long = matches!(&marker, b"RF64" | b"BW64");
        let form = read(file, HEAD, length)?;
        if !is_long && marker != *b"RIFF" || form != Some(*b"WAVE") {
            return Ok(None);
        }
        let (mut at, mut long_size) = (FIRST, None);
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
                    return Ok(Some(Self { is_long, all, begin, size }));
                }
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

    /// What stands in the head: what is written there, where that is right.
    fn head(&self) -> Vec<(u64, [u8; 4])> {
        let short = |size| u32::try_from(size).unwrap_or(UNKNOWN);
        let end = self.begin + self.size;
        let all = match u64::from(self.all) + HEAD >= end && !self.is_long {
            true => self.all,
            false => short(end - HEAD),
        };
        let size = short(self.size).to_le_bytes();
        vec![(0, *b"RIFF"), (4, all.to_le_bytes()), (self.begin - 4, size)]
    }

    /// Where the file ends: with the sound if that is too long to say so, since what stands behind would be heard.
    fn end(&self, length: u64) -> u64 {
        if self.is_long { self.begin + self.size } else { length }
    }
}

/// How much sound there is from here: as much as is written, or all to the end of the file if that was never written.
fn size_of(
    file: &mut (impl Read + Seek),
    begin: u64,
    written: Option<u64>,
    length: u64,
) -> io::Result<u64> {
    let there = length.saturating_sub(begin);
    Ok(match written {
        Some(0) if are_chunks(file, begin, length)? => 0,
        Some(size) if size == 0 || size > there => there,
        Some(size) if is_guess(size) && !are_chunks(file, next(begin, size), length)? => there,
        Some(size) => size,
        None => there,
    })
}

/// Whether it is a size as those write who cannot know it: the most that there is room for, or half of that, less a head.
fn is_guess(size: u64) -> bool {
    matches!(size, 0x7fff_0000..=0x7fff_ffff | 0xffff_0000..=0xffff_ffff)
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

/// The bytes that stand here, unless the file ends before. What is there to be read is read: an error is one of the disk.
fn read<const N: usize>(
    file: &mut (impl Read + Seek),
    at: u64,
    length: u64,
) -> io::Result<Option<[u8; N]>> {
    if length.checked_sub(at).is_none_or(|left| left < N as u64) {
        return Ok(None);
    }
    let mut bytes = [0; N];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}
