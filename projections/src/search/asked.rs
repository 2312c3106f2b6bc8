//! What somebody asks for: the words of a question, what is quoted in it, and the records that it names.

use std::collections::BTreeMap;

use domain::{Kind, RecordRef};

use super::Language;
use super::acronyms::Acronym;
use super::{language, spelling};
use crate::prose::fold;

/// The most characters of a question that are looked at.
pub const MOST: usize = 1_000;

/// How many words a question has that is brief.
pub(super) const BRIEF: usize = 6;

/// The most ids of records that are looked at.
const RECORDS: usize = 20;

/// The most quotations that are looked at.
const QUOTATIONS: usize = 4;

/// A question, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// All of it, without what no text can hold; never longer than [`MOST`].
    pub text: String,
    /// What stands in quotation marks: it is to be found as it is.
    pub quoted: Vec<String>,
    /// The records that are named by their ids, as in `lp:7`.
    pub records: Vec<RecordRef>,
    /// What it is written in, if it tells.
    pub language: Option<Language>,
    /// Words that were mistyped, so far as is known.
    pub corrections: Vec<Correction>,
    /// What words may be that nobody wrote in this form, so far as is known.
    pub near: Vec<Near>,
    /// Words that are initials of names, so far as is known.
    pub acronyms: Vec<Acronym>,
    /// Of its words, folded, whether texts have them, where that is known.
    pub written: BTreeMap<String, Written>,
}

/// Whether texts have a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// As it is typed.
    AsTyped,
    /// Not so, but inflected otherwise.
    InAnotherForm,
    /// In no form.
    Nowhere,
}

/// A word that nobody wrote in this form, and the words of texts and names that it may be but for typing errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Near {
    /// Folded, as it stands in the question.
    pub typed: String,
    /// Folded, the nearest first; two in a row, with a blank, may have been typed as one.
    pub words: Vec<String>,
    /// Whether there are more.
    pub is_cut: bool,
}

/// A word that nobody wrote, and the one that was probably meant by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    /// Folded, as it stands in the question.
    pub typed: String,
    /// Folded, as it stands in texts.
    pub word: String,
}

impl Asked {
    /// Takes a question apart.
    pub fn of(question: &str) -> Self {
        let text: String = question.chars().take(MOST).collect();
        let text = text.replace(char::is_control, " ");
        let text = text.trim().to_owned();
        let mut quoted = quoted(&text);
        let own = addresses(&text).filter(|address| !quoted.iter().any(|it| it.contains(address)));
        let own: Vec<String> = own.take(QUOTATIONS - quoted.len()).collect();
        quoted.extend(own);
        let (records, language) = (records(&text), language::guess(&text));
        Self { text, quoted, records, language, ..Self::default() }
    }

    /// Whether it has few words, so that each counts.
    pub(super) fn is_brief(&self) -> bool {
        spelling::words(&self.text).len() <= BRIEF
    }

    /// The words that do not stand in a quotation, folded, each once.
    pub(super) fn unquoted(&self) -> Vec<String> {
        let (text, quoted) = (fold(&self.text), fold(&self.quoted.join(" ")));
        let quoted = spelling::words(&quoted);
        let mut words: Vec<String> = Vec::new();
        for word in spelling::words(&text) {
            if !quoted.contains(&word) && !words.iter().any(|it| it == word) {
                words.push(word.to_owned());
            }
        }
        words
    }

    /// The question with the words that were probably meant, where this tells them to be better than what was typed. A long one says
    /// enough without them, and is left as it is.
    pub(super) fn meant(&self, is_better: impl Fn(&str, &str) -> bool) -> String {
        if !self.is_brief() {
            return self.text.clone();
        }
        let mut meant = String::with_capacity(self.text.len());
        for piece in self.text.split_inclusive(|c: char| !c.is_alphanumeric()) {
            let word = piece.trim_end_matches(|c: char| !c.is_alphanumeric());
            let typed = fold(word);
            let correction = self.corrections.iter().find(|it| it.typed == typed);
            let better = correction.filter(|it| is_better(word, &it.word));
            meant.push_str(better.map_or(word, |it| &it.word));
            meant.push_str(&piece[word.len()..]);
        }
        meant
    }

    /// Takes back the corrections of words, as they were typed, that this does not want corrected.
    pub(super) fn keep_corrections(&mut self, is_wanted: impl Fn(&str) -> bool) {
        let words = self.text.split(|c: char| !c.is_alphanumeric());
        let known: Vec<String> = words
            .filter(|word| self.corrections.iter().any(|it| it.typed == fold(word)))
            .filter(|word| !is_wanted(word))
            .map(fold)
            .collect();
        self.corrections.retain(|it| !known.contains(&it.typed));
    }

