//! The optional attributes of a record: what they are called, what they hold, and how they change.

/// What kind of value an attribute holds, on the wire and in a legacy column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Any text.
    Text,
    /// A floating-point number.
    Number,
    /// A 64-bit integer.
    Whole,
    /// Yes or no.
    Flag,
    /// A wall-clock date and time.
    Moment,
    /// Text that may be large and then lives in file storage.
    Document,
}

/// One attribute of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name on the wire, in events and in the legacy database.
    pub name: &'static str,
    /// What it holds.
    pub kind: FieldKind,
}

/// A type that an attribute can have.
pub trait FieldType {
    /// The kind of value it stands for.
    const KIND: FieldKind;
}

impl FieldType for String {
    const KIND: FieldKind = FieldKind::Text;
}
impl FieldType for f64 {
    const KIND: FieldKind = FieldKind::Number;
}
impl FieldType for i64 {
    const KIND: FieldKind = FieldKind::Whole;
}
impl FieldType for bool {
    const KIND: FieldKind = FieldKind::Flag;
}

/// An aggregate's descriptive attributes and the matching set of changes.
macro_rules! attributes {
    ($Details:ident / $Changes:ident { $($field:ident: $ty:ty),* $(,)? }) => {
        #[doc = concat!("The optional attributes of this record, each under its wire name: ", $("`", stringify!($field), "` ",)* ".")]
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        #[allow(missing_docs, reason = "the wire names are the documentation")]
        pub struct $Details { $(pub $field: Option<$ty>),* }

        #[doc = concat!("What changes in [`", stringify!($Details), "`]; what is absent stays.")]
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        #[allow(missing_docs, reason = "the wire names are the documentation")]
        pub struct $Changes {
            $(#[serde(skip_serializing_if = "crate::Change::is_keep")] pub $field: crate::Change<$ty>),*
        }

        impl $Details {
            /// Every attribute, in the order of the legacy columns.
            pub const FIELDS: &[crate::Field] = &[$(crate::Field {
                name: stringify!($field),
                kind: <$ty as crate::FieldType>::KIND,
            }),*];

            /// Puts the changes into effect.
            pub fn amend(&mut self, changes: $Changes) {
                $(changes.$field.apply(&mut self.$field);)*
            }
        }

        impl $Changes {
            /// Only what really differs from `current`.
            pub fn against(self, current: &$Details) -> Self {
                Self { $($field: self.$field.against(&current.$field)),* }
            }

            /// Whether nothing changes.
            pub fn is_empty(&self) -> bool {
                true $(&& self.$field.is_keep())*
            }
        }

        impl From<$Changes> for $Details {
            fn from(changes: $Changes) -> Self {
                let mut details = Self::default();
                details.amend(changes);
                details
            }
        }
    };
}
