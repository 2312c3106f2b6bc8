//! A recording in chunks of some minutes, each ending where it is quiet, so that no word is cut.
//!
//! Where a chunk ends depends only on the sound from its beginning: who begins again at a chunk's beginning finds the same
//! chunks.

use std::ops::Range;
use std::time::Duration;

use crate::RATE;

/// How long chunks are where nothing else is said. Shorter ones cost accuracy (Whisper knows less of what was said before),
/// longer ones memory, and time when a worker is killed.
pub const LENGTH: Duration = Duration::from_secs(300);

/// At the end of a chunk, in samples, where it may be cut.
const CUT_WITHIN: usize = 10 * RATE as usize;
/// Room for more sound than this, in samples, is only made when it comes: ten minutes and a little.
const LONGEST_ROOM: usize = 610 * RATE as usize;
/// More samples than a block of sound usually has.
const BLOCK: usize = RATE as usize;
/// The stretch whose loudness is looked at: 20 ms.
const STRETCH: usize = RATE as usize / 50;
/// Below this loudness (root mean square, full scale is 1) nobody speaks: about -66 dB, as with a muted microphone.
const QUIET: f32 = 0.000_5;
/// A silence is worth telling from ten seconds on: 500 stretches.
const SILENCE: usize = 500;

/// A part of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// Its first sample's place in the recording.
    pub start: u64,
    /// The sound, at [`RATE`].
    pub samples: Vec<f32>,
}

impl Chunk {
    /// The place of the first sample after it: where the next chunk begins.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start + self.samples.len() as u64
    }
}

/// Gathers blocks of sound, as [`Audio`](crate::decode::Audio) gives them, into chunks.
pub struct Cutter<Blocks> {
    blocks: Blocks,
    start: u64,
    length: usize,
    waiting: Vec<f32>,
    ended: bool,
}

impl<Blocks> Cutter<Blocks> {
    /// The blocks begin with the sample `start` of the recording. A chunk is as long as `length`, at most ten seconds less or
    /// more; usually that is [`LENGTH`].
    pub fn new(blocks: Blocks, start: u64, length: Duration) -> Self {
        let length = length.as_millis() * u128::from(RATE) / 1000;
        let length = usize::try_from(length).unwrap_or(usize::MAX / 2).max(2 * STRETCH);
        Self { blocks, start, length, waiting: Vec::new(), ended: false }
    }

    fn take(&mut self, samples: usize) -> Chunk {
        let rest = self.waiting.split_off(samples);
        let chunk =
            Chunk { start: self.start, samples: std::mem::replace(&mut self.waiting, rest) };
        self.start = chunk.end();
        chunk
    }
}

impl<Blocks, E> Iterator for Cutter<Blocks>
where
    Blocks: Iterator<Item = Result<Vec<f32>, E>>,
{
    type Item = Result<Chunk, E>;

    fn next(&mut self) -> Option<Self::Item> {
        // A little more than one chunk is read, so that the last is not a scrap of seconds, which Whisper understands badly.
        let within = CUT_WITHIN.min(self.length / 2);
        // At once, since growing step by step takes up to three times as much.
        let room = (self.length + within).min(LONGEST_ROOM) + BLOCK;
        self.waiting.reserve_exact(room.saturating_sub(self.waiting.len()));
        while !self.ended && self.waiting.len() < self.length + within {
            match self.blocks.next() {
                Some(Ok(block)) => self.waiting.extend_from_slice(&block),
                Some(Err(error)) => {
                    self.ended = true;
                    self.waiting.clear();
                    return Some(Err(error));
                }
                None => self.ended = true,
            }
        }
        if self.waiting.is_empty() {
            return None;
        }
        if self.waiting.len() < self.length + within {
            return Some(Ok(self.take(self.waiting.len())));
        }
        let cut = quietest(&self.waiting, self.length - within..self.length);
        Some(Ok(self.take(cut)))
    }
}

/// The middle of the quietest stretch in this range.
fn quietest(samples: &[f32], within: Range<usize>) -> usize {
    let stretches = (within.start..=within.end - STRETCH).step_by(STRETCH / 2);
    let loudness = |&start: &usize| loudness(&samples[start..start + STRETCH]);
    stretches
        .min_by(|a, b| loudness(a).total_cmp(&loudness(b)))
        .map_or(within.end, |start| start + STRETCH / 2)
}

