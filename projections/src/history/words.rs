//! The words that entries of the log are found by, cut alike out of what events say and out of what is asked for.
//!
//! A word is letters and digits, in lower case and without accents; everything else separates, so that an address or a
//! hyphenated word is found by its parts. Postgres's own parser does the same less simply, and cost a rebuild
//! seconds.

use crate::prose::{cut, fold};
use crate::tsvector::{LONGEST, TsVector};

/// The words of a text.
pub(crate) fn of(text: &str) -> TsVector {
    TsVector::of(cut(&fold(text)))
}

/// The words of a question, each once.
pub(crate) fn each_of(text: &str) -> Vec<String> {
    let folded = fold(text);
    let mut words: Vec<String> = Vec::new();
    for word in cut(&folded) {
        if !words.iter().any(|known| known == word) {
            words.push(word.to_owned());
        }
    }
    words
}

/// What finds the texts that have all of these words, as a `tsquery`: without words nothing. No text is found by a word that is too
/// long for Postgres.
pub(crate) fn query(words: &[&str]) -> String {
    if words.iter().any(|word| word.len() > LONGEST) {
        return String::new();
    }
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
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
        let words = each_of("O'Brien & Núñez, o");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(query(&words), "'o' & 'brien' & 'nunez'");
        assert_eq!(each_of("!'\\ \0"), [""; 0]);
        assert_eq!(query(&[]), "");
        let (long, longer) = ("x".repeat(LONGEST), "x".repeat(LONGEST + 1));
        assert_eq!(query(&[&long]), format!("'{long}'"));
        assert_eq!(query(&["fee", &longer]), "");
    }
}
