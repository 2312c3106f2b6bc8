//! Text that may be megabytes: small in the event, large in file storage.

use serde::{Deserialize, Serialize};

use crate::{FieldKind, FieldType};

/// A text, or the name of the stored file that holds it. Blobs never enter the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl FieldType for Document {
    const KIND: FieldKind = FieldKind::Document;
}
