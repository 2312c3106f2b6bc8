//! A Postgres of its own in a temporary folder, with the durable settings that the product gives it, and `crm serve`
//! on top of it.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use api::backend::{self, Backend};
use api::embedded::Cluster;
use projections::database::{Database, Surroundings};
use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// The database of every section.
const DATABASE: &str = "crm";

/// As many connections as the product makes by default.
const CONNECTIONS: u32 = 10;

/// Where everything of one section lies.
pub struct Workbench {
    pub options: PgConnectOptions,
    /// Our own connections, for questions beside what is measured.
    pub database: Database,
    /// The process id of Postgres.
    pub postmaster: u32,
    programs: PathBuf,
    cluster: Cluster,
    pub folder: TempDir,
}

impl Workbench {
    pub async fn open() -> anyhow::Result<Self> {
        // The unprivileged user that runs Postgres must be able to go there.
        let open = std::fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().prefix("crm-bench-").permissions(open).tempdir()?;
        let cluster = Cluster::open(folder.path()).await?;
        let options = cluster.options(DATABASE);
        backend::migrate(&options).await?;
        let keys = backend::keys_of(&options, None, folder.path()).await?;
        let around = Surroundings::default();
        let database = backend::connect(options.clone(), around, CONNECTIONS, keys);
        let data: String =
            sqlx::query_scalar("show data_directory").fetch_one(&database.pool).await?;
        let pid = std::fs::read_to_string(Path::new(&data).join("postmaster.pid"))?;
        let postmaster = pid.lines().next().context("postmaster.pid is empty")?.trim().parse()?;
        let programs: String =
            sqlx::query_scalar("select setting from pg_config where name = 'BINDIR'")
                .fetch_one(&database.pool)
                .await?;
        Ok(Self { options, database, postmaster, programs: programs.into(), cluster, folder })
    }

    /// Connections as the product makes them, to be closed after use.
    pub fn connect(&self) -> Database {
        let keys = self.database.keys().clone();
        backend::connect(self.options.clone(), Surroundings::default(), CONNECTIONS, keys)
    }

    /// The product in this process.
    pub async fn backend(&self, database: &Database) -> anyhow::Result<Backend> {
        let files = backend::files_in(self.folder.path(), database);
        Backend::start(database.clone(), files).await
    }

    /// A program of Postgres's, told how to connect.
    pub fn program(&self, name: &str) -> anyhow::Result<Command> {
        let path = self.programs.join(name);
        ensure!(
            path.exists(),
            "there is no {}: install Postgres's contrib programs",
            path.display()
        );
        let mut command = Command::new(path);
        let socket = self.options.get_socket().context("the cluster has no socket")?;
        command.env("PGHOST", socket).env("PGPORT", self.options.get_port().to_string());
        command.env("PGUSER", self.options.get_username()).env("PGDATABASE", DATABASE);
        command.kill_on_drop(true);
        Ok(command)
    }

    /// `crm` with these arguments on this bench's folder.
    pub fn crm<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<Command> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crm-under-test"));
        command.args(arguments);
        // Away from the checkout, where an `.env` may lie.
        command.current_dir(self.folder.path()).env_remove("DATABASE_URL");
        command.env("CRM_DATA_DIR", self.folder.path()).env("CRM_LOG", "warn").env("API_PORT", "0");
        command.kill_on_drop(true);
        Ok(command)
    }

    /// Starts `crm serve` and waits until it is ready.
    pub async fn serve(&self) -> anyhow::Result<Served> {
        let mut process = self.crm(["serve"])?.stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().context("crm has no output")?;
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next_line().await? {
            if let Some((_, rest)) = line.split_once("http://") {
                let address = rest.split([' ', '/']).next().unwrap_or_default();
                let address = address.parse().with_context(|| format!("no address in `{line}`"))?;
                let pid = process.id().context("crm has ended")?;
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok(Served { address, pid, process });
            }
        }
        bail!("crm serve ended before it was ready")
    }

    /// Forgets the log and these tables too, in spite of the guards.
    pub async fn forget(&self, others: &[&str]) -> anyhow::Result<()> {
        let tables = [&["events", "seal", "seal_key"], others].concat();
        let guards = |what: &str| {
            let guarded = tables[..3].iter();
            guarded
                .map(|table| format!("alter table {table} {what} trigger only_grows;"))
                .collect::<String>()
        };
        let (off, on) = (guards("disable"), guards("enable always"));
        let statement = format!("{off} truncate {}; {on}", tables.join(", "));
        sqlx::raw_sql(&statement).execute(&self.database.pool).await?;
        sqlx::query("checkpoint").execute(&self.database.pool).await?;
        Ok(())
    }

    /// Stops Postgres; the folder goes with the bench.
    pub async fn close(self) -> anyhow::Result<()> {
        self.database.pool.close().await;
        Ok(self.cluster.close().await?)
    }
}

/// A running `crm serve`.
pub struct Served {
    pub address: SocketAddr,
    pub pid: u32,
    process: Child,
}

impl Served {
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.context("no process")?, rustix::process::Signal::TERM)?;
        self.process.wait().await?;
        Ok(())
    }
}
