//! The parts of the product put together: database, log, projectors, readers, files.

mod greeting;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use projections::database::{Database, Surroundings};
use projections::files::{Bucket, BucketOptions, Files, MarkedFolder};
use projections::jobs::{SpeechModels, Tools, Workers};
use projections::log::{EventLog, Keys, MasterFile, MasterKey};
use projections::projector::Projector;
use projections::read::{self, Reader};
use projections::runner::Runner;
use projections::seal::{Kept, KeyError, SealKey, Trust};
use projections::tail::Tail;
use projections::webhooks;
use replay::{Scenes, Witness};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio_util::sync::CancellationToken;

use crate::embedded::Cluster;
use crate::live::Live;
use crate::rebuilds::Rebuilds;
use crate::settings::{LlmSettings, Settings};

/// How long connections that somebody still asks on are waited for when the database is closed.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// The commands that begin a database where there is none. Any other would find all well in an empty one that it has just made in the wrong
/// folder.
const BEGINNERS: [&str; 3] = ["serve", "import", "work"];

/// The database that a command works on, and the Postgres of our own behind it if there is one.
pub struct Store {
    /// The connections.
    pub database: Database,
    /// The files beside the log.
    pub files: Files,
    /// The folder that crm keeps itself.
    pub data_dir: PathBuf,
    cluster: Option<Arc<Cluster>>,
    stop: CancellationToken,
}

impl Store {
    /// Opens the database that the settings name, or starts our own, and brings its schema up to date. The command is whom
    /// Postgres takes its connections to be of.
    ///
    /// # Errors
    /// When there is no database that crm can work on, or its schema is newer than this program; the text says what to do.
    pub async fn open(settings: &Settings, command: &str) -> anyhow::Result<Self> {
        let (options, cluster) = match &settings.database_url {
            Some(url) => {
                let options = name_client(greeting::options(url.expose())?, command);
                greeting::greet(&options).await?;
                (options, None)
            }
            None => {
                if !BEGINNERS.contains(&command) && holds_nothing(&settings.data_dir) {
                    anyhow::bail!(
                        "there is no database in `{}`: is CRM_DATA_DIR the folder that `crm serve` has? `crm serve` and `crm import` \
                         make one where there is none",
                        settings.data_dir.display()
                    );
                }
                let cluster =
                    Cluster::open_with(&settings.data_dir, settings.postgres_bin.clone()).await?;
                let options = cluster.options("crm");
                (name_client(options, command), Some(Arc::new(cluster)))
            }
        };
        let (around, keys) = match prepare(&options, settings).await {
            Ok(prepared) => prepared,
            Err(error) => {
                if let Some(cluster) = cluster.and_then(Arc::into_inner)
                    && let Err(error) = cluster.close().await
                {
                    tracing::warn!(%error, "the embedded Postgres was not stopped");
                }
                return Err(error);
            }
        };
        warn_of_open_keys(&settings.data_dir.join("keys"));
        let mut database = connect(options, around, settings.db_connections, keys);
        if cluster.is_some() {
            database = database.on_own_server();
        }
        let (files, stop) = (files(settings, &database).await, CancellationToken::new());
        let store = Self { database, files, data_dir: settings.data_dir.clone(), cluster, stop };
        if let Some(cluster) = &store.cluster {
            let supervisor =
                keep_alive(cluster.clone(), store.database.clone(), store.stop.clone());
            tokio::spawn(supervisor);
        }
        Ok(store)
    }

