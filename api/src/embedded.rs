//! The embedded Postgres: a cluster of our own under the data folder, so that `crm` runs whole on one laptop with nothing
//! else to set up.
//!
//! All `crm` processes on one data folder share one server. Whoever comes first starts it, the last one to leave stops it,
//! and a process that is killed leaves it running for the next one to attach to. Three things carry this:
//!
//! - `postgres.lock`: an exclusive `flock` around every check, creation, start and stop;
//! - `postgres.users`: a shared `flock` for as long as a process uses the cluster, dropped by the kernel if it is killed;
//! - a real connection as the proof that the server runs. `postmaster.pid` alone proves nothing after a crash.
//!
//! The server never listens on TCP. Its only door is a Unix socket in a folder of mode 0700 that belongs to the user it
//! runs as, which is what makes passwordless (`trust`) connections safe. A Unix socket's path may not be longer than about
//! 100 bytes; where the data folder's path is too long, the socket lies in `/tmp/crm-<hash of the data folder>` instead.
//! That name is the same for every process, whatever its environment.
//!
//! Postgres refuses to run as root, so root runs it as an unprivileged user to whom the cluster folder belongs.

mod binaries;
mod place;
mod server;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Connection};
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use self::place::{Place, open_lock};

/// The oldest major version of Postgres that the schema works with.
const MINIMUM_MAJOR: u32 = 14;
/// Part of the socket's file name; nothing listens on a TCP port of this number.
const PORT: u16 = 5432;
/// The superuser that `initdb` makes.
const USER: &str = "crm";
/// The database that every cluster has.
const DATABASE: &str = "crm";
/// How long a server that starts may be silent. One that says that it is starting, as it does while it recovers from a crash,
/// is waited for.
const START_LIMIT: Duration = Duration::from_secs(60);
/// A stop writes everything out that is still in memory only.
const STOP_LIMIT: Duration = Duration::from_secs(120);
/// Another process may be creating, starting or stopping the cluster: longer than each of them.
const LOCK_LIMIT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(30);
/// Each question that comes too early is a line in the server's log.
const SLOW_POLL: Duration = Duration::from_millis(300);
/// After how long, and then how often, whoever waits is told what for.
const NEWS: Duration = Duration::from_secs(10);

/// Why the embedded Postgres cannot be used. Every sentence says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// A file or folder could not be read or written.
    #[error("cannot {action} `{path}`: {source}")]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The data folder is none, or not for this user.
    #[error(
        "cannot use `{folder}` as the data folder: {source}; set CRM_DATA_DIR to a folder that the user who runs crm may \
         write to, or make it one"
    )]
    DataDir {
        /// The data folder.
        folder: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// There are no Postgres binaries on this machine.
    #[error(
        "no Postgres was found (looked in {looked_in}): install it with `make setup` or `apt-get install postgresql`, \
         name its folder of binaries in CRM_POSTGRES_BIN, or set DATABASE_URL to use a server that you have"
    )]
    NoPostgres {
        /// The folders that were searched, comma separated.
        looked_in: String,
    },
    /// CRM_POSTGRES_BIN names a folder without usable binaries.
    #[error(
        "CRM_POSTGRES_BIN is `{folder}`, but `initdb` and `postgres` in it cannot be run{by}: \
         name the folder that holds both, or leave it unset to search the usual places"
    )]
    UnusableBinaries {
        /// The folder that was named.
        folder: PathBuf,
        /// " by user …" when root runs Postgres as somebody else, otherwise empty.
        by: String,
    },
    /// All Postgres binaries found are too old.
    #[error(
        "Postgres {found} is too old: install version {MINIMUM_MAJOR} or newer, or set DATABASE_URL"
    )]
    TooOld {
        /// The major versions found, comma separated.
        found: String,
    },
    /// The existing cluster was made by a major version that is not installed.
    #[error(
        "the data in `{folder}` was made by Postgres {cluster}, but only Postgres {found} was found: install version \
         {cluster} (`apt-get install postgresql-{cluster}`), or dump the data with version {cluster}, move the folder \
         away and restore the dump into the new cluster"
    )]
    WrongVersion {
        /// The cluster's folder.
        folder: PathBuf,
        /// The major version of the cluster.
        cluster: u32,
        /// The major versions found, comma separated.
        found: String,
    },
    /// As root: there is no unprivileged user to run Postgres.
    #[error(
        "Postgres does not run as root, and this machine has neither a user `postgres` nor `nobody` to run it: \
         run crm as an ordinary user, or set DATABASE_URL"
    )]
    NoAccount,
    /// As root: the unprivileged user cannot reach the cluster.
    #[error(
        "Postgres does not run as root, so it runs as user {user}, who may not enter the folder `{folder}`: \
         choose another data folder with CRM_DATA_DIR (such as /var/lib/crm), or allow it with `chmod o+x {folder}`"
    )]
    NotTraversable {
        /// The outermost folder that shuts the user out.
        folder: PathBuf,
        /// Name of the user, or its number.
        user: String,
    },
    /// The cluster belongs to another user.
    #[error(
        "the cluster in `{folder}` belongs to the user with number {owner}: run crm as that user, \
         or choose another data folder with CRM_DATA_DIR"
    )]
    NotOwner {
        /// The cluster's folder.
        folder: PathBuf,
        /// The owner's user id.
        owner: u32,
    },
    /// Something else lies where the cluster should be.
    #[error(
        "`{folder}` is not empty and holds no Postgres cluster (there is no PG_VERSION in it): move it away, \
         or choose another data folder with CRM_DATA_DIR"
    )]
    NotACluster {
        /// The cluster's folder.
        folder: PathBuf,
    },
    /// The folder for the socket cannot be trusted.
    #[error("the folder `{folder}` for Postgres's socket {reason}: remove it, then start again")]
    SocketFolder {
        /// The socket's folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// `initdb` failed.
    #[error("Postgres could not make a new cluster in `{folder}`: {output}")]
    InitFailed {
        /// The cluster's folder.
        folder: PathBuf,
        /// What `initdb` said.
        output: String,
    },
    /// The server ended, or did not answer in time, while starting.
    #[error("Postgres {what}; the whole log is in `{log}`, its last lines are:\n{tail}")]
    StartFailed {
        /// What happened.
        what: String,
        /// The log file.
        log: PathBuf,
        /// The last lines that this start wrote.
        tail: String,
    },
    /// The server did not stop in time. It loses nothing: it goes on running.
    #[error(
        "Postgres (process {pid}) has not stopped after {} seconds: look into `{log}`, \
         then start and stop crm once more",
        STOP_LIMIT.as_secs()
    )]
    StopTimeout {
        /// Process id of the server.
        pid: i32,
        /// The log file.
        log: PathBuf,
    },
    /// Another process holds the lock for too long.
    #[error(
        "another crm process has been starting or stopping Postgres for {} seconds (it holds `{lock}`): \
         end that process, then start again",
        LOCK_LIMIT.as_secs()
    )]
    Busy {
        /// The lock file.
        lock: PathBuf,
    },
    /// The server runs, but answers with an error.
    #[error("the embedded Postgres answers with an error: {0}")]
    Database(#[from] sqlx::Error),
}

