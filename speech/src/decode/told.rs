//! A file as its demuxer is to see it. Where a head does not say how much sound there is, or says it as the demuxer does not
//! read it, another one stands before the sound.

use std::io::{self, Read, Seek, SeekFrom};

use super::{caf, wav};

/// A head that says what is there, and the sound behind it.
pub(super) struct Head {
    pub bytes: Vec<u8>,
    /// Where in the file the sound begins.
    pub begin: u64,
    /// How much of it there is.
    pub size: u64,
}

/// A file with the head that it should have. Most have it.
pub(super) struct Told<S> {
    /// It stands where what comes after the head goes on.
    file: S,
    at: u64,
    /// Where it ends for the demuxers.
    end: u64,
    head: Vec<u8>,
    begin: u64,
}

impl<S: Read + Seek> Told<S> {
    pub(super) fn new(mut file: S) -> io::Result<Self> {
        let length = file.seek(SeekFrom::End(0))?;
        let head = match wav::head(&mut file, length)? {
            Some(head) => Some(head),
            None => caf::head(&mut file, length)?,
        };
        let as_it_is = Head { bytes: Vec::new(), begin: 0, size: length };
        let Head { bytes: head, begin, size } = head.unwrap_or(as_it_is);
        file.seek(SeekFrom::Start(begin))?;
        Ok(Self { file, at: 0, end: head.len() as u64 + size, head, begin })
    }

    pub(super) fn length(&self) -> u64 {
        self.end
    }
}

impl<S: Read> Read for Told<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let head = usize::try_from(self.at).ok().and_then(|at| self.head.get(at..));
        let read = match head {
            Some(mut head) if !head.is_empty() => head.read(&mut buffer[..most])?,
            _ => self.file.read(&mut buffer[..most])?,
        };
        self.at += read as u64;
        Ok(read)
    }
}

impl<S: Seek> Seek for Told<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(by) => self.end.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        let to = to.ok_or(io::ErrorKind::InvalidInput)?;
        let behind = to.saturating_sub(self.head.len() as u64);
        self.file.seek(SeekFrom::Start(self.begin.saturating_add(behind)))?;
        self.at = to;
        Ok(to)
    }
}

/// So many bytes from here, unless the file ends before. What is there to be read is read: an error is one of the disk.
pub(super) fn bytes(
    file: &mut (impl Read + Seek),
    at: u64,
    count: usize,
    length: u64,
) -> io::Result<Option<Vec<u8>>> {
    if length.checked_sub(at).is_none_or(|left| left < count as u64) {
        return Ok(None);
    }
    let mut bytes = vec![0; count];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

/// Likewise, as many as are wanted.
pub(super) fn read<const N: usize>(
    file: &mut (impl Read + Seek),
    at: u64,
    length: u64,
) -> io::Result<Option<[u8; N]>> {
    Ok(bytes(file, at, N, length)?.and_then(|bytes| bytes.try_into().ok()))
}
