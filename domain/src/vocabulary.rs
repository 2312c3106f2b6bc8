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
