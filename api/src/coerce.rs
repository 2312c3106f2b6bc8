//! From a JSON value to the type of an attribute.
//!
//! The legacy server did not validate: SQLite coerced what it could, and the rest ended in a 500. The same values are
//! coerced here to the same results; what crashed is refused.

use domain::{FieldKind, Moment};
use serde_json::Value;

use crate::json::Json;
use crate::problem::Fault;

fn fault(kind: &'static str, msg: &'static str) -> Fault {
    Fault::new(kind, [], msg)
}

/// Text that Postgres cannot hold.
pub fn null_character() -> Fault {
    fault("string_null_character", "Text cannot hold the character U+0000")
}

/// A value of another JSON type than attributes of this kind have.
pub fn type_fault(kind: FieldKind) -> Fault {
    match kind {
        FieldKind::Text | FieldKind::Document => {
            fault("string_type", "Input should be a valid string")
        }
        FieldKind::Number => fault("float_type", "Input should be a valid number"),
        FieldKind::Whole => fault("int_type", "Input should be a valid integer"),
        FieldKind::Flag => fault("bool_type", "Input should be a valid boolean"),
        FieldKind::Moment => fault("datetime_type", "Input should be a valid datetime"),
    }
}

/// The value as attributes of this kind hold it. `forgive_dates` makes a text that is no date count as none.
///
/// # Errors
/// The fault, without its place.
pub fn coerce(kind: FieldKind, given: &Json, forgive_dates: bool) -> Result<Value, Fault> {
    match (kind, given) {
        (_, Json::Null) => Ok(Value::Null),
        (FieldKind::Text | FieldKind::Document, given) => text(given),
        (FieldKind::Number, given) => number(given),
        (FieldKind::Whole, given) => whole(given),
        (FieldKind::Flag, given) => flag(given),
        (FieldKind::Moment, Json::Text(date)) => match Moment::parse_wall(date) {
            Ok(moment) => Ok(moment.to_string().into()),
            Err(_) if forgive_dates => Ok(Value::Null),
            Err(error) => Err(Fault::new("datetime_parsing", [], error.to_string())),
        },
        (FieldKind::Moment, _) => Err(type_fault(kind)),
    }
}

fn text(given: &Json) -> Result<Value, Fault> {
    match given {
        Json::Text(text) if text.contains('\0') => Err(null_character()),
        Json::Text(text) => Ok(text.clone().into()),
        Json::Flag(flag) => Ok(if *flag { "1" } else { "0" }.into()),
        Json::Number(spelling) if is_integer(spelling) => {
            Ok(parse_integer(spelling)?.to_string().into())
        }
        Json::Number(spelling) => Ok(parse_real(spelling)?.map(real_text).into()),
        _ => Err(type_fault(FieldKind::Text)),
    }
}

fn number(given: &Json) -> Result<Value, Fault> {
    let value = match given {
        Json::Flag(flag) => Some(f64::from(u8::from(*flag))),
        Json::Number(spelling) => parse_real(spelling)?,
        Json::Text(text) => parse_real(&without_underscores(text.trim()))?,
        _ => return Err(type_fault(FieldKind::Number)),
    };
    // There is no minus zero in the legacy database.
    Ok(value.map(|value| if value == 0.0 { 0.0 } else { value }).into())
}

fn whole(given: &Json) -> Result<Value, Fault> {
    let spelling = match given {
        Json::Flag(flag) => return Ok(i64::from(*flag).into()),
        Json::Number(spelling) => spelling.as_str(),
        Json::Text(text) => text.trim(),
        _ => return Err(type_fault(FieldKind::Whole)),
    };
    if is_integer(spelling) {
        return Ok(parse_integer(spelling)?.into());
    }
    let real = parse_real(spelling).map_err(|fault| match fault.kind() {
        "float_parsing" => self::fault(
            "int_parsing",
            "Input should be a valid integer, unable to parse string as an integer",
        ),
        _ => fault,
    })?;
    match real {
        None => Ok(Value::Null),
        Some(real) if real.fract() != 0.0 => Err(fault(
            "int_from_float",
            "Input should be a valid integer, got a number with a fractional part",
        )),
        // Beyond 2^53 a real no longer says which integer it is; the range of i64 is well beyond that.
        Some(real) if real.abs() < 9_007_199_254_740_992.0 => Ok((real as i64).into()),
        Some(_) => Err(too_large()),
    }
}

fn flag(given: &Json) -> Result<Value, Fault> {
    match given {
        Json::Flag(flag) => Ok((*flag).into()),
        Json::Number(spelling) => match spelling.parse::<f64>() {
            Ok(0.0) => Ok(false.into()),
            Ok(1.0) => Ok(true.into()),
            _ => Err(type_fault(FieldKind::Flag)),
        },
        _ => Err(type_fault(FieldKind::Flag)),
    }
}

fn is_integer(spelling: &str) -> bool {
    let digits = spelling.strip_prefix(['+', '-']).unwrap_or(spelling);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn too_large() -> Fault {
    fault("int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size")
}

fn parse_integer(spelling: &str) -> Result<i64, Fault> {
    spelling.parse().map_err(|_| too_large())
}

/// A real number; NaN is null, as SQLite has it.
fn parse_real(spelling: &str) -> Result<Option<f64>, Fault> {
    let unsigned = spelling.strip_prefix(['+', '-']).unwrap_or(spelling).to_ascii_lowercase();
    if unsigned == "nan" {
        return Ok(None);
    }
    let is_word = matches!(unsigned.as_str(), "inf" | "infinity");
    if !is_word
        && unsigned.bytes().any(|byte| !matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'+' | b'-'))
    {
        return Err(unparsable());
    }
    match spelling.parse::<f64>() {
        Ok(real) if real.is_finite() => Ok(Some(real)),
        Ok(_) => Err(fault("finite_number", "Input should be a finite number")),
        Err(_) => Err(unparsable()),
    }
}

