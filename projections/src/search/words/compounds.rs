//! What is more than one word and is found as a whole, beside the words that it is cut into: numbers (`9.8`, `20%`), names with
//! an ampersand (`AT&T`, of which nothing else would be left to look for) and telephone numbers, however they are spaced.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::figures::figures;
use crate::prose::{fold, is_unparted};

/// What is found as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::search) struct Compound {
    /// Where it stands, in bytes.
    pub(in crate::search) place: Range<usize>,
    /// How it is found, the whole of it last: `9.8`, `9.8%`. A comma counts as a point: which of them parts thousands depends on
    /// the language.
    pub(in crate::search) forms: Vec<String>,
}

impl Compound {
    /// All of it.
    pub(in crate::search) fn whole(&self) -> &str {
        self.forms.last().map_or("", String::as_str)
    }

    /// Whether it is found by this.
    pub(in crate::search) fn has(&self, form: &str) -> bool {
        self.forms.iter().any(|it| it == form)
    }
}

/// All of a text, in their order and apart from each other.
pub(in crate::search) fn compounds(text: &str) -> Vec<Compound> {
    let mut all: Vec<Compound> = telephones(text).chain(joined(text)).collect();
    let others: Vec<Range<usize>> = all.iter().map(|it| it.place.clone()).collect();
    let is_apart = |it: &Compound| {
        others.iter().all(|other| it.place.end <= other.start || other.end <= it.place.start)
    };
    all.extend(figures(text).filter(is_apart));
    all.sort_by_key(|it| it.place.start);
    all
}

/// Whether a form is that of a compound, and of no word.
pub(in crate::search) fn is_form(lexeme: &str) -> bool {
    lexeme.contains(['.', '%', '&', '+'])
}

/// Short words, or letters, with ampersands between.
static JOINED: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\b[\p{L}\p{N}]{1,3}(?:\s?&\s?[\p{L}\p{N}]{1,3})+\b"));

fn joined(text: &str) -> impl Iterator<Item = Compound> {
    let may_have = text.contains('&');
    let found = may_have.then(|| JOINED.find_iter(text)).into_iter().flatten();
    found.filter(|it| !it.as_str().contains(is_unparted)).map(|it| {
        let letters: String = it.as_str().split_whitespace().collect();
        Compound { place: it.range(), forms: vec![fold(&letters)] }
    })
}

/// Groups of digits with nothing between them but what telephone numbers have there.
static DIGITS: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(\+|\()?[0-9]+(?:[ \u{a0}./()\-\u{2011}\u{2013}]{1,3}[0-9]+)*"));

/// How many digits a telephone number has, with the code of its country or not.
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=15;

/// By how many of its last digits it is found: the codes before them are written or not.
const OWN: usize = 8;

fn telephones(text: &str) -> impl Iterator<Item = Compound> {
    DIGITS.captures_iter(text).filter_map(|found| telephone(text, &found))
}

fn telephone(text: &str, found: &Captures<'_>) -> Option<Compound> {
    let (all, is_marked) = (found.get(0)?, found.get(1).is_some());
    let groups: Vec<&str> =
        all.as_str().split(|c: char| !c.is_ascii_digit()).filter(|it| !it.is_empty()).collect();
    let digits = groups.concat();
    let is_word = text[..all.start()]
        .ends_with(|c: char| c.is_alphanumeric() || ".,$€£".contains(c))
        || text[all.end()..].starts_with(|c: char| c.is_alphanumeric() || c == '%');
    let is_other = !is_marked && (is_date(&groups) || is_amount(all.as_str(), &groups));
    let is_one = LENGTHS.contains(&digits.len()) && !is_word && !is_other;
    is_one.then(|| Compound {
        place: all.range(),
        forms: vec![format!("+{}", &digits[digits.len() - OWN..])],
    })
}

/// Whether there is a day or a year among groups of digits.
fn is_date(groups: &[&str]) -> bool {
    let is_year = |it: &str| it.len() == 4 && (it.starts_with("19") || it.starts_with("20"));
    let is_day = |it: &str| it.len() == 8 && is_year(&it[..4]);
    groups.iter().any(|it| is_year(it) || is_day(it))
}

/// Whether groups of digits are rather thousands, or have decimals.
fn is_amount(written: &str, groups: &[&str]) -> bool {
    let (first, others) = (groups.first(), groups.get(1..).unwrap_or_default());
    let are_thousands =
        first.is_some_and(|it| it.len() <= 3) && others.iter().all(|it| it.len() == 3);
    let is_round = others.contains(&"000");
    let has_points_alone = written.bytes().all(|it| it.is_ascii_digit() || it == b'.');
    is_round || (has_points_alone && groups.len() > 1 && (are_thousands || groups.len() == 2))
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is made of constants")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let forms: Vec<String> = compounds(text).into_iter().flat_map(|it| it.forms).collect();
        assert_eq!(forms, expected, "{text}");
    }

    #[test]
    fn letters_with_an_ampersand_are_one() {
        check("AT&T, M & G; the s&p 500", &["at&t", "m&g", "s&p"]);
        check("R&D&É", &["r&d&e"]);
        for none in ["Johnson & Johnson", "fees & carry", "A&", "& Co", "年&金"] {
            check(none, &[]);
        }
    }

    #[test]
    fn a_telephone_number_is_the_same_however_it_is_spaced() {
        let one = [
            "+52 55 1234 5678",
            "+52 (55) 1234-5678",
            "525512345678",
            "5512345678",
            "55.1234.5678",
            "call 55 1234 5678, please",
            "tel:+52-55-1234-5678.",
            "12345678",
        ];
        for text in one {
            check(text, &["+12345678"]);
        }
        check("(415) 555-2671 or +34 600 123 456", &["+55552671", "+00123456"]);
        for none in [
            "20250131",
            "2025-01-31",
            "31/01/2025 10:30",
            "returns of 2019 2020 2021",
            "1234567",
            "1234567890123456",
            "12345678x",
            "$125000000",
            "1 250 000 000",
        ] {
            check(none, &[]);
        }
        check("1.250.125.500 and 12345678.50", &["1.250.125.500", "12345678.50"]);
    }

    #[test]
    fn they_stand_apart_and_in_order() {
        let all = compounds("20% of M&G: +52 55.1234.5678, 9.8");
        let forms: Vec<&str> = all.iter().map(Compound::whole).collect();
        assert_eq!(forms, ["20%", "m&g", "+12345678", "9.8"]);
        assert!(all.windows(2).all(|two| two[0].place.end <= two[1].place.start));
    }
}
