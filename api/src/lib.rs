//! The server and command line of the fundraising CRM.

pub mod answers;
pub mod app;
pub mod as_of;
pub mod backend;
pub mod body;
pub mod caller;
pub mod cli;
pub mod coerce;
pub mod commands;
pub mod describe;
pub mod embedded;
pub mod envelope;
pub mod erasures;
pub mod file_keeper;
pub mod form;
pub mod history;
pub mod json;
pub mod links;
pub mod live;
pub mod measures;
pub mod models;
pub mod once;
pub mod origins;
pub mod pages;
pub mod problem;
pub mod ranges;
pub mod rebuilds;
pub mod recordings;
pub mod refusals;
pub mod resource;
pub mod routes;
pub mod schemas;
pub mod search;
pub mod server;
pub mod settings;
pub mod traces;
pub mod undo;
pub mod uploads;
pub mod vectors;
pub mod webhooks;
pub mod writes;

/// Commands, pages of events and lists are made of many small texts: with the allocator of the C library up to two fifths of what
/// crm itself computes for a command went to it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
