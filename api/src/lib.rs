//! The server and command line of the fundraising CRM.

pub mod answers;
pub mod app;
pub mod backend;
pub mod body;
pub mod caller;
pub mod cli;
pub mod coerce;
pub mod commands;
pub mod describe;
pub mod embedded;
pub mod envelope;
mod erasures;
pub mod form;
pub mod json;
pub mod links;
pub mod measures;
pub mod once;
pub mod origins;
pub mod problem;
pub mod rebuilds;
pub mod resource;
pub mod routes;
pub mod schemas;
pub mod server;
pub mod settings;
pub mod traces;
pub mod writes;
