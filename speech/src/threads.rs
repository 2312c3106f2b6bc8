//! How the threads of one transcription wait for each other, and what of its memory is given back.
//!
//! Whisper's threads meet after every matrix product. OpenMP lets those that are there first spin, on cores that others need: on
//! a busy machine two threads took ten times as long as one, and ten times the processor's time. It can be told to let them
//! sleep, but only by the environment, which it reads before `main` does anything.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

const POLICY: &str = "OMP_WAIT_POLICY";
const PASSIVE: &str = "passive";

/// Buffers from this size on, in bytes, the C library takes from the system and gives back to it. It would raise that size with
/// each that is given back, and keep what Whisper no longer needs: 40 MB.
const OWN_MAPPING: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "1048576");

/// Begins this process again, with the same arguments and under the same id, unless its threads sleep while they wait.
/// To be called before anything else has begun. Otherwise Whisper makes do with a single thread.
///
/// # Errors
/// When the process cannot begin again: its executable was removed, for instance.
pub fn begin_with_patience() -> io::Result<()> {
    if are_patient() {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let mut again = Command::new(std::env::current_exe()?);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    let (threshold, bytes) = OWN_MAPPING;
    if std::env::var_os(threshold).is_none() {
        again.env(threshold, bytes);
    }
    // It returns only if it fails.
    Err(again.args(arguments).env(POLICY, PASSIVE).exec())
}

/// As many threads as are wanted, if that does no harm.
pub(crate) fn harmless(wanted: usize) -> usize {
    if are_patient() { wanted.max(1) } else { 1 }
}

fn are_patient() -> bool {
    std::env::var(POLICY).is_ok_and(|policy| policy.eq_ignore_ascii_case(PASSIVE))
}
