//! Where a worker runs, so that whoever starts there again knows which leases the dead have left.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// A process: the machine, the space in which process ids count there, and the id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    machine: String,
    process: u32,
}

impl Place {
    /// This process.
    pub(super) fn here() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        // As in `db-1 pid:[4026531836]`: containers may share the name of their host, but not its process ids.
        let machine = format!("{} {}", host.trim(), space.display());
        Self { machine, process: std::process::id() }
    }

    /// Whether a process is known to be gone: one of this machine that does not run, or that had this process's own id.
    pub(super) fn knows_dead(&self, other: &Self) -> bool {
        self.machine == other.machine && (!runs(other.process) || self.process == other.process)
    }
}

/// Whether a process runs here: one that has ended, and whose parent has yet to be told, does not.
fn runs(process: u32) -> bool {
    let stat = Path::new("/proc").join(process.to_string()).join("stat");
    let Ok(stat) = std::fs::read_to_string(stat) else { return false };
    // The state stands behind the name, which may have parentheses of its own.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, Some('Z' | 'X'))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.machine, self.process)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (machine, process) = text.rsplit_once(' ').ok_or(())?;
        let process = process.parse().map_err(|_| ())?;
        Ok(Self { machine: machine.to_owned(), process })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_of_this_machine_is_known_to_be_dead() {
        let here = Place::here();
        assert_eq!(here.to_string().parse(), Ok(here.clone()));
        let check = |machine: &str, process: u32, expected: bool| {
            let other = Place { machine: machine.to_owned(), process };
            assert_eq!(here.knows_dead(&other), expected, "{other}");
        };
        // Ended, and its parent, which is this, does not ask.
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        while runs(ended.id()) {
            std::thread::yield_now();
        }
        check(&here.machine, ended.id(), true);
        ended.wait().unwrap();
        // The parent of the tests runs, and process ids do not grow so high.
        check(&here.machine, std::os::unix::process::parent_id(), false);
        check(&here.machine, 4_194_305, true);
        check("elsewhere", 4_194_305, false);
    }
}
