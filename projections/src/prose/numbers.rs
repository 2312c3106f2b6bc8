//! Numbers of a text, whether they are written in digits or, up to 99, in words.

use std::collections::BTreeSet;

use super::words;

/// Numbers from here on say something that can be false; smaller ones count the points of a list, or are not meant.
const LEAST: u32 = 10;

/// English and Spanish, folded.
const NAMED: &[(&str, u32)] = &[
    ("one", 1),
    ("two", 2),
    ("three", 3),
    ("four", 4),
    ("five", 5),
    ("six", 6),
    ("seven", 7),
    ("eight", 8),
    ("nine", 9),
    ("ten", 10),
    ("eleven", 11),
    ("twelve", 12),
    ("thirteen", 13),
    ("fourteen", 14),
    ("fifteen", 15),
    ("sixteen", 16),
    ("seventeen", 17),
    ("eighteen", 18),
    ("nineteen", 19),
    ("twenty", 20),
    ("thirty", 30),
    ("forty", 40),
    ("fifty", 50),
    ("sixty", 60),
    ("seventy", 70),
    ("eighty", 80),
    ("ninety", 90),
    ("hundred", 100),
    ("uno", 1),
    ("una", 1),
    ("dos", 2),
    ("tres", 3),
    ("cuatro", 4),
    ("cinco", 5),
    ("seis", 6),
    ("siete", 7),
    ("ocho", 8),
    ("nueve", 9),
    ("diez", 10),
    ("once", 11),
    ("doce", 12),
    ("trece", 13),
    ("catorce", 14),
    ("quince", 15),
    ("dieciseis", 16),
    ("diecisiete", 17),
    ("dieciocho", 18),
    ("diecinueve", 19),
    ("veinte", 20),
    ("veintiuno", 21),
    ("veintidos", 22),
    ("veintitres", 23),
    ("veinticuatro", 24),
    ("veinticinco", 25),
    ("treinta", 30),
    ("cuarenta", 40),
    ("cincuenta", 50),
    ("sesenta", 60),
    ("setenta", 70),
    ("ochenta", 80),
    ("noventa", 90),
    ("cien", 100),
    ("ciento", 100),
];

/// The numbers of a text that are ten or more, as digits without separators: `1,500` and `1.500` are both `1500`, and
/// `sixty-five` is `65`.
pub fn numbers(text: &str) -> BTreeSet<String> {
    let mut found = in_digits(text);
    found.extend(in_words(text));
    found
}

fn in_digits(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut digits = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let follows = letters.peek().is_some_and(char::is_ascii_digit);
        match letter {
            '0'..='9' => digits.push(letter),
            ',' | '.' | '\'' | '\u{a0}' | '\u{202f}' if !digits.is_empty() && follows => {}
            _ => note(&mut digits, &mut found),
        }
    }
    note(&mut digits, &mut found);
    found
}

fn note(digits: &mut String, found: &mut BTreeSet<String>) {
    let number = std::mem::take(digits);
    let number = number.trim_start_matches('0');
    if number.len() > 1 {
        found.insert(number.to_owned());
    }
}

fn in_words(text: &str) -> Vec<String> {
    let named =
        |word: &String| NAMED.iter().find(|(name, _)| name == word).map(|(_, value)| *value);
    let values: Vec<Option<u32>> =
        words(text).iter().filter(|word| *word != "y").map(named).collect();
    let alone = values.iter().flatten().copied();
    let together = values.windows(2).filter_map(|pair| match pair {
        [Some(tens), Some(units)] if *tens >= 20 && tens % 10 == 0 && *units < 10 => {
            Some(tens + units)
        }
        _ => None,
    });
    let enough = alone.chain(together).filter(|number| *number >= LEAST);
    enough.map(|number| number.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_same_however_it_is_written() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(
                numbers(text).iter().map(String::as_str).collect::<Vec<_>>(),
                expected,
                "{text}"
            );
        };
        check("$1,500 or 1.500, in 2026.", &["1500", "2026"]);
        check("1.75% a year", &["175"]);
        check("fifty million, sixty-five", &["50", "60", "65"]);
        check("treinta y cinco millones", &["30", "35"]);
        check("3 points, seven days, 007", &[]);
        check("", &[]);
    }
}
