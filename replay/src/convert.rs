//! One column: from what SQLite stored to what an attribute holds, and back.
//!
//! The way back is exact for what the legacy application wrote itself. For everything else, `Converted::exact` is
//! false and the stored value is kept beside the attribute.

use domain::{Document, FieldKind, Moment, SourceValue};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

/// The media type of a document that is stored as a file.
pub const DOCUMENT_TYPE: &str = "text/plain; charset=utf-8";

/// A value as SQLite stores it.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// NULL.
    Null,
    /// An integer.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Text, which SQLite does not check to be UTF-8.
    Text(Vec<u8>),
    /// A blob.
    Blob(Vec<u8>),
}

impl Cell {
    /// The integer, if it is one.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Cell::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// Roughly how much memory it takes.
    pub fn size(&self) -> usize {
        match self {
            Cell::Text(bytes) | Cell::Blob(bytes) => bytes.len() + 16,
            Cell::Null | Cell::Integer(_) | Cell::Real(_) => 16,
        }
    }
}

impl From<rusqlite::types::ValueRef<'_>> for Cell {
    fn from(value: rusqlite::types::ValueRef<'_>) -> Self {
        use rusqlite::types::ValueRef;
        match value {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(value) => Cell::Integer(value),
            ValueRef::Real(value) => Cell::Real(value),
            ValueRef::Text(bytes) => Cell::Text(bytes.to_vec()),
            ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
        }
    }
}

impl From<&Cell> for SourceValue {
    fn from(cell: &Cell) -> Self {
        match cell {
            Cell::Null => SourceValue::Null,
            Cell::Integer(value) => SourceValue::Integer(*value),
            Cell::Real(value) => SourceValue::real(*value),
            Cell::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => SourceValue::Text(text.to_owned()),
                Err(_) => SourceValue::TextBytes { text_bytes: hex::encode(bytes) },
            },
            Cell::Blob(bytes) => SourceValue::Blob { blob: hex::encode(bytes) },
        }
    }
}

/// What became of a stored value.
#[derive(Debug, PartialEq)]
pub struct Converted {
    /// What the attribute holds.
    pub value: Json,
    /// Whether [`canonical`] gives the stored value back.
    pub exact: bool,
    /// Why the attribute does not hold what was stored, if somebody should know.
    pub odd: Option<&'static str>,
    /// Content that the attribute refers to and that must be stored as a file.
    pub file: Option<Vec<u8>>,
}

impl Converted {
    fn exact(value: Json) -> Self {
        Self { value, exact: true, odd: None, file: None }
    }

    fn rounded(value: Json) -> Self {
        Self { value, exact: false, odd: None, file: None }
    }

    /// A value in place of what was stored, and why.
    pub fn odd(value: Json, reason: &'static str) -> Self {
        Self { value, exact: false, odd: Some(reason), file: None }
    }
}

/// Converts a stored value to what an attribute of this kind holds.
pub fn typed(kind: FieldKind, cell: &Cell) -> Converted {
    match (kind, cell) {
        (_, Cell::Null) => Converted::exact(Json::Null),
        (FieldKind::Text, cell) => text(cell),
        (FieldKind::Number, cell) => number(cell),
        (FieldKind::Whole, cell) => whole(cell),
        (FieldKind::Flag, cell) => flag(cell),
        (FieldKind::Moment, cell) => moment(cell),
        (FieldKind::Document, cell) => document(cell),
    }
}

/// Like [`typed`], for an attribute that a legacy file always has: a text is never null.
pub fn typed_required(kind: FieldKind, cell: &Cell) -> Converted {
    let converted = typed(kind, cell);
    if !converted.value.is_null() {
        return converted;
    }
    match (kind, cell) {
        (FieldKind::Whole, Cell::Null) => Converted::odd(Json::Null, "required but null"),
        (FieldKind::Whole, _) => converted,
        (_, Cell::Null) => Converted::odd(json!(""), "required but null; empty text instead"),
        (_, Cell::Text(bytes) | Cell::Blob(bytes)) => Converted::odd(
            json!(String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")),
            "not valid text; unreadable characters replaced",
        ),
        (_, Cell::Integer(_) | Cell::Real(_)) => Converted::odd(json!(""), "required but not text"),
    }
}

/// What SQLite stored if it was stored as the legacy application does; a document's file must be fetched.
pub fn canonical(kind: FieldKind, value: &Json) -> Canonical {
    let value = match (kind, value) {
        (FieldKind::Number, Json::Number(number)) => {
            number.as_f64().map_or(SourceValue::Null, SourceValue::real)
        }
        (_, Json::Number(number)) => {
            number.as_i64().map_or(SourceValue::Null, SourceValue::Integer)
        }
        (_, Json::Bool(flag)) => SourceValue::Integer(i64::from(*flag)),
        (FieldKind::Moment, Json::String(text)) => match Moment::parse(text) {
            Ok(moment) => SourceValue::Text(moment.legacy_text()),
            Err(_) => SourceValue::Text(text.clone()),
        },
        (_, Json::String(text)) => SourceValue::Text(text.clone()),
        (FieldKind::Document, Json::Object(document)) => {
            return match document.get("sha256").and_then(Json::as_str) {
                Some(sha256) => Canonical::File(sha256.to_owned()),
                None => Canonical::Value(SourceValue::Null),
            };
        }
        (_, Json::Null | Json::Array(_) | Json::Object(_)) => SourceValue::Null,
    };
    Canonical::Value(value)
}

/// A stored value, or the file that is one.
#[derive(Debug, PartialEq)]
pub enum Canonical {
    /// The value.
    Value(SourceValue),
    /// The text in the file with this SHA-256.
    File(String),
}

fn text(cell: &Cell) -> Converted {
    match cell {
        Cell::Null => Converted::exact(Json::Null),
        Cell::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if text.contains('\0') => Converted::odd(
                json!(text.replace('\0', "\u{fffd}")),
                "contains the character NUL; shown as U+FFFD",
            ),
            Ok(text) => Converted::exact(json!(text)),
            Err(_) => Converted::odd(Json::Null, "not valid UTF-8 text"),
        },
        Cell::Integer(value) => {
            Converted::odd(json!(value.to_string()), "a number in a text column; shown as text")
        }
        Cell::Real(value) => {
            Converted::odd(json!(value.to_string()), "a number in a text column; shown as text")
        }
        Cell::Blob(_) => Converted::odd(Json::Null, "a blob in a text column"),
    }
}

