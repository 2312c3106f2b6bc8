//! Wall-clock time as the team wrote it: naive local time, with a zone only where the source had one.

use std::fmt;

use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{FieldKind, FieldType};

/// A date and time to the microsecond, with the zone if one was given.
///
/// Its text form is the wire's: `2025-01-31T15:04:05[.ffffff][Z|±hh:mm]`, the fraction only when it is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    wall: NaiveDateTime,
    zone: Option<FixedOffset>,
}

/// The text is not a date that the legacy application could read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a date; use YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS")]
pub struct MomentError;

impl Moment {
    /// Reads `YYYY-MM-DD`, alone or followed by `T` or a space, `HH:MM[:SS[.fraction]]` and an optional zone.
    ///
    /// # Errors
    /// [`MomentError`] for anything else. Digits beyond the microsecond are cut off.
    pub fn parse(text: &str) -> Result<Self, MomentError> {
        let date = text.get(..10).ok_or(MomentError)?;
        let date = digits_only(date, "dddd-dd-dd")
            .then(|| {
                NaiveDate::from_ymd_opt(
                    i32::try_from(number(&date[..4])).ok()?,
                    number(&date[5..7]),
                    number(&date[8..]),
                )
            })
            .flatten()
            // The legacy application knew no year 0.
            .filter(|date| date.year() > 0)
            .ok_or(MomentError)?;
        let rest = &text[10..];
        if rest.is_empty() {
            return Ok(Self { wall: date.and_time(NaiveTime::MIN), zone: None });
        }
        let rest = rest.strip_prefix(['T', 't', ' ']).ok_or(MomentError)?;
        let zone_at = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
        let (clock, zone) = rest.split_at(zone_at);
        Ok(Self { wall: date.and_time(parse_clock(clock)?), zone: parse_zone(zone)? })
    }

    /// What a client means by a date it sends: the wall time, its zone dropped.
    ///
    /// # Errors
    /// As [`Moment::parse`].
    pub fn parse_wall(text: &str) -> Result<Self, MomentError> {
        Ok(Self { zone: None, ..Self::parse(text)? })
    }

    /// The moment as the legacy database spells it; text of this form sorts by time.
    pub fn legacy_text(&self) -> String {
        let zone = self.zone.map(|zone| zone.to_string()).unwrap_or_default();
        format!("{}{zone}", self.wall.format("%Y-%m-%d %H:%M:%S%.6f"))
    }

    /// The instant; wall time without a zone counts as UTC, since nobody wrote down where it was.
    pub fn instant(&self) -> DateTime<Utc> {
        match self.zone {
            Some(zone) => (self.wall - zone).and_utc(),
            None => self.wall.and_utc(),
        }
    }

    /// The date part.
    pub fn date(&self) -> NaiveDate {
        self.wall.date()
    }

    /// The wall time without its zone.
    pub fn wall(&self) -> NaiveDateTime {
        self.wall
    }
}

