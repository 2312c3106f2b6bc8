//! What processes have used, as the kernel counts it.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

pub use tests::memory;

/// `/proc` counts in ticks of 1/100 s on every Linux that we know.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time of one process so far, user and system.
pub fn of_process(pid: u32) -> anyhow::Result<Duration> {
    let [user, system, ..] = ticks(&Path::new("/proc").join(pid.to_string()))?;
    Ok(TICK * (user + system))
}

/// The CPU time of the calling thread so far.
pub fn of_this_thread() -> anyhow::Result<Duration> {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = spent.split(' ').next().context("schedstat is empty")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

/// The CPU time so far of a Postgres server: of the postmaster, of the processes it has now, and of those that ended.
pub fn of_postgres(postmaster: u32) -> anyhow::Result<Duration> {
    let mut sum: u32 = ticks(&Path::new("/proc").join(postmaster.to_string()))?[..4].iter().sum();
    for entry in std::fs::read_dir("/proc")? {
        let folder = entry?.path();
        // A process may end while we look; what it used is then among what the postmaster remembers.
        if let Ok([user, system, _, _, parent]) = ticks(&folder)
            && parent == postmaster
        {
            sum += user + system;
        }
    }
    Ok(TICK * sum)
}

/// User, system, the same of children that ended, and the parent's id.
fn ticks(process: &Path) -> anyhow::Result<[u32; 5]> {
    let stat = std::fs::read_to_string(process.join("stat"))?;
    // The name in brackets may hold anything; the fields after it begin with the third.
    let (_, fields) = stat.rsplit_once(')').context("/proc/<pid>/stat has no name in it")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |number: usize| -> anyhow::Result<u32> {
        Ok(fields.get(number - 3).context("/proc/<pid>/stat is too short")?.parse()?)
    };
    Ok([field(14)?, field(15)?, field(16)?, field(17)?, field(4)?])
}
