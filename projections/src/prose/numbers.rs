//! Numbers of a text, in digits or in words, each with what it counts: `$25 million`, `twenty-five million` and `25,000,000`
//! are one number, and `25 billion`, `25 %` and `25` are others.

mod named;
mod parts;

use super::fold;
use parts::{Part, Piece, pieces};

/// Amounts are counted in millionths, so that `1.75` is one.
const ONE: u128 = 1_000_000;

/// The usual fees, of what is managed and of what is gained, in percent.
const FEES: [u128; 2] = [2 * ONE, 20 * ONE];

/// Bare numbers from here on say something that can be false; smaller ones count the points of a list, or are not meant.
const LEAST: u128 = 10 * ONE;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    None,
    /// Thousands, millions and more, which its value has taken in.
    Scale,
    Percent,
}

/// A number of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    written: String,
    /// Without its unit: the 25 of `25 million`.
    bare: u128,
    value: u128,
    unit: Unit,
}

impl Number {
    /// As it stands in the text.
    pub fn as_written(&self) -> &str {
        &self.written
    }

    fn is_telling(&self) -> bool {
        self.unit != Unit::None || self.value >= LEAST || !self.value.is_multiple_of(ONE)
    }

    /// Whether who said the other said this: with its unit, if it has one.
    fn is_said_by(&self, other: &Self) -> bool {
        match self.unit {
            Unit::None => self.value == other.value || self.value == other.bare,
            Unit::Scale => other.unit != Unit::Percent && self.value == other.value,
            Unit::Percent => other.unit == Unit::Percent && self.value == other.value,
        }
    }
}

/// The numbers of a text.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    said: Vec<Number>,
    /// What some of them may mean as well: the first of `20 to 25 million`.
    meant: Vec<Number>,
}

impl Numbers {
    /// Those of a text. A word that is a number in one language and an everyday word of the other, such as `once`, is one only in a
    /// text of its language, or before what numbers stand before.
    pub fn of(text: &str) -> Self {
        let pieces = pieces(text);
        let mut found =
            Found { text, pieces: &pieces, spans: Vec::new(), numbers: Self::default() };
        let mut at = 0;
        while at < pieces.len() {
            at = found.read(at);
        }
        found.lend();
        found.mean_fees();
        found.numbers
    }

    /// Those that say something that can be false: with a unit, or ten and more.
    pub fn telling(&self) -> impl Iterator<Item = &Number> {
        self.said.iter().filter(|number| number.is_telling())
    }

    /// Whether this number of another text is among them.
    pub fn bear_out(&self, number: &Number) -> bool {
        self.said.iter().chain(&self.meant).any(|said| number.is_said_by(said))
    }

    /// Whether this folded word is part of one that says something.
    pub fn has_word(&self, word: &str) -> bool {
        self.telling().any(|number| super::words(&number.written).iter().any(|it| it == word))
    }
}

impl Extend<Numbers> for Numbers {
    fn extend<T: IntoIterator<Item = Numbers>>(&mut self, others: T) {
        for other in others {
            self.said.extend(other.said);
            self.meant.extend(other.meant);
        }
    }
}

impl FromIterator<Numbers> for Numbers {
    fn from_iter<T: IntoIterator<Item = Numbers>>(all: T) -> Self {
        let mut numbers = Self::default();
        numbers.extend(all);
        numbers
    }
}

/// What has been read of a text.
struct Found<'a> {
    text: &'a str,
    pieces: &'a [Piece],
    /// Of each number that was said: where it begins and ends among the pieces, and what its unit multiplies by.
    spans: Vec<(usize, usize, u128)>,
    numbers: Numbers,
}

