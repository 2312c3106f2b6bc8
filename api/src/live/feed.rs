//! One follower's way through the log.

use projections::database::DatabaseError;
use projections::log::{Entry, PageLimit, Selection};
use tokio::sync::watch;

use super::Live;

/// How much is read at once: little, since it is kept until the follower has taken it.
const PAGE: PageLimit = PageLimit { events: 100 };

/// What is wanted of the log after a position, in pages.
pub struct Feed {
    live: Live,
    wanted: Selection,
    position: i64,
    head: watch::Receiver<i64>,
}

/// What a look into the log brought.
#[derive(Debug)]
pub enum Look {
    /// There is more of the log, and these are the entries in it that are wanted: perhaps none.
    Further(Vec<Entry>),
    /// It ends here.
    Level,
}

impl Feed {
    pub(super) fn new(live: Live, wanted: Selection, position: i64) -> Self {
        let head = live.tail.follow();
        Self { live, wanted, position, head }
    }

    /// Everything that is wanted up to here has been given out.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Reads on.
    ///
    /// # Errors
    /// When the database cannot be asked; the next look goes on from the same place.
    pub async fn look(&mut self) -> Result<Look, DatabaseError> {
        let Live { database, reader, reading, .. } = &self.live;
        database.check()?;
        // It is never closed.
        let _turn = reading.acquire().await;
        let asking = async {
            let mut connection = database.pool.acquire().await?;
            reader.entries_after(&mut connection, self.position, PAGE, &self.wanted).await
        };
        let page = database.ask(asking).await?;
        let Some(end) = page.end else { return Ok(Look::Level) };
        self.position = end;
        Ok(Look::Further(page.entries))
    }

    /// Waits until the log is longer than what was looked at. Waits for ever when the process stops.
    pub async fn grown(&mut self) {
        let position = self.position;
        if self.head.wait_for(|head| *head > position).await.is_err() {
            std::future::pending().await
        }
    }
}
