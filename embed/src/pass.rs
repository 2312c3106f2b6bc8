//! Functions over whole rows of numbers, written so that the compiler makes vector instructions of them, and that any
//! processor gives the same bits: sums are kept in [`LANES`] lanes, and nothing is fused.

/// Lanes of a sum, in the order of which it is added up.
pub const LANES: usize = 16;

/// `e^x` for x ≤ 0, to about 2 units in the last place; 0 below -87.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding this rounds to a whole number, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.max(-87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    // ln 2 in two parts, so that the rest keeps its digits.
    let rest = x - whole * 0.693_359_4 - whole * -2.121_944_4e-4;
    let mut sum = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1] {
        sum = sum * rest + coefficient;
    }
    let fraction = sum * rest * rest + rest + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()) << 23;
    fraction * f32::from_bits(exponent.wrapping_add(1.0f32.to_bits()))
}

/// The error function as a quotient of polynomials, to about 4e-7.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let mut above = -2.726_142_3e-10;
    for coefficient in [
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ] {
        above = above * square + coefficient;
    }
    let mut below = -1.456_607_2e-5;
    for coefficient in [-2.133_740_5e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2] {
        below = below * square + coefficient;
    }
    x * above / below
}

/// Gaussian error linear unit, in place.
#[inline(always)]
pub fn gelu(values: &mut [f32]) {
    for value in values {
        *value *= 0.5 + 0.5 * erf(*value * std::f32::consts::FRAC_1_SQRT_2);
    }
}

/// The sum of `f` over the values; their number is a multiple of [`LANES`].
#[inline(always)]
fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    for chunk in values.as_chunks::<LANES>().0 {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += f(*value);
        }
    }
    lanes.iter().sum()
}

/// A scale and a shift per dimension, put to rows that were brought to mean 0 and variance 1.
#[derive(Debug)]
pub struct Norm {
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

/// Adds `more` to `rows` and normalises each row.
#[inline(always)]
pub fn add_and_normalise(rows: &mut [f32], more: &[f32], norm: &Norm) {
    const TINY: f32 = 1e-12;
    let width = norm.scale.len();
    for (row, more) in rows.chunks_exact_mut(width).zip(more.chunks_exact(width)) {
        for (value, more) in row.iter_mut().zip(more) {
            *value += more;
        }
        let mean = sum(row, |value| value) / width as f32;
        let variance = sum(row, |value| (value - mean) * (value - mean)) / width as f32;
        let factor = 1.0 / (variance + TINY).sqrt();
        for ((value, scale), shift) in row.iter_mut().zip(&norm.scale).zip(&norm.shift) {
            *value = (*value - mean) * factor * scale + shift;
        }
    }
}

/// Makes of each value its part of the whole, but for the factor: with it they add up to 1. The number of values is a
/// multiple of [`LANES`]; what is not to count is negative infinity.
#[inline(always)]
pub fn soften(values: &mut [f32], factor: &mut f32) {
    let mut most = [f32::NEG_INFINITY; LANES];
    for chunk in values.as_chunks::<LANES>().0 {
        for (most, value) in most.iter_mut().zip(chunk) {
            *most = if *value > *most { *value } else { *most };
        }
    }
    let most = most.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    for value in values.iter_mut() {
        *value = exp(*value - most);
    }
    *factor = 1.0 / sum(values, |value| value);
}

/// The mean of the rows, scaled to length 1.
pub fn mean_direction(rows: &[f32], width: usize) -> Vec<f32> {
    let mut mean = vec![0.0f32; width];
    for row in rows.chunks_exact(width) {
        for (mean, value) in mean.iter_mut().zip(row) {
            *mean += value;
        }
    }
    let length = sum(&mean, |value| value * value).sqrt();
    for value in &mut mean {
        *value /= length;
    }
    mean
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The integral by Taylor's series, in double precision.
    fn exact_erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    fn steps(from: f32, to: f32) -> impl Iterator<Item = f32> {
        (0..=20_000u16).map(move |step| from + (to - from) * f32::from(step) / 20_000.0)
    }

    #[test]
    fn exp_is_that_of_double_precision() {
        for x in steps(-86.0, 0.0) {
            let (found, exact) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / exact - 1.0).abs() < 3e-7, "e^{x} is {exact}, not {found}");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(-1e9) < 1e-37 && exp(0.0) == 1.0);
    }

    #[test]
    fn gelu_is_that_of_double_precision() {
        for x in steps(-5.0, 5.0) {
            let mut found = [x];
            gelu(&mut found);
            let x = f64::from(x);
            let exact = 0.5 * x * (1.0 + exact_erf(x / std::f64::consts::SQRT_2));
            assert!((f64::from(found[0]) - exact).abs() < 2e-6, "gelu({x}): {exact}, {found:?}");
        }
    }

    #[test]
    fn softened_values_are_parts_of_one() {
        let mut values = [f32::NEG_INFINITY; 32];
        values[..3].copy_from_slice(&[1.0, 2.0, 3.0]);
        let mut factor = 0.0;
        soften(&mut values, &mut factor);
        let parts = values.map(|value| value * factor);
        assert!((parts.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        for (found, exact) in parts.iter().zip([0.090_030_57, 0.244_728_47, 0.665_240_96, 0.0]) {
            assert!((found - exact).abs() < 1e-6, "{parts:?}");
        }
    }

    #[test]
    fn normalised_rows_have_mean_0_and_variance_1() {
        let norm = Norm { scale: vec![1.0; 32], shift: vec![0.0; 32] };
        let mut rows: Vec<f32> = (0..64u8).map(f32::from).collect();
        let more = rows.clone();
        add_and_normalise(&mut rows, &more, &norm);
        for row in rows.chunks(32) {
            let mean = row.iter().sum::<f32>() / 32.0;
            let variance = row.iter().map(|value| value * value).sum::<f32>() / 32.0;
            assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-5, "{mean} {variance}");
        }
    }
}
