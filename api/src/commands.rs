//! The subcommands of `crm`, one file each.

pub mod config;
pub mod erase;
pub mod files;
pub mod health;
pub mod import;
pub mod keys;
pub mod models;
pub mod projections;
pub mod rebuild;
pub mod seal;
pub mod serve;
pub mod status;
pub mod verify;
pub mod work;

use std::io::{IsTerminal as _, Write as _};
use std::pin::pin;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::backend::Store;
use crate::settings::Settings;
use crate::traces::{LogFields, Traces};

/// Sends the log to standard error, so that standard output holds only what a command answers; and spans to where the
/// traces go, if they are made.
pub fn start_logging(settings: &Settings, traces: Option<&Traces>) {
    // What sqlx has to say of a lost connection, crm says itself and better; naming sqlx in CRM_LOG brings it back.
    let filter = EnvFilter::try_new(format!("sqlx=off,{}", settings.log))
        .unwrap_or_else(|_| EnvFilter::new("sqlx=off,info"));
    let log = tracing_subscriber::fmt::layer()
        .fmt_fields(LogFields)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_filter(filter);
    tracing_subscriber::registry().with(log).with(traces.map(Traces::layer)).init();
}

/// Speaks to the person at the terminal, who may have stopped listening (`crm config | head`).
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Who is at the terminal, for the audit history.
pub fn who() -> String {
    std::env::var("USER").unwrap_or_else(|_| "somebody at the terminal".to_owned())
}

/// Notices when the process is asked to stop. From when it is made on, SIGINT and SIGTERM no longer end the process at
/// once, so that there is time to leave the database in order.
pub struct Interruption {
    interrupt: Signal,
    terminate: Signal,
}

impl Interruption {
    /// Begins to pay attention.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn expect() -> anyhow::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    /// Resolves when the process is asked to stop, each time.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Opens the database for this command; `None` when the process was asked to stop meanwhile.
///
/// # Errors
/// As [`Store::open`].
pub async fn open(
    settings: &Settings,
    command: &str,
    interruption: &mut Interruption,
) -> anyhow::Result<Option<Store>> {
    let mut opening = pin!(Store::open(settings, command));
    tokio::select! {
        store = &mut opening => return store.map(Some),
        () = interruption.next() => say("crm is stopping"),
    }
    // A Postgres of our own may be half up, and only one that is up can be stopped in order.
    tokio::select! {
        store = opening => store?.close().await?,
        () = interruption.next() => {
            tracing::warn!("asked twice to stop: a Postgres of our own that was starting may go on running");
        }
    }
    Ok(None)
}
