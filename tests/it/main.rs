//! The product against a real Postgres.

mod check;
mod harness;
mod log;
mod projections;
