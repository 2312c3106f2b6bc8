//! The words that entries of the log are found by, cut alike out of what events say and out of what is asked for.
//!
//! A word is letters and digits, in lower case and without accents; everything else separates, so that an address or a
//! hyphenated word is found by its parts. Postgres's own parser does the same less simply, and cost a rebuild
//! seconds.

use crate::prose::{cut, fold};
use crate::tsvector::TsVector;

/// The words of a text.
pub(crate) fn of(text: &str) -> TsVector {
    TsVector::of(cut(&fold(text)))
}

/// What finds the texts that have all words of this one, as a `tsquery`: of a text without words nothing.
pub(crate) fn all_of(text: &str) -> String {
    let folded = fold(text);
    let quoted: Vec<String> = cut(&folded).map(|word| format!("'{word}'")).collect();
    quoted.join(" & ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(of(text).words(), expected, "{text}");
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
