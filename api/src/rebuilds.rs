//! Rebuilds that run in the server: those that somebody asks for, and those that a new release needs.

mod daily;
mod renewal;

use std::sync::Arc;
use std::time::Duration;

use projections::database::{Database, DatabaseError};
use projections::follow::Checkpoints;
use projections::projector::Projector;
use projections::status::{ProjectionStatus, RebuildStatus, Status};
use replay::{Effort, Rebuild, RebuildError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use daily::{Daily, SOON};

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
    /// Cancelled when no read model is left that is built anew by itself.
    renewed: CancellationToken,
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
        let renewed = CancellationToken::new();
        let rebuilds =
            Self { database, projectors, tasks, progress, checkpoints, stop, dismissed, renewed };
        rebuilds.tasks.spawn(rebuilds.clone().renew());
        rebuilds
    }

    /// Begins to rebuild a read model; it goes on by itself.
    ///
    /// # Errors
    /// When there is no such read model, or it is being rebuilt already.
    pub async fn begin(&self, name: &str) -> Result<(), RebuildError> {
        let rebuild = self.admit(self.find(name)?, "a server").await?;
        let (name, teller) = (name.to_owned(), self.teller());
        self.tasks.spawn(async move {
            match rebuild.run(teller).await {
                Ok(parked) => tracing::info!(projector = name, parked = parked.len(), "rebuilt"),
                Err(error) => {
                    tracing::warn!(projector = name, %error, "the rebuild came to nothing")
                }
            }
        });
        Ok(())
    }

    /// A rebuild that keeps out of the way of requests.
    async fn admit(
        &self,
        projector: Arc<dyn Projector>,
        holder: &str,
    ) -> Result<Rebuild, RebuildError> {
        let stop = self.stop.child_token();
        let rebuild = Rebuild::admit(&self.database, vec![projector], holder, stop).await?;
        Ok(rebuild.with_effort(Effort::polite()))
    }

    /// Tells those who watch that a rebuild in this process has got further.
    fn teller(&self) -> impl FnMut(&[RebuildStatus]) + Send + 'static {
        let progress = self.progress.clone();
        move |_| progress.send_modify(|times| *times += 1)
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
            match replay::roll_back(&database, std::slice::from_ref(&projector), &stop).await {
                Ok(numbers) => {
                    tracing::info!(projector = name, ?numbers, "rolled back");
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

    /// How one read model stands; `None` if there is none such.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn status_of(&self, name: &str) -> Result<Option<ProjectionStatus>, DatabaseError> {
        self.database.check()?;
        let asking = async {
            let mut connection = self.database.pool.acquire().await?;
            projections::status::one(&mut connection, name).await
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