impl From<NaiveDateTime> for Moment {
    fn from(wall: NaiveDateTime) -> Self {
        let micros = wall.nanosecond() / 1000 * 1000;
        Self { wall: wall.with_nanosecond(micros).unwrap_or(wall), zone: None }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As `format("%Y-%m-%dT%H:%M:%S")`, which reads that pattern each time.
        write!(f, "{:?}", self.wall.with_nanosecond(0).unwrap_or(self.wall))?;
        let micros = self.wall.nanosecond() / 1000;
        if micros != 0 {
            write!(f, ".{micros:06}")?;
        }
        match self.zone {
            Some(zone) if zone.local_minus_utc() == 0 => f.write_str("Z"),
            Some(zone) => write!(f, "{zone}"),
            None => Ok(()),
        }
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Moment::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl FieldType for Moment {
    const KIND: FieldKind = FieldKind::Moment;
}

/// Whether `text` has a digit where `pattern` has `d`, and else the same characters.
fn digits_only(text: &str, pattern: &str) -> bool {
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(byte, want)| match want {
            b'd' => byte.is_ascii_digit(),
            other => byte == other,
        })
}

/// What some digits say; few enough for it.
fn number(digits: &str) -> u32 {
    digits.bytes().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
}

fn parse_clock(text: &str) -> Result<NaiveTime, MomentError> {
    let (clock, fraction) = match text.split_once('.') {
        Some((_, "")) => return Err(MomentError),
        Some((clock, digits)) if digits.bytes().all(|b| b.is_ascii_digit()) => (clock, digits),
        Some(_) => return Err(MomentError),
        None => (text, ""),
    };
    let seconds = match clock.len() {
        5 if digits_only(clock, "dd:dd") && fraction.is_empty() => 0,
        8 if digits_only(clock, "dd:dd:dd") => number(&clock[6..]),
        _ => return Err(MomentError),
    };
    let micros = fraction.bytes().chain(std::iter::repeat(b'0')).take(6);
    let micros = micros.fold(0, |micros, digit| micros * 10 + u32::from(digit - b'0'));
    let (hours, minutes) = (number(&clock[..2]), number(&clock[3..5]));
    NaiveTime::from_hms_micro_opt(hours, minutes, seconds, micros).ok_or(MomentError)
}

fn parse_zone(text: &str) -> Result<Option<FixedOffset>, MomentError> {
    let sign = match text.as_bytes() {
        [] => return Ok(None),
        [b'Z' | b'z'] => return Ok(FixedOffset::east_opt(0)),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return Err(MomentError),
    };
    let offset = &text[1..];
    if !(digits_only(offset, "dd:dd") || digits_only(offset, "dddd") || digits_only(offset, "dd")) {
        return Err(MomentError);
    }
    let number = |text: &str| text.parse::<i32>().map_err(|_| MomentError);
    let minutes = if offset.len() > 2 { number(&offset[offset.len() - 2..])? } else { 0 };
    if minutes > 59 {
        return Err(MomentError);
    }
    let seconds = sign * (number(&offset[..2])? * 3600 + minutes * 60);
    FixedOffset::east_opt(seconds).map(Some).ok_or(MomentError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_legacy_spelling_is_read_and_sent_as_the_legacy_server_sent_it() {
        let check = |stored: &str, wire: &str| {
            assert_eq!(Moment::parse(stored).unwrap().to_string(), wire, "{stored}");
        };
        check("2025-01-31 00:00:00.000000", "2025-01-31T00:00:00");
        check("2025-01-31 00:00:00", "2025-01-31T00:00:00");
        check("2025-01-31 15:04:00+00:00", "2025-01-31T15:04:00Z");
        check("2025-01-31 15:04:05-06:00", "2025-01-31T15:04:05-06:00");
        check("2025-01-31T15:04:05.123Z", "2025-01-31T15:04:05.123000Z");
        check("2025-10-24T14:31:03.123456", "2025-10-24T14:31:03.123456");
        check("2025-01-31", "2025-01-31T00:00:00");
        check("0001-01-01 00:00:00.000000", "0001-01-01T00:00:00");
        check("9999-12-31 23:59:59.999999", "9999-12-31T23:59:59.999999");
    }

    #[test]
    fn what_the_legacy_application_could_not_read_is_an_error() {
        let odd = [
            "",
            "pronto",
            "31/01/2025",
            "2025-02-30",
            "0000-01-01",
            "2025-01-31 25:00:00",
            "2025-01-31x",
            "2025-01-31T10:00:00.",
            "2025-01-31T10:00:00+5",
            "2025-01-31T",
            "+2025-01-3",
        ];
        for text in odd {
            assert_eq!(Moment::parse(text), Err(MomentError), "{text}");
        }
    }

    #[test]
    fn a_zone_that_a_client_sends_is_dropped_and_its_wall_time_kept() {
        let moment = Moment::parse_wall("2025-01-31T10:00:00-06:00").unwrap();
        assert_eq!(moment.to_string(), "2025-01-31T10:00:00");
        assert_eq!(moment.legacy_text(), "2025-01-31 10:00:00.000000");
    }
}
