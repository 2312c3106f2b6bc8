//! The product against a real Postgres.

mod check;
mod crash;
mod harness;
mod log;
mod projections;
mod server;
