//! Engines find the points whose vectors are nearest to a given one: [`memory`] by looking at all of them, [`qdrant`] by asking
//! a Qdrant server. What points there are stands in Postgres; an engine can always be filled again from there.
//!
//! Points come in sets. A set is filled beside the one that answers, and takes its place when it is published; questions name
//! the model, never the set, so that nobody has to know which one answers at the moment.

pub mod memory;
pub mod qdrant;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use domain::RecordRef;
use futures::future::BoxFuture;

use super::{Filter, Language, Part};

/// Where a piece of text stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Of which record.
    pub record: RecordRef,
    /// Which of its texts.
    pub part: Part,
    /// Which piece of that text, from 0 on.
    pub ordinal: i32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.record, self.part.as_str(), self.ordinal)
    }
}

/// The first 16 bytes of the SHA-256 of a text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TextDigest(pub [u8; 16]);

impl TextDigest {
    /// The digest that these bytes are; `None` if their number is wrong.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for TextDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TextDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TextDigest {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.as_bytes();
        let mut bytes = [0; 16];
        if digits.len() != 32 {
            return Err(());
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| ())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| ())?;
        }
        Ok(Self(bytes))
    }
}

/// A piece of text with its vector, and with what searches are narrowed by.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Where the text stands; an engine holds one point of a set there.
    pub place: Place,
    /// Of the text.
    pub digest: TextDigest,
    /// Grows with every write of the record's points.
    pub version: i64,
    /// Of length 1.
    pub vector: Vec<f32>,
    /// The record's date, if it has one.
    pub date: Option<DateTime<Utc>>,
    /// The language of the text, if it is known.
    pub language: Option<Language>,
    /// Whom the record is about.
    pub about: Vec<RecordRef>,
    /// Whether it is of a card too short to say much, which is found only where its kind is asked for.
    pub is_brief: bool,
}

/// A point that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Near {
    /// Where the text stands, or stood: the engine may be behind.
    pub place: Place,
    /// Of the text that was found, to be compared with the text that stands there now.
    pub digest: TextDigest,
    /// The cosine of the angle to what was asked: 1 is the same direction.
    pub score: f32,
}

/// A point that an engine holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// Where the text stands.
    pub place: Place,
    /// Which write of the record it is of.
    pub version: i64,
    /// Of the text.
    pub digest: TextDigest,
}

/// Which points belong together: those of one model, cut in one way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Set {
    /// Its number in Postgres.
    pub id: i32,
    /// The number of its model in Postgres.
    pub model: i32,
    /// How many numbers a vector has.
    pub dimensions: usize,
}

/// Why an engine did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// It does not answer, or not in time. Trying again later helps.
    #[error("the vector engine does not answer: {0}")]
    Unavailable(String),
    /// It took a write and did not say in time that it is done. It may be done later; doing it again does no harm.
    #[error("the vector engine has not finished a write in time; it is tried again")]
    Unfinished,
    /// It does not let us in.
    #[error("the vector engine refuses the API key: check QDRANT_API_KEY")]
    Refused,
    /// The set is not there: never filled, or somebody dropped it.
    #[error("the vector engine does not have {0}; it is filled again from Postgres")]
    Missing(String),
    /// There is a collection of that name, with vectors of another length.
    #[error(
        "the collection {collection} has vectors of {theirs} numbers, and the model gives {ours}: it was made by something \
         else; delete it, and crm fills it again"
    )]
    Dimensions {
        /// Its name.
        collection: String,
        /// The length of its vectors.
        theirs: u64,
        /// The length of ours.
        ours: u64,
    },
    /// It refuses for another reason.
    #[error("the vector engine refuses: {0}")]
    Rejected(String),
}

impl EngineError {
    /// Whether it did not answer, or not in time; to refuse is an answer.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Holds sets of points and finds the nearest. Every write may be repeated.
pub trait Engine: Send + Sync {
    /// What it is called in messages and tables.
    fn name(&self) -> &'static str;

    /// Whether it forgets everything when the process ends, so that each process fills its own.
    fn is_of_this_process(&self) -> bool;

    /// Makes room for a set. Tells whether it was there before; if not, all of its points must be written again.
    ///
    /// # Errors
    /// See [`EngineError`].
    fn prepare<'a>(&'a self, set: &'a Set) -> BoxFuture<'a, Result<bool, EngineError>>;

    /// Writes points. One that stands where another one of a lower version does takes its place; one of a higher version stays.
    ///
    /// # Errors
    /// See [`EngineError`]; some of them may be written then.
    fn upsert<'a>(
        &'a self,
        set: &'a Set,
        points: &'a [Point],
    ) -> BoxFuture<'a, Result<(), EngineError>>;

    /// Deletes those points of each record that have lower versions than the one beside it.
    ///
    /// # Errors
    /// See [`EngineError`]; some of them may be deleted then.
    fn delete_older<'a>(
        &'a self,
        set: &'a Set,
        records: &'a [(RecordRef, i64)],
    ) -> BoxFuture<'a, Result<(), EngineError>>;

    /// From now on this set answers the questions that are put to its model.
    ///
    /// # Errors
    /// See [`EngineError`].
    fn publish<'a>(&'a self, set: &'a Set) -> BoxFuture<'a, Result<(), EngineError>>;

    /// The points of the model's published set that are nearest to a vector, the nearest first, `limit` at most.
    ///
    /// # Errors
    /// See [`EngineError`]; [`EngineError::Missing`] before a set is published.
    fn nearest<'a>(
        &'a self,
        model: i32,
        vector: &'a [f32],
        filter: &'a Filter,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Near>, EngineError>>;

    /// How many points it holds of a set.
    ///
    /// # Errors
    /// See [`EngineError`]; [`EngineError::Missing`] if there is no such set.
    fn count<'a>(&'a self, set: &'a Set) -> BoxFuture<'a, Result<u64, EngineError>>;

    /// All points that it holds of a set, sorted by place.
    ///
    /// # Errors
    /// See [`EngineError`]; [`EngineError::Missing`] if there is no such set.
    fn list<'a>(&'a self, set: &'a Set) -> BoxFuture<'a, Result<Vec<Held>, EngineError>>;

    /// Forgets a set. One that is not there is forgotten already.
    ///
    /// # Errors
    /// See [`EngineError`].
    fn forget<'a>(&'a self, set: &'a Set) -> BoxFuture<'a, Result<(), EngineError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_survive_being_written_down() {
        let digest = TextDigest(std::array::from_fn(|i| i as u8 * 17));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for wrong in ["", "00", &"0".repeat(31), &"g".repeat(32), &"é".repeat(16)] {
            assert_eq!(wrong.parse::<TextDigest>(), Err(()), "{wrong}");
        }
    }
}
