//! How a transcription is followed and ended from another thread.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// A transcription's strings. It may be used for one after the other.
#[derive(Debug, Default)]
pub struct Control {
    is_cancelled: AtomicBool,
    percent: AtomicU8,
}

impl Control {
    /// Ends what is going on, and all that would come after it.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Release);
    }

    /// Whether it was told to end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Acquire)
    }

    /// Another chunk is about to be transcribed: nothing of it was listened to yet.
    pub fn begin(&self) {
        self.percent.store(0, Ordering::Relaxed);
    }

    /// How much of the chunk was listened to, in percent. It grows by windows of at most 30 s.
    #[must_use]
    pub fn percent(&self) -> u8 {
        self.percent.load(Ordering::Relaxed)
    }

    /// So much was listened to.
    pub(super) fn reach(&self, percent: u8) {
        self.percent.fetch_max(percent.min(100), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_much_was_listened_to_grows_until_the_next_chunk() {
        let control = Control::default();
        for (percent, expected) in [(40, 40), (10, 40), (200, 100)] {
            control.reach(percent);
            assert_eq!(control.percent(), expected);
        }
        control.begin();
        assert_eq!((control.percent(), control.is_cancelled()), (0, false));
    }
}
