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
        #[serde(default, deny_unknown_fields)]
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

            /// What makes these the others.
            pub fn toward(&self, target: &Self) -> $Changes {
                $Changes {
                    $($field: crate::Change::from(target.$field.clone()).against(&self.$field)),*
                }
            }

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

            /// The names of the attributes that change.
            pub fn names(&self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if !self.$field.is_keep() { names.push(stringify!($field)); })*
                names
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::Moment;

    attributes! {
        Details / Changes {
            name: String,
            size: f64,
            count: i64,
            open: bool,
            date: Moment,
        }
    }

    fn full() -> Value {
        json!({"name": "", "size": 0.1, "count": -1, "open": false, "date": "2025-01-31T00:00:00"})
    }

    #[test]
    fn changes_that_were_made_have_nothing_left_to_change() {
        for value in [json!({}), json!({"name": "x", "size": null}), full()] {
            let changes: Changes = serde_json::from_value(value.clone()).unwrap();
            let details = Details::from(changes.clone());
            assert!(changes.against(&details).is_empty(), "{value}");
            assert!(details.toward(&details).is_empty(), "{value}");
        }
    }

    #[test]
    fn the_way_from_one_to_another_names_only_what_differs() {
        let details =
            |value: Value| Details::from(serde_json::from_value::<Changes>(value).unwrap());
        let (mut from, to) = (details(full()), details(json!({"name": "", "count": 2})));
        let changes = from.toward(&to);
        assert_eq!(changes.names(), ["size", "count", "open", "date"]);
        from.amend(changes);
        assert_eq!(from, to);
    }

    #[test]
    fn what_is_absent_stays_and_what_is_null_is_cleared() {
        let mut details: Details = serde_json::from_value(full()).unwrap();
        let changes: Changes = serde_json::from_value(json!({"name": null, "count": 2})).unwrap();
        assert_eq!(serde_json::to_value(&changes).unwrap(), json!({"name": null, "count": 2}));
        details.amend(changes);
        assert_eq!(
            serde_json::to_value(&details).unwrap(),
            json!({"name": null, "size": 0.1, "count": 2, "open": false,
                "date": "2025-01-31T00:00:00"})
        );
    }

    #[test]
    fn every_attribute_is_listed_in_order_with_its_kind() {
        use FieldKind::{Flag, Number, Text, Whole};
        let listed = Details::FIELDS.iter().map(|field| (field.name, field.kind));
        let expected = [
            ("name", Text),
            ("size", Number),
            ("count", Whole),
            ("open", Flag),
            ("date", FieldKind::Moment),
        ];
        assert!(listed.eq(expected));
    }

    #[test]
    fn a_change_of_an_unknown_attribute_is_not_overlooked() {
        let error =
            serde_json::from_value::<Changes>(json!({"count": 2, "unknown": 3})).unwrap_err();
        assert!(error.to_string().contains("unknown"), "{error}");
    }
}
