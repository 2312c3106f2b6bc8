//! Acronyms: organisations and funds by the initials of their names, as `OTPP` for Ontario Teachers' Pension Plan.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use domain::{Kind, RecordRef};

/// How many letters an acronym has, and at least in small letters, where it is the whole question.
const LETTERS: RangeInclusive<usize> = 2..=6;
const IN_SMALL: usize = 3;

/// From so many letters on it is hardly chance that they are initials, even if texts have them for something else.
const TELLING: usize = 4;

/// What people shorten the names of. People's initials are found in their names.
pub(super) const SHORTENED: [Kind; 4] = [Kind::Lp, Kind::Gp, Kind::Distributor, Kind::Fund];

/// Words that an acronym may leave out.
const SMALL: [&str; 22] = [
    "a", "al", "and", "da", "de", "del", "do", "dos", "e", "el", "en", "for", "in", "la", "las",
    "los", "of", "on", "para", "the", "von", "y",
];

/// What is written in a question like an acronym, and whose initials it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acronym {
    /// Folded.
    pub word: String,
    /// Those whose initials it is.
    pub records: Vec<RecordRef>,
}

/// Whether a word of so many letters is an acronym of a name, though texts have it.
pub(super) fn is_telling(word: &str) -> bool {
    word.chars().count() >= TELLING
}

/// The words of a question that are written like acronyms: in capitals, or alone.
pub(super) fn written(text: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_alphanumeric();
    let words: Vec<&str> =
        text.split(|c: char| !is_word(c)).filter(|word| !word.is_empty()).collect();
    let least = if words.len() == 1 { IN_SMALL } else { usize::MAX };
    let is_acronym = |word: &&str| {
        let letters = word.chars().count();
        LETTERS.contains(&letters)
            && word.chars().all(char::is_alphabetic)
            && (letters >= least || word.chars().all(char::is_uppercase))
    };
    words.into_iter().filter(is_acronym).collect()
}

/// The acronyms of a name, folded: the initials of its words, those in hyphens taken as one or as several, with and without
/// small words and the number at the end.
pub(super) fn of(name: &str) -> BTreeSet<String> {
    let name = name.replace(['\'', '’'], "");
    let whole = |c: char| c.is_whitespace() || c == '/';
    let mut acronyms = BTreeSet::new();
    for words in [split(&name, whole), split(&name, |c| !c.is_alphanumeric())] {
        let large: Vec<&str> = words.iter().copied().filter(|it| !SMALL.contains(it)).collect();
        for words in [words, large] {
            acronyms.insert(initials(&words));
            if let Some((_, before)) = words.split_last().filter(|(last, _)| is_number(last)) {
                acronyms.insert(initials(before));
            }
        }
    }
    acronyms.retain(|acronym| LETTERS.contains(&acronym.chars().count()));
    acronyms
}

fn split(name: &str, is_between: impl Fn(char) -> bool) -> Vec<&str> {
    let words =
        name.split(is_between).map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()));
    words.filter(|word| !word.is_empty()).collect()
}

fn initials(words: &[&str]) -> String {
    words.iter().filter_map(|word| word.chars().next()).collect()
}

/// Whether a word is a number, Roman or not, as those of funds are.
fn is_number(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_digit()) || word.chars().all(|c| "ivx".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shortened_to_its_initials() {
        let check = |name: &str, expected: &[&str]| {
            assert_eq!(of(name).into_iter().collect::<Vec<_>>(), expected, "{name}");
        };
        check("lakeview teachers retirement system", &["ltrs"]);
        check("ontario teachers' pension plan", &["otpp"]);
        check("ontario teacher’s pension plan", &["otpp"]);
        check("fondo de pensiones de la union", &["fdpdlu", "fpu"]);
        check("fundacion herrera-quiroga", &["fh", "fhq"]);
        check("tidewater buyout fund vi", &["tbf", "tbfv"]);
        check("growth fund 2", &["gf", "gf2"]);
        check("calpers", &[]);
        check("a b c d e f g", &["bcdfg"]);
        check("", &[]);
    }

    #[test]
    fn an_acronym_is_written_in_capitals_or_alone() {
        let check = |question: &str, expected: &[&str]| {
            assert_eq!(written(question), expected, "{question}");
        };
        check("LTRS currency hedging", &["LTRS"]);
        check("what did CPPIB say of ESG?", &["CPPIB", "ESG"]);
        check("otpp", &["otpp"]);
        check("otpp fees", &[]);
        check("pc", &[]);
        check("PC", &["PC"]);
        check("II 3i ABCDEFG A", &["II"]);
    }
}
