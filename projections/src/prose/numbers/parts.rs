//! A text cut into what numbers are made of.

use std::cell::OnceCell;
use std::ops::Range;

use super::{ONE, named};
use crate::prose::{fold, is_unseen};
use crate::search::language::{Language, guess};

/// What a piece of a text is in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// An amount in digits.
    Digits(u128),
    /// A word for up to 99, or a Spanish one for several hundreds.
    Small(u32),
    /// `hundred`, which multiplies what is before it, or `cien`.
    Hundred,
    /// A power of ten that multiplies what is before it.
    Scale(u32),
    /// The Spanish thousand, which also stands alone.
    Mil(u32),
    /// `a` or `un` before a hundred or a scale.
    One,
    Percent,
    And,
    Y,
    Hyphen,
    /// What stands between numbers of one unit.
    Joint,
    Other,
}

impl Part {
    /// Whether numbers of one unit may have it between them. `a` is a Spanish `to`.
    pub(super) fn joins(self) -> bool {
        matches!(self, Part::And | Part::Y | Part::Hyphen | Part::Joint | Part::One)
    }

    fn is_unit(self) -> bool {
        matches!(self, Part::Scale(_) | Part::Percent)
    }

    fn is_number(self) -> bool {
        matches!(self, Part::Digits(_) | Part::Small(_) | Part::Hundred)
    }
}

/// A piece, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) part: Part,
    pub(super) span: Range<usize>,
}

/// The pieces of a text, without spaces and signs of currency.
pub(super) fn pieces(text: &str) -> Vec<Piece> {
    let mut cut = Cut { text, pieces: Vec::new(), doubtful: Vec::new() };
    let mut at = 0;
    while let Some(letter) = text[at..].chars().next() {
        at = match letter {
            '0'..='9' => cut.digits(at),
            it if it.is_alphabetic() || is_unseen(it) => cut.word(at),
            it => cut.sign(at, it),
        };
    }
    cut.settle();
    cut.pieces
}

struct Cut<'a> {
    text: &'a str,
    pieces: Vec<Piece>,
    /// Pieces that are a number in one language only, with their words.
    doubtful: Vec<(usize, String)>,
}

