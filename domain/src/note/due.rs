//! The day that words such as `by Friday` or `la próxima semana` mean, counted from the day on which they were said.
//!
//! Only what can be read in one way is read: whatever a word adds that is not understood, the words stay words. What names a
//! week, month, quarter or year means its last day, and of a week the last that people work on; a weekday, day or month is the
//! next one. `before Friday` is due on Friday: that is when it should be there. `before next week` is not due at the end of that,
//! and `next Friday` may be in two days or in nine.

mod vocabulary;

use chrono::{Datelike as _, Days, Months, NaiveDate, Weekday};

use self::vocabulary::{Period, Word, read};
use crate::Moment;

/// When it is due, if the words say a date, or a day that can be counted from that on which they were said.
pub fn due(words: &str, said_on: Option<NaiveDate>) -> Option<Moment> {
    if let Ok(moment) = Moment::parse_wall(words.trim()) {
        return Some(moment);
    }
    let day = in_numbers(words.trim()).or_else(|| day(words, said_on?))?;
    Some(Moment::from(day.and_time(chrono::NaiveTime::MIN)))
}

/// `15/11/2025`, if it cannot be the fifteenth month.
fn in_numbers(text: &str) -> Option<NaiveDate> {
    let parts: Vec<&str> = text.split(['/', '.', '-']).collect();
    let [one, other, year] = parts[..] else { return None };
    let is_number = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit())
    };
    if !(is_number(one, 2) && is_number(other, 2) && is_number(year, 4) && year.len() == 4) {
        return None;
    }
    let (one, other, year) = (one.parse().ok()?, other.parse().ok()?, year.parse().ok()?);
    let day_first = NaiveDate::from_ymd_opt(year, other, one);
    let month_first = NaiveDate::from_ymd_opt(year, one, other);
    match (day_first, month_first) {
        (Some(one), Some(other)) if one != other => None,
        (one, other) => one.or(other),
    }
}

fn day(words: &str, said_on: NaiveDate) -> Option<NaiveDate> {
    let words = read(words)?;
    let found = meant(&words, said_on);
    found.or_else(|| match &words[..] {
        // `in the coming week` is no length of time.
        [Word::In, rest @ ..] => meant(rest, said_on),
        [Word::Before, rest @ ..] if names_a_day(rest) => meant(rest, said_on),
        _ => None,
    })
}

/// Whether the words name a day, if only as the end of something longer, rather than a whole week, month or quarter.
fn names_a_day(words: &[Word]) -> bool {
    use Word::{AfterTomorrow, End, Number, PartOfDay, Today, Tomorrow, Weekday};
    let is_of_day = |it: &Word| {
        matches!(it, Today | Tomorrow | AfterTomorrow | Weekday(_) | Number(_) | PartOfDay | End)
    };
    words.iter().any(is_of_day)
}

fn meant(words: &[Word], said_on: NaiveDate) -> Option<NaiveDate> {
    use Word::{
        Ahead, Coming, End, In, Month, Next, Number, PartOfDay, The, This, Today, Tomorrow, Within,
    };
    match *words {
        [Today] | [This, PartOfDay] => Some(said_on),
        [Tomorrow] => said_on.succ_opt(),
        [Word::AfterTomorrow] => said_on.checked_add_days(Days::new(2)),
        [Word::Weekday(it)] | [Coming, Word::Weekday(it)] | [Word::Weekday(it), Coming] => {
            after(said_on, it)
        }
        // Where that day of this week is yet to come, some mean it and some the one after it.
        [Next, Word::Weekday(it)] | [Word::Weekday(it), Next] => {
            after(said_on, it).filter(|day| monday(*day) != monday(said_on))
        }
        [This, Word::Weekday(it)]
        | [This, Word::Period(Period::Week), Word::Weekday(it)]
        | [Word::Weekday(it), This, Word::Period(Period::Week)] => {
            after(said_on, it).filter(|day| monday(*day) == monday(said_on))
        }
        [Word::Weekday(it), Next, Word::Period(Period::Week)]
        | [Word::Weekday(it), Word::Period(Period::Week), Next]
        | [Next, Word::Period(Period::Week), Word::Weekday(it)] => {
            monday(said_on)?.checked_add_days(Days::new(7 + u64::from(it.num_days_from_monday())))
        }
        [This, Word::Period(it)]
        | [End, Word::Period(it)]
        | [End, This, Word::Period(it)]
        | [Word::Period(it), End] => last_of(it, said_on),
        [Next, Word::Period(it)]
        | [Word::Period(it), Next]
        | [End, Next, Word::Period(it)]
        | [End, Word::Period(it), Next] => next(it, said_on).and_then(|day| last_of(it, day)),
        [Word::Quarter(it)] | [End, Word::Quarter(it)] => end_of_month(said_on, 3 * it),
        // `by June` may mean its first day.
        [End | In | Within, Month(it)] => end_of_month(said_on, it),
        [In | Within, Number(count), Word::Period(it)]
        | [Number(count), Word::Period(it), Ahead] => ahead(said_on, count, it),
        [End, Month(month), Number(year)] => last_day(a_year(year)?, month),
        [Number(it), Month(month)] | [Month(month), Number(it)] => of_year(said_on, it, month),
        [Number(it), Month(month), Number(year)] | [Month(month), Number(it), Number(year)] => {
            NaiveDate::from_ymd_opt(a_year(year)?, month, it)
        }
        [The, Number(it)] => of_month(said_on, it),
        [The, Number(it), Next, Word::Period(Period::Month)]
        | [The, Number(it), Word::Period(Period::Month), Next] => {
            next(Period::Month, said_on)?.with_day(it)
        }
        // `el próximo 15 de marzo`, `Friday the 14th`
        [Next | This, ref rest @ ..] if is_date(rest) => meant(rest, said_on),
        [Word::Weekday(weekday), ref rest @ ..] if is_date(rest) => {
            meant(rest, said_on).filter(|day| day.weekday() == weekday)
        }
        _ => None,
    }
}

