//! Rebuilds that run in the server: those that somebody asks for, and those that a new release needs.

use std::sync::Arc;
use std::time::Duration;

use chrono::{Local, NaiveTime};

use projections::database::{Database, DatabaseError};
use projections::follow::Checkpoints;
use projections::generation;
use projections::projector::Projector;
use projections::search::engine::Engine;
use projections::status::Status;
use replay::{Effort, Rebuild, RebuildError, VerifyError, VerifyOptions, Witness};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long to wait before looking again whether a new release's read models are there.
const AGAIN: Duration = Duration::from_secs(2);

/// How long those who watch read models wait between two looks at least, and at most: rebuilds by other processes tell
/// nobody here.
const LOOK: Duration = Duration::from_millis(250);
const UNHEARD: Duration = Duration::from_secs(1);

/// Starts rebuilds, and stops them when the server stops. Clones share them.
#[derive(Clone)]
pub struct Rebuilds {
    /// Where the read models are.
    pub database: Database,
    projectors: Vec<Arc<dyn Projector>>,
    tasks: TaskTracker,
    /// Changes whenever a rebuild in this process has got further.
    progress: watch::Sender<u64>,
    checkpoints: watch::Receiver<Checkpoints>,
    stop: CancellationToken,
    /// Cancelled before `stop`: a server that waits for its last requests must not wait for those who only watch.
    dismissed: CancellationToken,
}

