//! Whether a file is a whole Whisper model. whisper.cpp takes it on trust: it ends the process over sizes that make no sense,
//! and transcribes with what was in memory where the last tensor is cut off.

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::Path;

/// ggml's magic number, as it stands in the file.
const MAGIC: u32 = 0x6767_6d6c;
/// No model has more of anything that is counted in the head; the vocabulary is the largest.
const MOST: u32 = 100_000;

/// What is wrong with a model.
pub(super) enum Fault {
    /// It could not be read.
    Unreadable(io::Error),
    /// It is something else, or not whole.
    NotAModel,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::NotAModel,
            _ => Self::Unreadable(error),
        }
    }
}

/// Walks through the file without reading the weights.
pub(super) fn check(path: &Path) -> Result<(), Fault> {
    let file = File::open(path)?;
    let mut walk = Walk { length: file.metadata()?.len(), at: 0, file: BufReader::new(file) };
    if walk.number()? != MAGIC {
        return Err(Fault::NotAModel);
    }
    // Vocabulary, context, width, heads, layers of the encoder, the same of the decoder, mels, type.
    for _ in 0..11 {
        walk.count()?;
    }
    let filters = u64::from(walk.count()?) * u64::from(walk.count()?);
    walk.skip(filters * 4)?;
    for _ in 0..walk.count()? {
        let token = walk.count()?;
        walk.skip(token.into())?;
    }
    while walk.at < walk.length {
        walk.tensor()?;
    }
    Ok(())
}

struct Walk {
    file: BufReader<File>,
    length: u64,
    at: u64,
}

impl Walk {
    fn number(&mut self) -> Result<u32, Fault> {
        let mut bytes = [0; 4];
        self.file.read_exact(&mut bytes)?;
        self.at += 4;
        Ok(u32::from_le_bytes(bytes))
    }

    fn count(&mut self) -> Result<u32, Fault> {
        let number = self.number()?;
        if number <= MOST { Ok(number) } else { Err(Fault::NotAModel) }
    }

    fn skip(&mut self, bytes: u64) -> Result<(), Fault> {
        self.at += bytes;
        if self.at > self.length {
            return Err(Fault::NotAModel);
        }
        self.file.seek_relative(i64::try_from(bytes).map_err(|_| Fault::NotAModel)?)?;
        Ok(())
    }

    fn tensor(&mut self) -> Result<(), Fault> {
        let (dimensions, name, kind) = (self.number()?, self.count()?, self.number()?);
        if !(1..=4).contains(&dimensions) {
            return Err(Fault::NotAModel);
        }
        let mut numbers = 1;
        for _ in 0..dimensions {
            numbers *= u64::from(self.count()?);
        }
        self.skip(name.into())?;
        let (block, bytes) = block(kind).ok_or(Fault::NotAModel)?;
        self.skip(numbers / block * bytes)
    }
}

/// How many numbers of a type stand in a block of how many bytes.
pub(super) fn block(kind: u32) -> Option<(u64, u64)> {
    match kind {
        0 => Some((1, 4)),
        1 => Some((1, 2)),
        // Whole numbers of 4, 5 and 8 bits with a factor, or factor and offset, for each block.
        2 => Some((32, 18)),
        3 => Some((32, 20)),
        6 => Some((32, 22)),
        7 => Some((32, 24)),
        8 => Some((32, 34)),
        // The same of 2 to 6 bits in larger blocks.
        10 => Some((256, 84)),
        11 => Some((256, 110)),
        12 => Some((256, 144)),
        13 => Some((256, 176)),
        14 => Some((256, 210)),
        _ => None,
    }
}
