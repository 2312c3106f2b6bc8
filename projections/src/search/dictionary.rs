//! The words of English and Spanish: what is one of them is no typing error, even if no text has it.
//!
//! The dictionaries are those of LibreOffice, as the packages `dictionary-en` and `dictionary-es` 4.0.0 and `dictionary-en-gb` 3.0.0
//! have them, under the licences beside them.

use std::collections::HashSet;
use std::sync::LazyLock;

use spellbook::Dictionary;

use super::spelling;
use crate::prose::fold;

/// Some 10 MB, which take a twentieth of a second to read.
static DICTIONARIES: LazyLock<Dictionaries> = LazyLock::new(Dictionaries::read);

/// How words are inflected, and the words.
const LANGUAGES: [[&str; 2]; 3] = [
    [include_str!("dictionary/english.aff"), include_str!("dictionary/english-us.dic")],
    [include_str!("dictionary/english.aff"), include_str!("dictionary/english-gb.dic")],
    [include_str!("dictionary/spanish.aff"), include_str!("dictionary/spanish.dic")],
];

#[derive(Default)]
struct Dictionaries {
    languages: Vec<Dictionary>,
    /// Words with accents, folded: hardly anybody types these in a question.
    unaccented: HashSet<String>,
}

impl Dictionaries {
    fn read() -> Self {
        let mut all = Self::default();
        for [affixes, words] in LANGUAGES {
            match Dictionary::new(affixes, words) {
                Ok(language) => all.languages.push(language),
                // A test reads them, so this is never seen.
                Err(error) => tracing::error!(%error, "a dictionary cannot be read"),
            }
            let words = words.lines().filter_map(|line| line.split('/').next());
            let accented = words.filter(|word| !word.is_ascii());
            all.unaccented.extend(accented.map(fold));
        }
        all
    }
}

/// Reads them, unless that was done, so that no question waits for it.
pub(super) fn prepare() {
    LazyLock::force(&DICTIONARIES);
}

/// Whether a word is one of English or Spanish in any of its forms, as it is typed; base forms also without their accents.
pub(super) fn has(word: &str) -> bool {
    let all = &*DICTIONARIES;
    all.languages.iter().any(|language| language.check(word))
        || all.unaccented.contains(&fold(word))
}

/// Whether one of them is folded so: as it is or as a name is written, and also as the plural of a base form.
pub(super) fn has_folded(word: &str) -> bool {
    let capital: String = word.chars().enumerate().flat_map(|(at, c)| titled(at, c)).collect();
    let singular = ["s", "es"].iter().filter_map(|plural| word.strip_suffix(plural));
    has(word) || has(&capital) || singular.into_iter().any(has)
}

/// How many letters a word of a language has that may be mistyped all the same: names have shorter ones, of which any is like some word.
const SHORT: usize = 5;

/// Whether a word of a question of so many, folded, may be mistyped for one of a name, if no text has it.
pub(super) fn may_be_mistyped(word: &str, words: usize) -> bool {
    let length = word.chars().count();
    spelling::forgiven(length, words) > 0 && (length >= SHORT || !has_folded(word))
}

fn titled(at: usize, c: char) -> Vec<char> {
    if at == 0 { c.to_uppercase().collect() } else { vec![c] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_are_known_in_all_forms() {
        assert_eq!(DICTIONARIES.languages.len(), LANGUAGES.len());
        for word in [
            "lease",
            "harbour",
            "harbor",
            "fires",
            "Trees",
            "dredging",
            "cobertura",
            "inversiones",
            "rendimiento",
            "comisión",
            "comision",
            "pensiones",
        ] {
            assert!(has(word), "{word}");
        }
    }

    #[test]
    fn folded_words_are_known_as_they_are_written() {
        for word in ["london", "europe", "energias", "inversiones", "leases"] {
            assert!(has_folded(word), "{word}");
        }
        for word in ["northgate", "zurbaran", "montblau", "xelhua"] {
            assert!(!has_folded(word), "{word}");
        }
    }

    #[test]
    fn what_is_mistyped_is_no_word() {
        for word in ["hedgng", "curency", "commitee", "rendimeinto", "pensoin", "fnuds", "🙂"] {
            assert!(!has(word), "{word}");
        }
    }
}
