//! Whether the database can be reached, so that nobody waits for one that is gone.

mod session;
mod writes;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgPoolOptions, PgSeverity};
use sqlx::{PgConnection, PgPool};
use tokio::sync::Notify;

pub use self::session::Surroundings;
pub use self::writes::WriteTrouble;
use crate::log::{Keys, States};

/// A pool that knows whether its database answers.
///
/// The first failure marks it down; from then on requests fail at once, and a watcher asks until it is back.
#[derive(Clone, Debug)]
pub struct Database {
    /// The connections.
    pub pool: PgPool,
    /// How each is made, but for where it looks for read models.
    options: Arc<PgConnectOptions>,
    /// What else is in the database.
    around: Arc<Surroundings>,
    /// What opens the sealed part of what is in it.
    keys: Keys,
    states: States,
    /// Whether its processes are children of a cluster that this program runs.
    is_own_server: bool,
    health: Arc<Health>,
}

#[derive(Debug, Default)]
struct Health {
    down: AtomicBool,
    outages: AtomicU64,
    /// Connections made before this are of no use any more.
    renewed: Mutex<Option<Instant>>,
    /// How often that was so.
    era: AtomicU64,
    /// Where tables are looked for from then on; empty: nowhere in particular.
    search_path: Mutex<String>,
    failed: Notify,
    writes: writes::Writes,
}

impl Health {
    fn renew(&self) {
        self.era.fetch_add(1, Ordering::AcqRel);
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn search_path(&self) -> String {
        self.search_path.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a connection that has just come up look where tables are to be looked for by now, which may have changed
    /// while it was coming up. One that is outdated again is given up.
    async fn direct(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let (era, path) = (self.era.load(Ordering::Acquire), self.search_path());
        if !path.is_empty() {
            sqlx::query("select set_config('search_path', $1, false)")
                .bind(path)
                .execute(connection)
                .await?;
        }
        match self.era.load(Ordering::Acquire) == era {
            true => Ok(()),
            false => Err(sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into())),
        }
    }

    fn is_of_use(&self, age: Duration) -> bool {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.is_none_or(|at| at.elapsed() > age)
    }
}

/// Why the database could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It does not answer; trying again later helps.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// It answered with an error that trying again will not mend.
    #[error(transparent)]
    Failed(sqlx::Error),
}

/// How the pool's connections are used at a moment. Who waits for one is not known: sqlx does not tell.
#[derive(Clone, Copy, Debug)]
pub struct PoolUse {
    /// How many are open, in use or not.
    pub open: u32,
    /// How many of them wait for work.
    pub idle: u32,
    /// The most that may be open.
    pub most: u32,
}

impl Database {
    /// How often a database that is down is asked again.
    const RETRY: Duration = Duration::from_millis(200);

    /// Opens a pool on a database with these surroundings. No connection is made yet.
    pub fn new(
        options: PgConnectOptions,
        around: Surroundings,
        connections: u32,
        keys: Keys,
    ) -> Self {
        let health = Arc::<Health>::default();
        let options = around.options(options);
        let (known, new) = (health.clone(), health.clone());
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .min_connections(0)
            .acquire_timeout(Duration::from_secs(3))
            // A ping before every use would cost more than all queries; a dead connection shows at its first query,
            // and then all that are as old are thrown away unused.
            .test_before_acquire(false)
            .before_acquire(move |_, connection| {
                let usable = known.is_of_use(connection.age);
                Box::pin(std::future::ready(Ok(usable)))
            })
            .after_connect(move |connection, _| {
                let health = new.clone();
                Box::pin(async move { health.direct(connection).await })
            })
            .connect_lazy_with(options.clone());
        let (options, around) = (Arc::new(options), Arc::new(around));
        let states = States::default();
        let database = Self { pool, options, around, keys, states, is_own_server: false, health };
        tokio::spawn(database.clone().watch());
        tokio::spawn(database.clone().watch_writes());
        database
    }

    /// The same, known to be served by a Postgres that this program runs on this machine.
    pub fn on_own_server(self) -> Self {
        Self { is_own_server: true, ..self }
    }

    /// Whether its Postgres is one that this program runs on this machine.
    pub fn is_own_server(&self) -> bool {
        self.is_own_server
    }

