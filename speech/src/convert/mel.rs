//! The mel filters that Whisper was trained with: triangles on Slaney's mel scale, each of area one.

use crate::RATE;

/// Frequencies of a spectrum of 400 samples.
pub(super) const BINS: u32 = WINDOW / 2 + 1;
const WINDOW: u32 = 400;

/// Up to here the scale is linear, then logarithmic.
const LINEAR_TO: f64 = 1000.0;
const HERTZ_PER_MEL: f64 = 200.0 / 3.0;

/// The weight of each frequency in each filter, filter after filter.
pub(super) fn filters(count: u32) -> Vec<f32> {
    let top = mel(f64::from(RATE) / 2.0);
    let step = top / f64::from(count + 1);
    let corner =
        |number: u32| hertz(if number == count + 1 { top } else { f64::from(number) * step });
    let mut filters = Vec::new();
    for filter in 0..count {
        let [left, middle, right] = [filter, filter + 1, filter + 2].map(corner);
        let area = 2.0 / (right - left);
        for bin in 0..BINS {
            let frequency = f64::from(bin) * f64::from(RATE / WINDOW);
            // Turned round, this is zero with a sign at the corner, as it stands in the published files.
            let rising = -(left - frequency) / (middle - left);
            let falling = (right - frequency) / (right - middle);
            let lower = rising.min(falling);
            let height = if lower < 0.0 { 0.0 } else { lower * area };
            #[allow(clippy::cast_possible_truncation, reason = "the format has single precision")]
            filters.push(height as f32);
        }
    }
    filters
}

fn mel(hertz: f64) -> f64 {
    if hertz < LINEAR_TO {
        hertz / HERTZ_PER_MEL
    } else {
        LINEAR_TO / HERTZ_PER_MEL + (hertz / LINEAR_TO).ln() / log_step()
    }
}

fn hertz(mel: f64) -> f64 {
    let linear = LINEAR_TO / HERTZ_PER_MEL;
    if mel < linear { mel * HERTZ_PER_MEL } else { LINEAR_TO * (log_step() * (mel - linear)).exp() }
}

/// 27 mel are a factor of 6.4.
fn log_step() -> f64 {
    6.4_f64.ln() / 27.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_triangles_of_area_one_over_all_frequencies() {
        let filters = filters(80);
        assert_eq!(filters.len(), 80 * BINS as usize);
        for (number, filter) in filters.chunks(BINS as usize).enumerate() {
            let heights: Vec<f32> = filter.iter().copied().filter(|&height| height > 0.0).collect();
            assert!(!heights.is_empty(), "filter {number}");
            let peak =
                heights.iter().position(|height| heights.iter().all(|h| h <= height)).unwrap();
            assert!(heights[..=peak].is_sorted() && heights[peak..].is_sorted_by(|a, b| a >= b));
        }
        // The lowest lies between 0 and two mel, wide ones are sampled well enough to have their area.
        let widest = &filters[79 * BINS as usize..];
        let area: f32 = widest.iter().sum::<f32>() * 40.0;
        assert!((area - 1.0).abs() < 0.02, "{area}");
    }

    #[test]
    fn the_scale_goes_back_to_where_it_came_from() {
        for frequency in [0.0, 40.0, 999.0, 1000.0, 4321.0, 8000.0] {
            assert!((hertz(mel(frequency)) - frequency).abs() < 1e-9);
        }
        assert!((mel(1000.0) - 15.0).abs() < 1e-9);
    }
}
