//! The product against a real Postgres.

mod harness;
mod log;