    /// Whether some text may be near to it: signs, numbers, the id of a record and a single Latin letter mean nothing by
    /// themselves.
    pub(super) fn means_something(&self) -> bool {
        let mut letters = self.text.chars().filter(|c| c.is_alphabetic());
        let is_latin = |letter: char| letter < '\u{250}';
        self.records.is_empty()
            && letters.next().is_some_and(|first| !is_latin(first) || letters.next().is_some())
    }

    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

/// What stands between quotation marks of a kind.
fn quoted(text: &str) -> Vec<String> {
    const MARKS: [(char, char); 4] = [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»')];
    let mut quoted = Vec::new();
    let mut rest = text;
    while let Some((open, c)) = rest.char_indices().find(|(_, c)| MARKS.iter().any(|it| it.0 == *c))
    {
        let inside = &rest[open + c.len_utf8()..];
        let closing = |end: char| MARKS.contains(&(c, end));
        let Some((end, mark)) = inside.char_indices().find(|(_, end)| closing(*end)) else { break };
        let phrase = inside[..end].split_whitespace().collect::<Vec<_>>().join(" ");
        if phrase.chars().any(char::is_alphanumeric) && quoted.len() < QUOTATIONS {
            quoted.push(phrase);
        }
        rest = &inside[end + mark.len_utf8()..];
    }
    quoted
}

/// The e-mail addresses in it. Each of their words may be in many texts, so that an address is meant as it stands.
fn addresses(text: &str) -> impl Iterator<Item = String> {
    let is_address = |word: &&str| {
        let parts = word.split_once('@').filter(|(_, domain)| !domain.contains('@'));
        parts.is_some_and(|(name, domain)| {
            let mut labels = domain.split('.');
            !name.is_empty() && domain.contains('.') && labels.all(|label| !label.is_empty())
        })
    };
    let words = text.split(|c: char| c.is_whitespace() || "<>()[],;:\"'“”„«»".contains(c));
    words.map(|word| word.trim_matches(['.', '?', '!'])).filter(is_address).map(str::to_owned)
}

/// The records that the text names if it has nothing else: kinds and ids, as in `lp:7`, `LP 7` or `fund/2, note:5`.
fn records(text: &str) -> Vec<RecordRef> {
    let parts = text.split([':', '/', ' ', '#', ',']).filter(|part| !part.is_empty());
    let record = |pair: &[&str]| {
        let [kind, id] = pair else { return None };
        Some(Kind::parse(&kind.to_lowercase())?.record(id.parse().ok()?))
    };
    let pairs = parts.collect::<Vec<_>>();
    let records: Option<Vec<RecordRef>> = pairs.chunks(2).map(record).collect();
    let mut records = records.unwrap_or_default();
    records.truncate(RECORDS);
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_known_from_the_rest() {
        let check = |question: &str, expected: &[&str]| {
            assert_eq!(Asked::of(question).quoted, expected, "{question}");
        };
        check("who said \"currency hedging\" first", &["currency hedging"]);
        check("“a  b” and «c»", &["a b", "c"]);
        check("5\" pipe", &[]);
        check("\"\" \" \" \"!\"", &[]);
        check("\"a\" \"b\" \"c\" \"d\" \"e\"", &["a", "b", "c", "d"]);
        check("\"a\" \"b\" \"c\" \"d\" a@b.example", &["a", "b", "c", "d"]);
    }

    #[test]
    fn an_address_counts_as_quoted() {
        let check = |question: &str, expected: &[&str]| {
            assert_eq!(Asked::of(question).quoted, expected, "{question}");
        };
        check("gpratt@banamex.com", &["gpratt@banamex.com"]);
        check("Who is <G.Pratt+lp@mail.banamex.com>?", &["G.Pratt+lp@mail.banamex.com"]);
        check("\"a@b.example\" c@d.example.", &["a@b.example", "c@d.example"]);
        check("@banamex.com gpratt@ gpratt@banamex a@b@c.example a@b..example R@D", &[]);
    }

    #[test]
    fn records_are_named_by_their_kinds_and_ids() {
        let check = |question: &str, expected: &[RecordRef]| {
            assert_eq!(Asked::of(question).records, expected, "{question}");
        };
        for question in ["lp:7", "LP 7", "lp/7", "Lp #7", " lp:7 "] {
            check(question, &[Kind::Lp.record(7)]);
        }
        check("note:-3", &[Kind::Note.record(-3)]);
        for question in ["lp:7 note:5", "LP 7, note #5", "lp/7,note/5"] {
            check(question, &[Kind::Lp.record(7), Kind::Note.record(5)]);
        }
        assert_eq!(Asked::of(&"lp:7 ".repeat(200)).records.len(), RECORDS);
        for question in [
            "lp",
            "lp:",
            "lp:x",
            "company:7",
            "lp:7 fees",
            "lp:7 note",
            "lp:7 8",
            "fund II",
            "lp:99999999999999999999",
        ] {
            check(question, &[]);
        }
    }

    #[test]
    fn words_are_corrected_but_for_those_that_are_quoted() {
        let mut asked = Asked::of("Curency, \"hedgng\" of Fnuds!  fnuds hedgng");
        assert_eq!(asked.unquoted(), ["curency", "of", "fnuds"]);
        let meant = |typed: &str, word: &str| Correction { typed: typed.into(), word: word.into() };
        asked.corrections = vec![meant("curency", "currency"), meant("fnuds", "funds")];
        let all = asked.meant(|_, _| true);
        assert_eq!(all, "currency, \"hedgng\" of funds!  funds hedgng");
        let some = asked.meant(|typed, _| typed != "Curency");
        assert_eq!(some, "Curency, \"hedgng\" of funds!  funds hedgng");
        let long = Asked { text: format!("{} as we said before", asked.text), ..asked };
        assert_eq!(long.meant(|_, _| true), long.text);
    }

    #[test]
    fn signs_and_ids_have_no_meaning() {
        for question in ["", "?", "😀", "lp:7", "0.57", "\"\"", "a"] {
            assert!(!Asked::of(question).means_something(), "{question}");
        }
        for question in ["IRR", "年金基金", "金", "lp fees", "\"key man\""] {
            assert!(Asked::of(question).means_something(), "{question}");
        }
    }

    #[test]
    fn any_text_is_a_question() {
        let long = "é".repeat(10_000);
        assert_eq!(Asked::of(&long).text.chars().count(), MOST);
        assert_eq!(Asked::of("a\0b\u{7}c").text, "a b c");
        for question in ["", " ", "\0", "\n\t"] {
            assert!(Asked::of(question).is_empty(), "{question:?}");
        }
    }
}
