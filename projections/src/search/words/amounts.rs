//! Amounts of a question, which texts write in many ways: `50m` is `50 million`, `50 MM` and `50 millones`.

use std::collections::BTreeSet;

use super::telling_stems;

/// A unit of amounts: what it is called, and what stands for it behind a number, with or without a space.
struct Unit {
    names: &'static [&'static str],
    signs: &'static [&'static str],
}

const UNITS: [Unit; 3] = [
    Unit { names: &["million", "millions", "millon", "millones"], signs: &["m", "mn", "mm"] },
    Unit { names: &["billion", "billions"], signs: &["bn", "b"] },
    Unit { names: &["thousand"], signs: &["k"] },
];

/// A word of a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'q> {
    /// As it is.
    Word(&'q str),
    /// Part of an amount, by all the stems that texts may have for it.
    Amount(BTreeSet<String>),
}

/// The words of a question, folded, with each amount taken as its number and its unit, however they are written.
pub(super) fn pieces<'q>(words: &[&'q str]) -> Vec<Piece<'q>> {
    let mut pieces = Vec::with_capacity(words.len());
    let mut rest = words.iter().copied().peekable();
    while let Some(word) = rest.next() {
        let (digits, sign) = word.split_at(digits(word));
        let unit = match (digits, sign) {
            ("", _) => None,
            (_, "") => rest.peek().and_then(|next| unit(|it| it.is_called(next))),
            (_, sign) => unit(|it| it.signs.contains(&sign)),
        };
        let Some(unit) = unit else {
            pieces.push(Piece::Word(word));
            continue;
        };
        if sign.is_empty() {
            rest.next();
        }
        let together = unit.signs.iter().map(|sign| format!("{digits}{sign}"));
        let together: BTreeSet<String> = together.collect();
        let apart = unit.names.iter().chain(unit.signs).flat_map(|name| telling_stems(name));
        let apart: BTreeSet<String> = apart.flatten().chain(together.clone()).collect();
        pieces.push(Piece::Amount(std::iter::once(digits.to_owned()).chain(together).collect()));
        pieces.push(Piece::Amount(apart));
    }
    pieces
}

impl Unit {
    fn is_called(&self, word: &str) -> bool {
        self.names.contains(&word) || self.signs.contains(&word)
    }
}

fn unit(is_it: impl Fn(&Unit) -> bool) -> Option<&'static Unit> {
    UNITS.iter().find(|unit| is_it(unit))
}

/// How much of a word is the number that it begins with.
fn digits(word: &str) -> usize {
    word.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_its_number_and_its_unit_however_it_is_written() {
        let expected = pieces(&["50m"]);
        let [Piece::Amount(number), Piece::Amount(unit)] = &expected[..] else {
            panic!("{expected:?}")
        };
        assert!(["50", "50m", "50mn", "50mm"].iter().all(|it| number.contains(*it)), "{number:?}");
        assert!(
            ["million", "millon", "mm", "50mm"].iter().all(|it| unit.contains(*it)),
            "{unit:?}"
        );
        for same in [&["50", "million"][..], &["50", "millones"], &["50mm"], &["50", "mn"]] {
            assert_eq!(pieces(same), expected, "{same:?}");
        }
        assert_ne!(pieces(&["50bn"]), expected);
        assert_eq!(pieces(&["12.5m"]), pieces(&["12.5", "million"]));
        assert_eq!(pieces(&["12.5%"]), [Piece::Word("12.5%")]);
        let words = ["usd", "2025", "fund", "m", "million", "12x", "3i"];
        assert_eq!(pieces(&words), words.map(Piece::Word));
        assert_eq!(pieces(&["1", "2bn"]).len(), 3);
    }
}
