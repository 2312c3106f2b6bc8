//! Text that may be megabytes: small in the event, large in file storage.

use serde::{Deserialize, Serialize};

use crate::{FieldKind, FieldType};

/// A text, or the name of the stored file that holds it. Blobs never enter the log.
#[derive(Clone, Debug, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Document {
    /// Short enough to stand in the event itself.
    Text(String),
    /// Stored under its hash.
    Stored {
        /// SHA-256 of the content in hexadecimal; also the file's key.
        sha256: String,
        /// Length in bytes.
        size: u64,
        /// What it is.
        media_type: String,
    },
}

impl Document {
    /// The longest text, in bytes, that stands in an event.
    pub const INLINE_LIMIT: usize = 1024;
}

/// The same content is the same document, whatever whoever stored it called its type.
impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Document::Text(own), Document::Text(other)) => own == other,
            (Document::Stored { sha256: own, .. }, Document::Stored { sha256: other, .. }) => {
                own == other
            }
            (Document::Text(_), Document::Stored { .. })
            | (Document::Stored { .. }, Document::Text(_)) => false,
        }
    }
}

impl FieldType for Document {
    const KIND: FieldKind = FieldKind::Document;
}