impl Cut<'_> {
    fn add(&mut self, part: Part, span: Range<usize>) -> usize {
        let end = span.end;
        self.pieces.push(Piece { part, span });
        end
    }

    fn end_of(&self, from: usize, belongs: impl Fn(char) -> bool) -> usize {
        let rest = &self.text[from..];
        rest.find(|letter| !belongs(letter)).map_or(self.text.len(), |length| from + length)
    }

    fn sign(&mut self, at: usize, sign: char) -> usize {
        let end = at + sign.len_utf8();
        let part = match sign {
            '%' => Part::Percent,
            '-' | '–' | '—' | '\u{2011}' => Part::Hyphen,
            ',' | ';' | '/' | '&' => Part::Joint,
            it if it.is_whitespace() || matches!(it, '$' | '€' | '£' | '~' | '+') => return end,
            _ => Part::Other,
        };
        self.add(part, at..end)
    }

    fn word(&mut self, at: usize) -> usize {
        let end = self.end_of(at, |it| it.is_alphabetic() || is_unseen(it));
        let word = fold(&self.text[at..end]);
        let before = self.pieces.last().filter(|piece| matches!(piece.part, Part::Digits(_)));
        if before.is_some_and(|piece| piece.span.end == at) {
            return self.add(named::attached(&word), at..end);
        }
        if let Some(per) = self.per_cent(at, &word) {
            return self.add(Part::Percent, at..per);
        }
        if word == "mil" || named::only_in(&word).is_some() {
            self.doubtful.push((self.pieces.len(), word.clone()));
        }
        self.add(named::part(&word), at..end)
    }

    /// Where `per cent` or `por ciento` ends.
    fn per_cent(&self, at: usize, word: &str) -> Option<usize> {
        let second = match word {
            "per" => "cent",
            "por" => "ciento",
            _ => return None,
        };
        let behind = self.end_of(self.end_of(at, char::is_alphabetic), char::is_whitespace);
        let end = self.end_of(behind, char::is_alphabetic);
        (fold(&self.text[behind..end]) == second).then_some(end)
    }

    /// Digits with what separates them: thousands, a fraction, or several numbers such as those of a date.
    fn digits(&mut self, from: usize) -> usize {
        let mut groups = Vec::new();
        let mut at = from;
        let end = loop {
            let end = self.end_of(at, |it| it.is_ascii_digit());
            groups.push(at..end);
            let mut behind = self.text[end..].chars();
            match (behind.next(), behind.next()) {
                (
                    Some(sign @ (',' | '.' | '\'' | '’' | '\u{a0}' | '\u{202f}')),
                    Some('0'..='9'),
                ) => {
                    at = end + sign.len_utf8();
                }
                _ => break end,
            }
        };
        match self.amount(&groups) {
            Some(amount) => self.add(Part::Digits(amount), from..end),
            None => {
                for group in groups {
                    let amount = whole(&self.text[group.clone()]);
                    self.add(Part::Digits(amount), group);
                }
                end
            }
        }
    }

    /// The one amount that groups of digits are.
    fn amount(&self, groups: &[Range<usize>]) -> Option<u128> {
        let (first, others) = groups.split_first()?;
        let sign = |group: &Range<usize>| self.text[..group.start].chars().next_back();
        let is_thousands = |groups: &[Range<usize>]| {
            (1..=3).contains(&first.len())
                && self.text[first.clone()].contains(|digit| digit != '0')
                && groups.iter().all(|group| group.len() == 3 && sign(group) == sign(&groups[0]))
        };
        let joined = |groups: &[Range<usize>]| {
            let all = std::iter::once(first).chain(groups);
            whole(&all.map(|group| &self.text[group.clone()]).collect::<String>())
        };
        if is_thousands(others) {
            return Some(joined(others));
        }
        let (last, before) = others.split_last()?;
        let is_fraction = matches!(sign(last), Some('.' | ','))
            && (before.is_empty() || is_thousands(before) && sign(last) != sign(&before[0]));
        is_fraction.then(|| joined(before).wrapping_add(fraction(&self.text[last.clone()])))
    }

    /// What may be an everyday word is a number in a text of its language, or before what only numbers stand before.
    fn settle(&mut self) {
        let language = OnceCell::new();
        // From behind: what is before another doubtful word depends on that.
        for (at, word) in std::mem::take(&mut self.doubtful).into_iter().rev() {
            let next = self.pieces.get(at + 1).map_or(Part::Other, |piece| piece.part);
            let before = at.checked_sub(1).map_or(Part::Other, |at| self.pieces[at].part);
            let language = *language.get_or_init(|| guess(self.text));
            self.pieces[at].part = match (word.as_str(), language) {
                // People who speak English say fifty mil for fifty million.
                ("mil", Some(Language::English)) if before.is_number() => Part::Scale(6),
                ("mil", Some(Language::Spanish)) => Part::Mil(3),
                ("mil", _) if [before, next].iter().any(|it| it.is_number()) || next.is_unit() => {
                    Part::Mil(3)
                }
                ("mil", _) => Part::Other,
                _ if next.is_unit() || matches!(next, Part::Mil(_)) => continue,
                _ if language == named::only_in(&word) => continue,
                _ => Part::Other,
            };
        }
    }
}

/// The amount of digits. Of more than anybody counts with it matters only that it is always the same.
fn whole(digits: &str) -> u128 {
    let digits = digits.bytes().map(|digit| u128::from(digit - b'0'));
    digits.fold(0_u128, |sum, digit| sum.wrapping_mul(10).wrapping_add(digit)).wrapping_mul(ONE)
}

/// The amount of the digits behind a point.
fn fraction(digits: &str) -> u128 {
    let places = digits.bytes().map(|digit| u128::from(digit - b'0'));
    places.zip(1..=6).map(|(digit, place)| digit * (ONE / 10_u128.pow(place))).sum()
}
