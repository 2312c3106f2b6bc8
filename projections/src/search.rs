//! Search: what of each record can be found, and how it is found.
//!
//! [`passage`] keeps the texts of all records in pieces, with their words; `text` says which texts those are, `chunk` cuts
//! them, `language` guesses what they are written in.

pub(crate) mod blocks;
pub mod chunk;
pub mod engine;
pub mod filter;
pub mod language;
pub mod passage;
pub(crate) mod text;

pub use filter::Filter;
pub use language::Language;
pub use text::Part;
