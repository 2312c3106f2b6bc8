//! Where the log ends, for all in this process that follow it live.
//!
//! What this process appends is known at once, what others append when they announce it or when it is time to look
//! again. One task looks for all followers, and only as long as there are any; each of them then reads at its own pace.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::database::{Database, DatabaseError};

/// The log's last position, as far as it is known here. Clones share it.
#[derive(Clone, Debug)]
pub struct Tail {
    database: Database,
    known: watch::Sender<i64>,
}

impl Tail {
    /// Begins to look. `own` is the last position that this process appended; `announced` changes whenever another
    /// process may have appended something.
    pub fn start(
        database: Database,
        own: watch::Receiver<i64>,
        announced: watch::Receiver<u64>,
        stop: CancellationToken,
    ) -> Self {
        let tail = Self { database, known: watch::Sender::new(0) };
        let looking = tail.clone().look(own, announced);
        tokio::spawn(async move { stop.run_until_cancelled(looking).await });
        tail
    }

    /// The last position, kept up to date until the process stops.
    pub fn follow(&self) -> watch::Receiver<i64> {
        self.known.subscribe()
    }

    /// The last position at this moment, 0 if the log is empty.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn ask(&self) -> Result<i64, DatabaseError> {
        self.database.check()?;
        let question = sqlx::query_scalar("select coalesce(max(position), 0) from events");
        self.database.ask(question.fetch_one(&self.database.pool)).await
    }

    async fn look(self, mut own: watch::Receiver<i64>, mut announced: watch::Receiver<u64>) {
        loop {
            tokio::select! {
                changed = own.changed() => match changed {
                    Ok(()) => self.learn(*own.borrow_and_update()),
                    Err(_) => return,
                },
                changed = announced.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // Whoever begins to follow has looked, and hears of what comes later at the next announcement.
                    let is_followed = self.known.receiver_count() > 0;
                    if is_followed && let Ok(head) = self.ask().await {
                        self.learn(head);
                    }
                }
            }
        }
    }

    fn learn(&self, head: i64) {
        self.known.send_if_modified(|known| {
            let is_further = head > *known;
            *known = head.max(*known);
            is_further
        });
    }
}
