//! How a todo recurs.

use std::ops::RangeInclusive;

use chrono::{Datelike, Duration, Months};
use serde::Deserialize;

use crate::Moment;

/// The years that a date can be written in.
const YEARS: RangeInclusive<i32> = 1..=9999;

/// How a todo recurs, as the JSON text of `recurrence_pattern`.
///
/// `month` and `repeat` are ours; a pattern that does not name them behaves as it always did: a month is 30 days, and
/// a copy does not recur again.
#[derive(Debug, Deserialize)]
pub(crate) struct Recurrence {
    r#type: Cycle,
    #[serde(default = "once")]
    interval: i64,
    #[serde(default)]
    end_date: Option<String>,
    #[serde(default)]
    month: MonthLength,
    /// Whether a copy recurs as well.
    #[serde(default)]
    pub(crate) repeat: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Cycle {
    Daily,
    Weekly,
    Monthly,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MonthLength {
    #[default]
    ThirtyDays,
    Calendar,
}

fn once() -> i64 {
    1
}

impl Recurrence {
    /// The pattern, if the text is one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The due date that follows `due`, unless the pattern has ended.
    pub(crate) fn after(&self, due: Moment) -> Option<Moment> {
        let wall = due.wall();
        let next = match (&self.r#type, &self.month) {
            (Cycle::Monthly, MonthLength::Calendar) => {
                let months = Months::new(u32::try_from(self.interval.unsigned_abs()).ok()?);
                match self.interval < 0 {
                    true => wall.checked_sub_months(months)?,
                    false => wall.checked_add_months(months)?,
                }
            }
            (cycle, _) => {
                let days = match cycle {
                    Cycle::Daily => 1,
                    Cycle::Weekly => 7,
                    Cycle::Monthly => 30,
                };
                wall.checked_add_signed(Duration::try_days(self.interval.checked_mul(days)?)?)?
            }
        };
        let ended = match &self.end_date {
            Some(text) if !text.is_empty() => next > Moment::parse(text).ok()?.wall(),
            _ => false,
        };
        (!ended && YEARS.contains(&next.year())).then(|| next.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, due: &str, expected: Option<&str>) {
        let next = Recurrence::parse(pattern).and_then(|p| p.after(Moment::parse(due).unwrap()));
        let next = next.map(|next| next.to_string());
        assert_eq!(next.as_deref(), expected, "{pattern} after {due}");
    }

    #[test]
    fn the_next_due_date_is_an_interval_later_at_the_same_time() {
        let due = "2025-01-31T15:04:05.000006";
        check(r#"{"type": "daily"}"#, due, Some("2025-02-01T15:04:05.000006"));
        check(r#"{"type": "weekly", "interval": 2}"#, due, Some("2025-02-14T15:04:05.000006"));
        check(r#"{"type": "monthly"}"#, due, Some("2025-03-02T15:04:05.000006"));
        let thirty_days = r#"{"type": "monthly", "month": "thirty_days"}"#;
        check(thirty_days, due, Some("2025-03-02T15:04:05.000006"));
        check(r#"{"type": "daily"}"#, "2025-01-31T10:00:00-06:00", Some("2025-02-01T10:00:00"));
    }

    #[test]
    fn an_interval_may_be_zero_or_negative() {
        check(r#"{"type": "weekly", "interval": 0}"#, "2025-01-31", Some("2025-01-31T00:00:00"));
        check(r#"{"type": "daily", "interval": -1}"#, "2025-01-31", Some("2025-01-30T00:00:00"));
        check(r#"{"type": "monthly", "interval": -1}"#, "2025-01-31", Some("2025-01-01T00:00:00"));
    }

    #[test]
    fn a_calendar_month_ends_when_the_month_does() {
        let check = |interval: i64, due: &str, expected: &str| {
            let pattern =
                format!(r#"{{"type": "monthly", "month": "calendar", "interval": {interval}}}"#);
            check(&pattern, due, Some(expected));
        };
        check(1, "2025-01-15", "2025-02-15T00:00:00");
        check(1, "2024-01-31", "2024-02-29T00:00:00");
        check(-1, "2025-03-31", "2025-02-28T00:00:00");
        check(0, "2025-01-31", "2025-01-31T00:00:00");
    }

    #[test]
    fn a_recurrence_ends_after_its_end_date() {
        let check = |end_date: &str, expected: Option<&str>| {
            let pattern = format!(r#"{{"type": "daily", "end_date": {end_date}}}"#);
            check(&pattern, "2025-01-30T10:00:00", expected);
        };
        let next = Some("2025-01-31T10:00:00");
        check(r#""2025-02-01""#, next);
        check(r#""2025-01-31""#, None);
        check(r#""2025-01-31T10:00:00""#, next);
        check(r#""2025-01-31T09:59:59""#, None);
        check(r#""""#, next);
        check("null", next);
        check(r#""pronto""#, None);
    }

    #[test]
    fn what_is_not_a_usable_pattern_has_no_next_date() {
        let unusable = [
            "",
            "weekly",
            "{}",
            r#"{"type": "weekly""#,
            r#"{"type": "yearly"}"#,
            r#"{"type": "Weekly"}"#,
            r#"{"interval": 2}"#,
            r#"{"type": "daily", "interval": "2"}"#,
            r#"{"type": "monthly", "month": "lunar"}"#,
        ];
        for pattern in unusable {
            check(pattern, "2025-01-31", None);
        }
    }

    #[test]
    fn no_next_date_lies_beyond_the_years_that_can_be_written() {
        let (first, last) = ("0001-01-01", "9999-12-31");
        check(r#"{"type": "daily"}"#, last, None);
        check(r#"{"type": "daily", "interval": -1}"#, first, None);
        for interval in [i64::MIN, -4_000_000, 4_000_000, i64::MAX] {
            for kind in ["daily", "weekly", "monthly"] {
                let pattern = format!(r#"{{"type": "{kind}", "interval": {interval}}}"#);
                check(&pattern, "2025-01-31", None);
                let calendar = pattern.replace('}', r#", "month": "calendar"}"#);
                check(&calendar, "2025-01-31", None);
            }
        }
    }
}
