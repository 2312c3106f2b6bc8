//! What only another version of a projector has filled is built anew at the start of a release. Until it is there, the old
//! tables go on serving.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use projections::generation;
use projections::projector::Projector;
use replay::{Effort, Rebuild, RebuildError};

use super::Rebuilds;

/// How long to wait before looking again whether a new release's read models are there.
const AGAIN: Duration = Duration::from_secs(2);

/// The longest that a read model waits after a rebuild that failed, before the next.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// When a read model may be built again of which rebuilds have failed: a disk that such a one has filled must not be
/// filled again every other second.
#[derive(Default)]
struct Patience {
    failures: u32,
    until: Option<Instant>,
}

impl Patience {
    fn is_over(&self) -> bool {
        self.until.is_none_or(|until| until <= Instant::now())
    }

    fn failed(&mut self) {
        self.failures += 1;
        self.until = Some(Instant::now() + pause(self.failures));
    }
}

/// How long to wait after so many failures in a row.
fn pause(failures: u32) -> Duration {
    AGAIN.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST)
}

impl Rebuilds {
    /// Builds what is outdated, until nothing is, or all of it was called off.
    pub(super) async fn renew(self) {
        let (mut since, mut waiting) = (None, HashMap::<&'static str, Patience>::new());
        loop {
            match self.outdated(&mut since).await {
                Ok(outdated) if outdated.is_empty() => break,
                Ok(outdated) => {
                    for projector in outdated {
                        if self.stop.is_cancelled() {
                            return;
                        }
                        let patience = waiting.entry(projector.name()).or_default();
                        if patience.is_over() && !self.renew_one(projector).await {
                            patience.failed();
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot tell whether read models are outdated")
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
        self.renewed.cancel();
    }

    /// Returns when no read model is left that is built anew by itself.
    pub async fn renewed(&self) {
        self.renewed.cancelled().await;
    }

    /// Tells whether there is no reason to wait before the next try.
    async fn renew_one(&self, projector: Arc<dyn Projector>) -> bool {
        let (name, version) = (projector.name(), projector.version());
        let holder = format!("a server with version {version} of it");
        let stop = self.stop.child_token();
        let renewed = match Rebuild::admit_renewal(&self.database, projector, &holder, stop).await {
            Ok(Some(rebuild)) => {
                tracing::info!(
                    projector = name,
                    version,
                    "its code has changed: building the read model anew"
                );
                rebuild.with_effort(Effort::polite()).run(self.teller()).await
            }
            // Another server of the same release has built it since this one looked.
            Ok(None) => return true,
            Err(error) => Err(error),
        };
        match renewed {
            Ok(parked) => tracing::info!(
                projector = name,
                version,
                parked = parked.len(),
                "the new read model is live"
            ),
            Err(RebuildError::Cancelled) => tracing::info!(
                projector = name,
                "called off: `crm rebuild {name}` or the next start builds it"
            ),
            // Another process of the same release is at it.
            Err(RebuildError::Held { .. } | RebuildError::Taken(_)) => {}
            Err(error) => {
                tracing::error!(projector = name, %error, "the old read model goes on serving");
                return false;
            }
        }
        true
    }

    /// Those of which no generation is of this release's version, but for those of which somebody has called a rebuild off
    /// since this began: they wait for a rebuild that is asked for, or the next start.
    async fn outdated(
        &self,
        since: &mut Option<DateTime<Utc>>,
    ) -> Result<Vec<Arc<dyn Projector>>, sqlx::Error> {
        let mut connection = self.database.pool.acquire().await?;
        let since = match since {
            Some(since) => *since,
            None => *since.insert(
                sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut *connection).await?,
            ),
        };
        let called_off = replay::called_off(&mut connection, since).await?;
        let all = generation::all(&mut connection).await?;
        let is_outdated = |projector: &&Arc<dyn Projector>| {
            generation::lacks_own(&all, &***projector)
                && !called_off.iter().any(|name| name == projector.name())
        };
        Ok(self.projectors.iter().filter(is_outdated).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_wait_up_to_some_minutes() {
        let seconds = |failures: u32| pause(failures).as_secs();
        let first: Vec<u64> = (1..=9).map(seconds).collect();
        assert_eq!(first, [2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(seconds(u32::MAX), 300);
    }
}
