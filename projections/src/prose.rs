//! What people wrote or said, as words, sentences and numbers, in English and Spanish: enough to compare two texts and to
//! see whether one says what the other does not.

mod folding;
mod links;
mod numbers;
mod sentences;
mod stop_words;

pub use folding::{cut, fold};
pub(crate) use folding::{fold_into, is_unparted, is_unseen};
pub use links::{Unfit, plain};
pub use numbers::{Number, Numbers};
pub use sentences::{complete_sentences, sentences};
pub use stop_words::is_stop_word;

/// The words of a text: letters and digits in lower case, without accents. Everything else separates.
pub fn words(text: &str) -> Vec<String> {
    cut(&fold(text)).map(str::to_owned).collect()
}

/// What a folded word has in common with its other forms: its first letters, as many as are left when usual endings of
/// both languages are taken away. Crude, but the same for `hedge`, `hedging` and `hedged`.
pub fn stem(word: &str) -> &str {
    const ENDINGS: &[&str] = &[
        "aciones", "amente", "ations", "amiento", "imiento", "ingly", "iendo", "acion", "ation",
        "mente", "ando", "ados", "adas", "idos", "idas", "ness", "ment", "ing", "ado", "ada",
        "ido", "ida", "ies", "ed", "es", "er", "ar", "ir", "ly", "os", "as", "s", "e", "a", "o",
    ];
    /// Fewer letters than these would be the same for words that have nothing in common.
    const LEAST: usize = 4;
    let shorter = ENDINGS.iter().find_map(|ending| {
        let stem = word.strip_suffix(ending)?;
        (stem.chars().count() >= LEAST).then_some(stem)
    });
    shorter.unwrap_or(word)
}

/// The stems of the words that carry meaning.
pub fn stems(text: &str) -> Vec<String> {
    words(text)
        .into_iter()
        .filter(|word| !is_stop_word(word))
        .map(|word| stem(&word).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_same_with_and_without_accents_case_and_punctuation() {
        assert_eq!(
            words("¿Preguntó AFORE XXI, por la cobertura?"),
            words("pregunto afore-xxi por la COBERTURA")
        );
        assert_eq!(words("we’ll send 1,500"), ["we", "ll", "send", "1", "500"]);
        assert!(words(" \u{0} … ¿?").is_empty());
    }

    #[test]
    fn forms_of_a_word_share_their_stem() {
        let check = |one: &str, other: &str| assert_eq!(stem(one), stem(other), "{one} {other}");
        check("hedge", "hedging");
        check("hedged", "hedges");
        check("commit", "commits");
        check("cobertura", "coberturas");
        check("inversiones", "inversion");
        assert_ne!(stem("note"), stem("not"));
    }
}
