//! Tamper evidence: the log is closed, batch by batch, into a hash chain whose ends are signed.
//!
//! [`digest`] says what is hashed, [`note`] what is signed and how it is written down, [`key`] with what. The
//! [`Sealer`] does it, a second or so behind the log, one process at a time; [`store`] is where it leaves seals, and
//! [`Kept`] what it remembers of them where the database cannot change it.
//! [`Chain`] follows them again, for those who have the log and for those who have only what was exported.
//!
//! What is hashed are stored bytes, whatever they mean: a payload that is sealed under a key which is then destroyed
//! still has the digest it had.

mod chain;
pub mod digest;
mod kept;
pub mod key;
pub mod note;
mod rows;
mod sealer;
pub mod store;

use chrono::{DateTime, Utc};
use uuid::Uuid;

pub use chain::{Break, Chain, Link};
pub use digest::Digest;
pub use kept::{Kept, KeptError};
pub use key::{KeyError, PublicKey, SealKey};
pub use note::{Checkpoint, Note, NoteError};
pub use rows::{Row, Rows};
pub use sealer::{SealError, Sealer, Trust};

/// A batch of the log, closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// 1, 2, 3, without a gap.
    pub number: i64,
    /// Where the seal before ends.
    pub after: i64,
    /// The position of its last event; `after` if it has none.
    pub position: i64,
    /// How many events it covers; none for a mere change of keys.
    pub events: i64,
    /// All events from the log's beginning up to here.
    pub total: i64,
    /// The digest of the batch.
    pub batch: Digest,
    /// The end of the chain after it.
    pub head: Digest,
    /// When it was made, by the sealer's clock.
    pub sealed_at: DateTime<Utc>,
    /// Whose signature it has.
    pub key: [u8; 32],
    /// Over the text of its checkpoint.
    pub signature: [u8; 64],
}

impl Seal {
    /// What is signed.
    pub fn checkpoint(&self, log: Uuid) -> Checkpoint {
        Checkpoint {
            origin: key::origin(log),
            total: self.total,
            head: self.head,
            number: self.number,
            position: self.position,
            sealed_at: self.sealed_at,
        }
    }

    /// What its head is made of, beside the head before and the batch.
    pub fn header(&self) -> digest::Header {
        let Self { number, after, position, events, .. } = *self;
        digest::Header { number, after, position, events }
    }

    /// Whether the key that it names has signed it.
    pub fn is_signed(&self, log: Uuid) -> bool {
        let text = self.checkpoint(log).to_string();
        PublicKey::of(log, self.key).has_signed(&text, &self.signature)
    }
}