/// Whether the words can be no more than a day of a month.
fn is_date(words: &[Word]) -> bool {
    let is_part = |it: &Word| matches!(it, Word::The | Word::Number(_) | Word::Month(_));
    !words.is_empty() && words.iter().all(is_part)
}

/// A number that can only be a year.
fn a_year(number: u32) -> Option<i32> {
    i32::try_from(number).ok().filter(|year| (1900..2200).contains(year))
}

fn after(day: NaiveDate, weekday: Weekday) -> Option<NaiveDate> {
    day.iter_days().skip(1).take(7).find(|it| it.weekday() == weekday)
}

fn monday(day: NaiveDate) -> Option<NaiveDate> {
    day.checked_sub_days(Days::new(u64::from(day.weekday().num_days_from_monday())))
}

fn last_day(year: i32, month: u32) -> Option<NaiveDate> {
    let first = NaiveDate::from_ymd_opt(year, month, 1)?;
    first.checked_add_months(Months::new(1))?.pred_opt()
}

/// The last day of the period that a day is in. There is none of a week whose work is over.
fn last_of(period: Period, day: NaiveDate) -> Option<NaiveDate> {
    match period {
        Period::Day => Some(day),
        Period::Week => {
            let friday = monday(day)?.checked_add_days(Days::new(4))?;
            (day <= friday).then_some(friday)
        }
        Period::Weekend => monday(day)?.checked_add_days(Days::new(6)),
        Period::Month => last_day(day.year(), day.month()),
        Period::Quarter => last_day(day.year(), 3 * day.month().div_ceil(3)),
        Period::Year => last_day(day.year(), 12),
    }
}

/// A day of the period that follows.
fn next(period: Period, day: NaiveDate) -> Option<NaiveDate> {
    match period {
        Period::Day => day.succ_opt(),
        Period::Week => monday(day)?.checked_add_days(Days::new(7)),
        // On a Tuesday that may be the one to come or the one after it.
        Period::Weekend => None,
        Period::Month => last_of(period, day)?.succ_opt(),
        Period::Quarter => last_of(period, day)?.succ_opt(),
        Period::Year => last_of(period, day)?.succ_opt(),
    }
}

fn ahead(day: NaiveDate, count: u32, period: Period) -> Option<NaiveDate> {
    match period {
        Period::Day => day.checked_add_days(Days::new(u64::from(count))),
        Period::Week => day.checked_add_days(Days::new(7 * u64::from(count))),
        Period::Month => day.checked_add_months(Months::new(count)),
        Period::Year => day.checked_add_months(Months::new(count.checked_mul(12)?)),
        Period::Weekend | Period::Quarter => None,
    }
}

/// The end of a month that is not over.
fn end_of_month(day: NaiveDate, month: u32) -> Option<NaiveDate> {
    let year = if month < day.month() { day.year() + 1 } else { day.year() };
    last_day(year, month)
}

/// A day of a year, today or later.
fn of_year(day: NaiveDate, number: u32, month: u32) -> Option<NaiveDate> {
    let in_year = |year| NaiveDate::from_ymd_opt(year, month, number).filter(|it| *it >= day);
    in_year(day.year()).or_else(|| in_year(day.year() + 1))
}

/// A day of a month, today or later.
fn of_month(day: NaiveDate, number: u32) -> Option<NaiveDate> {
    let first = day.with_day(1)?;
    let months = (0..12).filter_map(|count| first.checked_add_months(Months::new(count)));
    months.filter_map(|month| month.with_day(number)).find(|it| *it >= day)
}

#[cfg(test)]
mod tests;
