//! Attention: each token's mean of all tokens, weighted by how well their keys fit its query, head by head.

use crate::DIMENSIONS;
use crate::kernel::{self, Kernel};

/// Numbers of a head.
pub const WIDTH: usize = 32;

const HEADS: usize = DIMENSIONS / WIDTH;

/// Queries that are computed side by side.
pub const TILE: usize = 4;

/// The numbers of one head.
pub type Lanes = [f32; WIDTH];

/// What attention writes while it works, kept from layer to layer.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Keys of a head: dimension by dimension, of as many tokens as fill whole lanes.
    keys: Vec<f32>,
    values: Vec<f32>,
    /// How well the keys fit, for each query of a tile.
    fits: Vec<f32>,
}

/// Takes the rows of query, key and value (three times [`DIMENSIONS`]) and writes rows of [`DIMENSIONS`].
pub fn attend(kernel: Kernel, rows: &[f32], scratch: &mut Scratch, into: &mut [f32]) {
    let count = rows.len() / (3 * DIMENSIONS);
    let padded = count.next_multiple_of(WIDTH);
    scratch.fits.clear();
    scratch.fits.resize(TILE * padded, 0.0);
    for head in 0..HEADS {
        gather(rows, head, padded, scratch);
        for first in (0..count).step_by(TILE) {
            // The last tile repeats its last query.
            let tokens: [usize; TILE] = std::array::from_fn(|at| (first + at).min(count - 1));
            let queries = tokens.map(|token| query(rows, token, head));
            for (token, mean) in tokens.into_iter().zip(means(kernel, &queries, count, scratch)) {
                let at = token * DIMENSIONS + head * WIDTH;
                into[at..at + WIDTH].copy_from_slice(&mean);
            }
        }
    }
}

/// Brings keys and values of a head together.
fn gather(rows: &[f32], head: usize, padded: usize, scratch: &mut Scratch) {
    scratch.keys.clear();
    scratch.keys.resize(WIDTH * padded, 0.0);
    scratch.values.clear();
    for (token, row) in rows.chunks_exact(3 * DIMENSIONS).enumerate() {
        let key = &row[DIMENSIONS + head * WIDTH..][..WIDTH];
        for (dimension, number) in key.iter().enumerate() {
            scratch.keys[dimension * padded + token] = *number;
        }
        let value = &row[2 * DIMENSIONS + head * WIDTH..][..WIDTH];
        scratch.values.extend_from_slice(value);
    }
}

fn query(rows: &[f32], token: usize, head: usize) -> Lanes {
    // One over the root of a head's width.
    const FACTOR: f32 = 0.176_776_7;
    let at = token * 3 * DIMENSIONS + head * WIDTH;
    std::array::from_fn(|dimension| rows[at + dimension] * FACTOR)
}

/// The mean of the values for each query.
fn means(
    kernel: Kernel,
    queries: &[Lanes; TILE],
    count: usize,
    scratch: &mut Scratch,
) -> [Lanes; TILE] {
    let Scratch { keys, values, fits } = scratch;
    let padded = fits.len() / TILE;
    for first in (0..padded).step_by(WIDTH) {
        let products = kernel::combine(
            kernel,
            queries.each_ref().map(|query| &query[..]),
            &keys[first..],
            padded,
        );
        for (fits, products) in fits.chunks_exact_mut(padded).zip(products) {
            fits[first..first + WIDTH].copy_from_slice(&products);
        }
    }
    let mut factors = [0f32; TILE];
    for (factor, fits) in factors.iter_mut().zip(fits.chunks_exact_mut(padded)) {
        fits[count..].fill(f32::NEG_INFINITY);
        kernel::soften(kernel, fits, factor);
    }
    let fits = std::array::from_fn(|at| &fits[at * padded..][..count]);
    let mut means = kernel::combine(kernel, fits, values, WIDTH);
    for (mean, factor) in means.iter_mut().zip(factors) {
        for number in mean {
            *number *= factor;
        }
    }
    means
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the paper has it, in double precision.
    fn plain(rows: &[f32]) -> Vec<f64> {
        let count = rows.len() / (3 * DIMENSIONS);
        let at = |token: usize, part: usize, head: usize, dimension: usize| {
            f64::from(rows[(token * 3 + part) * DIMENSIONS + head * WIDTH + dimension])
        };
        let mut all = vec![0.0; count * DIMENSIONS];
        for head in 0..HEADS {
            for token in 0..count {
                let fits: Vec<f64> = (0..count)
                    .map(|other| {
                        let product =
                            (0..WIDTH).map(|d| at(token, 0, head, d) * at(other, 1, head, d));
                        (product.sum::<f64>() / (WIDTH as f64).sqrt()).exp()
                    })
                    .collect();
                for dimension in 0..WIDTH {
                    let sum: f64 =
                        (0..count).map(|other| fits[other] * at(other, 2, head, dimension)).sum();
                    all[token * DIMENSIONS + head * WIDTH + dimension] =
                        sum / fits.iter().sum::<f64>();
                }
            }
        }
        all
    }

    #[test]
    fn attention_is_that_of_double_precision_for_any_number_of_tokens() {
        for count in [1, 2, 4, 5, 31, 32, 33, 70] {
            let mut state = 1u32;
            let rows: Vec<f32> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / 8_388_608.0 - 1.0
            })
            .take(count * 3 * DIMENSIONS)
            .collect();
            let mut found = vec![0.0; count * DIMENSIONS];
            attend(Kernel::detect(), &rows, &mut Scratch::default(), &mut found);
            for (found, exact) in found.iter().zip(plain(&rows)) {
                assert!((f64::from(*found) - exact).abs() < 1e-5, "{count}: {found} {exact}");
            }
        }
    }
}
