//! Everything that touches the event log: appending, loading, reading it in order, and the read models that
//! projectors fold from it.
//!
//! A write goes [`log::EventLog::execute`] → `decide` → [`log::appender`] → table `events`; from there
//! [`runner::Runner`] wakes the projectors, each of which owns the tables of one read model; [`read::Reader`] answers
//! queries from these.

pub mod ask;
pub mod background;
mod claim;
mod copy;
pub mod database;
pub mod dead_letter;
pub mod files;
pub mod follow;
pub mod generation;
pub mod history;
pub mod jobs;
mod line;
pub mod llm;
pub mod log;
pub mod panic;
pub mod projector;
pub mod prose;
pub mod read;
pub mod runner;
pub mod seal;
pub mod search;
pub mod status;
pub mod summary;
pub mod tail;
mod tsvector;
pub mod undo;
pub mod uploads;
pub mod verification;
pub mod webhooks;

/// The migrations of the log and of every read model.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");
