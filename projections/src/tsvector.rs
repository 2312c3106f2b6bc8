//! Words on their way into a column of Postgres's type `tsvector`.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo};
use sqlx::{Encode, Postgres, Type};

/// Longer words Postgres does not take, in bytes.
pub(crate) const LONGEST: usize = 2_046;

/// Words without their places, each once, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TsVector {
    /// How many there are.
    count: u32,
    /// Each as Postgres has it on the wire: its bytes, a zero, and that it has no positions.
    encoded: Vec<u8>,
}

impl TsVector {
    /// Of these words, none of which holds U+0000. What is too long for Postgres is left out.
    pub(crate) fn of<'w>(words: impl IntoIterator<Item = &'w str>) -> Self {
        let is_taken = |word: &&str| !word.is_empty() && word.len() <= LONGEST;
        let mut words: Vec<&str> = words.into_iter().filter(is_taken).collect();
        words.sort_unstable();
        words.dedup();
        let mut encoded = Vec::with_capacity(words.iter().map(|word| word.len() + 3).sum());
        for word in &words {
            encoded.extend_from_slice(word.as_bytes());
            encoded.extend_from_slice(&[0; 3]);
        }
        // Nobody says as many words at once.
        Self { count: u32::try_from(words.len()).unwrap_or(u32::MAX), encoded }
    }

    /// What they take in memory, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.encoded.len()
    }

    /// Adds them as Postgres has them on the wire.
    pub(crate) fn encode_into(&self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(&self.count.to_be_bytes());
        buffer.extend_from_slice(&self.encoded);
    }

    /// The words.
    #[cfg(test)]
    pub(crate) fn words(&self) -> Vec<&str> {
        std::str::from_utf8(&self.encoded).unwrap().split_terminator("\0\0\0").collect()
    }
}

impl Type<Postgres> for TsVector {
    fn type_info() -> PgTypeInfo {
        // As every Postgres has it: `tsvector`.
        PgTypeInfo::with_oid(Oid(3_614))
    }
}

impl PgHasArrayType for TsVector {
    fn array_type_info() -> PgTypeInfo {
        // `tsvector[]`.
        PgTypeInfo::with_oid(Oid(3_643))
    }
}

impl Encode<'_, Postgres> for TsVector {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        self.encode_into(buffer);
        Ok(IsNull::No)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_there_once_in_order_but_for_what_postgres_does_not_take() {
        let long = "x".repeat(3_000);
        let words = TsVector::of(["fund", "", "afore", "fund", &long, "ñandu"]);
        assert_eq!(words.words(), ["afore", "fund", "ñandu"]);
        assert_eq!(words.count, 3);
    }
}
