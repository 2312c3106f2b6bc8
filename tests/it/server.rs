//! The real executable, started as a user would, on an embedded Postgres of its own.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// A data folder that outlives the servers working on it; its Postgres is stopped with it.
pub struct Home(TempDir);

impl Home {
    /// An empty one, which the unprivileged user that runs Postgres may enter.
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        Self(folder)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A `crm` command that works in this home and knows nothing of the tester's own settings.
    pub fn crm(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crm-under-test"));
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("CRM_DATA_DIR", self.path())
            // What a killed server leaves goes with its home.
            .env("TMPDIR", self.path().join("tmp"))
            .env("CRM_MASTER_KEY", crate::harness::MASTER_KEY)
            .env("API_PORT", "0")
            .current_dir(self.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// The process id of the running Postgres.
    pub fn postmaster(&self) -> Option<i32> {
        let file = std::fs::read_to_string(self.path().join("postgres/postmaster.pid")).ok()?;
        file.lines().next()?.trim().parse().ok()
    }

    /// Kills Postgres as a power cut would.
    pub fn kill_postgres(&self) {
        if let Some(pid) = self.postmaster() {
            signal(pid, "KILL");
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(pid) = self.postmaster() {
            // Immediate shutdown: the folder goes away anyhow, but the server's children must go with it, and before it.
            signal(pid, "QUIT");
            let end = Instant::now() + Duration::from_secs(5);
            while self.postmaster().is_some() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

fn signal(pid: i32, name: &str) {
    // The process may be gone already, which is as good.
    let _ =
        std::process::Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
}

/// A running `crm serve`.
pub struct Server {
    child: Child,
    /// Where it listens, without a slash at the end.
    pub url: String,
}

impl Server {
    /// Starts one and waits until it says that it is ready.
    pub async fn start(home: &Home, args: &[&str]) -> Self {
        Self::start_with(home, args, &[]).await
    }

    /// Likewise, with more settings.
    pub async fn start_with(home: &Home, args: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut command = home.crm(&[&["serve"], args].concat());
        command.envs(settings.iter().copied());
        Self::launch(command).await
    }

    /// Likewise, by a command that is ready to be spawned.
    pub async fn launch(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some((_, rest)) = line.split_once("crm is ready: ") {
                    return rest.split_whitespace().next().map(str::to_owned);
                }
            }
            None
        };
        let url =
            tokio::time::timeout(Duration::from_secs(90), ready).await.expect("ready in time");
        // What it says later goes nowhere, but it must be able to say it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, url: url.expect("the server says that it is ready") }
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Kills it at once, whatever it is doing.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to stop.
    pub fn ask_to_stop(&self) {
        signal(i32::try_from(self.process()).unwrap(), "TERM");
    }

    /// Asks it to stop and waits for it; true if it ended well.
    pub async fn stop(mut self) -> bool {
        self.ask_to_stop();
        self.child.wait().await.unwrap().success()
    }
}
