//! One follower's way through the log.

use std::collections::VecDeque;

use projections::database::DatabaseError;
use projections::history;
use projections::log::{Entry, PageLimit, Selection};
use tokio::sync::watch;

use super::Live;

/// How much is read at once: little, since it is kept until the follower has taken it.
const PAGE: PageLimit = PageLimit { events: 100 };

/// What is wanted of the log after a position, entry by entry.
pub struct Feed {
    live: Live,
    wanted: Selection,
    page: Page,
    head: watch::Receiver<i64>,
}

/// What was read of the log and not taken yet.
struct Page {
    /// Everything up to here was taken, or is not wanted.
    after: i64,
    entries: VecDeque<Entry>,
    end: i64,
    /// That of the keys before it was read.
    era: u64,
}

impl Page {
    fn none(after: i64) -> Self {
        Self { after, entries: VecDeque::new(), end: after, era: 0 }
    }
}

/// What a look into the log brought.
#[derive(Debug)]
pub enum Look {
    /// The next entry that is wanted.
    Entry(Box<Entry>),
    /// There is more of the log.
    Further,
    /// It ends here.
    Level,
}

impl Feed {
    pub(super) fn new(live: Live, wanted: Selection, position: i64) -> Self {
        let head = live.tail.follow();
        Self { live, wanted, page: Page::none(position), head }
    }

    /// Everything that is wanted up to here has been given out.
    pub fn position(&self) -> i64 {
        if self.page.entries.is_empty() { self.page.end } else { self.page.after }
    }

    /// The next entry, or reads on.
    ///
    /// # Errors
    /// When the database cannot be asked; the next look goes on from the same place.
    pub async fn look(&mut self) -> Result<Look, DatabaseError> {
        let era = self.live.database.keys().era();
        // A follower may take its time, and what it has not heard by then must not be told if it was erased meanwhile.
        if self.page.era != era && !self.page.entries.is_empty() {
            self.page = Page::none(self.page.after);
        }
        if let Some(entry) = self.page.entries.pop_front() {
            self.page.after = entry.position;
            return Ok(Look::Entry(Box::new(entry)));
        }
        let (after, Live { database, reader, reading, .. }) = (self.page.end, &self.live);
        database.check()?;
        // It is never closed.
        let _turn = reading.acquire().await;
        let era = database.keys().era();
        let asking = async {
            let mut connection = database.pool.acquire().await?;
            history::entries_after(&mut connection, reader, after, PAGE, &self.wanted).await
        };
        let page = database.ask(asking).await?;
        let Some(end) = page.end else { return Ok(Look::Level) };
        self.page = Page { after, entries: page.entries.into(), end, era };
        Ok(Look::Further)
    }

    /// Waits until the log is longer than what was looked at. Waits for ever when the process stops.
    pub async fn grown(&mut self) {
        let position = self.position();
        if self.head.wait_for(|head| *head > position).await.is_err() {
            std::future::pending().await
        }
    }
}
