//! Acronyms, and the names and terms that they are the initials of. All of it folded.

use super::{FORM, are_forms, is_capital, raw_words};
use crate::prose::{fold, is_stop_word, is_unseen};

/// The most words of a name that are looked at together.
const LONGEST: usize = 6;

/// Terms of two letters that are said in either form. Two letters are the initials of something in any longer text, so of others
/// that cannot be told.
const TERMS: &[(&str, &[&str])] = &[
    ("ci", &["comite", "de", "inversion"]),
    ("dd", &["due", "diligence"]),
    ("ic", &["comite", "de", "inversion"]),
    ("ic", &["investment", "committee"]),
    ("ir", &["investor", "relations"]),
    ("pe", &["private", "equity"]),
    ("pm", &["portfolio", "manager"]),
    ("re", &["real", "estate"]),
    ("vc", &["venture", "capital"]),
];

/// Words with a capital that stand side by side, such as `Bank of Mexico`, each with its place among the words of the text.
pub(super) struct Phrase(Vec<(usize, String)>);

impl Phrase {
    /// Those of its words that stand together and have this place among them, in every way.
    pub(super) fn around(&self, place: usize) -> Vec<Vec<String>> {
        let Some(at) = self.0.iter().position(|(it, _)| *it == place) else { return vec![] };
        let ends = |from: usize| at + 1..=self.0.len().min(from + LONGEST);
        let froms = at.saturating_sub(LONGEST - 1)..=at;
        let spans = froms.flat_map(|from| ends(from).map(move |to| from..to));
        let spans = spans.filter(|span| span.len() > 1);
        spans.map(|span| self.0[span].iter().map(|(_, word)| word.clone()).collect()).collect()
    }

    /// The initials of each two that are next to each other.
    pub(super) fn pairs(&self) -> Vec<String> {
        let first = |(_, word): &(usize, String)| word.chars().next();
        self.0.windows(2).map(|two| two.iter().filter_map(first).collect()).collect()
    }
}

/// The phrases of a text. Whatever separates words but a space or a hyphen ends one.
pub(super) fn phrases(text: &str) -> Vec<Phrase> {
    /// What may stand inside.
    const INSIDE: [&str; 9] = ["de", "del", "el", "for", "la", "las", "los", "of", "the"];
    let (mut phrases, mut place) = (Vec::new(), 0);
    let separates =
        |it: char| !it.is_alphanumeric() && !it.is_whitespace() && !is_unseen(it) && it != '-';
    for piece in text.split(separates) {
        let mut phrase = Vec::new();
        for word in raw_words(piece) {
            let folded = fold(word);
            if is_capital(word) && !is_stop_word(&folded) {
                phrase.push((place, folded));
            } else if !INSIDE.contains(&folded.as_str()) {
                phrases.push(std::mem::take(&mut phrase));
            }
            place += 1;
        }
        phrases.push(phrase);
    }
    phrases.into_iter().filter(|phrase| phrase.len() > 1).map(Phrase).collect()
}

/// The acronym that a word may be, be it of several: `ICs`.
pub(super) fn acronym(word: &str) -> Option<String> {
    let letters = word.strip_suffix('s').unwrap_or(word);
    let is_one = letters.chars().nth(1).is_some() && letters.chars().all(char::is_uppercase);
    is_one.then(|| fold(letters))
}

/// The acronyms of a text, also those with points.
pub(super) fn acronyms(text: &str) -> Vec<String> {
    let dotted = |word: &str| {
        let word = word.trim_matches(|it: char| !it.is_alphanumeric());
        let is_one = word.contains('.') && word.split('.').all(|it| it.chars().count() == 1);
        is_one.then(|| acronym(&word.replace('.', ""))).flatten()
    };
    raw_words(text).filter_map(acronym).chain(text.split_whitespace().filter_map(dotted)).collect()
}

/// The acronyms of two letters that stand for these words, which may be without the stop words between them.
pub(super) fn acronyms_of(words: &[String]) -> impl Iterator<Item = &'static str> {
    let is_term = |term: &[&str]| {
        let telling = || term.iter().filter(|word| !is_stop_word(word));
        words.len() == telling().count()
            && words.iter().zip(telling()).all(|(word, of)| are_forms(word, of, FORM))
    };
    TERMS.iter().filter(move |(_, term)| is_term(term)).map(|(acronym, _)| *acronym)
}

/// The terms that this acronym of two letters stands for.
pub(super) fn terms_of(acronym: &str) -> impl Iterator<Item = &'static [&'static str]> {
    TERMS.iter().filter(move |(it, _)| *it == acronym).map(|(_, words)| *words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acronyms_are_found_as_people_write_them() {
        let check = |text: &str, expected: &[&str]| assert_eq!(acronyms(text), expected, "{text}");
        check("Our IC meets, says the CIO.", &["ic", "cio"]);
        check("Both ICs of the I.C. and J.P. Morgan", &["ic", "ic", "jp"]);
        check("I see. As Ana is. I.", &[]);
    }

    #[test]
    fn a_phrase_is_made_of_the_words_with_a_capital_that_stand_together() {
        let check = |text: &str, place: usize, expected: &[&str]| {
            let found = phrases(text).iter().flat_map(|it| it.around(place)).collect::<Vec<_>>();
            let found: Vec<_> = found.iter().map(|words| words.join(" ")).collect();
            assert_eq!(found, expected, "{text}");
        };
        check("The Investment Committee met.", 2, &["investment committee"]);
        check("Rate of Return here", 0, &["rate return"]);
        check("Ana, Carlos and Eva", 1, &[]);
        check("Big New Fund", 1, &["big new", "big new fund", "new fund"]);
    }
}
