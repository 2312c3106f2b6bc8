//! What is hashed. All of it is SHA-256 over a tag that ends in a zero byte and then these bytes, integers big-endian:
//!
//! - **Event**: its row in COPY's binary format, with the columns in the order of [`COLUMNS`]. That is their number (2
//!   bytes), then of each its length (4 bytes, −1 for null) and its value: text and json as they are stored, in UTF-8;
//!   uuid in 16 bytes; bigint in 8; timestamptz in 8, as microseconds since 2000-01-01 UTC.
//! - **Batch**: of each event, in order, its position (8 bytes) and its digest.
//! - **Head**: the head before it, number, `after`, position and count of events of the seal (8 bytes each), the digest of
//!   its batch.
//! - **Head before the first seal**: the log's id (16 bytes).
//!
//! Other columns would be another format: it would need tags of its own, and a seal that says from where on they hold.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// A SHA-256.
pub type Digest = [u8; 32];

const EVENT: &[u8] = b"crm/event/1\0";
const BATCH: &[u8] = b"crm/batch/1\0";
const HEAD: &[u8] = b"crm/head/1\0";
const LOG: &[u8] = b"crm/log/1\0";

/// Every column of `events`, in the order in which they are hashed.
pub const COLUMNS: [&str; 15] = [
    "position",
    "aggregate_type",
    "aggregate_id",
    "sequence",
    "event_type",
    "event_version",
    "payload",
    "metadata",
    "recorded_at",
    "event_id",
    "command_id",
    "correlation_id",
    "causation_id",
    "actor",
    "occurred_at",
];

/// The digest of an event, from its row in COPY's binary format.
pub fn of_event(row: &[u8]) -> Digest {
    Sha256::new_with_prefix(EVENT).chain_update(row).finalize().into()
}

/// The head before the first seal.
pub fn of_log(log: Uuid) -> Digest {
    Sha256::new_with_prefix(LOG).chain_update(log.as_bytes()).finalize().into()
}

/// Takes in the events of a batch.
pub struct Batch(Sha256);

impl Batch {
    /// No event yet.
    pub fn begin() -> Self {
        Self(Sha256::new_with_prefix(BATCH))
    }

    /// The next event.
    pub fn take(&mut self, position: i64, event: &Digest) {
        self.0.update(position.to_be_bytes());
        self.0.update(event);
    }

    /// The digest of them all.
    pub fn finish(self) -> Digest {
        self.0.finalize().into()
    }
}

/// What a seal is about, but for its batch's digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The seal's number.
    pub number: i64,
    /// Where the seal before ends.
    pub after: i64,
    /// Where it ends.
    pub position: i64,
    /// How many events are in between.
    pub events: i64,
}

/// The end of the chain after a seal.
pub fn of_head(before: &Digest, header: &Header, batch: &Digest) -> Digest {
    let Header { number, after, position, events } = header;
    let mut hash = Sha256::new_with_prefix(HEAD).chain_update(before);
    for integer in [number, after, position, events] {
        hash.update(integer.to_be_bytes());
    }
    hash.chain_update(batch).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two columns, the second of them null.
    const ROW: &[u8] = b"\0\x02\0\0\0\x08\0\0\0\0\0\0\0\x07\xff\xff\xff\xff";

    #[test]
    fn the_format_is_the_one_that_old_checkpoints_were_made_in() {
        let log = Uuid::from_u128(0x6372_6d00_0000_4000_8000_0000_0000_0001);
        let event = of_event(ROW);
        assert_eq!(
            hex::encode(event),
            "3e4cf370c279dab3bde3edfde975210958fed868f4e14843855034e3af7a4302"
        );
        let mut batch = Batch::begin();
        batch.take(7, &event);
        let batch = batch.finish();
        assert_eq!(
            hex::encode(batch),
            "7b9a1470498d1c88712789bafa686786882094db3dba1dfcc248acf4a7cd4ce8"
        );
        assert_eq!(
            hex::encode(of_log(log)),
            "710bc7398e783191f4ebf277c925f370b2ba35fdbaaccb4907198a44cb029400"
        );
        let header = Header { number: 1, after: 0, position: 7, events: 1 };
        assert_eq!(
            hex::encode(of_head(&of_log(log), &header, &batch)),
            "78896710b7b8a90d28e09a6c28986ccec421b9efe9b6101e7352e915fbb83a9f"
        );
    }

    #[test]
    fn whatever_is_different_gives_another_digest() {
        for at in 0..ROW.len() {
            for bit in 0..8 {
                let mut row = ROW.to_vec();
                row[at] ^= 1 << bit;
                assert_ne!(of_event(&row), of_event(ROW), "byte {at}, bit {bit}");
            }
        }
        let header = Header { number: 2, after: 5, position: 9, events: 3 };
        let head = of_head(&[1; 32], &header, &[2; 32]);
        let others = [
            of_head(&[2; 32], &header, &[2; 32]),
            of_head(&[1; 32], &header, &[1; 32]),
            of_head(&[1; 32], &Header { number: 3, ..header }, &[2; 32]),
            of_head(&[1; 32], &Header { after: 4, ..header }, &[2; 32]),
            of_head(&[1; 32], &Header { position: 8, ..header }, &[2; 32]),
            of_head(&[1; 32], &Header { events: 4, ..header }, &[2; 32]),
        ];
        assert!(!others.contains(&head));
    }
}
