//! The words of texts and of questions, cut and stemmed alike, so that what is looked for is what was stored, and what is shown
//! is what was found.
//!
//! A word is letters and digits, in lower case and without accents; everything else separates, whatever the script and whatever
//! the server's locale: `¿hedging?`, `“hedging”` and `USD/hedging` have the word that `hedging` asks for. Postgres's own parser
//! takes every sign beyond ASCII for a letter where the locale is C, and keeps addresses and paths whole.
//!
//! The stop words are Snowball's, as Postgres has them.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use rust_stemmers::{Algorithm, Stemmer};
use unicode_normalization::char::{decompose_compatible, is_combining_mark};

use super::Language;
use crate::tsvector::TsVector;

/// What a language makes of words.
struct Grammar {
    stemmer: Stemmer,
    /// Folded.
    stop_words: BTreeSet<String>,
}

impl Grammar {
    fn of(algorithm: Algorithm, stop_words: &str) -> Self {
        let stop_words = stop_words.split_whitespace().map(fold).collect();
        Self { stemmer: Stemmer::create(algorithm), stop_words }
    }

    /// The stem of a folded word; `None` if it says nothing.
    fn telling_stem(&self, word: &str) -> Option<String> {
        (!self.stop_words.contains(word)).then(|| self.stemmer.stem(word).into_owned())
    }
}

static ENGLISH: LazyLock<Grammar> =
    LazyLock::new(|| Grammar::of(Algorithm::English, include_str!("words/english.txt")));
static SPANISH: LazyLock<Grammar> =
    LazyLock::new(|| Grammar::of(Algorithm::Spanish, include_str!("words/spanish.txt")));

/// A text in lower case and without accents.
pub(crate) fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.chars() {
        fold_into(c, &mut folded);
    }
    folded
}

/// Adds a character in lower case and without accents, with ligatures and wide letters as the plain ones.
pub(super) fn fold_into(c: char, folded: &mut String) {
    if c.is_ascii() {
        folded.push(c.to_ascii_lowercase());
        return;
    }
    for c in c.to_lowercase().filter(|c| !is_unseen(*c)) {
        match c {
            'ß' => folded.push_str("ss"),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'ø' => folded.push('o'),
            'đ' | 'ð' => folded.push('d'),
            'ł' => folded.push('l'),
            'ı' => folded.push('i'),
            'þ' => folded.push_str("th"),
            '’' | '‘' => folded.push('\''),
            c if !c.is_alphanumeric() => folded.push(c),
            c => {
                let before = folded.len();
                decompose_compatible(c, |part| {
                    if !is_combining_mark(part) {
                        folded.push(part);
                    }
                });
                // A fraction would fall apart.
                if !folded[before..].chars().all(char::is_alphanumeric) {
                    folded.truncate(before);
                    folded.push(c);
                }
            }
        }
    }
}

/// Whether a character is part of a word without being seen as one: an accent that follows its letter, or a mark of where a word
/// may be broken or joined.
pub(super) fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{300}'..='\u{36f}' | '\u{ad}' | '\u{200c}' | '\u{200d}' | '\u{2060}' | '\u{feff}'
    )
}

