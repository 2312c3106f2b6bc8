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
    let log = tracing_subscriber::fmt::layer()
        .fmt_fields(LogFields)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_filter(filter(&settings.log));
    tracing_subscriber::registry().with(log).with(traces.map(Traces::layer)).init();
}

/// What goes into the log. What sqlx has to say of a lost connection, and symphonia of a damaged recording, crm says itself and
/// better: with the recording's id. Naming them in `CRM_LOG` brings them back.
fn filter(wanted: &str) -> EnvFilter {
    const SILENT: &str = "sqlx=off,symphonia=off";
    EnvFilter::try_new(format!("{SILENT},{wanted}"))
        .unwrap_or_else(|_| EnvFilter::new(format!("{SILENT},info")))
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

/// The error and its causes, but for those that the one before has told already.
pub fn explain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.ends_with(&cause) {
            let separator = if text.is_empty() { "" } else { ": " };
            text = format!("{text}{separator}{cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use anyhow::Context as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_library_says_without_the_recordings_id_is_in_the_log_only_if_somebody_wants_it() {
        let logged = |wanted: &str| {
            let lines = Lines::default();
            let writer = lines.clone();
            let log = tracing_subscriber::fmt::layer()
                .with_writer(move || writer.clone())
                .with_filter(filter(wanted));
            tracing::subscriber::with_default(tracing_subscriber::registry().with(log), || {
                tracing::error!(target: "symphonia_format_isomp4::demuxer", "a broken box");
                tracing::info!(target: "api::serve", "crm is there");
            });
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            (text.contains("a broken box"), text.contains("crm is there"))
        };
        assert_eq!(logged("info"), (false, true));
        assert_eq!(logged("info,symphonia_format_isomp4=error"), (true, true));
        assert_eq!(logged("not=a=filter"), (false, true));
    }

    #[test]
    fn a_cause_is_told_once() {
        let refused = std::io::Error::other("refused");
        let error = Err::<(), _>(refused).context("cannot connect: refused").context("no database");
        let error = error.unwrap_err();
        assert_eq!(explain(&error), "no database: cannot connect: refused");
    }
}
