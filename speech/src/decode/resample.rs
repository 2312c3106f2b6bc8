//! From a recording's sample rate to Whisper's, without the aliasing that ruins consonants.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _};

use crate::RATE;

/// How many samples are resampled at once, about: at 48 kHz 21 ms.
const BLOCK: usize = 1024;

/// One channel on its way from one rate to the other; holds back less than a block.
pub(super) struct Resampler {
    rate: u32,
    /// None at our own rate.
    inner: Option<Fft<f32>>,
    waiting: Vec<f32>,
    block: Vec<f32>,
    /// Samples that the filter puts before the first real one, and that are still to be dropped.
    delay: usize,
    taken: u64,
    given: u64,
}

impl Resampler {
    pub(super) fn new(rate: u32) -> Self {
        let inner = (rate != RATE).then(|| {
            Fft::new(rate as usize, RATE as usize, BLOCK, 1, FixedSync::Both)
                .expect("neither rate is zero and there is one channel")
        });
        let delay = inner.as_ref().map_or(0, |inner| inner.output_delay());
        let block = vec![0.0; inner.as_ref().map_or(0, |inner| inner.output_frames_max())];
        Self { rate, inner, waiting: Vec::new(), block, delay, taken: 0, given: 0 }
    }

    /// The rate of what comes in, in samples per second.
    pub(super) fn rate(&self) -> u32 {
        self.rate
    }

    /// Takes samples in, and puts what is ready at the end of `out`.
    pub(super) fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.taken += samples.len() as u64;
        let before = out.len();
        match &mut self.inner {
            None => out.extend_from_slice(samples),
            Some(inner) => {
                self.waiting.extend_from_slice(samples);
                let size = inner.input_frames_next();
                let ready = self.waiting.len() / size * size;
                for block in self.waiting[..ready].chunks_exact(size) {
                    resample(inner, block, &mut self.block);
                    let late = self.delay.min(self.block.len());
                    self.delay -= late;
                    out.extend_from_slice(&self.block[late..]);
                }
                self.waiting.drain(..ready);
            }
        }
        self.given += (out.len() - before) as u64;
    }

    /// What was held back. Together exactly as much sound as was taken in.
    pub(super) fn finish(&mut self) -> Vec<f32> {
        let wanted = self.taken * u64::from(RATE) / u64::from(self.rate);
        let mut out = Vec::new();
        let Some(size) = self.inner.as_ref().map(|inner| inner.input_frames_next()) else {
            return out;
        };
        while self.given < wanted {
            let left = wanted - self.given;
            let padding = vec![0.0; size - self.waiting.len()];
            let before = out.len();
            self.push(&padding, &mut out);
            let keep = usize::try_from(left).unwrap_or(usize::MAX);
            out.truncate(before.saturating_add(keep));
        }
        out
    }
}

fn resample(inner: &mut Fft<f32>, from: &[f32], to: &mut [f32]) {
    let (taken, room) = (from.len(), to.len());
    let from = InterleavedSlice::new(from, 1, taken).expect("one channel, all of the slice");
    let mut to = InterleavedSlice::new_mut(to, 1, room).expect("one channel, all of the slice");
    inner
        .process_into_buffer(&from, &mut to, None)
        .expect("both slices are as long as the resampler says");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resampled(rate: u32, sound: &[f32], blocks: usize) -> Vec<f32> {
        let mut resampler = Resampler::new(rate);
        let mut out = Vec::new();
        for block in sound.chunks(blocks) {
            resampler.push(block, &mut out);
        }
        out.extend(resampler.finish());
        out
    }

    fn tone(rate: u32, hertz: f32, samples: usize) -> Vec<f32> {
        let step = std::f32::consts::TAU * hertz / rate as f32;
        (0..samples).map(|at| (step * at as f32).sin()).collect()
    }

    fn loudness(sound: &[f32]) -> f32 {
        (sound.iter().map(|sample| sample * sample).sum::<f32>() / sound.len() as f32).sqrt()
    }

    #[test]
    fn a_tone_keeps_its_place_and_height_at_every_usual_rate() {
        for rate in [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000] {
            let out = resampled(rate, &tone(rate, 440.0, rate as usize), 960);
            assert_eq!(out.len(), 16_000, "{rate} Hz");
            let expected = tone(16_000, 440.0, 16_000);
            let apart: Vec<f32> = out.iter().zip(&expected).map(|(a, b)| a - b).collect();
            // A tone that is a sample late differs by 0.12.
            let apart = loudness(&apart[400..15_600]);
            assert!(apart < 0.12, "{rate} Hz: {apart}");
        }
    }

    #[test]
    fn what_is_too_high_for_the_new_rate_is_gone_rather_than_folded_back() {
        let out = resampled(48_000, &tone(48_000, 11_000.0, 48_000), 4096);
        assert!(loudness(&out[400..15_600]) < 0.001);
    }

    #[test]
    fn it_does_not_matter_in_which_blocks_the_sound_comes() {
        let sound = tone(44_100, 300.0, 50_001);
        assert_eq!(resampled(44_100, &sound, 7), resampled(44_100, &sound, 5_000));
    }

    #[test]
    fn no_sound_gives_no_sound() {
        assert!(resampled(48_000, &[], 10).is_empty());
        assert!(resampled(16_000, &[], 10).is_empty());
    }
}
