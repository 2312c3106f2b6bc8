//! Acronyms: organisations and funds by the initials of their names, as `OTPP` for Ontario Teachers' Pension Plan.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;

use crate::prose::fold;
use domain::{Kind, RecordRef};

/// How many letters an acronym has, and at least in small letters, where it is the whole question.
const LETTERS: RangeInclusive<usize> = 2..=6;
const IN_SMALL: usize = 3;

/// From so many letters on it is hardly chance that they are initials, even if texts have them for something else.
const TELLING: usize = 4;

/// What people shorten the names of. People's initials are found in their names.
const SHORTENED: [Kind; 4] = [Kind::Lp, Kind::Gp, Kind::Distributor, Kind::Fund];

/// The most names that are looked through for one acronym; the database tells which of them a question lets pass.
const MOST: usize = 100;

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

/// Whose initials an acronym is, and which acronyms each of these has.
#[derive(Default)]
pub(super) struct Initials {
    records: HashMap<String, BTreeSet<RecordRef>>,
    acronyms: HashMap<RecordRef, BTreeSet<String>>,
}

impl Initials {
    /// Puts the acronyms of a record's name, which is folded, in the place of those that it had before.
    pub(super) fn take(&mut self, record: RecordRef, name: Option<&str>) {
        for acronym in self.acronyms.remove(&record).unwrap_or_default() {
            if let Some(records) = self.records.get_mut(&acronym) {
                records.remove(&record);
                if records.is_empty() {
                    self.records.remove(&acronym);
                }
            }
        }
        let Some(name) = name.filter(|_| SHORTENED.contains(&record.kind())) else { return };
        let acronyms = of(name);
        for acronym in &acronyms {
            self.records.entry(acronym.clone()).or_default().insert(record);
        }
        self.acronyms.insert(record, acronyms);
    }

    /// What an acronym stands for, as it is written in a question.
    pub(super) fn named(&self, written: &str) -> Option<Acronym> {
        let word = fold(written);
        let records = self.records.get(&word)?.iter().copied().take(MOST).collect();
        Some(Acronym { word, records })
    }
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
    fn an_acronym_stands_for_those_who_have_the_name_now() {
        let mut initials = Initials::default();
        let mut take = |kind: Kind, name: Option<&str>| {
            initials.take(kind.record(1), name);
            initials.named("OTPP").map(|it| it.records).unwrap_or_default()
        };
        let name = Some("ontario teachers' pension plan");
        assert_eq!(take(Kind::Person, name), []);
        assert_eq!(take(Kind::Lp, name), [Kind::Lp.record(1)]);
        assert_eq!(take(Kind::Lp, Some("ontario")), []);
        assert_eq!(take(Kind::Fund, name), [Kind::Fund.record(1)]);
        assert_eq!(take(Kind::Fund, None), []);
        assert!(initials.records.is_empty());
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
