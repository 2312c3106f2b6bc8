//! The subcommands of `crm`, one file each.

pub mod config;
pub mod health;
pub mod serve;

use std::io::{IsTerminal as _, Write as _};

use tracing_subscriber::EnvFilter;

use crate::settings::Settings;

/// Sends the log to standard error, so that standard output holds only what a command answers.
pub fn start_logging(settings: &Settings) {
    // What sqlx has to say of a lost connection, crm says itself and better; naming sqlx in CRM_LOG brings it back.
    let filter = EnvFilter::try_new(format!("sqlx=off,{}", settings.log))
        .unwrap_or_else(|_| EnvFilter::new("sqlx=off,info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

/// Speaks to the person at the terminal, who may have stopped listening (`crm config | head`).
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
