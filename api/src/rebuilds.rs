//! Rebuilds that run in the server: those that somebody asks for, and those that a new release needs.

use std::sync::Arc;
use std::time::Duration;

use projections::database::Database;
use projections::generation;
use projections::projector::Projector;
use replay::{Rebuild, RebuildError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long to wait before looking again whether a new release's read models are there.
const AGAIN: Duration = Duration::from_secs(2);

/// Starts rebuilds, and stops them when the server stops. Clones share them.
#[derive(Clone)]
pub struct Rebuilds {
    /// Where the read models are.
    pub database: Database,
    projectors: Vec<Arc<dyn Projector>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Rebuilds {
    /// For these projectors. Read models that only another version of a projector has filled are rebuilt at once.
    pub fn start(database: Database, projectors: Vec<Arc<dyn Projector>>) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let rebuilds = Self { database, projectors, tasks, stop };
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
        // One worker, so that the server's other threads are there for its requests.
        let rebuild =
            Rebuild::admit(&self.database, projectors, &holder, stop).await?.with_workers(1);
        let name = name.to_owned();
        self.tasks.spawn(async move {
            match rebuild.run(|_| ()).await {
                Ok(()) => tracing::info!(projector = name, "rebuilt"),
                Err(error) => {
                    tracing::warn!(projector = name, %error, "the rebuild came to nothing")
                }
            }
        });
        Ok(())
    }

    /// Finds a projector.
    ///
    /// # Errors
    /// [`RebuildError::Unknown`].
    pub fn find(&self, name: &str) -> Result<Arc<dyn Projector>, RebuildError> {
        Ok(replay::find(self.projectors.clone(), &[name.to_owned()])?.remove(0))
    }

    /// Resolves when the server stops.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
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
            Ok(rebuild) => rebuild.run(|_| ()).await,
            Err(error) => Err(error),
        };
        match renewed {
            Ok(()) => tracing::info!(projector = name, version, "the new read model is live"),
            // Another process of the same release is at it.
            Err(RebuildError::Held { .. } | RebuildError::Cancelled) => {}
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
