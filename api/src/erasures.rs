//! Erasures in a server: what they leave on the disk is scrubbed in the background, whoever erased it.

use std::sync::Arc;
use std::time::Duration;

use projections::files::Files;
use replay::{Effort, ScrubError, ScrubOptions};
use tokio::sync::Notify;

use crate::rebuilds::Rebuilds;

/// How often to look for erasures by other processes, and for scrubs that failed or were killed.
const LOOK: Duration = Duration::from_secs(60);

/// Wakes the scrubber. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Erasures(Arc<Notify>);

impl Erasures {
    /// Something was erased.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    /// Scrubs whatever there is to scrub, until the server stops.
    pub async fn scrub(self, rebuilds: Rebuilds, files: Files) {
        let options = ScrubOptions {
            projectors: rebuilds.projectors().to_vec(),
            files,
            effort: Effort::polite(),
            stop: rebuilds.stop_token().child_token(),
        };
        while !options.stop.is_cancelled() {
            match replay::scrub(&rebuilds.database, &options).await {
                Ok(None) => {}
                Ok(Some(report)) => {
                    tracing::info!(
                        records = report.records.len(),
                        "erased records are scrubbed off the disk"
                    );
                    for todo in report.todos {
                        tracing::warn!(%todo, "a todo came of what was said in an erased note, and is kept in plain");
                    }
                    for left in report.left {
                        tracing::warn!("an erasure leaves traces behind: {left}");
                    }
                }
                // Another process does it.
                Err(ScrubError::Running) => {}
                Err(error) if options.stop.is_cancelled() => {
                    tracing::info!(%error, "a scrub was broken off; the next start takes it up");
                }
                Err(error) => {
                    tracing::error!(%error, "erased records are not scrubbed off the disk yet; crm tries again");
                }
            }
            tokio::select! {
                () = options.stop.cancelled() => {}
                () = self.0.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}
