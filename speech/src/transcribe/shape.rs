//! A model's weights in the shape that whisper.cpp multiplies fastest. The file stays as it is; this is done whenever it is loaded.
//!
//! The encoder looks at 1,500 steps of 20 ms, and whisper.cpp multiplies in tiles only where 16 divides what is summed up: not
//! over 1,500 steps, so a sixth of all time went there. It gets 1,504, of which the last four are what follows the 30 s. Their
//! positions can be computed, since Whisper's encoder tells positions by sines. It understands no more or fewer words for it than
//! chance brings about.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::{Deref, DerefMut};
use std::path::Path;

use memmap2::MmapMut;

use super::file::block;

/// Where the head, after the magic number, has the steps.
const STEPS_AT: usize = 4 + 4;
/// The head, with the size of the filters.
const HEAD: usize = 4 + 11 * 4;

/// Steps of which whisper.cpp's tiles take a whole number.
const TILE: u32 = 16;

/// The type of numbers at single precision.
const SINGLE: u32 = 0;

const POSITIONS: &[u8] = b"encoder.positional_embedding";

/// How much the positions of a model may differ from the formula, which are stored with 16 bits.
const TOLERANCE: f32 = 1e-3;

/// A file that was found to be a whole model, reshaped.
///
/// # Errors
/// When it cannot be read, or was changed since it was looked at.
pub(super) fn reshape(path: &Path) -> io::Result<Weights> {
    let file = File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut reshaping = Reshaping { file: BufReader::new(file), model: Weights::of(length)? };
    reshaping.run()?;
    Ok(reshaping.model)
}

/// A model in memory that goes back to the system as soon as whisper.cpp has its copy. An allocator would keep so much for
/// later, beside all that a transcription takes.
#[derive(Debug)]
pub(super) struct Weights {
    room: MmapMut,
    length: usize,
}

impl Weights {
    /// Room for a file of so many bytes, and for the positions that are added: fewer than [`TILE`], of at most 1,280 numbers.
    fn of(file: usize) -> io::Result<Self> {
        let room = MmapMut::map_anon(file + TILE as usize * 1280 * 4)?;
        Ok(Self { room, length: 0 })
    }

    /// So many bytes more, all zero.
    fn more(&mut self, bytes: usize) -> io::Result<&mut [u8]> {
        let from = self.length;
        let end = from.checked_add(bytes).filter(|end| *end <= self.room.len());
        self.length = end.ok_or(io::ErrorKind::InvalidData)?;
        Ok(&mut self.room[from..self.length])
    }
}

impl Deref for Weights {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.room[..self.length]
    }
}

impl DerefMut for Weights {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.room[..self.length]
    }
}

struct Reshaping<R> {
    file: R,
    model: Weights,
}

impl<R: Read> Reshaping<R> {
    fn run(&mut self) -> io::Result<()> {
        self.pass(HEAD)?;
        let filters = self.pass_number()? as usize * self.pass_number()? as usize;
        self.pass(filters * 4)?;
        for _ in 0..self.pass_number()? {
            let token = self.pass_number()?;
            self.pass(token as usize)?;
        }
        while let Some(dimensions) = self.pass_number_or_end()? {
            self.tensor(dimensions)?;
        }
        Ok(())
    }

    fn tensor(&mut self, dimensions: u32) -> io::Result<()> {
        let name = self.pass_number()? as usize;
        let kind = self.pass_number()?;
        let sizes_at = self.model.len();
        let mut numbers = 1;
        for _ in 0..dimensions {
            numbers *= self.pass_number()? as usize;
        }
        let name_at = self.model.len();
        self.pass(name)?;
        let data_at = self.model.len();
        let (block, bytes) = block(kind).ok_or(io::ErrorKind::InvalidData)?;
        self.pass(numbers / block as usize * bytes as usize)?;
        if (kind, dimensions) == (SINGLE, 2) && &self.model[name_at..data_at] == POSITIONS {
            self.lengthen(sizes_at, data_at)?;
        }
        Ok(())
    }

    /// Adds positions, if they are what the formula gives.
    fn lengthen(&mut self, sizes_at: usize, data_at: usize) -> io::Result<()> {
        let (width, steps) = (self.number_at(sizes_at), self.number_at(sizes_at + 4));
        let known = self.model[data_at..].chunks_exact(4);
        let known = known.map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        let computed = (0..steps).flat_map(|step| position(step, width));
        let is_known = known.zip(computed).all(|(a, b)| (a - b).abs() < TOLERANCE);
        if !is_known || self.number_at(STEPS_AT) != steps {
            return Ok(());
        }
        let more = steps.next_multiple_of(TILE);
        for number in (steps..more).flat_map(|step| position(step, width)) {
            self.model.more(4)?.copy_from_slice(&number.to_le_bytes());
        }
        self.put(sizes_at + 4, more);
        self.put(STEPS_AT, more);
        Ok(())
    }