/// Root mean square.
pub(crate) fn loudness(samples: &[f32]) -> f32 {
    let energy: f32 = samples.iter().map(|sample| sample * sample).sum();
    #[allow(clippy::cast_precision_loss, reason = "some hundred samples")]
    (energy / samples.len() as f32).sqrt()
}

/// Where nobody speaks for ten seconds or longer, and all of what is shorter than that and silent throughout.
#[must_use]
pub fn silences(samples: &[f32]) -> Vec<Range<usize>> {
    let least = SILENCE.min(samples.len().div_ceil(STRETCH)).max(1);
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut since = None;
    for (number, stretch) in samples.chunks(STRETCH).enumerate() {
        let start = number * STRETCH;
        match loudness(stretch) < QUIET {
            true => _ = since.get_or_insert(start),
            false => found.extend(since.take().map(|since| since..start)),
        }
    }
    found.extend(since.map(|since| since..samples.len()));
    found.retain(|silence| silence.len().div_ceil(STRETCH) >= least);
    found
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const SECOND: usize = RATE as usize;

    /// Noise that is the same every time, with 50 ms of quiet at these seconds.
    fn noise(seconds: usize, pauses: &[f32]) -> Vec<f32> {
        let mut state = 1_u32;
        let mut sound: Vec<f32> = (0..seconds * SECOND)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 24) as f32 - 0.5
            })
            .collect();
        for pause in pauses {
            let start = (pause * SECOND as f32) as usize;
            sound[start..start + SECOND / 20].fill(0.0);
        }
        sound
    }

    fn cut(sound: &[f32], start: u64, seconds: u64, block: usize) -> Vec<Chunk> {
        let blocks = sound.chunks(block).map(|block| Ok::<_, Infallible>(block.to_vec()));
        let chunks = Cutter::new(blocks, start, Duration::from_secs(seconds));
        chunks
            .map(|chunk| match chunk {
                Ok(chunk) => chunk,
            })
            .collect()
    }

    #[test]
    fn a_chunk_ends_in_the_last_pause_before_its_length() {
        let sound = noise(70, &[14.0, 25.5, 45.0, 48.0]);
        let chunks = cut(&sound, 0, 30, 1000);
        let second = chunks[0].end() as f32 / SECOND as f32;
        assert!((25.5..25.55).contains(&second), "{second}");
        let second = chunks[1].end() as f32 / SECOND as f32;
        assert!((48.0..48.05).contains(&second), "{second}");
    }

    #[test]
    fn chunks_are_the_whole_sound_in_order() {
        let sound = noise(95, &[19.0, 33.0]);
        let chunks = cut(&sound, 0, 20, 777);
        let mut together = Vec::new();
        for chunk in &chunks {
            assert_eq!(chunk.start, together.len() as u64);
            together.extend_from_slice(&chunk.samples);
        }
        assert_eq!(together, sound);
        assert!(chunks.len() > 3);
    }

    #[test]
    fn who_begins_again_at_a_chunk_finds_the_same_chunks_whatever_the_blocks() {
        let sound = noise(95, &[19.0, 33.0, 57.5]);
        let all = cut(&sound, 0, 20, 4096);
        for from in 1..all.len() {
            let start = all[from].start;
            let again = cut(&sound[start as usize..], start, 20, 1234);
            assert_eq!(again, all[from..]);
        }
    }

    #[test]
    fn the_last_chunk_is_no_scrap() {
        let chunks = cut(&noise(39, &[]), 0, 30, 5000);
        assert_eq!(chunks.len(), 1);
    }

    #[test]
    fn an_error_ends_it() {
        let blocks = [Ok(vec![0.1; 100]), Err("torn"), Ok(vec![0.1; 100])];
        let mut chunks = Cutter::new(blocks.into_iter(), 0, LENGTH);
        assert_eq!(chunks.next(), Some(Err("torn")));
        assert_eq!(chunks.next(), None);
    }

    #[test]
    fn silence_is_found_from_ten_seconds_on() {
        let mut sound = noise(60, &[]);
        sound[5 * SECOND..14 * SECOND].fill(0.0);
        sound[20 * SECOND..35 * SECOND].fill(0.000_2);
        assert_eq!(silences(&sound), vec![20 * SECOND..35 * SECOND]);
    }

    #[test]
    fn a_short_chunk_may_be_silent_throughout() {
        assert_eq!(silences(&vec![0.0; 3 * SECOND + 7]), vec![0..3 * SECOND + 7]);
        assert!(silences(&noise(3, &[1.0])).is_empty());
        assert!(silences(&[]).is_empty());
    }
}
