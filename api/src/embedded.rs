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

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, lchown,
};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, geteuid, kill_process, test_kill_process};
use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Connection};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// The oldest major version of Postgres that the schema works with.
const MINIMUM_MAJOR: u32 = 14;
/// Part of the socket's file name; nothing listens on a TCP port of this number.
const PORT: u16 = 5432;
/// The superuser that `initdb` makes.
const USER: &str = "crm";
/// The database that every cluster has.
const DATABASE: &str = "crm";
/// A start may include the recovery from a crash.
const START_LIMIT: Duration = Duration::from_secs(60);
/// A stop writes everything out that is still in memory only.
const STOP_LIMIT: Duration = Duration::from_secs(120);
/// Another process may be creating, starting or stopping the cluster: longer than each of them.
const LOCK_LIMIT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(30);
/// Beyond this the system refuses a Unix socket's path (104 bytes on macOS, 108 on Linux).
const SOCKET_PATH_LIMIT: usize = 100;
const LOG_LIMIT: u64 = 10 * 1024 * 1024;

/// Appended to `postgresql.conf` of a new cluster. Durability (`fsync`, `synchronous_commit`) stays at Postgres's safe defaults.
const LAPTOP_SETTINGS: &str = "
# From here on written by crm when it made this cluster, and not touched again: change it as you like.
shared_buffers = 128MB
max_connections = 60
max_wal_size = 1GB
jit = off
";

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
    /// Waits up to 60 s for a start and, should another process be busy with the cluster, up to 180 s for that.
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
            .application_name("crm")
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
            Err(_) => Ok(Answer::NotYet),
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
        self.start(&binaries).await
    }

    /// Starts the server and waits until it takes connections.
    async fn start(&self, binaries: &Path) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        let log_start = self.place.rotate_log()?;
        let mut started: Option<Child> = None;
        loop {
            match self.probe().await? {
                Answer::Up => return Ok(()),
                Answer::NotYet => {}
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
                let what = format!("has not answered for {} seconds", START_LIMIT.as_secs());
                return Err(self.start_failed(what, self.place.log_tail(log_start)));
            }
            sleep(POLL).await;
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
    Down,
}

/// After a crash of the server its last processes may need a moment to end; until then Postgres refuses to start.
fn may_pass(log_tail: &str) -> bool {
    log_tail.contains("pre-existing shared memory block")
}

/// The user that runs Postgres when we are root.
#[derive(Debug, Clone)]
struct Account {
    uid: u32,
    gid: u32,
    name: String,
}

/// Where a cluster's files are, and who runs its server.
#[derive(Debug)]
struct Place {
    data_dir: PathBuf,
    folder: PathBuf,
    socket_dir: PathBuf,
    /// `None` when we run Postgres as ourselves.
    account: Option<Account>,
}

impl Place {
    /// Makes the folders and checks that the user who runs Postgres owns and reaches them.
    fn prepare(data_dir: &Path) -> Result<Place> {
        make_data_dir(data_dir)?;
        let data_dir = data_dir.canonicalize().map_err(failed("open", data_dir))?;
        let folder = data_dir.join("postgres");
        let account = if geteuid().is_root() { Some(account_for(&folder)?) } else { None };
        match &account {
            Some(account) => check_traversable(&data_dir, account)?,
            None => check_owner(&folder)?,
        }
        let place = Place { socket_dir: socket_dir(&data_dir), data_dir, folder, account };
        place.secure_socket_dir()?;
        Ok(place)
    }

    fn lock_file(&self) -> PathBuf {
        self.data_dir.join("postgres.lock")
    }

    fn users_file(&self) -> PathBuf {
        self.data_dir.join("postgres.users")
    }

    fn log_file(&self) -> PathBuf {
        self.data_dir.join("postgres.log")
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("postmaster.pid")
    }

    /// User id that the server runs as.
    fn uid(&self) -> u32 {
        self.account.as_ref().map_or_else(|| geteuid().as_raw(), |account| account.uid)
    }