impl Found<'_> {
    fn part(&self, at: usize) -> Part {
        self.pieces.get(at).map_or(Part::Other, |piece| piece.part)
    }

    /// Reads the number that begins here, if one does. Tells where to go on.
    fn read(&mut self, from: usize) -> usize {
        let Some((bare, mut at)) = self.beginning(from) else { return from + 1 };
        let is_in_words = !matches!(self.part(from), Part::Digits(_));
        // Of `two million three hundred thousand`: what is closed already, and what the next scale multiplies.
        let (mut closed, mut group, mut factor) = (0_u128, bare, 1_u128);
        let mut last = 0;
        loop {
            if let Some(scale) = self.scale(at) {
                let by = 10_u128.pow(scale);
                let is_whole = closed != 0 && closed < by.saturating_mul(ONE);
                group = group.wrapping_add(if is_whole { std::mem::take(&mut closed) } else { 0 });
                group = group.wrapping_mul(by);
                (factor, last, at) = (factor.saturating_mul(by), scale, at + 1);
            } else if let Some((more, behind)) =
                self.continued(at, last).filter(|_| is_in_words && factor > 1)
            {
                self.numbers.meant.push(self.number((from, at), bare, closed + group, Unit::Scale));
                closed = closed.wrapping_add(group);
                (group, at) = (more, behind);
            } else {
                break;
            }
        }
        let unit = match self.part(at) {
            Part::Percent => Unit::Percent,
            _ if factor > 1 => Unit::Scale,
            _ => Unit::None,
        };
        at += usize::from(unit == Unit::Percent);
        let number = self.number((from, at), bare, closed.wrapping_add(group), unit);
        self.numbers.said.push(number);
        self.spans.push((from, at, factor));
        at
    }

    fn number(&self, (from, to): (usize, usize), bare: u128, value: u128, unit: Unit) -> Number {
        let span = self.pieces[from].span.start..self.pieces[to - 1].span.end;
        Number { written: self.text[span].to_owned(), bare, value, unit }
    }

    /// The number without any scale that begins here, and where it ends.
    fn beginning(&self, at: usize) -> Option<(u128, usize)> {
        match self.part(at) {
            Part::Digits(amount) => Some((amount, at + 1)),
            // Spanish says neither one nor a thousand.
            Part::Mil(_) => Some((ONE, at)),
            Part::One if self.scale(at + 1).is_some() => Some((ONE, at + 1)),
            Part::One if self.part(at + 1) != Part::Hundred => None,
            _ => self.spoken(at),
        }
    }

    fn scale(&self, at: usize) -> Option<u32> {
        match self.part(at) {
            Part::Scale(scale) | Part::Mil(scale) => Some(scale),
            _ => None,
        }
    }

    /// What goes on behind a scale: `two hundred thousand` behind `one million`, `fifty` behind `two thousand and`.
    fn continued(&self, at: usize, scale: u32) -> Option<(u128, usize)> {
        let from = at + usize::from(matches!(self.part(at), Part::And | Part::Y));
        let (more, behind) = self.spoken(from)?;
        let is_part =
            scale == 3 || more >= 100 * ONE || self.scale(behind).is_some_and(|it| it < scale);
        is_part.then_some((more, behind))
    }

    /// A number below a thousand in words.
    fn spoken(&self, at: usize) -> Option<(u128, usize)> {
        let is_hundred = |at| self.part(at) == Part::Hundred;
        let (mut sum, mut at) = match self.part(at) {
            Part::Hundred => (100 * ONE, at + 1),
            Part::One if is_hundred(at + 1) => (ONE, at + 1),
            _ => self.tens(at)?,
        };
        if sum < 100 * ONE && is_hundred(at) {
            (sum, at) = (sum * 100, at + 1);
        }
        if sum >= 100 * ONE {
            let from = at + usize::from(self.part(at) == Part::And);
            let rest =
                self.tens(from).filter(|(rest, behind)| *rest < 100 * ONE && !is_hundred(*behind));
            if let Some((rest, behind)) = rest {
                (sum, at) = (sum + rest, behind);
            }
        }
        Some((sum, at))
    }

    fn tens(&self, at: usize) -> Option<(u128, usize)> {
        let Part::Small(tens) = self.part(at) else { return None };
        let next = at + 1 + usize::from(matches!(self.part(at + 1), Part::Y | Part::Hyphen));
        match self.part(next) {
            Part::Small(units) if (20..100).contains(&tens) && tens % 10 == 0 && units < 10 => {
                Some((u128::from(tens + units) * ONE, next + 1))
            }
            _ => Some((u128::from(tens) * ONE, at + 1)),
        }
    }

    /// The unit of the last of several numbers may be meant of all of them: `20 to 25 million`, `10, 15 or 20 %`.
    fn lend(&mut self) {
        let mut lent: Option<(Unit, u128)> = None;
        for index in (0..self.spans.len()).rev() {
            let (number, (_, end, factor)) = (&self.numbers.said[index], self.spans[index]);
            let is_joined = self.spans.get(index + 1).is_some_and(|(next, ..)| {
                (1..=3).contains(&(next - end)) && (end..*next).all(|at| self.part(at).joins())
            });
            lent = match (number.unit, lent.filter(|_| is_joined)) {
                (Unit::None, Some((unit, by))) => {
                    let value = number.bare.wrapping_mul(by);
                    self.numbers.meant.push(Number { value, unit, ..number.clone() });
                    Some((unit, by))
                }
                (Unit::None, None) => None,
                (unit, _) => Some((unit, factor)),
            };
        }
    }

    /// `two and twenty` are the usual fees of a fund, in percent. Of other numbers, and of two and twenty that count something,
    /// nobody can know.
    fn mean_fees(&mut self) {
        for at in 1..self.spans.len() {
            let ((first, end, _), (next, last, _)) = (self.spans[at - 1], self.spans[at]);
            let pair = [&self.numbers.said[at - 1], &self.numbers.said[at]];
            let is_usual = pair.map(|it| (it.unit, it.value)) == FEES.map(|it| (Unit::None, it));
            let joint = self.text[self.pieces[end - 1].span.end..self.pieces[next].span.start]
                .trim_matches(|it: char| it == '-' || it.is_whitespace());
            let is_range =
                first.checked_sub(1).is_some_and(|at| named::begins_range(&self.word(at)));
            let behind = self.pieces.get(last - 1).map_or("", |it| &self.text[it.span.end..]);
            let before = &self.text[..self.pieces[first].span.start];
            let is_currency = ['$', '€', '£'];
            let is_money = behind.trim_start().starts_with(is_currency)
                || before.trim_end().ends_with(is_currency);
            let counts_nothing =
                !is_money && !behind.starts_with('-') && named::may_follow_fees(&self.word(last));
            if is_usual && named::is_and(&fold(joint)) && !is_range && counts_nothing {
                let meant = pair.map(|it| Number { unit: Unit::Percent, ..it.clone() });
                self.numbers.meant.extend(meant);
            }
        }
    }

    /// What stands here, folded; empty behind the end.
    fn word(&self, at: usize) -> String {
        self.pieces.get(at).map_or(String::new(), |piece| fold(&self.text[piece.span.clone()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        Numbers::of(text).telling().map(|number| number.as_written().to_owned()).collect()
    }

    /// Whether a text bears out all numbers of another.
    fn is_borne_out(claim: &str, said: &str) -> bool {
        let said = Numbers::of(said);
        Numbers::of(claim).telling().all(|number| said.bear_out(number))
    }

    #[test]
    fn numbers_are_found_with_their_units() {
        let check = |text: &str, expected: &[&str]| assert_eq!(told(text), expected, "{text}");
        check("$1,500 or 1.500, in 2026.", &["1,500", "1.500", "2026"]);
        check("1.75% a year", &["1.75%"]);
        check("fifty million, sixty-five", &["fifty million", "sixty-five"]);
        check("treinta y cinco millones", &["treinta y cinco millones"]);
        check("on 31.12.2026, 2 percent", &["31", "12", "2026", "2 percent"]);
        check(
            "a million, un millón, mil millones de pesos",
            &["a million", "un millón", "mil millones"],
        );
        check("3 points, seven days, 007, a few millions, thousands of them", &[]);
        check("", &[]);
    }

    #[test]
    fn a_word_of_both_languages_is_a_number_only_in_its_own() {
        let check = |text: &str, expected: &[&str]| assert_eq!(told(text), expected, "{text}");
        check("They want the documents at once.", &[]);
        check(
            "Once they have approved it, the quince is for them, the dos and don'ts as well.",
            &[],
        );
        check("Once approved.", &[]);
        check("Once", &[]);
        check("Quieren que eleven la comisión del fondo. ¡Ten cuidado!", &[]);
        check("Nos vemos a las once con los quince de la afore.", &["once", "quince"]);
        check("Once millones", &["Once millones"]);
        check("ten percent", &["ten percent"]);
        check("The ten of them are on the eleven boards.", &["ten", "eleven"]);
        check("They would commit fifty mil to the fund.", &["fifty mil"]);
    }

    #[test]
    fn a_number_is_the_same_however_it_is_written() {
        for same in [
            ["twenty-five million dollars", "a ticket of $25 million"],
            ["25,000,000", "$25 million"],
            ["$25m", "twenty five million"],
            ["US$25MM", "veinticinco millones de dólares"],
            ["1.5 billion", "1,500 million"],
            ["1.500 mdd", "mil quinientos millones"],
            ["two hundred and fifty thousand", "250k"],
            ["one million two hundred thousand", "1.2 million"],
            ["dos mil quinientos millones", "2.5 mil millones"],
            ["25 mil millones", "25 billion"],
            ["dos mil veintiséis", "in 2026"],
            ["They would commit fifty mil to the fund", "50 million"],
            ["quince por ciento", "15 %"],
            ["20 percent", "twenty per cent"],
            ["25", "$25 million"],
            ["20 million", "between 20 and 25 million"],
            ["$5 million", "5 to 10 million"],
            ["de 20 a 25 millones", "between twenty and twenty-five million"],
            ["10% and 15%", "10, 15 or 20 percent"],
            ["100 and 200 million", "between one hundred and two hundred million"],
            ["50 million", "they put in fifty million two weeks ago"],
            ["2% and 20%", "They charge two and twenty."],
            ["a fee of 2 percent, a carry of 20 percent", "the usual two-and-twenty structure"],
            ["2 % y 20 %", "cobran dos y veinte, como todos"],
            ["2% and 20%", "una comisión de 2 y 20"],
            ["2 and 20", "two and twenty"],
            ["20% carry", "it is 2 and 20 with a hurdle, or 2&20"],
        ] {
            assert!(is_borne_out(same[0], same[1]), "{same:?}");
        }
    }

    #[test]
    fn a_number_with_another_unit_is_another() {
        for claim in [
            "25 billion",
            "$25 thousand",
            "25%",
            "25k",
            "$26 million",
            "2.5 million",
            "25,000",
            "250",
            "25 mil",
        ] {
            assert!(!is_borne_out(claim, "a ticket of $25 million"), "{claim}");
        }
        assert!(!is_borne_out("25 million", "about 25 of them"));
        assert!(!is_borne_out("3%", "a fee of 2%, for 3 years"));
        assert!(!is_borne_out("2% of it", "2 million"));
        for counted in [
            "two and twenty basis points",
            "between two and twenty",
            "entre dos y veinte",
            "two or twenty",
            "2, 20",
            "two to twenty",
            "three and twenty",
            "two and thirty",
            "two and twenty million",
            "two and twenty people",
            "it costs 2 and 20 €",
            "€2 and 20",
            "2 and 20-year bonds",
            "two and twenty of them",
            "page two. And twenty.",
        ] {
            assert!(!is_borne_out("2%", counted), "{counted}");
            assert!(!is_borne_out("20%", counted), "{counted}");
        }
        assert!(!is_borne_out("$2 million", "two and twenty"));
        assert!(!is_borne_out("22%", "two and twenty"));
        assert!(!is_borne_out("11", "They want it at once."));
    }

    #[test]
    fn numbers_of_any_length_are_read() {
        for text in [
            "9".repeat(400),
            format!("{} billion million thousand", "9".repeat(60)),
            "hundred ".repeat(99),
        ] {
            assert!(is_borne_out(&text, &text), "{text}");
        }
    }
}
