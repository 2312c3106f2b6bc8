//! Linear maps with weights of 4 bits, and the rows of 8-bit numbers that they are put to.
//!
//! Weights stay as the file has them: 32 weights of an output share a scale (`Q4_0`). Rows are rounded to 8 bits, again in
//! blocks of 32 with a scale each, so a product is exact whole numbers but for one multiplication by scales per block.

use crate::kernel::{self, Kernel};

/// Weights, or numbers of a row, that share a scale.
pub const BLOCK: usize = 32;

/// Bytes of a block of weights in the file: a half-precision scale and 32 times 4 bits.
pub const STORED: usize = 18;

/// Outputs that are computed side by side.
pub const GROUP: usize = 32;

/// `outputs` numbers of `inputs` numbers: a matrix and a bias.
#[derive(Debug)]
pub struct Linear {
    pub inputs: usize,
    pub outputs: usize,
    /// 0 to 15, of which 8 is zero, by group of outputs, then four inputs, output, input.
    pub weights: Vec<u8>,
    /// By group of outputs, then block, output.
    pub scales: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Linear {
    /// Takes the blocks of the file, output by output. Inputs and outputs are multiples of 32.
    pub fn new(stored: &[u8], bias: Vec<f32>, inputs: usize) -> Self {
        let outputs = bias.len();
        let blocks = inputs / BLOCK;
        let mut weights = vec![0u8; inputs * outputs];
        let mut scales = vec![0f32; blocks * outputs];
        for (at, block) in stored.as_chunks::<STORED>().0.iter().enumerate() {
            let (output, block_at) = (at / blocks, at % blocks);
            let (group, lane) = (output / GROUP, output % GROUP);
            scales[(group * blocks + block_at) * GROUP + lane] = scale(block);
            for (input, weight) in nibbles(block).into_iter().enumerate() {
                let four = (group * inputs + block_at * BLOCK + input) / 4;
                weights[(four * GROUP + lane) * 4 + input % 4] = weight;
            }
        }
        Self { inputs, outputs, weights, scales, bias }
    }

    /// Puts the map to every row.
    pub fn apply(&self, kernel: Kernel, rows: &Rows, into: &mut Vec<f32>) {
        into.clear();
        into.resize(rows.count * self.outputs, 0.0);
        kernel::multiply(kernel, self, rows, into);
    }
}

/// Reads one stored block: its 32 weights, as numbers.
pub fn unpack(block: &[u8; STORED]) -> [f32; BLOCK] {
    let scale = scale(block);
    nibbles(block).map(|nibble| (f32::from(nibble) - 8.0) * scale)
}

/// The low halves of the bytes are the first 16 weights, the high halves the others.
fn nibbles(block: &[u8; STORED]) -> [u8; BLOCK] {
    std::array::from_fn(|at| match at {
        0..16 => block[2 + at] & 15,
        _ => block[2 + at - 16] >> 4,
    })
}

fn scale(block: &[u8; STORED]) -> f32 {
    half(u16::from_le_bytes([block[0], block[1]]))
}

/// A number of half precision.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023) / 1024.0);
    match exponent {
        0 => sign * fraction * 2f32.powi(-14),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1.0 + fraction) * 2f32.powi(exponent - 15),
    }
}

/// Rows rounded to 8 bits.
#[derive(Debug, Default)]
pub struct Rows {
    pub count: usize,
    pub width: usize,
    /// -127 to 127.
    pub values: Vec<i8>,
    /// Of each block of each row.
    pub scales: Vec<f32>,
    /// Of each block of each row: what the weights' zero, which is 8, must take off its products.
    pub offsets: Vec<i32>,
}

impl Rows {
    /// Takes rows of a width that is a multiple of 32.
    pub fn round(&mut self, kernel: Kernel, numbers: &[f32], width: usize) {
        self.count = numbers.len() / width;
        self.width = width;
        self.values.resize(numbers.len(), 0);
        self.scales.resize(numbers.len() / BLOCK, 0.0);
        self.offsets.resize(numbers.len() / BLOCK, 0);
        kernel::round(kernel, numbers, &mut self.values, &mut self.scales, &mut self.offsets);
    }
}

/// Rounds block by block; the three results are as in [`Rows`].
#[inline(always)]
pub fn round(numbers: &[f32], values: &mut [i8], scales: &mut [f32], offsets: &mut [i32]) {
    // Adding this rounds to a whole number, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let blocks = numbers.as_chunks::<BLOCK>().0.iter().zip(values.as_chunks_mut::<BLOCK>().0);
    for (((block, values), scale), offset) in blocks.zip(scales).zip(offsets) {
        let mut most = [0f32; BLOCK];
        for (most, number) in most.iter_mut().zip(block) {
            *most = number.abs();
        }
        for half in [16, 8, 4, 2, 1] {
            for lane in 0..half {
                most[lane] =
                    if most[lane + half] > most[lane] { most[lane + half] } else { most[lane] };
            }
        }
        // Smaller ones would have no finite factor, and count for nothing.
        let factor = if most[0] > 1e-30 { 127.0 / most[0] } else { 0.0 };
        *scale = most[0] / 127.0;
        let mut whole = [0i32; BLOCK];
        for (whole, number) in whole.iter_mut().zip(block) {
            *whole = (number * factor + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i32;
        }
        for (value, whole) in values.iter_mut().zip(whole) {
            *value = whole as i8;
        }
        *offset = -8 * values.iter().map(|value| i32::from(*value)).sum::<i32>();
    }
}