    /// Waits for the exclusive lock; dropping the file gives it back.
    async fn take_turn(&self) -> Result<File> {
        let path = self.lock_file();
        let file = open_lock(&path)?;
        let deadline = Instant::now() + LOCK_LIMIT;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::WOULDBLOCK) if Instant::now() > deadline => {
                    return Err(EmbeddedError::Busy { lock: path });
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => sleep(POLL).await,
                Err(error) => return Err(failed("lock", &path)(error)),
            }
        }
    }

    /// Major version of the existing cluster; `None` if there is none yet.
    fn version(&self) -> Result<Option<u32>> {
        let path = self.folder.join("PG_VERSION");
        match fs::read_to_string(&path) {
            Ok(text) => match leading_number(&text) {
                Some(major) => Ok(Some(major)),
                None => Err(EmbeddedError::NotACluster { folder: self.folder.clone() }),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {
                match fs::read_dir(&self.folder).ok().and_then(|mut entries| entries.next()) {
                    Some(_) => Err(EmbeddedError::NotACluster { folder: self.folder.clone() }),
                    None => Ok(None),
                }
            }
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    /// The folder of binaries to use: the first one that fits the cluster, or, for a new one, the first not too old.
    async fn find_binaries(
        &self,
        configured: Option<&Path>,
        cluster: Option<u32>,
    ) -> Result<PathBuf> {
        let candidates = match configured {
            Some(folder) => vec![folder.to_path_buf()],
            None => candidates(&self.data_dir),
        };
        let mut found = Vec::new();
        for folder in &candidates {
            let Some(major) = self.major_version(folder).await else { continue };
            if cluster.map_or(major >= MINIMUM_MAJOR, |wanted| major == wanted) {
                return Ok(folder.clone());
            }
            if !found.contains(&major.to_string()) {
                found.push(major.to_string());
            }
        }
        let found = found.join(", ");
        Err(match (found.is_empty(), configured, cluster) {
            (true, Some(folder), _) => EmbeddedError::UnusableBinaries {
                folder: folder.to_path_buf(),
                by: self
                    .account
                    .as_ref()
                    .map(|account| format!(" by user {}", account.name))
                    .unwrap_or_default(),
            },
            (true, None, _) => {
                let looked_in: Vec<_> =
                    candidates.iter().map(|folder| folder.display().to_string()).collect();
                EmbeddedError::NoPostgres { looked_in: looked_in.join(", ") }
            }
            (false, _, Some(cluster)) => {
                EmbeddedError::WrongVersion { folder: self.folder.clone(), cluster, found }
            }
            (false, _, None) => EmbeddedError::TooOld { found },
        })
    }

    /// Major version of the binaries in `folder`, asked as the user who is to run them; `None` if they do not run.
    async fn major_version(&self, folder: &Path) -> Option<u32> {
        let program = folder.join("postgres");
        if !program.is_file() || !folder.join("initdb").is_file() {
            return None;
        }
        let output = self.command(&program, Path::new("/")).arg("--version").output().await.ok()?;
        // "postgres (PostgreSQL) 15.18 (Debian …)"
        leading_number(String::from_utf8_lossy(&output.stdout).split_whitespace().nth(2)?)
    }

    /// A command as the user who runs Postgres. Its environment is empty but for what finding libraries needs, so that
    /// our secrets do not end up there, and the caller's `PG…` variables cannot bend it.
    fn command(&self, program: &Path, working_folder: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").current_dir(working_folder).stdin(Stdio::null());
        for name in ["PATH", "LD_LIBRARY_PATH", "TZ"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        // A Ctrl-C in the terminal goes to the whole process group and is meant for crm, which stops the server in order.
        command.process_group(0);
        if let Some(account) = &self.account {
            // Giving up root this way gives up root's supplementary groups as well.
            command.gid(account.gid).uid(account.uid);
        }
        command
    }

    /// Makes a new cluster beside its final place and renames it at the end, so that a kill in the middle leaves no half one.
    async fn initialise(&self, binaries: &Path) -> Result<()> {
        self.remove_leftovers();
        let nanos = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        // The name is new each time: an `initdb` that outlived a killed crm must not write into ours.
        let fresh = self.data_dir.join(format!("postgres.new-{nanos}"));
        self.make_private_dir(&fresh)?;
        let output = self
            .command(&binaries.join("initdb"), &fresh)
            .args([
                "--encoding=UTF8",
                "--locale=C",
                "--auth-local=trust",
                "--auth-host=reject",
                "--username",
                USER,
            ])
            .arg("--pgdata")
            .arg(&fresh)
            .kill_on_drop(true)
            .output()
            .await
            .map_err(failed("run initdb for", &fresh))?;
        if !output.status.success() {
            let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            self.remove_leftovers();
            return Err(EmbeddedError::InitFailed { folder: self.folder.clone(), output });
        }
        append_durably(&fresh.join("postgresql.conf"), LAPTOP_SETTINGS)?;
        fs::rename(&fresh, &self.folder).map_err(failed("create", &self.folder))?;
        sync_dir(&self.data_dir)
    }

    /// Removes what a killed process left of its `initdb`. What does not go now goes the next time; it is in nobody's way.
    fn remove_leftovers(&self) {
        let entries = fs::read_dir(&self.data_dir).into_iter().flatten().flatten();
        for entry in entries
            .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"postgres.new-"))
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }

    /// Makes a folder that only the user who runs Postgres may enter.
    fn make_private_dir(&self, folder: &Path) -> Result<()> {
        DirBuilder::new().mode(0o700).create(folder).map_err(failed("create", folder))?;
        match &self.account {
            Some(account) => chown(folder, Some(account.uid), Some(account.gid))
                .map_err(failed("change the owner of", folder)),
            None => Ok(()),
        }
    }

    /// Makes the socket's folder, or makes sure that nobody else can have put a server of theirs into it.
    fn secure_socket_dir(&self) -> Result<()> {
        let folder = &self.socket_dir;
        let untrusted =
            |reason| Err(EmbeddedError::SocketFolder { folder: folder.clone(), reason });
        let found = match fs::symlink_metadata(folder) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                match self.make_private_dir(folder) {
                    Err(EmbeddedError::File { source, .. })
                        if source.kind() == ErrorKind::AlreadyExists =>
                    {
                        fs::symlink_metadata(folder).map_err(failed("look at", folder))?
                    }
                    made => return made,
                }
            }
            Err(error) => return Err(failed("look at", folder)(error)),
        };
        if !found.is_dir() {
            return untrusted("is not a folder");
        }
        if found.uid() != self.uid() {
            return untrusted("belongs to another user");
        }
        if found.mode() & 0o077 != 0 {
            return untrusted("is open to other users");
        }
        Ok(())
    }

    /// Starts the server process and does not wait for it.
    fn launch(&self, binaries: &Path) -> Result<Child> {
        self.remove_stale_pid_files()?;
        let path = self.log_file();
        let log = open_log(&path)?;
        let errors = log.try_clone().map_err(failed("open", &path))?;
        let program = binaries.join("postgres");
        let mut socket_setting = OsString::from("unix_socket_directories=\"");
        socket_setting.push(&self.socket_dir);
        socket_setting.push("\"");
        let mut command = self.command(&program, &self.folder);
        command.arg("-D").arg(&self.folder).arg("-c").arg(socket_setting);
        for setting in [
            "listen_addresses=",
            "unix_socket_permissions=0700",
            "log_destination=stderr",
            "logging_collector=off",
        ] {
            command.args(["-c", setting]);
        }
        command.args(["-p", &PORT.to_string()]).stdout(log).stderr(errors);
        tracing::debug!(program = %program.display(), folder = %self.folder.display(), "starting Postgres");
        command.spawn().map_err(failed("run", &program))
    }

    /// Process id of the cluster's running server.
    fn postmaster(&self) -> Option<Pid> {
        let pid = pid_in(&self.pid_file())?;
        (self.holder(pid) == Holder::Ours).then_some(pid)
    }

    /// After a crash of the machine, the server's old process id may belong to anybody (in a container it does more often
    /// than not), and Postgres would take that process for a running server. Every other stale file it handles itself.
    fn remove_stale_pid_files(&self) -> Result<()> {
        for path in [self.pid_file(), self.socket_dir.join(format!(".s.PGSQL.{PORT}.lock"))] {
            let exists = |pid: &Pid| !matches!(test_kill_process(*pid), Err(Errno::SRCH));
            let holder = pid_in(&path).filter(exists).map(|pid| self.holder(pid));
            if holder == Some(Holder::Stranger) {
                fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Who the process `pid` is. One that has ended but was not yet waited for has no command line, hence is a stranger.
    fn holder(&self, pid: Pid) -> Holder {
        let arguments = command_line(pid);
        let folder = self.folder.as_os_str().as_encoded_bytes();
        let runs_here = |pid: Pid| {
            fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero()))
                .is_ok_and(|cwd| cwd == self.folder)
        };
        let program = arguments.first().map_or(&b""[..], |program| {
            program.rsplit(|byte| *byte == b'/').next().unwrap_or(program)
        });
        if !program.starts_with(b"postgres") {
            Holder::Stranger
        } else if arguments.iter().any(|argument| argument == folder) || runs_here(pid) {
            Holder::Ours
        } else {
            Holder::OtherPostgres
        }
    }

    /// Fast shutdown: open transactions are rolled back, everything committed is on disk. Needs the turn.
    async fn stop(&self) -> Result<()> {
        let Some(pid) = self.postmaster() else { return Ok(()) };
        match kill_process(pid, Signal::INT) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => return Err(failed("stop the server of", &self.folder)(error)),
        }
        let deadline = Instant::now() + STOP_LIMIT;
        while self.holder(pid) == Holder::Ours {
            if Instant::now() > deadline {
                return Err(EmbeddedError::StopTimeout {
                    pid: pid.as_raw_nonzero().get(),
                    log: self.log_file(),
                });
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Puts a long log aside (one old log is kept) and returns the length of the current one in bytes.
    fn rotate_log(&self) -> Result<u64> {
        let path = self.log_file();
        let length = fs::metadata(&path).map_or(0, |found| found.len());
        if length <= LOG_LIMIT {
            return Ok(length);
        }
        fs::rename(&path, path.with_extension("log.1")).map_err(failed("rename", &path))?;
        Ok(0)
    }

    /// The last lines of the log that were written after byte `from`.
    fn log_tail(&self, from: u64) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(self.log_file())?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(from.max(length.saturating_sub(4096)).min(length)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes =
            read().unwrap_or_else(|error| format!("(cannot be read: {error})").into_bytes());
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

/// Who holds the process id that `postmaster.pid` names.
#[derive(Debug, PartialEq, Eq)]
enum Holder {
    /// The server of this cluster.
    Ours,
    /// A process of another cluster, or one that we cannot tell from ours.
    OtherPostgres,
    /// Anything else, or nobody.
    Stranger,
}

/// The process id in the first line of one of Postgres's lock files.
fn pid_in(path: &Path) -> Option<Pid> {
    let text = fs::read_to_string(path).ok()?;
    // Negative for a Postgres in single-user mode.
    Pid::from_raw(text.lines().next()?.trim().parse::<i32>().ok()?.checked_abs()?)
}

/// The words of a process's command line; empty if there is no such process.
fn command_line(pid: Pid) -> Vec<Vec<u8>> {
    let pid = pid.as_raw_nonzero();
    if cfg!(target_os = "linux") {
        let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        return text.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    }
    let output = std::process::Command::new("ps")
        .args(["-ww", "-o", "command=", "-p", &pid.to_string()])
        .output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    text.split(u8::is_ascii_whitespace).map(<[u8]>::to_vec).collect()
}

/// The folder for the socket: in the data folder if its path is short and plain enough, otherwise in `/tmp`.
fn socket_dir(data_dir: &Path) -> PathBuf {
    let near = data_dir.join("postgres-socket");
    let length = near.as_os_str().len() + format!("/.s.PGSQL.{PORT}").len();
    if length <= SOCKET_PATH_LIMIT && near.to_str().is_some_and(|path| !path.contains('"')) {
        return near;
    }
    let hash = hex::encode(Sha256::digest(data_dir.as_os_str().as_encoded_bytes()));
    Path::new("/tmp").join(format!("crm-{}", &hash[..16]))
}

/// Makes the data folder if it is missing: closed to other users, except that root's may be passed through by the user
/// who runs Postgres.
fn make_data_dir(data_dir: &Path) -> Result<()> {
    if data_dir.is_dir() {
        return Ok(());
    }
    let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(data_dir)
        .map_err(failed("create", data_dir))?;
    // Once more by name, since the mode of a new folder is cut by the process's umask.
    fs::set_permissions(data_dir, Permissions::from_mode(mode))
        .map_err(failed("set the mode of", data_dir))
}

/// The user who runs Postgres for root: the owner of the cluster if there is one, otherwise `postgres` or `nobody`.
fn account_for(folder: &Path) -> Result<Account> {
    let owner = fs::symlink_metadata(folder).ok();
    if let Some(owner) = owner.as_ref().filter(|owner| owner.uid() != 0) {
        return Ok(Account { uid: owner.uid(), gid: owner.gid(), name: owner.uid().to_string() });
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let account = ["postgres", "nobody"].iter().find_map(|name| account_named(&users, name));
    let account = account.ok_or(EmbeddedError::NoAccount)?;
    if owner.is_some() {
        // A copy of a cluster that root made, from a backup say.
        chown_all(folder, &account)?;
    }
    Ok(account)
}

/// Finds `name` in the text of `/etc/passwd` (`name:password:uid:gid:…`).
fn account_named(users: &str, name: &str) -> Option<Account> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        (uid != 0).then(|| Account { uid, gid, name: name.to_owned() })
    })
}

fn chown_all(path: &Path, account: &Account) -> Result<()> {
    lchown(path, Some(account.uid), Some(account.gid))
        .map_err(failed("change the owner of", path))?;
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        for entry in fs::read_dir(path).map_err(failed("read", path))? {
            chown_all(&entry.map_err(failed("read", path))?.path(), account)?;
        }
    }
    Ok(())
}

/// Checks that `account` may pass through every folder down to the data folder.
fn check_traversable(data_dir: &Path, account: &Account) -> Result<()> {
    let ancestors: Vec<&Path> = data_dir.ancestors().collect();
    for folder in ancestors.into_iter().rev() {
        let found = fs::metadata(folder).map_err(failed("look at", folder))?;
        let needed = if found.uid() == account.uid {
            0o100
        } else if found.gid() == account.gid {
            0o010
        } else {
            0o001
        };
        if found.mode() & needed == 0 {
            return Err(EmbeddedError::NotTraversable {
                folder: folder.to_path_buf(),
                user: account.name.clone(),
            });
        }
    }
    Ok(())
}

/// Postgres insists on owning its cluster; better a clear word from us than its own.
fn check_owner(folder: &Path) -> Result<()> {
    match fs::symlink_metadata(folder) {
        Ok(found) if found.uid() != geteuid().as_raw() => {
            Err(EmbeddedError::NotOwner { folder: folder.to_path_buf(), owner: found.uid() })
        }
        _ => Ok(()),
    }
}

/// Folders that may hold `initdb` and `postgres`, best first.
fn candidates(data_dir: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| {
            std::env::split_paths(&path)
                .filter(|folder| folder.join("postgres").is_file())
                .collect()
        })
        .unwrap_or_default();
    for (parent, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/opt/homebrew/opt", "postgresql"),
        ("/usr/local/opt", "postgresql"),
    ] {
        folders.extend(newest_first(Path::new(parent), prefix));
    }
    folders.push(data_dir.join("postgresql/bin"));
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let share = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    folders.extend(share.map(|share| share.join("crm/postgresql/bin")));
    folders
}

