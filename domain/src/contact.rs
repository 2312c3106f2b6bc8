//! The last contact with an LP as a legacy row remembered it.

use serde::{Deserialize, Serialize};

use crate::{Moment, NoteId};

/// A remembered last contact. The live one is computed from the notes; this one is kept because it was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Contact {
    /// When it was.
    pub date: Option<Moment>,
    /// The note that tells of it; it may not exist.
    pub note: Option<NoteId>,
}
