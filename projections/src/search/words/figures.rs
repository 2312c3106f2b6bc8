//! Numbers that are more than one word: `9.8`, `1,250,000`, `20%`. They are found as a whole, beside the words that they are cut into.

use std::sync::LazyLock;

use regex::Regex;

use super::compounds::Compound;

/// A number.
const NUMBER: &str = "([0-9]+(?:[.,][0-9]+)*)";

/// What makes a percentage of it.
const PERCENT: &str = r"(\s?(?:%|(?:percent|per cent|por ciento)(?-u:\b)))";

/// A number, and what makes a percentage of it or letters that stand at it.
static FIGURE: LazyLock<Regex> =
    LazyLock::new(|| regex(&format!("(?i){NUMBER}(?:{PERCENT}|([a-z]{{0,3}}))")));

/// What follows the first of two numbers that are percentages: `18-20%`, `18 to 20 percent`.
static RANGE: LazyLock<Regex> =
    LazyLock::new(|| regex(&format!(r"(?i)^\s?(?:[-–—]|to|and|or|a|y|o)\s?{NUMBER}{PERCENT}")));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is made of constants")
}

/// The numbers of a text that are more than one word, in their order.
pub(in crate::search) fn figures(text: &str) -> impl Iterator<Item = Compound> {
    FIGURE.captures_iter(text).filter_map(|found| {
        let (number, percent) = (found.get(1)?, found.get(2));
        let letters = found.get(3).map_or("", |letters| letters.as_str());
        let end = found.get(0)?.end();
        let after = &text[end..];
        // The letters are the beginning of a word; or there is a part of the number that is not looked at: `.5`.
        if (percent.is_none() && after.starts_with(char::is_alphanumeric))
            || text[..number.start()].ends_with(['.', ','])
        {
            return None;
        }
        let written = number.as_str().replace(',', ".");
        let mut forms = Vec::new();
        if written.contains('.') {
            forms.push(written.clone());
            if !letters.is_empty() {
                forms.push(format!("{written}{}", letters.to_lowercase()));
            }
        }
        let is_first = || RANGE.is_match(after);
        if letters.is_empty() && (percent.is_some() || is_first()) {
            forms.push(format!("{written}%"));
        }
        (!forms.is_empty()).then_some(Compound { place: number.start()..end, forms })
    })
}

/// A text without them.
pub(in crate::search) fn without_figures(text: &str) -> String {
    let (mut rest, mut at) = (String::with_capacity(text.len()), 0);
    for figure in figures(text) {
        rest.push_str(&text[at..figure.place.start]);
        rest.push(' ');
        at = figure.place.end;
    }
    rest.push_str(&text[at..]);
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_several_words_is_found_as_a_whole() {
        let check = |text: &str, expected: &[&str]| {
            let forms: Vec<String> = figures(text).flat_map(|figure| figure.forms).collect();
            assert_eq!(forms, expected, "{text}");
        };
        check("9.8", &["9.8"]);
        check("a 9,8% return", &["9.8", "9.8%"]);
        check("20%, 20 %, 20 percent, 20 per cent", &["20%", "20%", "20%", "20%"]);
        check("el 20 por ciento, 20percent", &["20%", "20%"]);
        check("18-20% or 1,5 a 2 por ciento", &["18%", "20%", "1.5", "1.5%", "2%"]);
        check("$12.5m or USD1,250,000.", &["12.5", "12.5m", "1.250.000"]);
        check("-48.31 €47,312.55", &["48.31", "47.312.55"]);
        for none in ["20", "350k", "8 July", "20 percentile", "fund 2.", ".5%", "1.5degrees", ""] {
            check(none, &[]);
        }
    }

    #[test]
    fn what_is_left_has_no_part_of_them() {
        assert_eq!(without_figures("Afore 1.5% fee, 20 por ciento carry"), "Afore   fee,   carry");
        assert_eq!(without_figures("Fund 2"), "Fund 2");
    }
}
