//! The product against a real Postgres.
#![allow(clippy::unwrap_used, reason = "a test that fails on an unwrap says where")]

mod check;
mod contract;
mod crash;
mod harness;
mod import;
mod log;
mod model;
mod observed;
mod plain_postgres;
mod projections;
mod rebuild;
mod repeated;
mod server;
mod startup;
mod verify;
mod watched;
