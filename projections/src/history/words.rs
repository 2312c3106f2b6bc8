//! The words that entries of the log are found by, cut alike out of what events say and out of what is asked for.
//!
//! A word is letters and digits, in lower case and without accents; everything else separates, so that an address or a
//! hyphenated word is found by its parts. Postgres's own parser does the same less simply, and cost a rebuild
//! seconds.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo};
use sqlx::{Encode, Postgres, Type};

use crate::search::folded;

/// Longer ones Postgres does not take, in bytes.
const LONGEST: usize = 2_046;

/// The words of a text, each once, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    /// How many there are.
    count: u32,
    /// Each as Postgres's `tsvector` has it on the wire: its bytes, a zero, and that it has no positions.
    encoded: Vec<u8>,
}

impl Words {
    pub(crate) fn of(text: &str) -> Self {
        let folded = fold(text);
        let mut words: Vec<&str> = cut(&folded).collect();
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
}

/// What finds the texts that have all words of this one, as a `tsquery`: of a text without words nothing.
pub(crate) fn all_of(text: &str) -> String {
    let folded = fold(text);
    let quoted: Vec<String> = cut(&folded).map(|word| format!("'{word}'")).collect();
    quoted.join(" & ")
}

fn fold(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_ascii() {
            true => result.push(c.to_ascii_lowercase()),
            false => result.extend(folded(c)),
        }
    }
    result
}

fn cut(folded: &str) -> impl Iterator<Item = &str> {
    folded
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty() && word.len() <= LONGEST)
}

impl Type<Postgres> for Words {
    fn type_info() -> PgTypeInfo {
        // As every Postgres has it: `tsvector`.
        PgTypeInfo::with_oid(Oid(3_614))
    }
}

impl PgHasArrayType for Words {
    fn array_type_info() -> PgTypeInfo {
        // `tsvector[]`.
        PgTypeInfo::with_oid(Oid(3_643))
    }
}

impl Encode<'_, Postgres> for Words {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.count.to_be_bytes());
        buffer.extend_from_slice(&self.encoded);
        Ok(IsNull::No)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let encoded = Words::of(text).encoded;
        let encoded = String::from_utf8(encoded).unwrap();
        let words: Vec<&str> = encoded.split_terminator("\0\0\0").collect();
        assert_eq!(words, expected, "{text}");
    }

    #[test]
    fn words_are_found_by_their_letters_and_digits_alone() {
        check("Núñez, of AFORE XXI!", &["afore", "nunez", "of", "xxi"]);
        check("Nu\u{301}n\u{303}ez", &["nunez"]);
        check(
            "ana.ruiz@afore.mx on 2025-01-31",
            &["01", "2025", "31", "afore", "ana", "mx", "on", "ruiz"],
        );
        check("again and Again", &["again", "and"]);
        check(" \0 – ", &[]);
        check(&"x".repeat(3_000), &[]);
    }

    #[test]
    fn what_is_asked_for_is_cut_as_what_was_said() {
        assert_eq!(all_of("O'Brien & Núñez"), "'o' & 'brien' & 'nunez'");
        assert_eq!(all_of("!'\\ \0"), "");
    }
}