/// The words of what is folded.
pub(crate) fn cut(folded: &str) -> impl Iterator<Item = &str> {
    folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// What either language stems a folded word to.
pub(super) fn stems(word: &str) -> [String; 2] {
    [&*ENGLISH, &*SPANISH].map(|grammar| grammar.stemmer.stem(word).into_owned())
}

/// Whether either language stems a folded word to one of these.
pub(super) fn has_stem(word: &str, stems: &[String]) -> bool {
    [&*ENGLISH, &*SPANISH].iter().any(|grammar| {
        let stem = grammar.stemmer.stem(word);
        stems.iter().any(|it| *it == stem)
    })
}

/// What a text is found by: the stems of its words in its language, in both if it is not known, but for stop words.
pub(super) fn indexed(text: &str, language: Option<Language>) -> TsVector {
    let folded = fold(text);
    let mut stems: Vec<String> = Vec::new();
    let mut add = |grammar: &Grammar| {
        stems.extend(cut(&folded).filter_map(|word| grammar.telling_stem(word)));
    };
    match language {
        Some(Language::English) => add(&ENGLISH),
        Some(Language::Spanish) => add(&SPANISH),
        None => {
            add(&ENGLISH);
            add(&SPANISH);
        }
    }
    TsVector::of(stems.iter().map(String::as_str))
}

/// The words of a question in their order, each by its stems in either language. What is a stop word in one of them is left out,
/// unless nothing else is there.
pub(super) fn asked(question: &str) -> Vec<Vec<String>> {
    let folded = fold(question);
    let words: Vec<[Option<String>; 2]> = cut(&folded).map(telling_stems).collect();
    let is_telling = |stems: &&[Option<String>; 2]| stems.iter().all(Option::is_some);
    let has_telling = words.iter().any(|stems| is_telling(&stems));
    let kept = words.iter().filter(|stems| !has_telling || is_telling(stems));
    let stems = kept.map(|stems| {
        let stems: BTreeSet<String> = stems.iter().flatten().cloned().collect();
        stems.into_iter().collect::<Vec<_>>()
    });
    stems.filter(|stems| !stems.is_empty()).collect()
}

/// Whether a text has a word that says something in either language.
pub(super) fn is_telling(text: &str) -> bool {
    cut(&fold(text)).any(|word| telling_stems(word).iter().all(Option::is_some))
}

fn telling_stems(word: &str) -> [Option<String>; 2] {
    [&*ENGLISH, &*SPANISH].map(|grammar| grammar.telling_stem(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_folded_as_people_read_them() {
        let check = |text: &str, expected: &str| assert_eq!(fold(text), expected, "{text}");
        check("Núñez ÁÉÍÓÚ Größe Łódź Æsop naïve", "nunez aeiou grosse lodz aesop naive");
        check("Nu\u{301}n\u{303}ez", "nunez");
        check("in\u{ad}vest\u{200d}ment \u{feff}x", "investment x");
        check("proﬁt ＡＦＯＲＥ", "profit afore");
        check("investor’s 1½", "investor's 1½");
        check("年金 Ω", "年金 ω");
    }

    #[test]
    fn whatever_is_no_letter_and_no_digit_separates() {
        for text in [
            "¿zub?",
            "¡zub!",
            "“zub”",
            "«zub»",
            "kel—zub",
            "kel–zub",
            "zub—then",
            "zub…",
            "x\u{a0}zub\u{a0}y",
            "€zub",
            "•zub",
            "zub®",
            "→zub",
            "kel\u{2011}zub",
            "kel\u{200b}zub",
            "zub，kel",
            "🙂zub",
            "‘zub’",
            "kel/zub",
            "<zub>",
            "zub@kel.org",
            "https://kel.org/zub?x=1",
            "zub.pdf",
            "kel_zub",
            "a-zub",
            "$zub",
            "zub's",
        ] {
            assert!(indexed(text, Some(Language::English)).words().contains(&"zub"), "{text}");
            assert!(asked(text).contains(&vec!["zub".to_owned()]), "{text}");
        }
        for (text, number) in
            [("Q3-2031", "2031"), ("-48.31", "31"), ("€47,312.55", "312"), ("12.75%", "75")]
        {
            assert!(indexed(text, None).words().contains(&number), "{text}");
        }
    }

    #[test]
    fn a_text_is_found_by_the_stems_of_its_language() {
        let check = |text: &str, language: Option<Language>, expected: &[&str]| {
            assert_eq!(indexed(text, language).words(), expected, "{text}");
        };
        check("The funds were hedging", Some(Language::English), &["fund", "hedg"]);
        check("Los fondos de pensión también", Some(Language::Spanish), &["fond", "pension"]);
        check("the funds", None, &["fund", "funds", "the"]);
        check(" \0 – ", None, &[]);
    }

    #[test]
    fn a_question_has_its_words_as_either_language_stems_them() {
        let check = |question: &str, expected: &[&[&str]]| {
            assert_eq!(asked(question), expected, "{question}");
        };
        check("the pension funds", &[&["pension"], &["fund", "funds"]]);
        check("¿Comisiones?", &[&["comision"]]);
        check("the who", &[&["the"], &["who"]]);
        check("", &[]);
        assert!(is_telling("the fees") && !is_telling("the who") && !is_telling("?"));
    }
}
