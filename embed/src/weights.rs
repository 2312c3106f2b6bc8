//! The file of weights: a header, a vocabulary that is not read here, a directory of tensors, the tensors.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::linear::{BLOCK, STORED};
use crate::tokens::Marks;
use crate::{DIMENSIONS, LONGEST};

/// Layers of the model.
pub const LAYERS: usize = 12;

/// Numbers between the two maps of a layer's second half.
pub const INNER: usize = 4 * DIMENSIONS;

/// Why a model cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file is missing or cannot be read.
    #[error("cannot read `{}`: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file of weights is cut short, or is something else.
    #[error("`{}` is no file of multilingual-e5-small's weights: {reason}; fetch it again with `crm models get embed`", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The tokenizer is cut short, or is something else.
    #[error("`{}` is no tokenizer of multilingual-e5-small: {reason}; fetch it again with `crm models get embed`", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The file, of which header and directory have been read.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    file: BufReader<File>,
    length: u64,
    vocabulary: usize,
    marks: Marks,
    tensors: HashMap<String, Tensor>,
}

#[derive(Debug, Clone, Copy)]
struct Tensor {
    kind: u8,
    numbers: u64,
    offset: u64,
}

/// Tensors of numbers of 32 bits.
const PLAIN: u8 = 0;
/// Tensors of blocks of 4-bit weights.
const PACKED: u8 = 1;

/// More tensors than the model has; a directory of more is none.
const MOST_TENSORS: u32 = 10_000;

impl Weights {
    /// Opens the file and reads its header and directory.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let unread = |error| OpenError::Read { path: path.to_owned(), error };
        let file = File::open(path).map_err(unread)?;
        let length = file.metadata().map_err(unread)?.len();
        let none = Marks { begin: 0, end: 0 };
        let file = BufReader::with_capacity(1 << 16, file);
        let mut weights = Self {
            path: path.to_owned(),
            file,
            length,
            vocabulary: 0,
            marks: none,
            tensors: HashMap::new(),
        };
        weights.read_header()?;
        weights.read_directory()?;
        Ok(weights)
    }

    /// Tokens that it has vectors for.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The tokens that begin and end an input.
    pub fn marks(&self) -> Marks {
        self.marks
    }

    /// The first 16 digits of the file's SHA-256.
    pub fn digest(&mut self) -> Result<String, OpenError> {
        self.seek(0)?;
        let mut hash = Sha256::new();
        io::copy(&mut self.file, &mut hash).map_err(|error| self.unread(error))?;
        Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    /// A tensor of `count` plain numbers.
    pub fn numbers(&mut self, name: &str, count: usize) -> Result<Vec<f32>, OpenError> {
        let bytes = self.tensor(name, PLAIN, count, count * 4)?;
        let numbers: Vec<f32> =
            bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        match numbers.iter().all(|number| number.is_finite()) {
            true => Ok(numbers),
            false => Err(self.wrong(format!("`{name}` holds what is no number"))),
        }
    }

    /// The blocks of a tensor of `count` weights of 4 bits.
    pub fn blocks(&mut self, name: &str, count: usize) -> Result<Vec<u8>, OpenError> {
        let blocks = self.tensor(name, PACKED, count, count / BLOCK * STORED)?;
        let finite = |block: &[u8; STORED]| block[1] & 0x7c != 0x7c;
        match blocks.as_chunks::<STORED>().0.iter().all(finite) {
            true => Ok(blocks),
            false => Err(self.wrong(format!("`{name}` holds a scale that is no number"))),
        }
    }

    fn read_header(&mut self) -> Result<(), OpenError> {
        if self.length < 8 || self.bytes()? != *b"E5S1" {
            return Err(self.wrong("it does not begin as one does".to_owned()));
        }
        let version = self.number()?;
        let [width, layers, heads, inner] = self.four_numbers()?;
        let [vocabulary, positions, types, _epsilon] = self.four_numbers()?;
        let [block, pieces] = [self.number()?, self.number()?];
        let [begin, end, _padding, _unknown] = self.four_numbers()?;
        let shape = [width, layers, heads, inner, positions, types, block].map(|n| n as usize);
        let heads = DIMENSIONS / crate::attention::WIDTH;
        if version != 1 || shape != [DIMENSIONS, LAYERS, heads, INNER, LONGEST, 2, BLOCK] {
            let reason = format!("it is version {version} of a model of another shape, {shape:?}");
            return Err(self.wrong(reason));
        }
        if pieces > vocabulary || begin >= vocabulary || end >= vocabulary {
            return Err(self.wrong("it has more tokens than vectors for them".to_owned()));
        }
        self.vocabulary = vocabulary as usize;
        self.marks = Marks { begin, end };
        // Texts and scores of the tokens, then how characters are normalised: the tokenizer has its own.
        let texts = self.long()?;
        self.skip((u64::from(pieces) * 2 + 1) * 4)?;
        self.skip(texts)?;
        self.number()?;
        let normalised = self.number()?;
        self.skip(u64::from(normalised))
    }

    fn read_directory(&mut self) -> Result<(), OpenError> {
        let count = self.number()?;
        if count > MOST_TENSORS {
            return Err(self.wrong(format!("its directory has {count} tensors")));
        }
        for _ in 0..count {
            let length = u16::from_le_bytes(self.bytes()?);
            let mut name = vec![0; usize::from(length)];
            self.file.read_exact(&mut name).map_err(|error| self.unread(error))?;
            let [kind] = self.bytes()?;
            let numbers = u64::from(self.number()?);
            let (offset, _bytes) = (self.long()?, self.long()?);
            let name = String::from_utf8_lossy(&name).into_owned();
            self.tensors.insert(name, Tensor { kind, numbers, offset });
        }
        Ok(())
    }

    fn tensor(
        &mut self,
        name: &str,
        kind: u8,
        count: usize,
        bytes: usize,
    ) -> Result<Vec<u8>, OpenError> {
        let Some(tensor) = self.tensors.get(name).copied() else {
            return Err(self.wrong(format!("it has no `{name}`")));
        };
        if tensor.kind != kind || tensor.numbers != count as u64 {
            return Err(self.wrong(format!("`{name}` has {} numbers, not {count}", tensor.numbers)));
        }
        if tensor.offset.checked_add(bytes as u64).is_none_or(|end| end > self.length) {
            return Err(self.wrong("it is cut short".to_owned()));
        }
        self.seek(tensor.offset)?;
        let mut content = vec![0; bytes];
        self.file.read_exact(&mut content).map_err(|error| self.unread(error))?;
        Ok(content)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], OpenError> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).map_err(|error| self.unread(error))?;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u32, OpenError> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn four_numbers(&mut self) -> Result<[u32; 4], OpenError> {
        Ok([self.number()?, self.number()?, self.number()?, self.number()?])
    }

    fn long(&mut self) -> Result<u64, OpenError> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn skip(&mut self, bytes: u64) -> Result<(), OpenError> {
        let here = self.file.stream_position().map_err(|error| self.unread(error))?;
        self.seek(here.saturating_add(bytes))
    }

    fn seek(&mut self, offset: u64) -> Result<(), OpenError> {
        if offset > self.length {
            return Err(self.wrong("it is cut short".to_owned()));
        }
        self.file.seek(SeekFrom::Start(offset)).map_err(|error| self.unread(error))?;
        Ok(())
    }

    fn unread(&self, error: io::Error) -> OpenError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.wrong("it is cut short".to_owned()),
            _ => OpenError::Read { path: self.path.clone(), error },
        }
    }

    fn wrong(&self, reason: String) -> OpenError {
        OpenError::Weights { path: self.path.clone(), reason }
    }
}
