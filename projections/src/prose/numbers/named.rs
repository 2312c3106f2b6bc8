//! Words that are numbers, in English and Spanish, folded.

use super::parts::Part;
use crate::prose::is_stop_word;
use crate::search::language::Language;

/// What a word is in numbers.
pub(super) fn part(word: &str) -> Part {
    if let Ok(at) = SMALL.binary_search_by_key(&word, |(name, _)| name) {
        return Part::Small(SMALL[at].1);
    }
    match word {
        "hundred" | "cien" | "ciento" => Part::Hundred,
        "a" | "an" | "un" => Part::One,
        "thousand" => Part::Scale(3),
        "million" | "millions" | "millon" | "millones" | "mm" | "mn" | "mln" | "mdd" | "mdp" => {
            Part::Scale(6)
        }
        "billion" | "billions" | "bn" => Part::Scale(9),
        "trillion" | "trillions" | "tn" | "billon" | "billones" => Part::Scale(12),
        "percent" | "pct" | "porciento" => Part::Percent,
        "and" => Part::And,
        "y" => Part::Y,
        "to" | "or" | "through" | "o" | "u" | "hasta" => Part::Joint,
        _ => Part::Other,
    }
}

/// What letters mean that follow digits without a space.
pub(super) fn attached(letters: &str) -> Part {
    match letters {
        "k" | "mil" => Part::Scale(3),
        "m" => Part::Scale(6),
        "b" => Part::Scale(9),
        letters => match part(letters) {
            unit @ (Part::Scale(_) | Part::Percent) => unit,
            _ => Part::Other,
        },
    }
}

/// The language that a word is a number in, if it is an everyday word of the other: `once`, `quince`, `ten` (hold!), `eleven`
/// (may they raise).
pub(super) fn only_in(word: &str) -> Option<Language> {
    match word {
        "dos" | "once" | "quince" => Some(Language::Spanish),
        "ten" | "eleven" => Some(Language::English),
        _ => None,
    }
}

/// Whether this stands between two numbers that belong together, as a word or a sign.
pub(super) fn is_and(joint: &str) -> bool {
    ["and", "y", "&"].contains(&joint)
}

/// Whether the two numbers behind this word are the ends of a range.
pub(super) fn begins_range(word: &str) -> bool {
    ["between", "entre"].contains(&word)
}

/// Whether this may stand behind fees that were said without their unit. Any other word may be what is counted.
pub(super) fn may_follow_fees(word: &str) -> bool {
    const FEES: [&str; 14] = [
        "arrangement",
        "carry",
        "comision",
        "comisiones",
        "economics",
        "estructura",
        "fee",
        "fees",
        "fund",
        "funds",
        "management",
        "model",
        "structure",
        "terms",
    ];
    let counts = ["de", "del", "mas", "more", "of"].contains(&word);
    let is_word = word.starts_with(char::is_alphanumeric);
    !is_word || is_stop_word(word) && !counts || FEES.contains(&word)
}

/// In the order of the alphabet.
const SMALL: &[(&str, u32)] = &[
    ("catorce", 14),
    ("cinco", 5),
    ("cincuenta", 50),
    ("cuarenta", 40),
    ("cuatro", 4),
    ("cuatrocientas", 400),
    ("cuatrocientos", 400),
    ("diecinueve", 19),
    ("dieciocho", 18),
    ("dieciseis", 16),
    ("diecisiete", 17),
    ("diez", 10),
    ("doce", 12),
    ("dos", 2),
    ("doscientas", 200),
    ("doscientos", 200),
    ("eight", 8),
    ("eighteen", 18),
    ("eighty", 80),
    ("eleven", 11),
    ("fifteen", 15),
    ("fifty", 50),
    ("five", 5),
    ("forty", 40),
    ("four", 4),
    ("fourteen", 14),
    ("nine", 9),
    ("nineteen", 19),
    ("ninety", 90),
    ("novecientas", 900),
    ("novecientos", 900),
    ("noventa", 90),
    ("nueve", 9),
    ("ochenta", 80),
    ("ocho", 8),
    ("ochocientas", 800),
    ("ochocientos", 800),
    ("once", 11),
    ("one", 1),
    ("quince", 15),
    ("quinientas", 500),
    ("quinientos", 500),
    ("seis", 6),
    ("seiscientas", 600),
    ("seiscientos", 600),
    ("sesenta", 60),
    ("setecientas", 700),
    ("setecientos", 700),
    ("setenta", 70),
    ("seven", 7),
    ("seventeen", 17),
    ("seventy", 70),
    ("siete", 7),
    ("six", 6),
    ("sixteen", 16),
    ("sixty", 60),
    ("ten", 10),
    ("thirteen", 13),
    ("thirty", 30),
    ("three", 3),
    ("trece", 13),
    ("treinta", 30),
    ("tres", 3),
    ("trescientas", 300),
    ("trescientos", 300),
    ("twelve", 12),
    ("twenty", 20),
    ("two", 2),
    ("una", 1),
    ("uno", 1),
    ("veinte", 20),
    ("veinticinco", 25),
    ("veinticuatro", 24),
    ("veintidos", 22),
    ("veintinueve", 29),
    ("veintiocho", 28),
    ("veintiseis", 26),
    ("veintisiete", 27),
    ("veintitres", 23),
    ("veintiun", 21),
    ("veintiuno", 21),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_can_be_searched() {
        assert!(SMALL.is_sorted_by(|one, next| one.0 < next.0));
    }
}
