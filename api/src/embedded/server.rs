//! The server's processes: how a cluster is made, started, recognised and stopped, and what its log says.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::SystemTime;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::place::Place;
use super::{EmbeddedError, POLL, PORT, Result, STOP_LIMIT, USER, failed};

pub(super) const LOG_LIMIT: u64 = 10 * 1024 * 1024;

/// Appended to `postgresql.conf` of a new cluster. Durability (`fsync`, `synchronous_commit`) stays at Postgres's safe defaults.
const LAPTOP_SETTINGS: &str = "
# From here on written by crm when it made this cluster, and not touched again: change it as you like.
shared_buffers = 128MB
max_connections = 200
max_wal_size = 1GB
jit = off
";

impl Place {
    /// A command as the user who runs Postgres. Its environment is empty but for what finding libraries needs, so that
    /// our secrets do not end up there, and the caller's `PG…` variables cannot bend it.
    pub(super) fn command(&self, program: &Path, working_folder: &Path) -> Command {
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
    pub(super) async fn initialise(&self, binaries: &Path) -> Result<()> {
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

    /// Starts the server process and does not wait for it.
    pub(super) fn launch(&self, binaries: &Path) -> Result<Child> {
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
    pub(super) fn postmaster(&self) -> Option<Pid> {
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
    pub(super) async fn stop(&self) -> Result<()> {
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
    pub(super) fn rotate_log(&self) -> Result<u64> {
        let path = self.log_file();
        let length = fs::metadata(&path).map_or(0, |found| found.len());
        if length <= LOG_LIMIT {
            return Ok(length);
        }
        fs::rename(&path, path.with_extension("log.1")).map_err(failed("rename", &path))?;
        Ok(0)
    }

    /// The last lines of the log that were written after byte `from`.
    pub(super) fn log_tail(&self, from: u64) -> String {
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

pub(super) fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(failed("open", path))
}

pub(super) fn append_durably(path: &Path, text: &str) -> Result<()> {
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
