//! Which cores work may use that nobody waits for.

use std::io;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Keeps a process, or the calling thread, to half of the cores that it may use, the last ones, but for one that has only one.
pub(super) fn leave_cores_to_others(process: Option<Pid>) {
    let left = sched_getaffinity(process).and_then(|allowed| match half(&allowed) {
        Some(half) => sched_setaffinity(process, &half),
        None => Ok(()),
    });
    if let Err(error) = left {
        tracing::debug!(error = %io::Error::from(error), "work that nobody waits for may use all cores");
    }
}

fn half(allowed: &CpuSet) -> Option<CpuSet> {
    let all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    if all.len() < 2 {
        return None;
    }
    let mut half = CpuSet::new();
    all[all.len().div_ceil(2)..].iter().for_each(|cpu| half.set(*cpu));
    Some(half)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(cpus: &[usize]) -> CpuSet {
        let mut set = CpuSet::new();
        cpus.iter().for_each(|cpu| set.set(*cpu));
        set
    }

    #[test]
    fn half_of_the_cores_are_left_to_others_and_one_is_kept() {
        assert_eq!(half(&set(&[3])), None);
        assert_eq!(half(&set(&[0, 1])), Some(set(&[1])));
        assert_eq!(half(&set(&[0, 2, 5])), Some(set(&[5])));
        assert_eq!(half(&set(&[0, 1, 2, 3])), Some(set(&[2, 3])));
    }

    #[test]
    fn a_thread_that_was_set_aside_keeps_to_its_half() {
        let before = sched_getaffinity(None).unwrap();
        let after = std::thread::spawn(|| {
            super::super::set_this_thread_aside();
            sched_getaffinity(None).unwrap()
        });
        assert_eq!(after.join().unwrap(), half(&before).unwrap_or(before));
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }
}