type Result<T> = std::result::Result<T, EmbeddedError>;

/// A Postgres cluster of our own under the data folder, shared by all `crm` processes that use the folder.
///
/// Dropping it without [`Cluster::close`] leaves the server running, as a killed process does.
#[derive(Debug)]
pub struct Cluster {
    place: Place,
    configured: Option<PathBuf>,
    /// Holds the shared lock on `postgres.users`.
    membership: File,
}

impl Cluster {
    /// Finds the binaries, creates the cluster if there is none, starts it or attaches to the running one, makes sure
    /// database `crm` exists. The binaries are those in `CRM_POSTGRES_BIN`, if the environment has it.
    ///
    /// Waits for a start as long as the server says that it is starting, but 60 s at most for it to say so, and, should
    /// another process be busy with the cluster, up to 180 s for that.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub async fn open(data_dir: &Path) -> Result<Cluster> {
        let configured = std::env::var_os("CRM_POSTGRES_BIN").filter(|folder| !folder.is_empty());
        Self::open_with(data_dir, configured.map(PathBuf::from)).await
    }

    /// [`Cluster::open`] with the folder of the Postgres binaries given by the caller; `None` searches the usual places.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub async fn open_with(data_dir: &Path, binaries: Option<PathBuf>) -> Result<Cluster> {
        let place = Place::prepare(data_dir)?;
        let turn = place.take_turn().await?;
        let membership = open_lock(&place.users_file())?;
        flock(&membership, FlockOperation::LockShared)
            .map_err(failed("lock", &place.users_file()))?;
        let cluster = Cluster { place, configured: binaries, membership };
        cluster.ensure_running().await?;
        if let Err(error) = cluster.ensure_database().await {
            drop(turn);
            if let Err(error) = cluster.close().await {
                tracing::warn!(%error, "the embedded Postgres was not stopped");
            }
            return Err(error);
        }
        Ok(cluster)
    }

    /// How to connect to database `database`: by the Unix socket, as the cluster's superuser, without a password.
    pub fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.place.socket_dir)
            .port(PORT)
            .username(USER)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }

    /// Starts the server again if it has died (called by a supervisor when connections fail). Cheap when it is alive.
    ///
    /// # Errors
    /// As for [`Cluster::open`].
    pub async fn revive(&self) -> Result<()> {
        if self.probe().await? == Answer::Up {
            return Ok(());
        }
        let _turn = self.place.take_turn().await?;
        self.ensure_running().await
    }

    /// Leaves the cluster; the last process to leave stops the server (fast shutdown), waiting for it up to 120 s.
    ///
    /// # Errors
    /// [`EmbeddedError::StopTimeout`] if the server does not stop, [`EmbeddedError::Busy`] if another process is busy with
    /// it; either way it goes on running and nothing is lost.
    pub async fn close(self) -> Result<()> {
        let _turn = self.place.take_turn().await?;
        let path = self.place.users_file();
        // Unlocked by name rather than by dropping the file: a child that another thread is just forking shares the file
        // until it runs its own program, and would keep the lock for that moment.
        flock(&self.membership, FlockOperation::Unlock).map_err(failed("unlock", &path))?;
        match flock(&self.membership, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => self.place.stop().await,
            Err(Errno::WOULDBLOCK) => Ok(()),
            Err(error) => Err(failed("lock", &path)(error)),
        }
    }

    /// Asks the server itself whether it is there.
    async fn probe(&self) -> Result<Answer> {
        let options = self.options("postgres");
        match timeout(Duration::from_secs(5), PgConnection::connect_with(&options)).await {
            Ok(Ok(connection)) => {
                // It answered, which is all that was asked: how the goodbye goes is of no interest.
                let _ = connection.close().await;
                Ok(Answer::Up)
            }
            Ok(Err(sqlx::Error::Io(_))) => Ok(Answer::Down),
            Ok(Err(sqlx::Error::Database(error))) => match error.code().as_deref() {
                // "The database system is starting up", or shutting down.
                Some("57P03") => Ok(Answer::NotYet),
                // Too many connections: it is busy, not dead.
                Some("53300") => Ok(Answer::Up),
                _ => Err(sqlx::Error::Database(error).into()),
            },
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Ok(Answer::Silent),
        }
    }

    /// Attaches to the running server or starts it, creating the cluster first if need be. Needs the turn.
    async fn ensure_running(&self) -> Result<()> {
        if self.probe().await? == Answer::Up {
            return Ok(());
        }
        let version = self.place.version()?;
        let binaries = self.place.find_binaries(self.configured.as_deref(), version).await?;
        if version.is_none() {
            self.place.initialise(&binaries).await?;
        }
        self.start(&binaries, START_LIMIT).await
    }

    /// Starts the server and waits until it takes connections.
    async fn start(&self, binaries: &Path, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        let (mut deadline, mut news) = (begun + limit, begun + NEWS);
        let log_start = self.place.rotate_log()?;
        let mut started: Option<Child> = None;
        loop {
            match self.probe().await? {
                Answer::Up => return Ok(()),
                Answer::NotYet => deadline = Instant::now() + limit,
                Answer::Silent => {}
                Answer::Down => match started.as_mut().map(Child::try_wait) {
                    // A crm that was killed since then may have started it a moment ago: then it only needs time.
                    None if self.place.postmaster().is_some() => {}
                    None => started = Some(self.place.launch(binaries)?),
                    Some(Ok(None)) => {}
                    Some(_) => {
                        let tail = self.place.log_tail(log_start);
                        if !may_pass(&tail) && self.place.postmaster().is_none() {
                            return Err(self.start_failed("ended while starting".into(), tail));
                        }
                        started = None;
                        sleep(POLL * 10).await;
                    }
                },
            }
            if Instant::now() > deadline {
                let what = format!("has not answered for {} seconds", limit.as_secs());
                return Err(self.start_failed(what, self.place.log_tail(log_start)));
            }
            if Instant::now() > news {
                news = Instant::now() + NEWS;
                let (seconds, log) = (begun.elapsed().as_secs(), self.place.log_file());
                tracing::info!(
                    "Postgres has been starting for {seconds} s, as it does after a crash; what it is at stands in {}",
                    log.display()
                );
            }
            sleep(if begun.elapsed() < SLOW_POLL * 10 { POLL } else { SLOW_POLL }).await;
        }
    }

    fn start_failed(&self, what: String, tail: String) -> EmbeddedError {
        EmbeddedError::StartFailed { what, log: self.place.log_file(), tail }
    }

    /// `CREATE DATABASE` knows no `IF NOT EXISTS`; the turn makes the question and the answer one step.
    async fn ensure_database(&self) -> Result<()> {
        let mut connection = self.options("postgres").connect().await?;
        let exists: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
                .bind(DATABASE)
                .fetch_one(&mut connection)
                .await?;
        if !exists {
            sqlx::query(&format!("CREATE DATABASE {DATABASE}")).execute(&mut connection).await?;
        }
        connection.close().await?;
        Ok(())
    }
}

/// What a server answers to a connection.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Up,
    NotYet,
    Silent,
    Down,
}

/// After a crash of the server its last processes may need a moment to end; until then Postgres refuses to start.
fn may_pass(log_tail: &str) -> bool {
    log_tail.contains("pre-existing shared memory block")
}

/// Turns a system error into one that names what was tried on which file.
fn failed<E: Into<std::io::Error>>(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(E) -> EmbeddedError + use<E> {
    let path = path.to_path_buf();
    move |error| EmbeddedError::File { action, path, source: error.into() }
}
