//! Days and months as people write them.

use chrono::{DateTime, Months, NaiveDate, NaiveTime, Utc};

use super::spelling;

/// In English and in Spanish, folded; three letters stand for the whole.
const MONTHS: [[&str; 2]; 12] = [
    ["january", "enero"],
    ["february", "febrero"],
    ["march", "marzo"],
    ["april", "abril"],
    ["may", "mayo"],
    ["june", "junio"],
    ["july", "julio"],
    ["august", "agosto"],
    ["september", "septiembre"],
    ["october", "octubre"],
    ["november", "noviembre"],
    ["december", "diciembre"],
];

/// Words of a date that say nothing.
const FILLERS: [&str; 6] = ["de", "del", "of", "the", "on", "el"];

/// When that begins, and when it is over.
pub(super) type Time = (DateTime<Utc>, DateTime<Utc>);

/// The time that a folded text names, if it names nothing else. Of `8/7/2025` the first number is the day, unless there is no
/// such date.
pub(super) fn named(folded: &str) -> Option<Time> {
    let words = spelling::words(folded);
    let words: Vec<&str> = words.into_iter().filter(|word| !is_filler(word)).collect();
    let day = |year: &str, month: Option<u32>, day: &str| {
        let date = NaiveDate::from_ymd_opt(self::year(year)?, month?, self::day(day)?)?;
        Some((date, date.succ_opt()?))
    };
    let (from, to) = match words[..] {
        [all] if all.len() == 8 && all.is_ascii() => day(&all[..4], number(&all[4..6]), &all[6..])?,
        [month, year] => {
            let first = NaiveDate::from_ymd_opt(self::year(year)?, called(month)?, 1)?;
            (first, first.checked_add_months(Months::new(1))?)
        }
        [one, two, three] => day(one, number(two), three)
            .or_else(|| day(three, called(two), one))
            .or_else(|| day(three, called(one), two))
            .or_else(|| day(three, number(two), one))
            .or_else(|| day(three, number(one), two))?,
        _ => return None,
    };
    let at = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc();
    Some((at(from), at(to)))
}

/// Whether a folded word of a date says nothing.
pub(super) fn is_filler(word: &str) -> bool {
    FILLERS.contains(&word)
}

fn year(word: &str) -> Option<i32> {
    (word.len() == 4).then(|| word.parse().ok())?
}

fn day(word: &str) -> Option<u32> {
    let digits = word.trim_end_matches(|c: char| !c.is_ascii_digit());
    let is_ordinal = matches!(&word[digits.len()..], "" | "st" | "nd" | "rd" | "th");
    is_ordinal.then(|| number(digits))?
}

fn number(word: &str) -> Option<u32> {
    (word.len() <= 2).then(|| word.parse().ok())?
}

/// The number of a month that is called so.
fn called(word: &str) -> Option<u32> {
    let is_it = |name: &&str| {
        name == &word || (name.get(..3) == Some(word)) || (*name == "september" && word == "sept")
    };
    let at = MONTHS.iter().position(|names| names.iter().any(&is_it))?;
    u32::try_from(at + 1).ok()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    /// First and last day.
    fn shown((from, to): Time) -> String {
        format!("{} {}", from.format("%F"), (to - TimeDelta::days(1)).format("%F"))
    }

    #[test]
    fn a_day_or_a_month_is_known_however_it_is_written() {
        for question in [
            "2025-07-08",
            "2025_07_08",
            "20250708",
            "08/07/2025",
            "8.7.2025",
            "8 july 2025",
            "july 8, 2025",
            "jul 8 2025",
            "the 8th of july 2025",
            "8 de julio de 2025",
            "el 8 de julio del 2025",
        ] {
            let time = named(question).map(shown);
            assert_eq!(time.as_deref(), Some("2025-07-08 2025-07-08"), "{question}");
        }
        let shown = |question| named(question).map(shown);
        assert_eq!(shown("12/31/2025").as_deref(), Some("2025-12-31 2025-12-31"));
        assert_eq!(shown("julio 2025").as_deref(), Some("2025-07-01 2025-07-31"));
        assert_eq!(shown("february 2024").as_deref(), Some("2024-02-01 2024-02-29"));
        assert_eq!(shown("ago de 2025").as_deref(), Some("2025-08-01 2025-08-31"));
        assert_eq!(shown("sept 2025"), shown("septiembre 2025"));
    }

    #[test]
    fn what_says_anything_else_is_no_day() {
        for question in [
            "",
            "2025",
            "july",
            "8 july",
            "fees july 2025",
            "2025-13-40",
            "30 february 2025",
            "fund iv 2025",
            "8x july 2025",
            "mayor 2025",
            "99 2025 99",
        ] {
            assert_eq!(named(question), None, "{question}");
        }
    }
}