    /// What people call it: its name, and where its server is.
    pub fn address(&self) -> String {
        let (options, name) = (&self.options, self.options.get_database().unwrap_or_default());
        match options.get_socket() {
            Some(folder) => format!("{name} at {}", folder.display()),
            None => format!("{name} at {}:{}", options.get_host(), options.get_port()),
        }
    }

    /// How to connect such that tables are looked for in these schemas before all others.
    pub fn options_for(&self, schemas: &[String]) -> PgConnectOptions {
        self.around.looking_in(PgConnectOptions::clone(&self.options), schemas)
    }

    /// What seals and opens the events of people and notes.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The records that commands were lately carried out on.
    pub(crate) fn states(&self) -> &States {
        &self.states
    }

    /// From now on whatever the pool is asked for looks for tables in these schemas.
    pub fn look_in(&self, schemas: &[String]) {
        *self.health.search_path.lock().unwrap_or_else(PoisonError::into_inner) =
            self.around.search_path(schemas);
        self.pool.set_connect_options(self.options_for(schemas));
        self.health.renew();
    }

    /// Grows whenever connections made before are of no use any more: the database was lost, or tables are to be looked
    /// for elsewhere. For those who keep a connection of their own.
    pub(crate) fn era(&self) -> u64 {
        self.health.era.load(Ordering::Acquire)
    }

    /// Fails at once while the database is known to be down.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`].
    pub fn check(&self) -> Result<(), DatabaseError> {
        match self.is_down() {
            true => Err(DatabaseError::Unavailable("it stopped answering".to_owned())),
            false => Ok(()),
        }
    }

    /// Whether the database stopped answering.
    pub fn is_down(&self) -> bool {
        self.health.down.load(Ordering::Acquire)
    }

    /// How its connections are used now.
    pub fn pool_use(&self) -> PoolUse {
        let open = self.pool.size();
        // The two numbers are read one after the other, so they may not fit together.
        let idle = u32::try_from(self.pool.num_idle()).map_or(open, |idle| idle.min(open));
        PoolUse { open, idle, most: self.pool.options().get_max_connections() }
    }

    /// The longest that an answer of the database is waited for. A connection that has silently gone dead would else
    /// hold up whoever uses it for as long as the network stack hopes.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// Waits for what the database answers, but not for ever, and sorts its errors.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, DatabaseError> {
        match tokio::time::timeout(Self::PATIENCE, question).await {
            Ok(answer) => answer.map_err(|error| self.judge(error)),
            Err(_) => Err(self.silent()),
        }
    }

    /// What it means when no answer came in time.
    pub fn silent(&self) -> DatabaseError {
        self.lost();
        DatabaseError::Unavailable(format!("no answer within {} s", Self::PATIENCE.as_secs()))
    }

    /// Sorts an error into "not there" and "wrong", and remembers when the database was lost.
    pub fn judge(&self, error: sqlx::Error) -> DatabaseError {
        if is_outage(&error) {
            self.lost();
            DatabaseError::Unavailable(error.to_string())
        } else if let Some(shortage) = Shortage::of(&error) {
            self.note_refusal(&error);
            if shortage == Shortage::Changes {
                self.condemn();
            }
            DatabaseError::Unavailable(format!("{} ({error})", shortage.as_str()))
        } else if lacks_table(&error) {
            // A server turns to the tables that are live within a moment; until then it may look for those before.
            tracing::warn!(%error, "a table is not there, as when a read model was just replaced and the old one dropped");
            DatabaseError::Unavailable(format!("a read model was just replaced ({error})"))
        } else {
            DatabaseError::Failed(error)
        }
    }

    /// Remembers that a connection was lost.
    pub fn lost(&self) {
        if !self.health.down.swap(true, Ordering::AcqRel) {
            self.health.renew();
            self.health.outages.fetch_add(1, Ordering::AcqRel);
            self.health.failed.notify_one();
        }
    }

    /// Throws away all connections that are as old as this moment, before their next use. A session stays read-only when
    /// its database no longer is.
    fn condemn(&self) {
        self.health.renew();
    }

    /// How often the database was lost so far. After a crash it may have forgotten what was committed without waiting
    /// for the disk, as projectors do; whoever relies on that must look again.
    pub fn outages(&self) -> u64 {
        self.health.outages.load(Ordering::Acquire)
    }

    async fn watch(self) {
        while !self.pool.is_closed() {
            self.health.failed.notified().await;
            tracing::warn!("the database stopped answering");
            while !self.pool.is_closed()
                && sqlx::query("select 1").execute(&self.pool).await.is_err()
            {
                tokio::time::sleep(Self::RETRY).await;
            }
            self.health.down.store(false, Ordering::Release);
            tracing::info!("the database answers");
        }
    }
}

