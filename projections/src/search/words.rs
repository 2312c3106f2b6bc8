//! The words of texts and of questions, cut and stemmed alike, so that what is looked for is what was stored, and what is shown
//! is what was found.
//!
//! A word is letters and digits, in lower case and without accents; everything else separates, whatever the script and whatever
//! the server's locale: `¿hedging?`, `“hedging”` and `USD/hedging` have the word that `hedging` asks for. Postgres's own parser
//! takes every sign beyond ASCII for a letter where the locale is C, and keeps addresses and paths whole.
//!
//! What is several such words, as `9.8`, `20%` and `AT&T` are, is found as a whole too, and looked for as nothing else. The number of a
//! telephone and a role (`CIO`) are found by what stands for them as well, however they are written, and by their words.
//!
//! The stop words are Snowball's, as Postgres has them.

mod amounts;
mod compounds;
mod figures;
mod phones;
mod roles;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use rust_stemmers::{Algorithm, Stemmer};

use self::amounts::{Piece, pieces};
pub(super) use self::compounds::{Compound, beside_words, compounds, is_form};
pub(super) use self::figures::{figures, without_figures};
use super::Language;
use crate::prose::{cut, fold};
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

/// Whether a folded word says nothing in this language.
pub(super) fn is_stop_word(word: &str, language: Language) -> bool {
    let grammar = match language {
        Language::English => &ENGLISH,
        Language::Spanish => &SPANISH,
    };
    grammar.stop_words.contains(word)
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

/// What a text is found by: the stems of its words in its language, in both if it is not known, but for stop words; and its compounds.
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
    stems.extend(compounds(text).into_iter().flat_map(|it| it.forms));
    stems.extend(beside_words(&folded).flat_map(|it| it.forms));
    TsVector::of(stems.iter().map(String::as_str))
}

/// The words of what is folded, and its compounds in the place of theirs.
fn words_and_compounds(folded: &str) -> Vec<Cow<'_, str>> {
    let (mut all, mut at) = (Vec::new(), 0);
    for compound in compounds(folded) {
        all.extend(cut(&folded[at..compound.place.start]).map(Cow::Borrowed));
        all.push(Cow::Owned(compound.whole().to_owned()));
        at = compound.place.end;
    }
    all.extend(cut(&folded[at..]).map(Cow::Borrowed));
    all
}

/// The words of a question in their order, each by its stems in either language, an amount by all that it may be written as, and a word
/// of a role or a telephone number by what stands for that as well. What is a stop word in one of them is left out, unless nothing else is there.
pub(super) fn asked(question: &str) -> Vec<Vec<String>> {
    let folded = fold(question);
    let words = words_and_compounds(&folded);
    let words: Vec<&str> = words.iter().map(|word| &**word).collect();
    let beside: Vec<Compound> = beside_words(&folded).collect();
    let standing_for = |word: &str| {
        let has = |it: &&Compound| cut(&folded[it.place.clone()]).any(|part| part == word);
        beside.iter().filter(has).flat_map(|it| it.forms.iter().cloned()).collect::<Vec<_>>()
    };
    let said: Vec<(BTreeSet<String>, bool)> = pieces(&words)
        .into_iter()
        .map(|piece| match piece {
            Piece::Amount(stems) => (stems, true),
            Piece::Word(word) if is_form(word) => ([word.to_owned()].into(), true),
            Piece::Word(word) => {
                let stems = telling_stems(word);
                let is_telling = stems.iter().all(Option::is_some);
                let others = if is_telling { standing_for(word) } else { vec![] };
                (stems.into_iter().flatten().chain(others).collect(), is_telling)
            }
        })
        .collect();
    let has_telling = said.iter().any(|(_, is_telling)| *is_telling);
    let kept = said.into_iter().filter(|(_, is_telling)| *is_telling || !has_telling);
    let stems = kept.map(|(stems, _)| stems.into_iter().collect::<Vec<_>>());
    stems.filter(|stems| !stems.is_empty()).collect()
}

/// Whether a text has a word that says something in either language.
pub(super) fn is_telling(text: &str) -> bool {
    let folded = fold(text);
    let mut words = words_and_compounds(&folded).into_iter();
    words.any(|word| telling_stems(&word).iter().all(Option::is_some))
}

fn telling_stems(word: &str) -> [Option<String>; 2] {
    [&*ENGLISH, &*SPANISH].map(|grammar| grammar.telling_stem(word))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        check("Fees: 1,5%", Some(Language::English), &["1", "1.5", "1.5%", "5", "fee"]);
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
        check("a 9,8 % return", &[&["9.8%"], &["return"]]);
        check("AT&T fees", &[&["at&t"], &["fee", "fees"]]);
        check("H&ES", &[&["h&es"]]);
        check("5512345678", &[&["+2345678", "5512345678"]]);
        let role = ["@cio", "director"];
        check("director de inversiones", &[&role, &["@cio", "inversion"]]);
        check("年金公団 fees", &[&["年金"], &["金公"], &["公団"], &["fee", "fees"]]);
        check("", &[]);
        assert!(
            is_telling("the fees")
                && is_telling("AT&T")
                && !is_telling("the who")
                && !is_telling("?")
        );
    }
}