    /// Takes over so many bytes.
    fn pass(&mut self, bytes: usize) -> io::Result<()> {
        self.file.read_exact(self.model.more(bytes)?)
    }

    fn pass_number(&mut self) -> io::Result<u32> {
        self.pass(4)?;
        Ok(self.number_at(self.model.len() - 4))
    }

    fn pass_number_or_end(&mut self) -> io::Result<Option<u32>> {
        let mut number = Vec::new();
        self.file.by_ref().take(4).read_to_end(&mut number)?;
        if number.is_empty() {
            return Ok(None);
        }
        let number: [u8; 4] = number.try_into().map_err(|_| io::ErrorKind::UnexpectedEof)?;
        self.model.more(4)?.copy_from_slice(&number);
        Ok(Some(u32::from_le_bytes(number)))
    }

    fn number_at(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.model[at..at + 4]);
        u32::from_le_bytes(bytes)
    }

    fn put(&mut self, at: usize, number: u32) {
        self.model[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }
}

/// How Whisper's encoder tells a position: sines of wavelengths from 2π to 20,000π steps, then their cosines.
fn position(step: u32, width: u32) -> impl Iterator<Item = f32> {
    let half = width / 2;
    let slope = 10_000_f64.ln() / f64::from(half.saturating_sub(1).max(1));
    let angle = move |at: u32| f64::from(step) * (-slope * f64::from(at)).exp();
    #[allow(clippy::cast_possible_truncation, reason = "that is the precision of the model")]
    let narrow = |number: f64| number as f32;
    let sines = (0..half).map(move |at| narrow(angle(at).sin()));
    sines.chain((0..half).map(move |at| narrow(angle(at).cos())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: u32 = 8;
    const STEPS: u32 = 20;
    const HALF: u32 = 1;

    fn numbers(numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    /// A model with positions, a matrix and a vector.
    fn model(positions: impl Iterator<Item = f32>) -> Vec<u8> {
        let head = [0x6767_6d6c, 3, STEPS, WIDTH, 2, 1, 448, WIDTH, 2, 1, 2, 1];
        let mut model = numbers(&head);
        model.extend(numbers(&[2, 3, 1, 2, 3, 4, 5, 6, 1, 2]));
        model.extend(b"ab");
        model.extend(numbers(&[2, 28, SINGLE, WIDTH, STEPS]));
        model.extend(POSITIONS);
        model.extend(positions.flat_map(f32::to_le_bytes));
        model.extend(numbers(&[2, 6, HALF, 2, 2]));
        model.extend(b"matrix");
        model.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        model.extend(numbers(&[1, 6, SINGLE, 1]));
        model.extend(b"vector");
        model.extend(1.0_f32.to_le_bytes());
        model
    }

    fn reshaped(model: &[u8]) -> io::Result<Vec<u8>> {
        let mut reshaping = Reshaping { file: model, model: Weights::of(model.len())? };
        reshaping.run()?;
        Ok(reshaping.model.to_vec())
    }

    fn all() -> impl Iterator<Item = f32> {
        (0..STEPS).flat_map(|step| position(step, WIDTH))
    }

    #[test]
    fn positions_go_on_to_whole_tiles() {
        let plain = model(all());
        let reshaped = reshaped(&plain).unwrap();
        assert_eq!(reshaped.len(), plain.len() + 12 * WIDTH as usize * 4);
        assert_eq!(reshaped[STEPS_AT..STEPS_AT + 4], numbers(&[32]));
        let at = plain.windows(28).position(|window| window == POSITIONS).unwrap();
        assert_eq!(reshaped[at - 4..at], numbers(&[32]));
        let end = at + 28 + (STEPS * WIDTH * 4) as usize;
        let more: Vec<u8> =
            (STEPS..32).flat_map(|step| position(step, WIDTH)).flat_map(f32::to_le_bytes).collect();
        assert_eq!(reshaped[end..end + more.len()], more);
        assert_eq!(reshaped[end + more.len()..], plain[end..]);
    }

    #[test]
    fn learned_positions_stay_as_they_are() {
        let plain = model(all().map(|number| number + 0.01));
        assert_eq!(reshaped(&plain).unwrap(), plain);
    }

    #[test]
    fn what_was_cut_off_meanwhile_is_an_error() {
        let plain = model(all());
        // It may end before a tensor, of which there are three.
        let whole = (0..plain.len()).filter(|end| reshaped(&plain[..*end]).is_ok());
        assert_eq!(whole.count(), 3);
    }
}