/// Whether the error says that the database cannot do this now, but may be able to later: it is out of reach or short of
/// something, or the statement lost a race that it may win next time.
pub fn is_passing(error: &sqlx::Error) -> bool {
    let lost_a_race = error
        .as_database_error()
        .and_then(|error| error.code())
        // Serialization failure, deadlock, lock timeout, cancelled.
        .is_some_and(|code| ["40001", "40P01", "55P03", "57014"].contains(&code.as_ref()));
    is_outage(error) || Shortage::of(error).is_some() || lost_a_race
}

/// Whether a table of a statement is not there, or not to be seen from this connection.
pub(crate) fn lacks_table(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "42P01")
}

/// Whether the error says that the database itself is not as it should be: a table is gone or a right is missing, its system
/// fails, or what it has stored is damaged. It goes on once a person has seen to that, so no command waits for it, but
/// whatever must not be lost does.
pub(crate) fn is_unsound(error: &sqlx::Error) -> bool {
    lacks_table(error)
        || error.as_database_error().and_then(|error| error.code()).is_some_and(|code| {
            code.starts_with("58") || ["42501", "XX001", "XX002"].contains(&code.as_ref())
        })
}

/// Whether the error says that the database cannot be reached at present.
pub fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // 08: connection exception; 57P: shut down or starting up.
        sqlx::Error::Database(refused) => {
            refused.code().is_some_and(|code| code.starts_with("08") || code.starts_with("57P"))
                || ends_connection(error) && Shortage::of(error).is_none()
        }
        _ => false,
    }
}

/// Whether Postgres ended the connection with the error, or did not let it begin.
fn ends_connection(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
        .is_some_and(|error| matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic))
}

/// Whether an error without the code of a full disk tells of one all the same: Postgres has none for a quota, nor wherever it
/// does not look why it could not write. Where `lc_messages` has Postgres speak another language than English, only the code
/// is understood.
fn lacks_room(code: &str, message: &str) -> bool {
    const REASONS: [&str; 2] = ["No space left on device", "Disk quota exceeded"];
    // Where Postgres knows of another reason, it has a code for that.
    const WITHOUT_REASON: [&str; 2] = ["could not write init file", "could not extend file"];
    let says = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    match code {
        "XX000" => says(&REASONS) || says(&WITHOUT_REASON),
        code => code.starts_with("58") && says(&REASONS),
    }
}

/// What a database that is there may lack at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// All are taken, here or there.
    Connections,
    /// Its disk is full.
    Disk,
    /// Its memory is full.
    Memory,
    /// It is read-only.
    Changes,
    /// It lets crm in no more.
    Entry,
    /// Some other limit is reached.
    Other,
}

impl Shortage {
    const ALL: [Self; 6] =
        [Self::Connections, Self::Disk, Self::Memory, Self::Changes, Self::Entry, Self::Other];

    /// What the error says that is lacking.
    pub fn of(error: &sqlx::Error) -> Option<Self> {
        match error {
            sqlx::Error::PoolTimedOut => Some(Self::Connections),
            sqlx::Error::Database(error) => match error.code().as_deref()? {
                "53100" => Some(Self::Disk),
                "53200" => Some(Self::Memory),
                "53300" => Some(Self::Connections),
                "25006" => Some(Self::Changes),
                "28000" | "28P01" => Some(Self::Entry),
                code if lacks_room(code, error.message()) => Some(Self::Disk),
                code => code.starts_with("53").then_some(Self::Other),
            },
            _ => None,
        }
    }

    /// The shortage that a reason for [`DatabaseError::Unavailable`] tells of. Unlike the rest of it, which may name
    /// hosts and users, this is for everybody.
    pub fn told_by(reason: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shortage| reason.contains(shortage.as_str()))
    }

    /// What is to be said of the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connections => {
                "no connection to it was to be had in time (CRM_DB_CONNECTIONS and Postgres's max_connections decide how many there are)"
            }
            Self::Disk => "its disk is full",
            Self::Memory => "its memory is full",
            Self::Changes => "it takes no changes at present",
            Self::Entry => "it does not let crm in",
            Self::Other => "one of its limits is reached",
        }
    }
}
