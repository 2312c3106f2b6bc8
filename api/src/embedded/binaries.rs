//! Which of the machine's Postgres binaries run the cluster.

use std::fs;
use std::path::{Path, PathBuf};

use super::place::Place;
use super::{EmbeddedError, MINIMUM_MAJOR, Result};

impl Place {
    /// The folder of binaries to use: the first one that fits the cluster, or, for a new one, the first not too old.
    pub(super) async fn find_binaries(
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
pub(super) fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}
