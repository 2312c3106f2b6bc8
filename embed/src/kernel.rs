//! What depends on the processor: the product of 4-bit weights and 8-bit rows in vector instructions, and the functions
//! of [`crate::pass`] compiled for them. The processor is asked once, at run time. All give the same bits.

#![allow(unsafe_code, reason = "vector instructions are only reached by it")]

use crate::attention::{Lanes, TILE, WIDTH};
use crate::linear::{self, BLOCK, GROUP, Linear, Rows};
use crate::pass::{self, Norm};

#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

/// Which instructions to use. Beyond this module it is only ever made by [`Kernel::detect`], so that what it names is
/// there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel(Level);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 with its products of bytes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Kernel {
    /// The best for this processor.
    pub fn detect() -> Self {
        Self::all().pop().unwrap_or(Self(Level::Portable))
    }

    /// All that this processor can do, the best last.
    fn all() -> Vec<Self> {
        let mut all = vec![Self(Level::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                all.push(Self(Level::Avx2));
            }
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni")
            {
                all.push(Self(Level::Avx512));
            }
        }
        all
    }
}

/// Compiles a function for each level, and calls the right one.
macro_rules! for_each_level {
    ($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) = $portable:path) => {
        $(#[$doc])*
        pub fn $name(kernel: Kernel, $($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($argument: $type),*) {
                $portable($($argument),*);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
            fn avx512($($argument: $type),*) {
                $portable($($argument),*);
            }
            match kernel.0 {
                Level::Portable => $portable($($argument),*),
                // SAFETY: a kernel of this level exists only where the processor has the instructions.
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => unsafe { avx2($($argument),*) },
                // SAFETY: likewise.
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => unsafe { avx512($($argument),*) },
            }
        }
    };
}

for_each_level! {
    /// [`pass::gelu`].
    gelu(values: &mut [f32]) = pass::gelu
}
for_each_level! {
    /// [`pass::add_and_normalise`].
    add_and_normalise(rows: &mut [f32], more: &[f32], norm: &Norm) = pass::add_and_normalise
}
for_each_level! {
    /// [`pass::soften`].
    soften(values: &mut [f32], factor: &mut f32) = pass::soften
}
for_each_level! {
    /// [`linear::round`].
    round(numbers: &[f32], values: &mut [i8], scales: &mut [f32], offsets: &mut [i32]) = linear::round
}

/// Puts the map to each row: `into` has the map's outputs, row by row.
pub fn multiply(kernel: Kernel, map: &Linear, rows: &Rows, into: &mut [f32]) {
    let blocks = map.inputs / BLOCK;
    assert!(
        rows.width == map.inputs
            && rows.values.len() == rows.count * map.inputs
            && rows.scales.len() == rows.count * blocks
            && rows.offsets.len() == rows.count * blocks
            && into.len() == rows.count * map.outputs
            && map.outputs.is_multiple_of(GROUP)
            && map.inputs.is_multiple_of(BLOCK)
            && map.weights.len() == map.inputs * map.outputs
            && map.scales.len() == blocks * map.outputs
            && map.bias.len() == map.outputs,
        "the map and the rows have the same width"
    );
    for group in 0..map.outputs / GROUP {
        let part = Part {
            weights: &map.weights[group * GROUP * map.inputs..][..GROUP * map.inputs],
            scales: &map.scales[group * GROUP * blocks..][..GROUP * blocks],
            bias: &map.bias[group * GROUP..][..GROUP],
            rows,
            blocks,
        };
        let mut put = |row: usize, outputs: &[f32; GROUP]| {
            into[row * map.outputs + group * GROUP..][..GROUP].copy_from_slice(outputs);
        };
        match kernel.0 {
            Level::Portable => portable(&part, &mut put),
            // SAFETY: a kernel of this level exists only where the processor has the instructions.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { x86::avx2(&part, &mut put) },
            // SAFETY: likewise.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { x86::avx512(&part, &mut put) },
        }
    }
}

/// A group of a map's outputs, and all rows.
struct Part<'a> {
    weights: &'a [u8],
    scales: &'a [f32],
    bias: &'a [f32],
    rows: &'a Rows,
    /// Blocks of a row.
    blocks: usize,
}

/// What the others must equal.
fn portable(part: &Part<'_>, put: &mut impl FnMut(usize, &[f32; GROUP])) {
    let &Part { weights, scales, bias, rows, blocks } = part;
    for row in 0..rows.count {
        let mut outputs = [0f32; GROUP];
        outputs.copy_from_slice(bias);
        for block in 0..blocks {
            let at = row * blocks + block;
            let mut sums = [rows.offsets[at]; GROUP];
            let values = rows.values[at * BLOCK..][..BLOCK].as_chunks::<4>().0;
            let weights = weights[block * BLOCK * GROUP..][..BLOCK * GROUP].as_chunks::<4>().0;
            for (values, weights) in values.iter().zip(weights.chunks_exact(GROUP)) {
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    for (weight, value) in weights.iter().zip(values) {
                        *sum += i32::from(*weight) * i32::from(*value);
                    }
                }
            }
            let scales = &scales[block * GROUP..][..GROUP];
            for ((output, sum), scale) in outputs.iter_mut().zip(sums).zip(scales) {
                *output += sum as f32 * (scale * rows.scales[at]);
            }
        }
        put(row, &outputs);
    }
}

/// Adds up rows, each times its coefficient, once for each list of coefficients. A row is [`WIDTH`] numbers, and the next
/// one begins `stride` after it.
pub fn combine(
    kernel: Kernel,
    coefficients: [&[f32]; TILE],
    rows: &[f32],
    stride: usize,
) -> [Lanes; TILE] {
    let mut sums = [[0f32; WIDTH]; TILE];
    let count = coefficients[0].len();
    if count == 0 {
        return sums;
    }
    assert!(
        coefficients.iter().all(|list| list.len() == count)
            && rows.len() >= (count - 1) * stride + WIDTH,
        "each coefficient has its row"
    );
    match kernel.0 {
        Level::Portable => combine_portable(coefficients, rows, stride, &mut sums),
        // SAFETY: a kernel of this level exists only where the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { x86::combine_256(coefficients, rows, stride, &mut sums) },
        // SAFETY: likewise.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { x86::combine_512(coefficients, rows, stride, &mut sums) },
    }
    sums
}

fn combine_portable(
    coefficients: [&[f32]; TILE],
    rows: &[f32],
    stride: usize,
    sums: &mut [Lanes; TILE],
) {
    for (sums, coefficients) in sums.iter_mut().zip(coefficients) {
        for (at, coefficient) in coefficients.iter().enumerate() {
            for (sum, number) in sums.iter_mut().zip(&rows[at * stride..][..WIDTH]) {
                *sum += coefficient * number;
            }
        }
    }
}
