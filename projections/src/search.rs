//! Search: what of each record can be found, and how it is found.
//!
//! [`passage`] keeps the texts of all records in pieces, with their words; `text` says which texts those are, `chunk` cuts
//! them, `language` guesses what they are written in.
//!
//! Search by meaning: [`encoder`] turns texts into vectors, `embedder` keeps those of all texts in Postgres, `feeder` tells
//! an [`engine`] of them, which finds the nearest; [`meaning`] asks it. [`vectors`] has all of it running, [`check`] compares
//! it with the texts.

pub(crate) mod blocks;
pub mod check;
pub mod chunk;
mod compare;
mod embedder;
pub mod encoder;
pub mod engine;
mod feeder;
pub mod filter;
pub mod language;
pub mod meaning;
pub mod passage;
mod points;
pub mod sets;
pub(crate) mod text;
pub mod vector_status;
pub mod vectors;

pub use filter::Filter;
pub use language::Language;
pub use meaning::Meaning;
pub use text::Part;
