//! Closed lists of words with a door left open: legacy rows hold any text, and nothing may be lost.

/// An enum of known words plus `Other(text)`, stored and sent as the text itself.
macro_rules! vocabulary {
    ($(#[$meta:meta])* $Name:ident { $($(#[$vmeta:meta])* $Variant:ident = $text:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $Name {
            $($(#[$vmeta])* #[doc = concat!("`", $text, "`")] $Variant,)*
            /// Any other text, kept as it was written.
            Other(String),
        }

        impl $Name {
            /// The known words, in their usual order.
            pub const KNOWN: &[&str] = &[$($text),*];

            /// The text as stored and sent.
            pub fn as_str(&self) -> &str {
                match self {
                    $($Name::$Variant => $text,)*
                    $Name::Other(text) => text,
                }
            }
        }

        impl From<String> for $Name {
            fn from(text: String) -> Self {
                match text.as_str() {
                    $($text => $Name::$Variant,)*
                    _ => $Name::Other(text),
                }
            }
        }

        impl From<&str> for $Name {
            fn from(text: &str) -> Self {
                text.to_owned().into()
            }
        }

        impl serde::Serialize for $Name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $Name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d).map(Into::into)
            }
        }

        impl crate::FieldType for $Name {
            const KIND: crate::FieldKind = crate::FieldKind::Text;
        }
    };
}

#[cfg(test)]
mod tests {
    use serde::{Serialize, de::DeserializeOwned};
    use serde_json::json;

    use crate::fund::{FundStatus, Interest};
    use crate::roadshow::{Logistics, LpStatus};
    use crate::todo::{Priority, TodoStatus};

    #[test]
    fn a_known_word_is_known_only_as_it_is_spelt() {
        let check = |text: &str, expected: Interest| assert_eq!(Interest::from(text), expected);
        check("due_diligence", Interest::DueDiligence);
        check("inactive", Interest::Inactive);
        for text in ["Due_diligence", "due_diligence ", "due diligence", "Hot", ""] {
            check(text, Interest::Other(text.to_owned()));
        }
    }

    #[test]
    fn every_text_is_stored_and_sent_as_it_was_written() {
        fn check<V: Serialize + DeserializeOwned>(known: &[&str]) {
            for text in known.iter().chain(&["Hot", "", "ñ\u{0}"]) {
                let word: V = serde_json::from_value(json!(text)).unwrap();
                assert_eq!(serde_json::to_value(&word).unwrap(), json!(text));
            }
        }
        check::<FundStatus>(FundStatus::KNOWN);
        check::<Interest>(Interest::KNOWN);
        check::<Logistics>(Logistics::KNOWN);
        check::<LpStatus>(LpStatus::KNOWN);
        check::<Priority>(Priority::KNOWN);
        check::<TodoStatus>(TodoStatus::KNOWN);
    }
}
