//! Search: what of each record can be found, and how it is found.
//!
//! [`passage`] keeps the texts of all records in pieces, with their words; `text` says which texts those are, `chunk` cuts
//! them, `words` cuts and stems them, `language` guesses what they are written in, [`centre`] takes that and more out of vectors.
//!
//! [`Search`] answers what was [`asked`]: by word and by name in Postgres ([`lexical`]), by meaning with an engine, and makes
//! [one list](fuse) of it.
//!
//! Search by meaning: [`encoder`] turns texts into vectors, `embedder` keeps those of all texts in Postgres, `feeder` tells
//! an [`engine`] of them, which finds the nearest; [`meaning`] asks it. [`vectors`] has all of it running, [`check`] compares
//! it with the texts.

mod about;
mod acronyms;
mod answer;
pub mod asked;
pub(crate) mod blocks;
mod card;
pub mod centre;
pub mod check;
pub mod chunk;
mod commonness;
mod compare;
mod day;
mod dictionary;
mod embedder;
pub mod encoder;
pub mod engine;
mod extent;
mod feeder;
pub mod filter;
mod found;
pub mod fuse;
mod highlight;
mod lag;
pub mod language;
mod lexical;
pub mod meaning;
mod names;
pub mod passage;
mod points;
mod scope;
pub mod sets;
mod showing;
mod silence;
mod similar;
mod sound;
mod spelling;
mod standing;
mod stored;
pub(crate) mod text;
mod topic;
mod turn;
mod unembedded;
pub mod vector_status;
pub mod vectors;
mod vocabulary;
mod words;
mod writing;

pub use answer::{Cursor, Hit, Mode, Page, Search, SearchError, Wanted};
pub use filter::Filter;
pub use language::Language;
pub use lexical::Passage;
pub use meaning::Meaning;
pub use similar::Similar;
pub use standing::Shown;
pub use text::Part;
