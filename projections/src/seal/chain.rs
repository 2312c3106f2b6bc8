//! Following the chain again: each seal must begin where the one before ends and lead to the head that it says.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::digest::{self, Digest, Header};
use super::key::PublicKey;
use super::note::{Note, NoteError};
use super::{Checkpoint, Seal};

/// A seal as others get it: all that is needed to follow the chain, without what it says of single events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// 1, 2, 3, without a gap.
    pub number: i64,
    /// Where the seal before ends.
    pub after: i64,
    /// Where it ends.
    pub position: i64,
    /// How many events it covers.
    pub events: i64,
    /// The digest of these, in hexadecimal.
    pub batch: String,
    /// The end of the chain before it, in hexadecimal; earlier releases did not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The signed note.
    pub checkpoint: String,
}

impl Link {
    /// A seal of this log, with the end of the chain before it, if that is known.
    pub fn of(log: Uuid, seal: &Seal, before: Option<&Digest>) -> Self {
        let note = Note::of(seal, &PublicKey::of(log, seal.key), seal.checkpoint(log));
        Self {
            number: seal.number,
            after: seal.after,
            position: seal.position,
            events: seal.events,
            batch: hex::encode(seal.batch),
            before: before.map(hex::encode),
            checkpoint: note.to_string(),
        }
    }

    /// What its head is made of, beside the head before and the batch.
    pub fn header(&self) -> Header {
        let Self { number, after, position, events, .. } = *self;
        Header { number, after, position, events }
    }

    /// Its checkpoint, if all that stands beside it leads to the head that is signed there. Whether it is signed is another
    /// question.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn note(&self) -> Result<Note, LinkError> {
        let note: Note = self.checkpoint.parse()?;
        let checkpoint = note.unchecked();
        let is_same = self.number == checkpoint.number && self.position == checkpoint.position;
        let leads = self.before.as_ref().is_none_or(|before| {
            let digests = digest_in(before).zip(digest_in(&self.batch));
            digests.is_some_and(|(before, batch)| {
                digest::of_head(&before, &self.header(), &batch) == checkpoint.head
            })
        });
        match is_same && leads {
            true => Ok(note),
            false => Err(LinkError::Altered { number: checkpoint.number }),
        }
    }
}

/// A digest in hexadecimal.
fn digest_in(text: &str) -> Option<Digest> {
    hex::decode(text).ok()?.try_into().ok()
}

/// Why a seal cannot be believed as it was told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It has no checkpoint.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// What stands beside the checkpoint was changed.
    #[error(
        "the fields of seal {number} do not agree with what is signed in its checkpoint: they were changed after it was \
         exported"
    )]
    Altered {
        /// The number that is signed.
        number: i64,
    },
}

/// Why a seal does not follow from the one before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Break {
    /// Some are missing, or stand there twice.
    #[error("seal {expected} is not there: the next one is {found}")]
    Number {
        /// The number that it should have.
        expected: i64,
        /// The number that it has.
        found: i64,
    },
    /// It leaves out a part of the log, or covers it twice.
    #[error("seal {number} begins behind position {found}, and the one before ends at {expected}")]
    Start {
        /// Its number.
        number: i64,
        /// Where it should begin.
        expected: i64,
        /// Where it begins.
        found: i64,
    },
    /// The head or what leads to it is another.
    #[error("seal {number} does not follow from the one before: its head is another")]
    Head {
        /// Its number.
        number: i64,
    },
}

/// How far the chain has been followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The number of the last seal.
    pub number: i64,
    /// Where it ends.
    pub position: i64,
    /// All events up to there.
    pub total: i64,
    /// The head there.
    pub head: Digest,
}

impl Chain {
    /// At the beginning of a log.
    pub fn of(log: Uuid) -> Self {
        Self { number: 0, position: 0, total: 0, head: digest::of_log(log) }
    }

    /// At a checkpoint.
    pub fn at(checkpoint: &Checkpoint) -> Self {
        let Checkpoint { number, position, total, head, .. } = *checkpoint;
        Self { number, position, total, head }
    }

    /// The next seal that leads to this checkpoint. Whether it is signed is another question.
    ///
    /// # Errors
    /// See [`Break`]; then the chain stays where it is.
    pub fn follow(
        &mut self,
        header: &Header,
        batch: &Digest,
        to: &Checkpoint,
    ) -> Result<(), Break> {
        let Header { number, after, position, events } = *header;
        if number != self.number + 1 {
            return Err(Break::Number { expected: self.number + 1, found: number });
        }
        if after != self.position {
            return Err(Break::Start { number, expected: self.position, found: after });
        }
        let next = Self {
            number,
            position,
            total: self.total.saturating_add(events),
            head: digest::of_head(&self.head, header, batch),
        };
        if next != Self::at(to) {
            return Err(Break::Head { number });
        }
        *self = next;
        Ok(())
    }
}