fn number(cell: &Cell) -> Converted {
    match *cell {
        Cell::Null => Converted::exact(Json::Null),
        Cell::Real(value) if !value.is_finite() => {
            Converted::odd(Json::Null, "not a finite number")
        }
        // JSON readers and comparisons make no difference between the two zeros; the log does.
        Cell::Real(value) if value == 0.0 && value.is_sign_negative() => {
            Converted::rounded(json!(0.0))
        }
        Cell::Real(value) => Converted::exact(json!(value)),
        Cell::Integer(value) => {
            #[allow(clippy::cast_precision_loss, reason = "the loss is what is looked for")]
            let nearest = value as f64;
            #[allow(clippy::cast_possible_truncation, reason = "compared, not used")]
            let exact = nearest as i64 == value && value.unsigned_abs() < 1 << 60;
            match exact {
                true => Converted::rounded(json!(nearest)),
                false => Converted::odd(json!(nearest), "too many digits; shown rounded"),
            }
        }
        Cell::Text(_) => Converted::odd(Json::Null, "text in a number column"),
        Cell::Blob(_) => Converted::odd(Json::Null, "a blob in a number column"),
    }
}

fn whole(cell: &Cell) -> Converted {
    match *cell {
        Cell::Null => Converted::exact(Json::Null),
        Cell::Integer(value) => Converted::exact(json!(value)),
        #[allow(clippy::cast_possible_truncation, reason = "the guard allows whole numbers only")]
        Cell::Real(value) if value.fract() == 0.0 && value.abs() < 9e15 => {
            Converted::rounded(json!(value as i64))
        }
        Cell::Real(_) => Converted::odd(Json::Null, "not a whole number"),
        Cell::Text(_) => Converted::odd(Json::Null, "text in a number column"),
        Cell::Blob(_) => Converted::odd(Json::Null, "a blob in a number column"),
    }
}

fn flag(cell: &Cell) -> Converted {
    const REASON: &str = "neither 0 nor 1; read as the legacy application read it";
    match cell {
        Cell::Null => Converted::exact(Json::Null),
        Cell::Integer(value @ (0 | 1)) => Converted::exact(json!(*value == 1)),
        Cell::Integer(_) => Converted::odd(json!(true), REASON),
        Cell::Real(value) => Converted::odd(json!(*value != 0.0), REASON),
        Cell::Text(bytes) | Cell::Blob(bytes) => Converted::odd(json!(!bytes.is_empty()), REASON),
    }
}

fn moment(cell: &Cell) -> Converted {
    let Cell::Text(bytes) = cell else {
        return match cell {
            Cell::Null => Converted::exact(Json::Null),
            _ => Converted::odd(Json::Null, "not a date"),
        };
    };
    let parsed = std::str::from_utf8(bytes).ok().and_then(|text| Moment::parse(text).ok());
    match parsed {
        // The legacy application knew no year 0.
        Some(moment) if !bytes.starts_with(b"0000") => {
            let exact = moment.legacy_text().as_bytes() == bytes.as_slice();
            Converted { exact, ..Converted::exact(json!(moment)) }
        }
        _ => Converted::odd(Json::Null, "not a date"),
    }
}

