//! The product against a real Postgres.
#![allow(clippy::unwrap_used, reason = "a test that fails on an unwrap says where")]

mod as_of;
mod audit;
mod browser;
mod check;
mod contract;
mod crash;
mod erasure;
mod eval;
mod faults;
mod harness;
mod history;
mod import;
mod live;
mod log;
mod model;
mod observed;
mod ordering;
mod pages;
mod plain_postgres;
mod projections;
mod proxy;
mod rebuild;
mod repeated;
mod revert;
mod seals;
mod server;
mod shortage;
mod startup;
mod verify;
mod watched;
mod webhooks;
