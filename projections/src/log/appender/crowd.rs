//! Whether a group should wait a moment for callers that are likely to come again.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{GROUP, Waiting};

/// Who is likely to come, judged by the last group.
#[derive(Default)]
pub(super) struct Crowd {
    /// How many commands were in it or waited at its end.
    size: usize,
    /// Until when it is worth waiting for as many again; who has not come by then is gone.
    until: Option<Instant>,
    /// For how many groups not to wait, and how many it was after the last wait in vain.
    skip: u32,
    vain: u32,
}

impl Crowd {
    /// The most groups in a row that do not wait after waits in vain.
    const MOST_SKIPPED: u32 = 64;

    /// What an event adds to the time that a group takes, more or less. The rest is the commit, which waiting can
    /// spare; the events it cannot, and while they are written the callers of the next group get their work done.
    const EVENT: Duration = Duration::from_micros(30);

    /// The longest wait, however slow the disk.
    const LONGEST: Duration = Duration::from_millis(4);

    pub(super) fn learn(&mut self, written: usize, waiting: usize, took: Duration) {
        let events = Self::EVENT * u32::try_from(written).unwrap_or(u32::MAX);
        let worth = (took.saturating_sub(events) * 2 / 3).min(Self::LONGEST);
        self.size = written + waiting;
        self.until = Instant::now().checked_add(worth);
    }

    /// Adds the commands that are about to come, if a short wait for them has not proved vain.
    pub(super) async fn gather(
        &mut self,
        waiting: &mut mpsc::Receiver<Waiting>,
        group: &mut Vec<Waiting>,
    ) {
        let there = group.len();
        let expected = self.size.min(GROUP);
        let in_time = || self.until.is_some_and(|until| Instant::now() < until);
        if there >= expected || !in_time() {
            return;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        while group.len() < expected && in_time() {
            // Lets the callers run; a timer would be far too coarse.
            tokio::task::yield_now().await;
            while group.len() < GROUP
                && let Ok(next) = waiting.try_recv()
            {
                group.push(next);
            }
        }
        let paid = group.len() >= expected || group.len() >= there + there.div_ceil(2);
        self.vain = if paid { 0 } else { (2 * self.vain + 1).min(Self::MOST_SKIPPED) };
        self.skip = self.vain;
    }
}
