//! Where somebody may be speaking. Speech comes and goes, many times in a second; the noise of a room, however loud, does not.

use std::ops::Range;

use crate::RATE;
use crate::chunks::loudness;

/// The stretch whose loudness is looked at: 20 ms.
const STRETCH: usize = RATE as usize / 50;
/// What is compared with each other: two seconds, a hundred stretches.
const BLOCK: usize = 100 * STRETCH;
/// Speech is so many times louder than its pauses, also where the noise around it is as loud as it is. The loud stretches of
/// steady noise are hardly a tenth above the faint ones.
const LOUDER: f32 = 1.6;
/// Below this nobody speaks, in root mean square of what changes from one sample to the next.
const FAINT: f32 = 0.000_05;

/// The parts in which the sound comes and goes as speech does, to two seconds.
pub(crate) fn voiced(samples: &[f32]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for start in (0..samples.len()).step_by(BLOCK) {
        let end = samples.len().min(start + BLOCK);
        if !is_voiced(&samples[start..end]) {
            continue;
        }
        match found.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => found.push(start..end),
        }
    }
    found
}

/// How many samples of a part are within these.
pub(crate) fn within(parts: &[Range<usize>], of: &Range<usize>) -> usize {
    let common =
        |part: &Range<usize>| part.end.min(of.end).saturating_sub(part.start.max(of.start));
    parts.iter().map(common).sum()
}

fn is_voiced(block: &[f32]) -> bool {
    // Without the low frequencies, in which hum and wind come and go by themselves.
    let changes: Vec<f32> = block.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mut stretches: Vec<f32> = changes.chunks_exact(STRETCH).map(loudness).collect();
    stretches.sort_by(f32::total_cmp);
    let tenth = stretches.len() / 10;
    let (Some(pause), Some(speech)) = (stretches.get(tenth), stretches.iter().rev().nth(tenth))
    else {
        return false;
    };
    *speech > FAINT && *speech > LOUDER * pause
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: usize = RATE as usize;

    fn decibels(level: f32) -> f32 {
        10_f32.powf(level / 20.0)
    }

    /// Noise of a room at this level: as loud in every octave, the same every time.
    pub(crate) fn pink(seconds: usize, level: f32) -> Vec<f32> {
        let mut state = 1_u32;
        let mut white = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        // Three lags, as Paul Kellet has them.
        let mut lags = [0.0_f32; 3];
        let mut sound: Vec<f32> = (0..seconds * SECOND)
            .map(|_| {
                let white = white();
                lags[0] = 0.99765 * lags[0] + white * 0.099_046;
                lags[1] = 0.963 * lags[1] + white * 0.296_516_4;
                lags[2] = 0.57 * lags[2] + white * 1.052_691_3;
                lags.iter().sum::<f32>() + white * 0.1848
            })
            .collect();
        let factor = decibels(level) / loudness(&sound);
        sound.iter_mut().for_each(|sample| *sample *= factor);
        sound
    }

    #[test]
    fn in_the_noise_of_a_room_nobody_speaks_however_loud_it_is() {
        for level in [-64.0, -54.0, -44.0, -30.0] {
            assert_eq!(voiced(&pink(45, level)), [], "{level} dB");
        }
        assert_eq!(voiced(&[]), []);
        assert_eq!(voiced(&vec![0.0; 5 * SECOND + 7]), []);
    }

    #[test]
    fn what_comes_and_goes_may_be_speech_within_noise() {
        let mut sound = pink(20, -50.0);
        // Syllables, from 8 s to 12 s.
        for (at, sample) in sound.iter_mut().enumerate().skip(8 * SECOND).take(4 * SECOND) {
            if at % (SECOND / 4) < SECOND / 8 {
                *sample *= 10.0;
            }
        }
        let voiced = voiced(&sound);
        assert_eq!(voiced, std::slice::from_ref(&(8 * SECOND..12 * SECOND)));
        assert_eq!(within(&voiced, &(10 * SECOND..20 * SECOND)), 2 * SECOND);
    }
}
