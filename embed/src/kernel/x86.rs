//! Products and sums in AVX-512 and AVX2.

use std::arch::x86_64::*;

use super::{BLOCK, GROUP, Lanes, Part, TILE, WIDTH};

/// Bytes of weights that meet the same four numbers of a row.
const STEP: usize = 4 * GROUP;

/// Rows that are computed side by side: as many as leave registers for the weights.
const TILE_512: usize = 6;

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub fn avx512(part: &Part<'_>, put: &mut impl FnMut(usize, &[f32; GROUP])) {
    let count = part.rows.count;
    let mut row = 0;
    while row + TILE_512 <= count {
        tile_512::<TILE_512>(part, row, put);
        row += TILE_512;
    }
    match count - row {
        0 => {}
        1 => tile_512::<1>(part, row, put),
        2 => tile_512::<2>(part, row, put),
        3 => tile_512::<3>(part, row, put),
        4 => tile_512::<4>(part, row, put),
        _ => tile_512::<5>(part, row, put),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn tile_512<const ROWS: usize>(
    part: &Part<'_>,
    first: usize,
    put: &mut impl FnMut(usize, &[f32; GROUP]),
) {
    let &Part { weights, scales, bias, rows, blocks } = part;
    let mut outputs = [[load_512(&bias[..16]), load_512(&bias[16..])]; ROWS];
    let (weights, scales) = (weights.as_chunks::<64>().0, scales.as_chunks::<16>().0);
    // Cut once, so that the loops below need no checks.
    let rows_of: [_; ROWS] = std::array::from_fn(|at| {
        let from = (first + at) * blocks;
        let values = rows.values[from * BLOCK..][..blocks * BLOCK].as_chunks::<BLOCK>().0;
        (values, &rows.scales[from..][..blocks], &rows.offsets[from..][..blocks])
    });
    for block in 0..blocks {
        let mut sums: [_; ROWS] =
            std::array::from_fn(|at| [_mm512_set1_epi32(rows_of[at].2[block]); 2]);
        let weights = &weights[block * (BLOCK * GROUP / 64)..][..BLOCK * GROUP / 64];
        for step in 0..BLOCK / 4 {
            let pair = [bytes_512(&weights[2 * step]), bytes_512(&weights[2 * step + 1])];
            for at in 0..ROWS {
                let four = _mm512_set1_epi32(four(&rows_of[at].0[block], step));
                for half in 0..2 {
                    sums[at][half] = _mm512_dpbusd_epi32(sums[at][half], pair[half], four);
                }
            }
        }
        let pair = [load_512(&scales[2 * block]), load_512(&scales[2 * block + 1])];
        for at in 0..ROWS {
            let scale = _mm512_set1_ps(rows_of[at].1[block]);
            for half in 0..2 {
                let scale = _mm512_mul_ps(pair[half], scale);
                let product = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[at][half]), scale);
                outputs[at][half] = _mm512_add_ps(outputs[at][half], product);
            }
        }
    }
    for (at, pair) in outputs.into_iter().enumerate() {
        let mut stored = [0f32; GROUP];
        for (half, into) in pair.into_iter().zip(stored.as_chunks_mut::<16>().0) {
            // SAFETY: `into` is 16 numbers, which is what is stored.
            unsafe { _mm512_storeu_ps(into.as_mut_ptr(), half) };
        }
        put(first + at, &stored);
    }
}

