//! Telephone numbers, which are written with blanks, hyphens, points and brackets, with a code of a country or an area and without:
//! each is found by its last digits.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use regex::Regex;

use super::compounds::Compound;

/// Digits in groups, on one line.
static GROUPS: LazyLock<Regex> = LazyLock::new(|| {
    let between = "[ \u{a0}\u{202f}.()\u{2010}-\u{2013}-]{1,2}";
    let pattern = format!(r"\+?\(?\+?[0-9]+(?:{between}[0-9]+)*");
    Regex::new(&pattern).expect("the pattern is made of constants")
});

/// How many digits a number has: without any code, and with the longest (E.164).
const DIGITS: RangeInclusive<usize> = 7..=15;

/// By how many of the last it is found: as many as numbers have everywhere without the codes.
const LAST: usize = 7;

/// The telephone numbers of a text, in their order.
pub(super) fn phones(text: &str) -> impl Iterator<Item = Compound> {
    GROUPS.find_iter(text).filter_map(|found| {
        let digits: String = found.as_str().chars().filter(char::is_ascii_digit).collect();
        let mut earlier = text[..found.start()].chars().rev();
        let before = earlier.next();
        let mut after = text[found.end()..].chars();
        let next = after.next();
        // The rest of a word, or of a number with a comma or a point.
        let is_part = before.is_some_and(|c| c.is_alphanumeric() || ".,$€£-".contains(c))
            || (before.is_some_and(|c| "/:".contains(c))
                && earlier.next().is_some_and(|c| c.is_ascii_digit()))
            || next.is_some_and(|c| c.is_alphanumeric() || "%/:".contains(c))
            || (next == Some(',') && after.next().is_some_and(|c| c.is_ascii_digit()));
        if is_part || !DIGITS.contains(&digits.len()) || !may_be_dialled(found.as_str()) {
            return None;
        }
        let last = &digits[digits.len() - LAST..];
        Some(Compound { place: found.range(), forms: vec![format!("+{last}")] })
    })
}

/// Whether digits in groups are those of a telephone, and no date, no years and no amounts.
fn may_be_dialled(written: &str) -> bool {
    let has_code =
        written.starts_with('(') && written.split(')').next().is_some_and(|it| it.len() < 6);
    if written.starts_with('+') || has_code {
        return true;
    }
    let groups: Vec<&str> =
        written.split(|c: char| !c.is_ascii_digit()).filter(|group| !group.is_empty()).collect();
    let [first, .., last] = &groups[..] else { return !written.ends_with("000") };
    let is_year =
        |group: &str| group.len() == 4 && ["19", "20"].iter().any(|it| group.starts_with(it));
    let is_date =
        groups.len() > 2 && groups[1].len() <= 2 && (is_year(first) || is_year(groups[2]));
    let are_years = is_year(first) && (groups.len() == 2 || groups.iter().all(|it| is_year(it)));
    let is_amount = groups[1..].iter().all(|group| group.len() == 3)
        && (written.contains('.') || last.ends_with("000"));
    let has_points = written.contains('.') && written.contains([' ', '-']);
    let is_paired = groups.iter().all(|group| group.len() == 2)
        && !(written.contains('-') && written.contains(' '));
    let has_end = last.len() > 2 && groups[1..].iter().all(|group| group.len() > 1);
    (has_end || is_paired) && !is_date && !are_years && !is_amount && !has_points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(text: &str) -> Vec<String> {
        phones(text).flat_map(|it| it.forms).collect()
    }

    #[test]
    fn a_number_is_the_same_however_it_is_written() {
        for text in [
            "+52 55 1234 5678",
            "+52 (55) 1234-5678",
            "(55)1234-5678",
            "5512345678",
            "+525512345678",
            "55.1234.5678",
            "1234 5678",
            "55\u{a0}1234\u{2011}5678",
            "Tel:55–1234–5678",
            "Cell: 55-1234-5678.",
            "00 52 55 1234 5678, after 9 a.m.",
            "+52 1 55 1234 5678\n+44 (0)20",
        ] {
            assert_eq!(forms(text), ["+2345678"], "{text}");
        }
        assert_eq!(forms("212-555-0143 or 1-646-555-0199"), ["+5550143", "+5550199"]);
        assert_eq!(forms("01 42 68 53 00; 612 345 678"), ["+2685300", "+2345678"]);
    }

    #[test]
    fn dates_years_and_amounts_are_none() {
        for text in [
            "2025-01-31",
            "2025-01-31 10:30",
            "31.01.2025 1430",
            "31-01-2025",
            "2019-2024",
            "(2019-2024)",
            "(12.5 13.7 15.3)",
            "2024 2025 2026",
            "2025 1000",
            "1.250.000",
            "12.750.000.000",
            "100 000 000",
            "50000000",
            "USD 1,250,000,000",
            "$12345678",
            "12.5 13.7 15.3",
            "10-12 15-20 25-30",
            "18-20 3 4 12345",
            "12345678,50",
            "12345678m",
            "ab12345678",
            "20251231/12345678",
            "123456",
            "1234567890123456",
            "",
        ] {
            assert!(forms(text).is_empty(), "{text}: {:?}", forms(text));
        }
    }
}