/// The `bin` folders in those subfolders of `parent` whose names are `prefix` and a version.
fn newest_first(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version =
                leading_number(name.strip_prefix(prefix)?.trim_start_matches('@')).unwrap_or(0);
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, folder)| folder).collect()
}

/// The number that `text` begins with: the major version in "15.18", "17beta1", "15\n".
fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// A lock needs no right to write, so that a lock file made by another user serves as well.
fn open_lock(path: &Path) -> Result<File> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
        }
        opened => opened,
    }
    .map_err(failed("open", path))
}

fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(failed("open", path))
}

fn append_durably(path: &Path, text: &str) -> Result<()> {
    let append = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    append().map_err(failed("write", path))
}

/// Makes a rename in `folder` survive a crash of the machine.
fn sync_dir(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(failed("write", folder))
}

/// Turns a system error into one that names what was tried on which file.
fn failed<E: Into<std::io::Error>>(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(E) -> EmbeddedError + use<E> {
    let path = path.to_path_buf();
    move |error| EmbeddedError::File { action, path, source: error.into() }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A data folder of one test. On the way out it stops a server that a failed test left behind.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name = format!(
                "crm-embedded-{}-{}",
                std::process::id(),
                COUNT.fetch_add(1, Ordering::Relaxed)
            );
            // `/tmp` rather than $TMPDIR, which may be closed to the user who runs Postgres for root.
            Folder(Path::new("/tmp").join(name))
        }

        fn place(&self) -> Place {
            Place::prepare(&self.0).expect("a folder in /tmp serves")
        }

        fn postmaster(&self) -> Option<Pid> {
            self.place().postmaster()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            if let Some(pid) = Place::prepare(&self.0).ok().and_then(|place| place.postmaster()) {
                let _ = kill_process(pid, Signal::KILL);
            }
            let _ = fs::remove_dir_all(socket_dir(&self.0));
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    async fn ask(cluster: &Cluster, sql: &str) -> String {
        let mut connection =
            cluster.options("crm").connect().await.expect("the server takes connections");
        let answer = sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect(sql);
        connection.close().await.expect("the connection closes");
        answer
    }

    async fn tell(cluster: &Cluster, sql: &str) {
        let mut connection =
            cluster.options("crm").connect().await.expect("the server takes connections");
        sqlx::query(sql).execute(&mut connection).await.expect(sql);
    }

    #[tokio::test]
    async fn two_opens_share_one_server_and_the_last_to_leave_stops_it() {
        let folder = Folder::new();
        let (first, second) = tokio::join!(Cluster::open(&folder.0), Cluster::open(&folder.0));
        let (first, second) = (first.expect("the first opens"), second.expect("the second opens"));
        let started = "SELECT pg_postmaster_start_time()::text";
        assert_eq!(ask(&first, started).await, ask(&second, started).await);

        first.close().await.expect("the first leaves");
        assert_eq!(ask(&second, "SELECT 'still here'").await, "still here");
        second.close().await.expect("the second leaves");
        assert_eq!(folder.postmaster(), None);
        assert!(!folder.0.join("postgres/postmaster.pid").exists(), "it was stopped in order");
    }

    #[tokio::test]
    async fn data_survives_close_and_open() {
        let folder = Folder::new();
        let cluster = Cluster::open(&folder.0).await.expect("it opens");
        tell(&cluster, "CREATE TABLE kept AS SELECT 'a word' AS word").await;
        cluster.close().await.expect("it closes");

        let cluster = Cluster::open(&folder.0).await.expect("it opens again");
        assert_eq!(ask(&cluster, "SELECT word FROM kept").await, "a word");
        cluster.close().await.expect("it closes again");
    }

    #[tokio::test]
    async fn a_killed_server_is_revived_with_its_data_and_a_living_one_left_alone() {
        let folder = Folder::new();
        let cluster = Cluster::open(&folder.0).await.expect("it opens");
        tell(&cluster, "CREATE TABLE kept AS SELECT 'a word' AS word").await;
        let pid = folder.postmaster().expect("it runs");
        cluster.revive().await.expect("nothing is to be done");
        assert_eq!(folder.postmaster(), Some(pid));

        kill_process(pid, Signal::KILL).expect("it can be killed");
        cluster.revive().await.expect("it starts again");
        assert_ne!(folder.postmaster(), Some(pid));
        assert_eq!(ask(&cluster, "SELECT word FROM kept").await, "a word");
        cluster.close().await.expect("it closes");
    }

    #[tokio::test]
    async fn a_process_that_was_killed_leaves_a_server_that_the_next_one_attaches_to_and_stops() {
        let folder = Folder::new();
        // A drop does what a kill does: the locks go, the server stays.
        drop(Cluster::open(&folder.0).await.expect("it opens"));
        let pid = folder.postmaster().expect("it still runs");
        let cluster = Cluster::open(&folder.0).await.expect("it attaches");
        assert_eq!(folder.postmaster(), Some(pid));
        cluster.close().await.expect("it closes");
        assert_eq!(folder.postmaster(), None);
    }

    #[tokio::test]
    async fn pid_files_of_before_a_crash_that_name_a_strangers_process_do_not_hinder_the_start() {
        let folder = Folder::new();
        Cluster::open(&folder.0).await.expect("it opens").close().await.expect("it closes");
        let stale = format!(
            "{}\n{}\n1\n5432\n\n\n0 0\nready\n",
            std::process::id(),
            folder.0.join("postgres").display()
        );
        let place = folder.place();
        for path in [place.pid_file(), place.socket_dir.join(".s.PGSQL.5432.lock")] {
            fs::write(path, &stale).expect("the file is written");
        }
        let cluster = Cluster::open(&folder.0).await.expect("it opens in spite of it");
        cluster.close().await.expect("it closes");
    }

    #[tokio::test]
    async fn it_listens_on_no_network_and_only_its_own_user_reaches_the_socket() {
        let folder = Folder::new();
        let cluster = Cluster::open(&folder.0).await.expect("it opens");
        assert_eq!(ask(&cluster, "SHOW listen_addresses").await, "");
        let found = fs::metadata(&cluster.place.socket_dir).expect("the socket's folder is there");
        assert_eq!((found.mode() & 0o777, found.uid()), (0o700, cluster.place.uid()));
        cluster.close().await.expect("it closes");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_server_is_out_of_the_reach_of_ctrl_c_and_has_none_of_our_groups_and_secrets() {
        let folder = Folder::new();
        let cluster = Cluster::open(&folder.0).await.expect("it opens");
        let pid = folder.postmaster().expect("it runs");
        assert_eq!(rustix::process::getpgid(Some(pid)).expect("it has a group"), pid);
        let environment =
            fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&environment).contains("CARGO"));
        if geteuid().is_root() {
            let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()))
                .expect("it has a status");
            let groups =
                status.lines().find_map(|line| line.strip_prefix("Groups:")).map(str::trim);
            assert_eq!(groups, Some(""));
        }
        cluster.close().await.expect("it closes");
    }

    #[tokio::test]
    async fn a_data_folder_with_a_long_path_puts_the_socket_into_tmp() {
        let folder = Folder::new();
        let deep = folder.0.join("a-folder-name-of-some-length/".repeat(4));
        let cluster = Cluster::open(&deep).await.expect("it opens");
        let socket_dir = cluster.place.socket_dir.clone();
        assert!(
            socket_dir.starts_with("/tmp") && !socket_dir.starts_with(&folder.0),
            "{}",
            socket_dir.display()
        );
        assert_eq!(
            ask(&cluster, "SHOW unix_socket_directories").await.trim_matches('"'),
            socket_dir.display().to_string()
        );
        cluster.close().await.expect("it closes");
        fs::remove_dir_all(socket_dir).expect("the socket's folder goes");
    }

    #[tokio::test]
    async fn a_cluster_of_another_major_version_is_refused_by_name() {
        let folder = Folder::new();
        Cluster::open(&folder.0).await.expect("it opens").close().await.expect("it closes");
        fs::write(folder.0.join("postgres/PG_VERSION"), "11\n").expect("the file is written");
        let error =
            Cluster::open(&folder.0).await.expect_err("nothing here runs version 11").to_string();
        for part in
            ["was made by Postgres 11, but only Postgres ", "apt-get install postgresql-11", "dump"]
        {
            assert!(error.contains(part), "{error}");
        }
    }

    #[tokio::test]
    async fn a_server_that_cannot_start_shows_the_end_of_its_log() {
        let folder = Folder::new();
        Cluster::open(&folder.0).await.expect("it opens").close().await.expect("it closes");
        append_durably(&folder.0.join("postgres/postgresql.conf"), "\nno_such_setting = 1\n")
            .expect("it is written");
        let error =
            Cluster::open(&folder.0).await.expect_err("Postgres refuses the setting").to_string();
        assert!(
            error.contains("ended while starting") && error.contains("no_such_setting"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn an_initdb_that_was_killed_leaves_nothing_behind_that_matters() {
        let folder = Folder::new();
        fs::create_dir_all(folder.0.join("postgres.new-1/base")).expect("the leftover is made");
        let cluster = Cluster::open(&folder.0).await.expect("it opens");
        assert!(!folder.0.join("postgres.new-1").exists());
        cluster.close().await.expect("it closes");
    }

    #[tokio::test]
    async fn what_is_no_cluster_and_what_has_no_binaries_is_refused_in_clear_words() {
        let folder = Folder::new();
        let error = Cluster::open_with(&folder.0, Some("/nowhere".into()))
            .await
            .expect_err("there are none")
            .to_string();
        assert!(error.starts_with("CRM_POSTGRES_BIN is `/nowhere`"), "{error}");

        fs::create_dir_all(folder.0.join("postgres/photos")).expect("the folder is made");
        let error = Cluster::open(&folder.0).await.expect_err("photos are no cluster").to_string();
        assert!(error.contains("holds no Postgres cluster"), "{error}");
    }

    #[test]
    fn root_is_told_which_folder_shuts_postgres_out() {
        let folder = Folder::new();
        let inner = folder.0.join("closed/data");
        fs::create_dir_all(&inner).expect("the folders are made");
        fs::set_permissions(folder.0.join("closed"), Permissions::from_mode(0o700))
            .expect("the mode is set");
        let account = Account { uid: 54321, gid: 54321, name: "postgres".into() };
        let error = check_traversable(&inner, &account).expect_err("it is closed").to_string();
        assert!(
            error.contains("/closed`")
                && error.contains("chmod o+x")
                && error.contains("CRM_DATA_DIR"),
            "{error}"
        );
    }

    #[test]
    fn a_socket_folder_that_others_may_enter_is_not_used() {
        let folder = Folder::new();
        let place = folder.place();
        fs::set_permissions(&place.socket_dir, Permissions::from_mode(0o755))
            .expect("the mode is set");
        let error = place.secure_socket_dir().expect_err("it is open").to_string();
        assert!(error.contains("is open to other users"), "{error}");
    }

    #[test]
    fn a_long_log_is_put_aside() {
        let folder = Folder::new();
        let place = folder.place();
        fs::write(place.log_file(), "a line\n").expect("the log is written");
        assert_eq!(place.rotate_log().expect("it stays"), 7);
        let log = open_log(&place.log_file()).expect("the log opens");
        log.set_len(LOG_LIMIT + 1).expect("the log grows");
        assert_eq!(place.rotate_log().expect("it goes"), 0);
        assert!(folder.0.join("postgres.log.1").exists() && !place.log_file().exists());
    }

    #[test]
    fn versions_are_read_as_postgres_writes_them() {
        for (text, expected) in
            [("15.18", Some(15)), ("17beta1", Some(17)), ("16\n", Some(16)), ("devel", None)]
        {
            assert_eq!(leading_number(text), expected, "{text}");
        }
    }
}
