//! Values of a legacy row that no typed attribute can hold, kept exactly as they stood.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One value as SQLite stored it.
///
/// Null, integers and text are plain JSON; what JSON cannot tell apart or cannot hold is tagged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SourceValue {
    /// SQL NULL.
    Null,
    /// An integer.
    Integer(i64),
    /// Valid UTF-8 text.
    Text(String),
    /// A floating-point number, as its 64 bits in hexadecimal: infinities and NaN included.
    Real {
        /// The bits, 16 hexadecimal digits.
        real_bits: String,
    },
    /// Text that is not valid UTF-8.
    TextBytes {
        /// The bytes in hexadecimal.
        text_bytes: String,
    },
    /// A blob.
    Blob {
        /// The bytes in hexadecimal.
        blob: String,
    },
}

impl SourceValue {
    /// A floating-point number, bit for bit.
    pub fn real(value: f64) -> Self {
        SourceValue::Real { real_bits: format!("{:016x}", value.to_bits()) }
    }
}

/// Column name → value as stored, for the columns that typed attributes do not reproduce.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Verbatim(pub BTreeMap<String, SourceValue>);

impl Verbatim {
    /// Whether the typed attributes say everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sqlite_value_survives_json() {
        let values = [
            SourceValue::Null,
            SourceValue::Integer(9_007_199_254_740_993),
            SourceValue::Text("12,5 \u{0}".into()),
            SourceValue::real(f64::INFINITY),
            SourceValue::real(-0.0),
            SourceValue::TextBytes { text_bytes: "50e9".into() },
            SourceValue::Blob { blob: "00ff10".into() },
        ];
        for value in values {
            let json = serde_json::to_string(&value).unwrap();
            assert_eq!(serde_json::from_str::<SourceValue>(&json).unwrap(), value, "{json}");
        }
    }
}