fn document(cell: &Cell) -> Converted {
    match cell {
        Cell::Text(bytes) if bytes.len() > Document::INLINE_LIMIT => {
            if std::str::from_utf8(bytes).is_err() {
                return Converted::odd(Json::Null, "not valid UTF-8 text");
            }
            let document = Document::Stored {
                sha256: hex::encode(Sha256::digest(bytes)),
                size: bytes.len() as u64,
                media_type: DOCUMENT_TYPE.to_owned(),
            };
            Converted { file: Some(bytes.clone()), ..Converted::exact(json!(document)) }
        }
        short => text(short),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_cell(text: &str) -> Cell {
        Cell::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn a_stored_value_becomes_what_the_attribute_can_hold() {
        let check = |kind, cell: Cell, value: Json, odd: bool| {
            let converted = typed(kind, &cell);
            assert_eq!(converted.value, value, "{kind:?} {cell:?}");
            assert_eq!(converted.odd.is_some(), odd, "{kind:?} {cell:?}");
        };
        check(FieldKind::Text, text_cell(""), json!(""), false);
        check(FieldKind::Text, Cell::Text(vec![0x50, 0xe9]), json!(null), true);
        check(FieldKind::Text, text_cell("a\0b"), json!("a\u{fffd}b"), true);
        check(FieldKind::Text, Cell::Blob(vec![1]), json!(null), true);
        check(FieldKind::Number, text_cell("12,5"), json!(null), true);
        check(FieldKind::Number, Cell::Real(f64::INFINITY), json!(null), true);
        check(FieldKind::Number, Cell::Real(-0.0), json!(0.0), false);
        check(FieldKind::Number, Cell::Integer(7), json!(7.0), false);
        check(FieldKind::Whole, Cell::Real(1.5), json!(null), true);
        check(FieldKind::Whole, Cell::Real(3.0), json!(3), false);
        check(FieldKind::Whole, Cell::Integer(i64::MIN), json!(i64::MIN), false);
        check(FieldKind::Flag, Cell::Integer(2), json!(true), true);
        check(FieldKind::Flag, text_cell("yes"), json!(true), true);
        check(FieldKind::Moment, text_cell("2025-01-31"), json!("2025-01-31T00:00:00"), false);
        check(FieldKind::Moment, text_cell("pronto"), json!(null), true);
        check(FieldKind::Moment, Cell::Integer(1_738_281_600), json!(null), true);
        check(FieldKind::Document, text_cell("[]"), json!("[]"), false);
    }

    #[test]
    fn what_counts_as_exact_is_exactly_what_comes_back() {
        let cells = [
            Cell::Null,
            Cell::Integer(0),
            Cell::Integer(1),
            Cell::Integer(9_007_199_254_740_993),
            Cell::Real(0.1 + 0.2),
            Cell::Real(-0.0),
            Cell::Real(1e-320),
            Cell::Real(1e21),
            Cell::Real(f64::NEG_INFINITY),
            text_cell(""),
            text_cell("yes"),
            text_cell("a\0b"),
            text_cell("2025-01-31 00:00:00.000000"),
            text_cell("2025-01-31 15:04:05+00:00"),
            text_cell("0001-01-01 00:00:00.000000"),
            Cell::Text(vec![0xff]),
            Cell::Blob(vec![0x00]),
        ];
        let kinds = [
            FieldKind::Text,
            FieldKind::Number,
            FieldKind::Whole,
            FieldKind::Flag,
            FieldKind::Moment,
            FieldKind::Document,
        ];
        for (kind, cell) in kinds.into_iter().flat_map(|k| cells.iter().map(move |c| (k, c))) {
            let converted = typed(kind, cell);
            let stored: Json =
                serde_json::from_str(&serde_json::to_string(&converted.value).unwrap()).unwrap();
            let same = canonical(kind, &stored) == Canonical::Value(SourceValue::from(cell));
            assert_eq!(converted.exact, same, "{kind:?} {cell:?}");
        }
    }

    #[test]
    fn a_long_document_becomes_a_file_and_a_short_one_stays() {
        let long = text_cell(&"x".repeat(Document::INLINE_LIMIT + 1));
        let converted = typed(FieldKind::Document, &long);
        assert!(converted.exact && converted.file.is_some());
        assert!(matches!(canonical(FieldKind::Document, &converted.value), Canonical::File(_)));
        let short = text_cell(&"x".repeat(Document::INLINE_LIMIT));
        assert_eq!(typed(FieldKind::Document, &short).file, None);
    }

    #[test]
    fn a_required_text_is_never_null() {
        let check = |kind, cell: Cell, value: Json| {
            let converted = typed_required(kind, &cell);
            assert_eq!((converted.value, converted.exact), (value, false), "{cell:?}");
        };
        check(FieldKind::Text, Cell::Null, json!(""));
        check(FieldKind::Text, Cell::Text(vec![b'P', 0xe9]), json!("P\u{fffd}"));
        check(FieldKind::Text, Cell::Blob(vec![0, b'x']), json!("\u{fffd}x"));
    }

    #[test]
    fn what_is_no_id_is_none_and_not_the_id_0() {
        for cell in [text_cell("abc"), text_cell(""), Cell::Real(1.5), Cell::Null] {
            let converted = typed_required(FieldKind::Whole, &cell);
            assert_eq!((converted.value, converted.exact), (Json::Null, false), "{cell:?}");
            assert!(converted.odd.is_some(), "{cell:?}");
        }
    }
}
