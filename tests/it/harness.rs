//! A fresh database for every test, on one Postgres for all of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use api::backend::{self, Backend};
use api::embedded::Cluster;
use projections::database::{Database as Connections, Surroundings};
use projections::files::Files;
use projections::log::{Keys, MasterKey};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgPool};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// A migrated database of its own, dropped with the cluster's folder at the next run.
pub struct Database {
    /// The connections that the product would use.
    pub connections: Connections,
    /// The same, for the test's own questions.
    pub pool: PgPool,
    /// A folder for files.
    pub dir: TempDir,
}

impl Database {
    /// Makes one by copying a migrated template.
    pub async fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let options = template().await.clone();
        let name =
            format!("test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        copy_template(&options, &name).await;
        let options = options.database(&name);
        let connections = connect(options, 8);
        let mut connection = connections.pool.acquire().await.unwrap();
        connections.keys().claim(&mut connection).await.unwrap();
        drop(connection);
        let dir = TempDir::new().unwrap();
        Self { pool: connections.pool.clone(), connections, dir }
    }

    /// Makes one on a Postgres that is the test's alone, for tests that take more connections than their share.
    pub async fn on(cluster: &Cluster, name: &str, connections: u32) -> Self {
        let mut connection = cluster.options("postgres").connect().await.unwrap();
        sqlx::query(&format!("create database {name}")).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        backend::migrate(&cluster.options(name)).await.unwrap();
        let connections = connect(cluster.options(name), connections);
        let mut connection = connections.pool.acquire().await.unwrap();
        connections.keys().claim(&mut connection).await.unwrap();
        drop(connection);
        let dir = TempDir::new().unwrap();
        Self { pool: connections.pool.clone(), connections, dir }
    }

    /// The file storage in its folder.
    pub fn files(&self) -> Files {
        backend::files_in(self.dir.path(), &self.connections)
    }

    /// The product on this database.
    pub async fn backend(&self) -> Backend {
        Backend::start(self.connections.clone(), self.files()).await.unwrap()
    }
}

/// The master key of all tests, as CRM_MASTER_KEY would give it.
pub const MASTER_KEY: &str = "dGhlIG1hc3RlciBrZXkgb2YgYWxsIHRoZSB0ZXN0cyE=";

/// What opens the sealed events of tests.
pub fn keys() -> Keys {
    Keys::new(MasterKey::parse(MASTER_KEY).unwrap())
}

/// Connections as the product makes them.
pub fn connect(options: PgConnectOptions, connections: u32) -> Connections {
    backend::connect(options, Surroundings::default(), connections, keys())
}

/// Does what the guards of the log and of its seals refuse, as whoever owns the tables can.
pub async fn tamper(pool: &PgPool, statement: &str) {
    let guards = |what: &str| {
        ["events", "seal", "seal_key"]
            .map(|table| format!("alter table {table} {what} trigger only_grows;"))
            .concat()
    };
    // Sent together they are one transaction.
    let text = format!("{} {statement}; {}", guards("disable"), guards("enable always"));
    sqlx::raw_sql(&text).execute(pool).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// Connections that find the tables of the live read models, whatever others those of this pool find.
pub async fn looking_at_read_models(pool: &PgPool) -> PgPool {
    let schemas: Vec<String> = sqlx::query_scalar(
        "select format('read_%s_%s', projector, number) from generation where state = 'live'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let path = format!("{},public", schemas.join(","));
    let options = (*pool.connect_options()).clone().options([("search_path", path)]);
    PgPoolOptions::new().max_connections(2).connect_lazy_with(options)
}

/// The folder of the cluster that all runs of the tests share, so that it is made once.
pub fn cluster_folder() -> PathBuf {
    // Not below /root: the unprivileged user that runs Postgres must be able to go there.
    let folder = std::env::temp_dir().join(format!("crm-tests-{}", rustix_uid()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn rustix_uid() -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").unwrap().uid()
}

/// The template database's options; the cluster is started by whoever asks first and stops with the test process.
async fn template() -> &'static PgConnectOptions {
    static TEMPLATE: OnceCell<PgConnectOptions> = OnceCell::const_new();
    TEMPLATE
        .get_or_init(|| async {
            let cluster = Arc::new(Cluster::open(&cluster_folder()).await.unwrap());
            let options = cluster.options("postgres");
            // Leaked on purpose: tests have no last one; the next process attaches to the server or starts it.
            std::mem::forget(cluster);
            prepare(&options).await;
            options
        })
        .await
}

async fn prepare(options: &PgConnectOptions) {
    let mut connection = options.connect().await.unwrap();
    sqlx::query("select pg_advisory_lock(1)").execute(&mut connection).await.unwrap();
    let databases: Vec<String> =
        sqlx::query_scalar("select datname from pg_database where datname like 'test\\_%'")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    // Left over by test processes that are gone.
    for name in databases.iter().filter(|name| !is_in_use(name)) {
        let drop = format!("drop database if exists {name} with (force)");
        sqlx::query(&drop).execute(&mut connection).await.unwrap();
    }
    let name = template_name();
    sqlx::query(&format!("create database {name}")).execute(&mut connection).await.unwrap();
    // One plain connection: a pool closes its own in the background, and a template in use cannot be copied.
    let mut template = options.clone().database(&name).connect().await.unwrap();
    projections::MIGRATIONS.run(&mut template).await.unwrap();
    template.close().await.unwrap();
    connection.close().await.unwrap();
}

async fn copy_template(options: &PgConnectOptions, name: &str) {
    let mut connection = options.connect().await.unwrap();
    // The template is copied by one at a time; the lock goes with the connection.
    sqlx::query("select pg_advisory_lock(2)").execute(&mut connection).await.unwrap();
    let statement = format!("create database {name} template {}", template_name());
    // The session that made the template may still be leaving it.
    while let Err(error) = sqlx::query(&statement).execute(&mut connection).await {
        let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default();
        assert_eq!(code, "55006", "{error}");
    }
    connection.close().await.unwrap();
}

/// Whether the process that a database is named after still runs.
fn is_in_use(name: &str) -> bool {
    let pid = name.split('_').find(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    pid.is_some_and(|pid| Path::new("/proc").join(pid).exists())
}

/// Each test process has its own, so that two checkouts can be tested at once.
fn template_name() -> String {
    format!("test_template_{}", std::process::id())
}

/// The committed demonstration database.
pub fn demo_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/demo.db")
}
