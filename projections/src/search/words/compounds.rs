//! What is more than one word and is found as a whole, beside the words that it is cut into: numbers (`9.8`, `20%`), and names
//! with an ampersand (`AT&T`, of which nothing else would be left to look for).

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::figures::figures;
use super::phones::phones;
use super::roles::roles;
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

/// All of a text, in their order. They stand apart: those with an ampersand are of letters alone.
pub(in crate::search) fn compounds(text: &str) -> Vec<Compound> {
    let mut all: Vec<Compound> = joined(text).chain(figures(text)).collect();
    all.sort_by_key(|it| it.place.start);
    all
}

/// What a text is found by beside its words, which it keeps: the numbers of telephones, and roles of people.
pub(in crate::search) fn beside_words(text: &str) -> impl Iterator<Item = Compound> {
    phones(text).chain(roles(text))
}

/// Whether a form is that of a compound, and of no word.
pub(in crate::search) fn is_form(lexeme: &str) -> bool {
    lexeme.contains(['.', '%', '&', '+', '@'])
}

/// Short words with ampersands between.
static JOINED: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\b\p{L}{1,3}(?:&\p{L}{1,3})+\b|\b\p{L}{1,2}\s?&\s?\p{L}{1,2}\b"));

/// Letters that are words of a language by themselves.
const WORDS: [&str; 4] = ["a", "e", "o", "y"];

fn joined(text: &str) -> impl Iterator<Item = Compound> {
    let may_have = text.contains('&');
    let found = may_have.then(|| JOINED.find_iter(text)).into_iter().flatten();
    found.filter_map(|it| {
        let written = fold(it.as_str());
        let parts: Vec<&str> = written.split('&').map(str::trim).collect();
        let length = |part: &&str| part.chars().count();
        // What has blanks may be two words as well, unless one is a letter alone that is none: `US & UK`, `class A & B`.
        let is_spaced = written.contains(char::is_whitespace);
        let is_one = match is_spaced {
            true => {
                parts.iter().any(|it| length(it) == 1) && !parts.iter().any(|it| WORDS.contains(it))
            }
            // Words of three letters each say enough by themselves: `oil&gas`.
            false => parts.iter().any(|it| length(it) < 3),
        };
        (is_one && !written.contains(is_unparted))
            .then(|| Compound { place: it.range(), forms: vec![parts.join("&")] })
    })
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
        for none in [
            "Johnson & Johnson",
            "US & UK",
            "Oil&Gas",
            "fee & a",
            "class A & tax",
            "A&",
            "& Co",
            "年&金",
        ] {
            check(none, &[]);
        }
    }

    #[test]
    fn they_stand_apart_and_in_order() {
        let all = compounds("20% of M&G: 13.7 15.3, 1.5m&a, A&b9.8, 3&20%, 5 percent&ab");
        let forms: Vec<&str> = all.iter().map(Compound::whole).collect();
        assert_eq!(forms, ["20%", "m&g", "13.7", "15.3", "1.5m", "9.8", "20%", "5%"]);
        assert!(all.windows(2).all(|two| two[0].place.end <= two[1].place.start));
    }
}