    /// How many bytes are free on the disk of our own Postgres; `None` where there is another, or the system does not say.
    pub fn free_space(&self) -> Option<u64> {
        self.cluster.as_ref()?;
        let disk = rustix::fs::statvfs(&self.data_dir).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Closes the connections and leaves our own Postgres, which stops unless another command uses it.
    ///
    /// # Errors
    /// When our own Postgres does not stop; nothing is lost then.
    pub async fn close(self) -> anyhow::Result<()> {
        self.close_within(LAST_ANSWERS).await
    }

    /// Likewise, for whoever does not want to wait as long for those who still ask something.
    ///
    /// # Errors
    /// As [`Store::close`].
    pub async fn close_within(self, patience: Duration) -> anyhow::Result<()> {
        self.stop.cancel();
        // Whoever still has a connection then loses it when Postgres stops, or with this process.
        if tokio::time::timeout(patience, self.database.pool.close()).await.is_err() {
            tracing::warn!("some questions to the database took too long and were cut off");
        }
        if let Some(mut cluster) = self.cluster {
            // The supervisor lets go of its share as soon as it sees that it was told to stop.
            loop {
                match Arc::try_unwrap(cluster) {
                    Ok(cluster) => return cluster.close().await.map_err(Into::into),
                    Err(shared) => cluster = shared,
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }
}

/// Whether the folder has no Postgres of ours, so far as can be seen.
fn holds_nothing(data_dir: &Path) -> bool {
    let version = std::fs::metadata(data_dir.join("postgres/PG_VERSION"));
    version.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Says which keys other users of the machine can read.
fn warn_of_open_keys(folder: &Path) {
    for path in ["master.key", "seal.key"].map(|name| folder.join(name)) {
        if is_open_to_others(&path) {
            let path = path.display();
            tracing::warn!("other users can read the key `{path}`: run `chmod 600 {path}`");
        }
    }
}

fn is_open_to_others(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}

/// Postgres shows the name with each connection. One that is given in DATABASE_URL or by PGAPPNAME stays.
fn name_client(options: PgConnectOptions, command: &str) -> PgConnectOptions {
    match options.get_application_name() {
        Some(_) => options,
        None => options.application_name(&format!("crm {command}")),
    }
}

/// The key to seal the log with: the setting's, or else the one in the data folder, made now if need be.
///
/// # Errors
/// When there is none and none can be made; the text says what to do.
pub fn seal_key(settings: &Settings) -> Result<SealKey, KeyError> {
    match &settings.seal_key {
        Some(text) => text.expose().parse(),
        None => SealKey::open(&settings.data_dir.join("keys")),
    }
}

/// The public half of that key, if there is one.
///
/// # Errors
/// When there is a file that is no key.
pub fn known_seal_key(settings: &Settings) -> Result<Option<[u8; 32]>, KeyError> {
    let key = match &settings.seal_key {
        Some(text) => Some(text.expose().parse()?),
        None => SealKey::find(&settings.data_dir.join("keys"))?,
    };
    Ok(key.map(|key| key.public()))
}

/// What is known of who seals the log, out of reach of whoever has the database. Without a key of its own, nobody is known.
///
/// # Errors
/// As [`known_seal_key`].
pub fn seal_trust(settings: &Settings) -> Result<Trust, KeyError> {
    let Witness { own, others, kept, .. } = seal_witness(settings)?;
    let keys = own.into_iter().flat_map(|own| std::iter::once(own).chain(others.clone()));
    Ok(Trust { keys: keys.collect(), kept })
}

/// The same for a check.
///
/// # Errors
/// As [`known_seal_key`].
pub fn seal_witness(settings: &Settings) -> Result<Witness, KeyError> {
    let others = settings.seal_known_keys.iter().map(|key| key.key).collect();
    let kept = Some(Kept::in_folder(&settings.data_dir.join("keys")));
    Ok(Witness { own: known_seal_key(settings)?, others, checkpoints: vec![], kept })
}

/// The files beside the log where no bucket is set.
pub fn files_in(data_dir: &Path, database: &Database) -> Files {
    Files::marked(MarkedFolder::new(data_dir, database.clone()))
}

/// The files beside the log: in the bucket that the settings name, or else in the data folder.
async fn files(settings: &Settings, database: &Database) -> Files {
    match &settings.s3_bucket {
        Some(name) => Files::bucket(bucket(settings, name).await),
        None => files_in(&settings.data_dir, database),
    }
}

/// The bucket of this name, where and with the keys that the settings say.
pub async fn bucket(settings: &Settings, name: &str) -> Bucket {
    let keys = settings.aws_keys.as_ref();
    let options = BucketOptions {
        region: settings.aws_region.clone(),
        keys: keys.map(|keys| (keys.id.expose().to_owned(), keys.secret.expose().to_owned())),
        session: keys.and_then(|keys| Some(keys.session.as_ref()?.expose().to_owned())),
        endpoint: settings.aws_endpoint_url.clone(),
        ..BucketOptions::new(name)
    };
    Bucket::open(&options).await
}

/// A pool with the options that the product needs; nothing is connected yet.
pub fn connect(
    options: PgConnectOptions,
    around: Surroundings,
    connections: u32,
    keys: Keys,
) -> Database {
    // Statements are logged by those who run them, with what they mean.
    Database::new(options.disable_statement_logging(), around, connections, keys)
}

/// Stands in `.env.example`, and protects nothing.
const EXAMPLE_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Brings the schema up to date and finds the keys of what is sealed in the database.
async fn prepare(
    options: &PgConnectOptions,
    settings: &Settings,
) -> anyhow::Result<(Surroundings, Keys)> {
    let around = migrate(options).await?;
    let given = settings.master_key.as_ref().and_then(|key| MasterKey::parse(key.expose()));
    anyhow::ensure!(
        settings.master_key.as_ref().is_none_or(|key| key.expose().trim() != EXAMPLE_KEY),
        "CRM_MASTER_KEY is that of .env.example, which everybody knows: make one with `openssl rand -base64 32`"
    );
    let keys = keys_of(&around.options(options.clone()), given, &settings.data_dir).await?;
    Ok((around, keys))
}

/// The keys of a database whose schema is up to date, under the master key that is given, or else the one in the data folder.
/// Secrets that an earlier release stored in plain are wrapped.
///
/// # Errors
/// When no master key fits, or the database cannot be reached.
pub async fn keys_of(
    options: &PgConnectOptions,
    given: Option<MasterKey>,
    data_dir: &Path,
) -> anyhow::Result<Keys> {
    let mut connection = options.clone().disable_statement_logging().connect().await?;
    let keys = Keys::open(&mut connection, given, MasterFile::below(data_dir)).await?;
    webhooks::wrap_plain(&mut connection, &keys).await?;
    connection.close().await?;
    Ok(keys)
}

/// Brings the schema up to date, and tells what else is in the database. Several processes may try at once.
///
/// # Errors
/// When the database cannot be reached or was made by a newer release.
pub async fn migrate(options: &PgConnectOptions) -> anyhow::Result<Surroundings> {
    use sqlx::migrate::MigrateError::{VersionMismatch, VersionMissing};
    const WHY: &str =
        "the database cannot be prepared; is it there, and may crm create tables in it?";
    let options = Surroundings::default().options(options.clone()).disable_statement_logging();
    let mut connection = options.connect().await.map_err(greeting::advised).context(WHY)?;
    let around = Surroundings::of(&mut connection).await?;
    // Extensions that are there already are used where they are; others come to where the migrations make everything.
    sqlx::query("select set_config('search_path', $1, false)")
        .bind(around.search_path(&[]))
        .execute(&mut connection)
        .await?;
    let migrated = projections::MIGRATIONS.run(&mut connection).await;
    connection.close().await?;
    match migrated {
        Err(VersionMissing(version) | VersionMismatch(version)) => anyhow::bail!(
            "the database's schema (migration {version}) was not made by this release of crm; run the release that \
             made it, or a newer one"
        ),
        Ok(()) => Ok(around),
        Err(error) => Err(greeting::of_migration(error)).context(WHY),
    }
}

/// The running product: what is written is projected, what is projected can be read.
pub struct Backend {
    /// The write side.
    pub log: EventLog,
    /// The read side.
    pub reader: Reader,
    /// Rebuilds of read models.
    pub rebuilds: Rebuilds,
    /// Read models as they stood at earlier positions.
    pub scenes: Scenes,
    /// The log for those who follow it.
    pub live: Live,
    runner: Runner,
    stop: CancellationToken,
}

impl Backend {
    /// Starts projecting what is and will be in the log.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn start(database: Database, files: Files) -> anyhow::Result<Self> {
        Self::start_with(database, files, read::projectors()).await
    }

    /// Likewise, with these projectors.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn start_with(
        database: Database,
        files: Files,
        projectors: Vec<Arc<dyn Projector>>,
    ) -> anyhow::Result<Self> {
        let log = EventLog::start(database.clone());
        let runner = Runner::start(database.clone(), projectors.clone(), log.head()).await?;
        match Reader::new(database.clone(), runner.clone(), files).await {
            Ok(reader) => {
                let checkpoints = runner.checkpoints().clone();
                let rebuilds = Rebuilds::start(database.clone(), projectors.clone(), checkpoints);
                let scenes = Scenes::start(database.clone(), projectors, runner.erased());
                let (own, announced) = (log.head(), runner.announced());
                let stop = CancellationToken::new();
                let tail = Tail::start(database.clone(), own, announced, stop.clone());
                let live = Live::new(database, tail, reader.log_id());
                Ok(Self { log, reader, rebuilds, scenes, live, runner, stop })
            }
            Err(error) => {
                runner.stop().await;
                Err(error.into())
            }
        }
    }

    /// Starts so many workers on recordings, and what tells them what is to be done.
    ///
    /// # Errors
    /// When the language model that the settings name cannot be asked, or the system has no thread to give.
    pub fn work(
        &self,
        settings: &Settings,
        files: Files,
        workers: usize,
    ) -> anyhow::Result<Workers> {
        let models = settings.data_dir.join("models");
        let models = SpeechModels::new(settings.whisper_model.clone(), models);
        let tools = Tools {
            log: self.log.clone(),
            files,
            models,
            llm: settings.llm.as_ref().map(LlmSettings::open).transpose()?,
            chunk: settings.transcript_chunk,
            threads: Tools::threads(workers),
        };
        Workers::start(tools, workers, self.live.heads()).context("cannot start the workers")
    }

    /// Where the projectors are.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// Waits until the read models hold everything that is in the log now.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn settle(&self) -> anyhow::Result<()> {
        let head = self.reader.health().await.head;
        while !self.runner.settled(head, Duration::from_secs(1)).await {
            if let Some((name, failure)) = self.runner.failures().into_iter().next() {
                anyhow::bail!("projector {name} cannot go on: {failure}");
            }
        }
        Ok(())
    }

    /// Stops the projectors after the page in hand.
    pub async fn stop(self) {
        self.stop.cancel();
        self.scenes.stop().await;
        self.rebuilds.stop().await;
        self.runner.stop().await;
    }
}

/// Starts our own Postgres again when it has died under us.
async fn keep_alive(cluster: Arc<Cluster>, database: Database, stop: CancellationToken) {
    const LOOK: Duration = Duration::from_millis(500);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        if database.is_down()
            && let Err(error) = cluster.revive().await
        {
            tracing::error!(%error, "the embedded Postgres cannot be started again; crm keeps trying");
        }
    }
}
