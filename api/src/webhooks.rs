//! Webhooks: events sent by POST to whoever asked for them, as the Standard Webhooks specification has it.
//!
//! Each receiver has a place in the log of its own; what it was not told of waits there, not here. One event at a time,
//! in order: the next is sent when the one before was taken with a 2xx. A receiver may see an event twice, when crm was
//! killed between the answer and its booking; `webhook-id` is then the same.

pub mod address;
mod courier;
mod sender;
pub mod signature;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::live::Live;
pub use address::Reach;
pub use sender::{Outcome, Parcel, Sender};

/// Counter: attempts at telling a receiver of an event, by `outcome`.
pub const ATTEMPTS: &str = "crm_webhook_attempts_total";

/// How long to wait after each failed attempt at an event, as the specification proposes: ten attempts in three days.
const PAUSES: &[Duration] = &[
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
    Duration::from_secs(14 * 3600),
    Duration::from_secs(20 * 3600),
    Duration::from_secs(24 * 3600),
];

/// What sends, and what it needs. Clones share it.
#[derive(Clone)]
pub struct Webhooks {
    /// The log.
    pub live: Live,
    /// The way out.
    pub sender: Sender,
    /// How long to wait after each failed attempt at an event; after the last a receiver is disabled.
    pub pauses: Arc<[Duration]>,
    /// Tells this process's courier that a person has changed something.
    changed: Arc<Notify>,
}

impl Webhooks {
    /// Sends to addresses within this reach.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(live: Live, reach: Reach) -> anyhow::Result<Self> {
        let changed = Arc::default();
        Ok(Self { live, sender: Sender::new(reach)?, pauses: PAUSES.into(), changed })
    }

    /// Has what a person changed looked at now.
    pub fn look(&self) {
        self.changed.notify_waiters();
    }
}