fn unparsable() -> Fault {
    fault("float_parsing", "Input should be a valid number, unable to parse string as a number")
}

/// Underscores between digits are allowed in the text of a number.
fn without_underscores(text: &str) -> String {
    let bytes = text.as_bytes();
    let is_digit =
        |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let between_digits = |at: usize| is_digit(at.checked_sub(1)) && is_digit(at.checked_add(1));
    text.char_indices()
        .filter(|&(at, char)| !(char == '_' && between_digits(at)))
        .map(|(_, char)| char)
        .collect()
}

/// A real number as SQLite writes it into a text column: 15 significant digits, always with a point.
fn real_text(real: f64) -> String {
    if real == 0.0 {
        return "0.0".to_owned();
    }
    let scientific = format!("{real:.14e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let with_point = |digits: &str| {
        let trimmed = digits.trim_end_matches('0');
        if trimmed.ends_with('.') { format!("{trimmed}0") } else { trimmed.to_owned() }
    };
    if (-4..=14).contains(&exponent) {
        let decimals = usize::try_from(14 - exponent).unwrap_or(0);
        let fixed = format!("{real:.decimals$}");
        return if decimals == 0 { format!("{fixed}.0") } else { with_point(&fixed) };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", with_point(mantissa), exponent.abs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn taken(kind: FieldKind, sent: &str, expected: Value) {
        let given = crate::json::parse(sent).unwrap();
        assert_eq!(coerce(kind, &given, false), Ok(expected), "{sent}");
    }

    fn refused(kind: FieldKind, sent: &str, fault: &str) {
        let given = crate::json::parse(sent).unwrap();
        let refused = coerce(kind, &given, false).map_err(|fault| fault.kind());
        assert_eq!(refused, Err(fault), "{sent}");
    }

    #[test]
    fn text_takes_numbers_and_flags_as_sqlite_did() {
        let check = |sent: &str, expected: &str| taken(FieldKind::Text, sent, expected.into());
        check("2", "2");
        check("-0", "0");
        check("1.0", "1.0");
        check("1e3", "1000.0");
        check("1e21", "1.0e+21");
        check("1e-5", "1.0e-05");
        check("0.0001", "0.0001");
        check("0.30000000000000004", "0.3");
        check("-12.5", "-12.5");
        check("100000000000000.0", "100000000000000.0");
        check("1e15", "1.0e+15");
        check("true", "1");
        check("false", "0");
        taken(FieldKind::Text, "NaN", Value::Null);
        refused(FieldKind::Text, "[]", "string_type");
        refused(FieldKind::Document, "{}", "string_type");
        refused(FieldKind::Text, r#""a\u0000b""#, "string_null_character");
        refused(FieldKind::Text, "9223372036854775808", "int_parsing_size");
        refused(FieldKind::Text, "1e400", "finite_number");
    }

    #[test]
    fn numbers_take_numeric_text_and_nothing_infinite() {
        let check = |sent: &str, expected: f64| taken(FieldKind::Number, sent, json!(expected));
        check("1", 1.0);
        check("\" 12.5 \"", 12.5);
        check("\"1_000\"", 1000.0);
        check("\"1e3\"", 1000.0);
        check("true", 1.0);
        check("-0.0", 0.0);
        taken(FieldKind::Number, "NaN", Value::Null);
        taken(FieldKind::Number, "\"nan\"", Value::Null);
        for sent in ["1e400", "Infinity", "-Infinity", "\"inf\"", "\"1e400\""] {
            refused(FieldKind::Number, sent, "finite_number");
        }
        for sent in ["\"abc\"", "\"\"", "\"1__0\"", "\"12,5\"", "\"0x1\""] {
            refused(FieldKind::Number, sent, "float_parsing");
        }
        refused(FieldKind::Number, "[]", "float_type");
    }

    #[test]
    fn whole_numbers_are_whole() {
        for sent in ["7", "\"7\"", "7.0", "\" 7.0\"", "\"+7\"", "0.7e1"] {
            taken(FieldKind::Whole, sent, json!(7));
        }
        taken(FieldKind::Whole, "9223372036854775807", json!(i64::MAX));
        refused(FieldKind::Whole, "1.5", "int_from_float");
        refused(FieldKind::Whole, "\"x\"", "int_parsing");
        refused(FieldKind::Whole, "\"\"", "int_parsing");
        refused(FieldKind::Whole, "9223372036854775808", "int_parsing_size");
        refused(FieldKind::Whole, "1e400", "finite_number");
        refused(FieldKind::Whole, "{}", "int_type");
    }

    #[test]
    fn flags_are_zero_one_true_or_false() {
        for (sent, flag) in
            [("0", false), ("1", true), ("true", true), ("false", false), ("1.0", true)]
        {
            taken(FieldKind::Flag, sent, json!(flag));
        }
        for sent in ["\"yes\"", "\"true\"", "\"\"", "2", "[]", "NaN"] {
            refused(FieldKind::Flag, sent, "bool_type");
        }
    }

    #[test]
    fn dates_lose_their_zone() {
        let moment = FieldKind::Moment;
        taken(moment, r#""2025-01-31T10:00:00-06:00""#, json!("2025-01-31T10:00:00"));
        taken(moment, r#""2025-01-31""#, json!("2025-01-31T00:00:00"));
        refused(moment, "\"\"", "datetime_parsing");
        refused(moment, "\"31/01/2025\"", "datetime_parsing");
        refused(moment, "5", "datetime_type");
        let soon = Json::Text("soon".into());
        assert_eq!(coerce(moment, &soon, true), Ok(Value::Null));
    }
}