/// Four numbers of a row, as one of 32 bits.
#[inline(always)]
fn four(block: &[i8; BLOCK], step: usize) -> i32 {
    i32::from_le_bytes(block.as_chunks::<4>().0[step].map(|value| value as u8))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load_512(numbers: &[f32]) -> __m512 {
    let numbers: &[f32; 16] = &numbers.as_chunks().0[0];
    // SAFETY: the reference is to 16 numbers, which is what is loaded.
    unsafe { _mm512_loadu_ps(numbers.as_ptr()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn bytes_512(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the reference is to 64 bytes, which is what is loaded.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Rows that are computed side by side.
const TILE_256: usize = 2;

#[target_feature(enable = "avx2")]
pub fn avx2(part: &Part<'_>, put: &mut impl FnMut(usize, &[f32; GROUP])) {
    let count = part.rows.count;
    let mut row = 0;
    while row + TILE_256 <= count {
        tile_256::<TILE_256>(part, row, put);
        row += TILE_256;
    }
    if row < count {
        tile_256::<1>(part, row, put);
    }
}

/// The group in two halves, since there are fewer registers.
#[target_feature(enable = "avx2")]
#[inline]
fn tile_256<const ROWS: usize>(
    part: &Part<'_>,
    first: usize,
    put: &mut impl FnMut(usize, &[f32; GROUP]),
) {
    let mut stored = [[0f32; GROUP]; ROWS];
    for half in 0..2 {
        let outputs = half_256::<ROWS>(part, first, half);
        for (stored, outputs) in stored.iter_mut().zip(outputs) {
            let into = stored.as_chunks_mut::<8>().0.iter_mut().skip(2 * half);
            for (eight, into) in outputs.into_iter().zip(into) {
                // SAFETY: `into` is 8 numbers, which is what is stored.
                unsafe { _mm256_storeu_ps(into.as_mut_ptr(), eight) };
            }
        }
    }
    for (at, stored) in stored.iter().enumerate() {
        put(first + at, stored);
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn half_256<const ROWS: usize>(part: &Part<'_>, first: usize, half: usize) -> [[__m256; 2]; ROWS] {
    let &Part { weights, scales, bias, rows, blocks } = part;
    let eights = |numbers: &[f32]| {
        let eights = &numbers.as_chunks::<8>().0[2 * half..][..2];
        [load_256(&eights[0]), load_256(&eights[1])]
    };
    let ones = _mm256_set1_epi16(1);
    let mut outputs = [eights(bias); ROWS];
    for block in 0..blocks {
        // A sum of 16 bits has two products of at most 15 and 127, eight times over: it cannot overflow.
        let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
        let weights = weights[block * BLOCK * GROUP..][..BLOCK * GROUP].as_chunks::<STEP>().0;
        for (step, weights) in weights.iter().enumerate() {
            let weights = &weights.as_chunks::<32>().0[2 * half..][..2];
            let pair = [bytes_256(&weights[0]), bytes_256(&weights[1])];
            for (at, sums) in sums.iter_mut().enumerate() {
                let from = (first + at) * blocks + block;
                let values = &rows.values.as_chunks::<BLOCK>().0[from];
                let four = _mm256_set1_epi32(four(values, step));
                for (sum, weights) in sums.iter_mut().zip(pair) {
                    *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(weights, four));
                }
            }
        }
        let pair = eights(&scales[block * GROUP..][..GROUP]);
        for (at, (outputs, sums)) in outputs.iter_mut().zip(sums).enumerate() {
            let from = (first + at) * blocks + block;
            let offset = _mm256_set1_epi32(rows.offsets[from]);
            let scale = _mm256_set1_ps(rows.scales[from]);
            for ((output, sum), scales) in outputs.iter_mut().zip(sums).zip(pair) {
                let sum = _mm256_add_epi32(_mm256_madd_epi16(sum, ones), offset);
                let product = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(scales, scale));
                *output = _mm256_add_ps(*output, product);
            }
        }
    }
    outputs
}

#[target_feature(enable = "avx2")]
#[inline]
fn load_256(numbers: &[f32; 8]) -> __m256 {
    // SAFETY: the reference is to 8 numbers, which is what is loaded.
    unsafe { _mm256_loadu_ps(numbers.as_ptr()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn bytes_256(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the reference is to 32 bytes, which is what is loaded.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
pub fn combine_512(
    coefficients: [&[f32]; TILE],
    rows: &[f32],
    stride: usize,
    into: &mut [Lanes; TILE],
) {
    let mut sums = [[_mm512_setzero_ps(); 2]; TILE];
    for at in 0..coefficients[0].len() {
        let row = &rows[at * stride..][..WIDTH];
        let row = [load_512(&row[..16]), load_512(&row[16..])];
        for (sums, coefficients) in sums.iter_mut().zip(coefficients) {
            let coefficient = _mm512_set1_ps(coefficients[at]);
            for (sum, half) in sums.iter_mut().zip(row) {
                *sum = _mm512_add_ps(*sum, _mm512_mul_ps(coefficient, half));
            }
        }
    }
    for (sums, into) in sums.into_iter().zip(into) {
        for (sum, into) in sums.into_iter().zip(into.as_chunks_mut::<16>().0) {
            // SAFETY: `into` is 16 numbers, which is what is stored.
            unsafe { _mm512_storeu_ps(into.as_mut_ptr(), sum) };
        }
    }
}

/// The rows in two halves, since there are fewer registers.
#[target_feature(enable = "avx2")]
pub fn combine_256(
    coefficients: [&[f32]; TILE],
    rows: &[f32],
    stride: usize,
    into: &mut [Lanes; TILE],
) {
    for half in 0..2 {
        let mut sums = [[_mm256_setzero_ps(); 2]; TILE];
        for at in 0..coefficients[0].len() {
            let row = &rows[at * stride..][..WIDTH].as_chunks::<8>().0[2 * half..][..2];
            let row = [load_256(&row[0]), load_256(&row[1])];
            for (sums, coefficients) in sums.iter_mut().zip(coefficients) {
                let coefficient = _mm256_set1_ps(coefficients[at]);
                for (sum, eight) in sums.iter_mut().zip(row) {
                    *sum = _mm256_add_ps(*sum, _mm256_mul_ps(coefficient, eight));
                }
            }
        }
        for (sums, into) in sums.into_iter().zip(into.iter_mut()) {
            let into = into.as_chunks_mut::<8>().0.iter_mut().skip(2 * half);
            for (sum, into) in sums.into_iter().zip(into) {
                // SAFETY: `into` is 8 numbers, which is what is stored.
                unsafe { _mm256_storeu_ps(into.as_mut_ptr(), sum) };
            }
        }
    }
}
