//! Typed ids and references between records.

use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$meta:meta])* $Id:ident = $Kind:ident $text:literal),* $(,)?) => {
        $(
            $(#[$meta])*
            #[derive(
                Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
            )]
            #[serde(transparent)]
            pub struct $Id(pub i64);

            impl std::fmt::Display for $Id {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    self.0.fmt(f)
                }
            }

            impl From<i64> for $Id {
                fn from(id: i64) -> Self {
                    Self(id)
                }
            }

            impl From<$Id> for RecordRef {
                fn from(id: $Id) -> Self {
                    RecordRef::$Kind(id)
                }
            }

            impl crate::FieldType for $Id {
                const KIND: crate::FieldKind = crate::FieldKind::Whole;
            }
        )*

        /// The kinds of records, one aggregate each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[allow(missing_docs, reason = "each is described by the module of its aggregate")]
        pub enum Kind { $($Kind),* }

        impl Kind {
            /// All kinds.
            pub const ALL: &[Kind] = &[$(Kind::$Kind),*];

            /// The name in the log (aggregate type), in links and in table names.
            pub const fn as_str(self) -> &'static str {
                match self { $(Kind::$Kind => $text),* }
            }

            /// The kind with this name.
            pub fn parse(text: &str) -> Option<Kind> {
                match text { $($text => Some(Kind::$Kind),)* _ => None }
            }

            /// A reference to the record of this kind with this id.
            pub fn record(self, id: i64) -> RecordRef {
                match self { $(Kind::$Kind => RecordRef::$Kind($Id(id))),* }
            }
        }

        /// A reference to a record of any kind.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[allow(missing_docs, reason = "each is described by the module of its aggregate")]
        pub enum RecordRef { $($Kind($Id)),* }

        impl RecordRef {
            /// The kind of the record.
            pub fn kind(self) -> Kind {
                match self { $(RecordRef::$Kind(_) => Kind::$Kind),* }
            }

            /// Its id among the records of that kind.
            pub fn id(self) -> i64 {
                match self { $(RecordRef::$Kind(id) => id.0),* }
            }
        }
    };
}

ids! {
    /// Identifies an institution that may commit capital.
    LpId = Lp "lp",
    /// Identifies a manager of funds.
    GpId = Gp "gp",
    /// Identifies a distributor.
    DistributorId = Distributor "distributor",
    /// Identifies a person.
    PersonId = Person "person",
    /// Identifies a fund.
    FundId = Fund "fund",
    /// Identifies the note of a meeting.
    NoteId = Note "note",
    /// Identifies a todo.
    TodoId = Todo "todo",
    /// Identifies a roadshow.
    RoadshowId = Roadshow "roadshow",
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Display for RecordRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind(), self.id())
    }
}
