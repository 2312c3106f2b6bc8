//! Whisper weights as packages carry them (CTranslate2's format) rewritten as whisper.cpp reads them (ggml's).
//!
//! Both hold the same numbers at half precision: tensors are renamed, those that CTranslate2 has joined are split again, and
//! vocabulary and mel filters are put in front. No number changes, so the result is the file that whisper.cpp's own converter
//! makes of the original weights.

mod ct2;
mod half;
mod layout;
mod mel;
mod vocabulary;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use self::ct2::Weights;
use self::layout::{Kind, Shape, Tensor};

/// What every ggml file begins with.
const MAGIC: u32 = 0x6767_6d6c;
/// ggml's number for files whose matrices are at half precision.
const HALF_FILE: u32 = 1;

/// Why weights cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// The weights are not what they should be: cut off, or of another model.
    #[error("{}: no weights of Whisper in CTranslate2's format: {problem}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// Converts CTranslate2's `model.bin` and `vocabulary.txt` into a file for [`Model::open`](crate::transcribe::Model::open).
///
/// It is written beside `out` and renamed when it is whole. One tensor at a time is in memory.
///
/// # Errors
/// When a file cannot be read or written, or does not hold the weights of a Whisper model at half or single precision.
pub fn ct2_to_ggml(model: &Path, vocabulary: &Path, out: &Path) -> Result<(), ConvertError> {
    let text = std::fs::read_to_string(vocabulary).map_err(at(vocabulary))?;
    let mut weights = Weights::open(model)?;
    let shape = Shape::of(&weights)?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut file =
        tempfile::Builder::new().prefix(".converting-").tempfile_in(folder).map_err(at(folder))?;
    let mut writer = BufWriter::new(file.as_file_mut());
    let head = head(&shape, &text).map_err(|problem| weights.problem(problem))?;
    writer.write_all(&head).map_err(at(out))?;
    let list = layout::tensors(&shape);
    for (source, part) in list.left_out {
        if !weights.read(&source, part)?.are_zero() {
            return Err(weights.problem(format!("{source} has a bias where Whisper has none")));
        }
    }
    for tensor in list.tensors {
        let content = content(&mut weights, &tensor)?;
        writer.write_all(&content).map_err(at(out))?;
    }
    writer.flush().map_err(at(out))?;
    drop(writer);
    file.as_file().sync_all().map_err(at(out))?;
    file.persist(out).map_err(|error| at(out)(error.error))?;
    Ok(())
}

/// What stands before the tensors: sizes, mel filters, vocabulary.
fn head(shape: &Shape, vocabulary: &str) -> Result<Vec<u8>, String> {
    let mut head = Vec::new();
    for number in [MAGIC].into_iter().chain(shape.numbers()).chain([HALF_FILE]) {
        head.extend(number.to_le_bytes());
    }
    let filters = mel::filters(shape.mels);
    head.extend(shape.mels.to_le_bytes());
    head.extend(mel::BINS.to_le_bytes());
    head.extend(filters.iter().flat_map(|weight| weight.to_le_bytes()));
    let tokens = vocabulary::tokens(vocabulary)?;
    head.extend(number(tokens.len()).to_le_bytes());
    for token in tokens {
        head.extend(number(token.len()).to_le_bytes());
        head.extend(token);
    }
    Ok(head)
}

/// A tensor as it stands in the file: dimensions, type, name, numbers.
fn content(weights: &mut Weights, tensor: &Tensor) -> Result<Vec<u8>, ConvertError> {
    let numbers = weights.read(&tensor.source, tensor.part)?;
    let dimensions = tensor.dimensions(&numbers);
    let (kind, numbers) = match tensor.kind {
        Kind::Single => (0_u32, numbers.single()),
        Kind::Half => (1, numbers.half()),
    };
    let mut content = Vec::with_capacity(numbers.len() + 64);
    content.extend(number(dimensions.len()).to_le_bytes());
    content.extend(number(tensor.name.len()).to_le_bytes());
    content.extend(kind.to_le_bytes());
    // The dimension that varies fastest comes first.
    content.extend(dimensions.iter().rev().flat_map(|dimension| dimension.to_le_bytes()));
    content.extend(tensor.name.as_bytes());
    content.extend(numbers);
    Ok(content)
}

fn number(length: usize) -> u32 {
    u32::try_from(length).expect("tokens, names and dimensions are few")
}

fn at(path: &Path) -> impl Fn(io::Error) -> ConvertError {
    move |source| ConvertError::File { path: path.to_owned(), source }
}