impl Rebuilds {
    /// For these projectors. Read models that only another version of a projector has filled are rebuilt at once.
    /// `checkpoints` tells where all are.
    pub fn start(
        database: Database,
        projectors: Vec<Arc<dyn Projector>>,
        checkpoints: watch::Receiver<Checkpoints>,
    ) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (dismissed, progress) = (CancellationToken::new(), watch::Sender::default());
        let rebuilds = Self { database, projectors, tasks, progress, checkpoints, stop, dismissed };
        rebuilds.tasks.spawn(rebuilds.clone().renew());
        rebuilds
    }

    /// Begins to rebuild a read model; it goes on by itself.
    ///
    /// # Errors
    /// When there is no such read model, or it is being rebuilt already.
    pub async fn begin(&self, name: &str) -> Result<(), RebuildError> {
        let projectors = replay::find(self.projectors.clone(), &[name.to_owned()])?;
        let holder = format!("a server, process {}", std::process::id());
        let stop = self.stop.child_token();
        let rebuild = Rebuild::admit(&self.database, projectors, &holder, stop).await?;
        let rebuild = rebuild.with_effort(Effort::polite());
        let (name, progress) = (name.to_owned(), self.progress.clone());
        self.tasks.spawn(async move {
            match rebuild.run(move |_| progress.send_modify(|times| *times += 1)).await {
                Ok(()) => tracing::info!(projector = name, "rebuilt"),
                Err(error) => {
                    tracing::warn!(projector = name, %error, "the rebuild came to nothing")
                }
            }
        });
        Ok(())
    }

    /// Makes the previous generation of a read model live again, after it has caught up, which may take long. Once begun
    /// it goes on, also if nobody waits for it any more.
    ///
    /// # Errors
    /// When there is no such read model, or it cannot be done.
    pub async fn roll_back(&self, name: &str) -> Result<(), RebuildError> {
        let (database, projector) = (self.database.clone(), self.find(name)?);
        let stop = self.stop.child_token();
        let work = self.tasks.spawn(async move {
            let name = projector.name();
            match replay::roll_back(&database, &projector, &stop).await {
                Ok(number) => {
                    tracing::info!(projector = name, number, "rolled back");
                    Ok(())
                }
                Err(error) => {
                    tracing::warn!(projector = name, %error, "the rollback came to nothing");
                    Err(error)
                }
            }
        });
        work.await.unwrap_or_else(|error| Err(RebuildError::Panicked(error.to_string())))
    }

    /// For somebody who watches: what there is to be heard.
    pub fn news(&self) -> News {
        News { progress: self.progress.subscribe(), checkpoints: self.checkpoints.clone() }
    }

    /// How everything stands.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn status(&self) -> Result<Status, DatabaseError> {
        self.database.check()?;
        let asking = async {
            let mut connection = self.database.pool.acquire().await?;
            projections::status::status(&mut connection).await
        };
        self.database.ask(asking).await
    }

    /// Finds a projector.
    ///
    /// # Errors
    /// [`RebuildError::Unknown`].
    pub fn find(&self, name: &str) -> Result<Arc<dyn Projector>, RebuildError> {
        Ok(replay::find(self.projectors.clone(), &[name.to_owned()])?.remove(0))
    }

    /// Checks the log, the read models and the vectors every day at this time of the machine's clock, until the server stops.
    pub async fn verify_daily(self, at: NaiveTime, witness: Witness, engine: Arc<dyn Engine>) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(until(at, Local::now().time())) => {}
            }
            let options = VerifyOptions {
                projectors: self.projectors.clone(),
                engine: Some(engine.clone()),
                effort: Effort::polite(),
                witness: witness.clone(),
                stop: self.stop.child_token(),
            };
            match replay::verify(&self.database, options, |_| ()).await {
                Ok(report) if report.passed => {
                    tracing::info!(
                        position = report.position,
                        "the daily check found everything in order"
                    );
                }
                Ok(report) => tracing::error!(
                    position = report.position,
                    "the daily check found something wrong: `crm status --json` has it"
                ),
                // Another server on the same database does it.
                Err(VerifyError::Running) => {}
                Err(error) => tracing::warn!(%error, "the daily check came to nothing"),
            }
        }
    }

    /// Runs something that [`Rebuilds::stop`] waits for.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// All projectors.
    pub fn projectors(&self) -> &[Arc<dyn Projector>] {
        &self.projectors
    }

    /// Cancelled when the server stops.
    pub fn stop_token(&self) -> &CancellationToken {
        &self.stop
    }

    /// Sends those away who watch.
    pub fn dismiss_watchers(&self) {
        self.dismissed.cancel();
    }

    /// Cancelled when those who watch should go.
    pub fn dismissal(&self) -> &CancellationToken {
        &self.dismissed
    }

    /// Calls off what is running, and waits until it has stopped.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Builds what only another version of a projector has filled. Until it is there, the old tables go on serving.
    async fn renew(self) {
        loop {
            match self.outdated().await {
                Ok(outdated) if outdated.is_empty() => return,
                Ok(outdated) => {
                    for projector in outdated {
                        self.renew_one(projector).await;
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
    }

    async fn renew_one(&self, projector: Arc<dyn Projector>) {
        let (name, version) = (projector.name(), projector.version());
        tracing::info!(
            projector = name,
            version,
            "its code has changed: building the read model anew"
        );
        let holder =
            format!("a server with version {version} of it, process {}", std::process::id());
        let stop = self.stop.child_token();
        let renewed = match Rebuild::admit(&self.database, vec![projector], &holder, stop).await {
            Ok(rebuild) => {
                let progress = self.progress.clone();
                rebuild.run(move |_| progress.send_modify(|times| *times += 1)).await
            }
            Err(error) => Err(error),
        };
        match renewed {
            Ok(()) => tracing::info!(projector = name, version, "the new read model is live"),
            // Another process of the same release is at it.
            Err(RebuildError::Held { .. } | RebuildError::Taken(_) | RebuildError::Cancelled) => {}
            Err(error) => {
                tracing::error!(projector = name, %error, "the old read model goes on serving")
            }
        }
    }

    async fn outdated(&self) -> Result<Vec<Arc<dyn Projector>>, sqlx::Error> {
        let mut connection = self.database.pool.acquire().await?;
        let all = generation::all(&mut connection).await?;
        let is_outdated = |projector: &&Arc<dyn Projector>| {
            generation::served(&all, &***projector)
                .is_some_and(|generation| generation.version < projector.version())
        };
        Ok(self.projectors.iter().filter(is_outdated).cloned().collect())
    }
}

/// What those who watch read models hear.
pub struct News {
    progress: watch::Receiver<u64>,
    checkpoints: watch::Receiver<Checkpoints>,
}

impl News {
    /// Waits until a read model may stand otherwise than it did, but lets what comes quickly come together.
    pub async fn next(&mut self) {
        tokio::time::sleep(LOOK).await;
        tokio::select! {
            _ = self.progress.changed() => {}
            _ = self.checkpoints.changed() => {}
            () = tokio::time::sleep(UNHEARD) => {}
        }
    }
}

/// How long it is from one time of day to the next other; a whole day if they are the same.
fn until(at: NaiveTime, now: NaiveTime) -> Duration {
    const DAY: i64 = 24 * 60 * 60 * 1000;
    let wait = (at - now).num_milliseconds().rem_euclid(DAY);
    Duration::from_millis(if wait == 0 { DAY } else { wait }.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_check_is_today_or_tomorrow() {
        let check = |at: &str, now: &str, minutes: u64| {
            let time = |text: &str| NaiveTime::parse_from_str(text, "%H:%M").unwrap();
            assert_eq!(until(time(at), time(now)), Duration::from_secs(60 * minutes), "{at} {now}");
        };
        check("03:00", "02:59", 1);
        check("03:00", "03:01", 24 * 60 - 1);
        check("03:00", "03:00", 24 * 60);
    }
}
