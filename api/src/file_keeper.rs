//! What a server does about its files by itself: it tries whether any can be stored, and removes those that nothing names. Whoever
//! asks how crm is hears what has come of it, and not only the log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use projections::database::Database;
use projections::files::{DOCUMENTS, FileError, FileTrouble, Files, RECORDINGS};
use projections::seal::Trust;
use projections::status::FileStatus;
use replay::garbage::{self, Garbage, GarbageError, Standing};
use tokio::time::Instant;

/// How often to try whether files can be stored, and how often while they cannot.
const LOOK: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(10);

/// How long whoever only looks waits for a store that is silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often to remove what nothing names, and to see whether there are files by now of which somebody must be the owner.
const DAY: Duration = Duration::from_secs(24 * 3600);
const CLAIM: Duration = Duration::from_secs(60);

/// Looks after the files of a server. Clones share it.
#[derive(Clone, Debug)]
pub struct FileKeeper {
    database: Database,
    files: Files,
    trust: Trust,
    /// Why this database does not remove what nothing names.
    hindrance: Arc<Mutex<Option<GarbageError>>>,
}

impl FileKeeper {
    /// Of these files of this database.
    pub fn new(database: Database, files: Files, trust: Trust) -> Self {
        Self { database, files: files.with_patience(PATIENCE), trust, hindrance: Arc::default() }
    }

    /// How the files stood when somebody looked last, for those who only use crm.
    pub fn status(&self) -> FileStatus {
        let hindrance = self.hindrance.lock().unwrap_or_else(PoisonError::into_inner);
        let garbage = hindrance.as_ref().map(|error| error.in_short().to_owned());
        let troubles = self.files.troubles().into_iter().map(FileTrouble::in_plain_words);
        FileStatus { troubles: troubles.collect(), garbage }
    }

    /// Looks now and then. Never ends.
    pub async fn watch(self) {
        let mut known = Vec::new();
        loop {
            self.look().await;
            let now = self.files.troubles();
            tell(&known, &now);
            known = now;
            self.pause().await;
        }
    }

    /// Waits until it is time to look again, which is sooner where somebody's file was refused.
    async fn pause(&self) {
        let since = Instant::now();
        while since.elapsed() < LOOK {
            tokio::time::sleep(AGAIN).await;
            if !self.files.troubles().is_empty() {
                return;
            }
        }
    }

    /// Looks how the files stand.
    pub async fn look(&self) {
        self.files.probe().await;
        match garbage::standing(&self.database, &self.files, &self.trust).await {
            Ok(standing) => self.note(standing),
            // Of files that are away, or a database that is, others tell.
            Err(error) => tracing::debug!(%error, "nobody knows whose the files are"),
        }
    }

    fn note(&self, standing: Standing) {
        let mut known = self.hindrance.lock().unwrap_or_else(PoisonError::into_inner);
        match standing {
            Standing::Hindered(error) => *known = Some(error),
            Standing::Owner => {
                _ = known.take_if(|known| !matches!(known, GarbageError::Unreadable(_)));
            }
            Standing::Nobody => {
                let is_over = |known: &GarbageError| {
                    matches!(known, GarbageError::Others { .. } | GarbageError::Doubtful(_))
                };
                _ = known.take_if(|known| is_over(known));
            }
        }
    }

    /// Removes every day what nothing names, once it is known whose the files are.
    pub async fn collect_garbage(self) {
        let Self { database, files, trust, .. } = &self;
        loop {
            match garbage::claim(database, files, trust).await {
                Ok(true) => break,
                Err(error) if error.is_lasting() => {
                    tracing::warn!(%error, "files that nothing names will not be removed");
                    self.note(Standing::Hindered(error));
                    break;
                }
                Ok(false) | Err(_) => {}
            }
            tokio::time::sleep(CLAIM).await;
        }
        // Not at once: whoever starts a server often does not want the whole log read as often.
        let mut daily = tokio::time::interval_at(Instant::now() + DAY / 24, DAY);
        loop {
            daily.tick().await;
            match garbage::collect(database, files, trust, garbage::GRACE, false).await {
                Ok(found) => {
                    *self.hindrance.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    if found != Garbage::default() {
                        tracing::info!(?found, "files that nothing names are removed");
                    }
                }
                Err(GarbageError::Running) => {}
                Err(error) => {
                    tracing::warn!(%error, "files that nothing names are not removed; the next day tries again");
                    if error.is_lasting() {
                        self.note(Standing::Hindered(error));
                    }
                }
            }
        }
    }
}

/// Says what has changed since.
fn tell(before: &[FileTrouble], now: &[FileTrouble]) {
    let lacks = |troubles: &[FileTrouble], of: &FileTrouble| {
        troubles.iter().all(|trouble| trouble.place != of.place)
    };
    for trouble in now.iter().filter(|trouble| lacks(before, trouble)) {
        tracing::error!("{trouble}; crm tries again");
    }
    for trouble in before.iter().filter(|trouble| lacks(now, trouble)) {
        tracing::info!("{} can be stored again", trouble.place);
    }
}

/// How the files stand, for a process that asks once.
///
/// # Errors
/// When the database does not answer.
pub async fn look_once(
    database: &Database,
    files: &Files,
    trust: &Trust,
) -> Result<FileStatus, GarbageError> {
    const UNOWNED: &str = "the files have no owner yet. A running `crm serve` makes its database the owner within a minute if \
        that names most of them; where it does not, `crm files gc --dry-run` says why";
    let files = files.with_patience(PATIENCE);
    files.probe().await;
    let garbage = match garbage::standing(database, &files, trust).await {
        Ok(Standing::Owner) => None,
        Ok(Standing::Hindered(error)) => Some(error.to_string()),
        Ok(Standing::Nobody) => {
            is_any(&files).await.unwrap_or_default().then(|| UNOWNED.to_owned())
        }
        // That files are away is told by where none can be stored.
        Err(GarbageError::Files(_)) => None,
        Err(error) => return Err(error),
    };
    Ok(FileStatus { troubles: files.troubles(), garbage })
}

/// Whether there is any file that could be garbage one day.
async fn is_any(files: &Files) -> Result<bool, FileError> {
    for place in [DOCUMENTS, RECORDINGS] {
        if files.store().list(place).await?.next().await.transpose()?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
