//! CTranslate2's file of weights: a list of named tensors, each followed by its numbers.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{ConvertError, at, half};

/// The versions of the format that say the type of each tensor.
const VERSIONS: std::ops::RangeInclusive<u32> = 4..=6;

/// The file, and where each tensor stands in it.
pub(super) struct Weights {
    path: PathBuf,
    file: BufReader<File>,
    tensors: HashMap<String, Place>,
}

#[derive(Clone, Debug)]
struct Place {
    dimensions: Vec<u32>,
    half: bool,
    offset: u64,
    bytes: u64,
}

/// Which rows of a tensor: the `number`th of `of` equal parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Part {
    pub number: u32,
    pub of: u32,
}

/// All rows.
pub(super) const WHOLE: Part = Part { number: 0, of: 1 };

/// The numbers of a tensor, or of part of it.
pub(super) struct Numbers {
    pub dimensions: Vec<u32>,
    half: bool,
    bytes: Vec<u8>,
}

impl Weights {
    pub(super) fn open(path: &Path) -> Result<Self, ConvertError> {
        let file = File::open(path).map_err(at(path))?;
        let length = file.metadata().map_err(at(path))?.len();
        let mut weights =
            Self { path: path.to_owned(), file: BufReader::new(file), tensors: HashMap::new() };
        weights.list(length)?;
        Ok(weights)
    }

    /// Notes where every tensor is.
    fn list(&mut self, length: u64) -> Result<(), ConvertError> {
        let version = self.u32()?;
        if !VERSIONS.contains(&version) {
            return Err(self.problem(format!("it begins with {version}, not with a version")));
        }
        let model = self.string()?;
        if model != "WhisperSpec" {
            return Err(self.problem(format!("it holds a model of the kind {model:?}")));
        }
        let _revision = self.u32()?;
        for _ in 0..self.u32()? {
            let name = self.string()?;
            let rank = self.u8()?;
            let dimensions = (0..rank).map(|_| self.u32()).collect::<Result<Vec<_>, _>>()?;
            let kind = self.u8()?;
            let bytes = u64::from(self.u32()?);
            let offset = self.position()?;
            if offset + bytes > length {
                return Err(self.problem(format!("it is cut off within {name}")));
            }
            self.file
                .seek_relative(i64::try_from(bytes).expect("it was a u32"))
                .map_err(at(&self.path))?;
            // What else there is, quantised weights and settings, fails where it is asked for.
            if let Some(size) = size(kind) {
                let expected = dimensions
                    .iter()
                    .try_fold(size, |bytes, &dimension| bytes.checked_mul(u64::from(dimension)));
                if expected != Some(bytes) {
                    return Err(
                        self.problem(format!("{name} has {bytes} bytes for {dimensions:?}"))
                    );
                }
                self.tensors.insert(name, Place { dimensions, half: size == 2, offset, bytes });
            }
        }
        self.aliases()
    }

    /// Tensors that have another name as well.
    fn aliases(&mut self) -> Result<(), ConvertError> {
        for _ in 0..self.u32()? {
            let (alias, name) = (self.string()?, self.string()?);
            if let Some(place) = self.tensors.get(&name).cloned() {
                self.tensors.insert(alias, place);
            }
        }
        Ok(())
    }

    /// The dimensions of a tensor.
    pub(super) fn dimensions(&self, name: &str) -> Result<&[u32], ConvertError> {
        Ok(&self.place(name)?.dimensions)
    }

    /// Whether there is such a tensor.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Reads a tensor, or the rows of one part of it.
    pub(super) fn read(&mut self, name: &str, part: Part) -> Result<Numbers, ConvertError> {
        let Place { mut dimensions, half, offset, bytes } = self.place(name)?.clone();
        if let Some(rows) = dimensions.first_mut() {
            if *rows % part.of != 0 {
                return Err(self.problem(format!("{name} cannot be split by {}", part.of)));
            }
            *rows /= part.of;
        }
        let size = bytes / u64::from(part.of);
        self.file
            .seek(SeekFrom::Start(offset + size * u64::from(part.number)))
            .map_err(at(&self.path))?;
        let mut content = vec![0; usize::try_from(size).expect("it was a u32")];
        self.fill(&mut content)?;
        Ok(Numbers { dimensions, half, bytes: content })
    }

    pub(super) fn problem(&self, problem: impl Into<String>) -> ConvertError {
        ConvertError::Weights { path: self.path.clone(), problem: problem.into() }
    }

    fn place(&self, name: &str) -> Result<&Place, ConvertError> {
        self.tensors.get(name).ok_or_else(|| {
            self.problem(format!("it has no tensor {name} at half or single precision"))
        })
    }

    fn position(&mut self) -> Result<u64, ConvertError> {
        self.file.stream_position().map_err(at(&self.path))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ConvertError> {
        self.file.read_exact(bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.problem("it is cut off"),
            _ => at(&self.path)(error),
        })
    }

    fn u8(&mut self) -> Result<u8, ConvertError> {
        let mut bytes = [0];
        self.fill(&mut bytes)?;
        Ok(bytes[0])
    }

    fn u32(&mut self) -> Result<u32, ConvertError> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// A string with its length before it and a zero at its end.
    fn string(&mut self) -> Result<String, ConvertError> {
        let mut length = [0; 2];
        self.fill(&mut length)?;
        let mut bytes = vec![0; u16::from_le_bytes(length).into()];
        self.fill(&mut bytes)?;
        bytes.pop();
        String::from_utf8(bytes).map_err(|_| self.problem("a name in it is no text"))
    }
}

/// The bytes per number of the types that are converted.
fn size(kind: u8) -> Option<u64> {
    match kind {
        0 => Some(4),
        4 => Some(2),
        _ => None,
    }
}

impl Numbers {
    /// At single precision, as bytes.
    pub(super) fn single(self) -> Vec<u8> {
        match self.half {
            false => self.bytes,
            true => self.halves().flat_map(|bits| half::widen(bits).to_le_bytes()).collect(),
        }
    }

    /// At half precision, as bytes.
    pub(super) fn half(self) -> Vec<u8> {
        match self.half {
            true => self.bytes,
            false => self.singles().flat_map(|number| half::narrow(number).to_le_bytes()).collect(),
        }
    }

    /// Whether all of them are nothing.
    pub(super) fn are_zero(&self) -> bool {
        match self.half {
            true => self.halves().all(|bits| half::widen(bits) == 0.0),
            false => self.singles().all(|number| number == 0.0),
        }
    }

    fn halves(&self) -> impl Iterator<Item = u16> + '_ {
        self.bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
    }

    fn singles(&self) -> impl Iterator<Item = f32> + '_ {
        self.bytes
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
    }
}
