//! Import: what a legacy database held that belongs to no record, such as links of records that do not exist.

use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::Verbatim;

/// The type of the one stream that these events form.
pub const STREAM_TYPE: &str = "import";
/// The id of that stream.
pub const STREAM_ID: &str = "legacy";

// Variant and field names are the storage format: rename only with an upcaster.
/// What an import recorded beside the records. Nothing decides on these events: they are facts about a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, AsRefStr, VariantNames)]
#[serde(deny_unknown_fields)]
pub enum ImportEvent {
    /// A row that belongs to no record is kept as it stood.
    RowKept {
        /// The legacy table.
        table: String,
        /// The row's primary key, its parts joined by commas.
        key: String,
        /// All its columns.
        values: Verbatim,
    },
    /// A row kept before is no longer in the file, or belongs to a record now.
    RowReleased {
        /// The legacy table.
        table: String,
        /// The row's primary key, its parts joined by commas.
        key: String,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::SourceValue;

    #[test]
    fn the_stored_form_of_an_event_never_changes() {
        let check = |event: ImportEvent, stored: Value| {
            assert_eq!(serde_json::to_value(&event).unwrap(), stored);
            assert_eq!(serde_json::from_value::<ImportEvent>(stored).unwrap(), event);
        };
        let (table, key) = (|| "notelplink".to_owned(), || "900001,1".to_owned());
        let values = Verbatim([("note_id".to_owned(), SourceValue::Integer(900_001))].into());
        check(
            ImportEvent::RowKept { table: table(), key: key(), values },
            json!({"RowKept": {"table": "notelplink", "key": "900001,1",
                "values": {"note_id": 900_001}}}),
        );
        check(
            ImportEvent::RowReleased { table: table(), key: key() },
            json!({"RowReleased": {"table": "notelplink", "key": "900001,1"}}),
        );
    }
}
