//! The subcommands of `crm`, one file each.

pub mod config;
pub mod health;
pub mod serve;

use tracing_subscriber::EnvFilter;

use crate::settings::Settings;

/// Sends the log to standard error, so that standard output holds only what a command answers.
pub fn start_logging(settings: &Settings) {
    let filter = EnvFilter::try_new(&settings.log).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
