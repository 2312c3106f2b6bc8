//! What somebody asks for: the words of a question, what is quoted in it, and the record that it names.

use domain::{Kind, RecordRef};

use super::Language;
use super::language;

/// The most characters of a question that are looked at.
pub const MOST: usize = 1_000;

/// The most quotations that are looked at.
const QUOTATIONS: usize = 4;

/// A question, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// All of it, without what no text can hold; never longer than [`MOST`].
    pub text: String,
    /// What stands in quotation marks: it is to be found as it is.
    pub quoted: Vec<String>,
    /// The record that is named by its id, as in `lp:7`.
    pub record: Option<RecordRef>,
    /// What it is written in, if it tells.
    pub language: Option<Language>,
}

impl Asked {
    /// Takes a question apart.
    pub fn of(question: &str) -> Self {
        let text: String = question.chars().take(MOST).collect();
        let text = text.replace(char::is_control, " ");
        let text = text.trim().to_owned();
        let quoted = quoted(&text);
        Self { record: record(&text), language: language::guess(&text), quoted, text }
    }

    /// Whether some text may be near to it: signs, numbers, the id of a record and a single Latin letter mean nothing by
    /// themselves.
    pub(super) fn means_something(&self) -> bool {
        let mut letters = self.text.chars().filter(|c| c.is_alphabetic());
        let is_latin = |letter: char| letter < '\u{250}';
        self.record.is_none()
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

/// The record that the whole of the text names: a kind and an id, as in `lp:7`, `LP 7` or `fund/2`.
fn record(text: &str) -> Option<RecordRef> {
    let at = text.find([':', '/', ' ', '#'])?;
    let (kind, id) = (&text[..at], text[at + 1..].trim_start_matches([' ', '#']));
    Some(Kind::parse(&kind.to_lowercase())?.record(id.parse().ok()?))
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
    }

    #[test]
    fn a_record_is_named_by_its_kind_and_id() {
        let check = |question: &str, expected: Option<RecordRef>| {
            assert_eq!(Asked::of(question).record, expected, "{question}");
        };
        for question in ["lp:7", "LP 7", "lp/7", "Lp #7", " lp:7 "] {
            check(question, Some(Kind::Lp.record(7)));
        }
        check("note:-3", Some(Kind::Note.record(-3)));
        for question in
            ["lp", "lp:", "lp:x", "company:7", "lp:7 fees", "fund II", "lp:99999999999999999999"]
        {
            check(question, None);
        }
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
