//! Threads that wait must sleep, which the environment of the process decides.

use std::process::{Command, Stdio};

/// Not a test of its own: the test below runs it in a process of its own.
#[test]
#[ignore = "run by another test"]
fn begins_again() {
    speech::threads::begin_with_patience().unwrap();
    println!("{} {}", std::process::id(), std::env::var("OMP_WAIT_POLICY").unwrap());
}

#[test]
fn a_process_begins_again_with_patience_and_stays_the_same() {
    for before in [None, Some("active"), Some("PASSIVE")] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "threads::begins_again", "--ignored", "--nocapture"]);
        command
            .env_remove("OMP_WAIT_POLICY")
            .envs(before.map(|policy| ("OMP_WAIT_POLICY", policy)));
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        let id = child.id();
        let said = child.wait_with_output().unwrap().stdout;
        let said = String::from_utf8(said).unwrap().to_lowercase();
        assert!(said.contains(&format!("{id} passive\n")), "{before:?}: {said}");
    }
}
