//! The embedded Postgres against the real one of this machine.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use sqlx::{ConnectOptions, Connection};

use super::binaries::leading_number;
use super::place::{Account, Place, check_traversable, socket_dir};
use super::server::{LOG_LIMIT, append_durably, open_log};
use super::*;

/// A data folder of one test. On the way out it stops a server that a failed test left behind.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "crm-embedded-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        // `/tmp` rather than $TMPDIR, which may be closed to the user who runs Postgres for root.
        Folder(Path::new("/tmp").join(name))
    }

    fn place(&self) -> Place {
        Place::prepare(&self.0).expect("a folder in /tmp serves")
    }

    fn postmaster(&self) -> Option<Pid> {
        self.place().postmaster()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(pid) = Place::prepare(&self.0).ok().and_then(|place| place.postmaster()) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = fs::remove_dir_all(socket_dir(&self.0));
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn ask(cluster: &Cluster, sql: &str) -> String {
    let mut connection =
        cluster.options("crm").connect().await.expect("the server takes connections");
    let answer = sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect(sql);
    connection.close().await.expect("the connection closes");
    answer
}

async fn tell(cluster: &Cluster, sql: &str) {
    let mut connection =
        cluster.options("crm").connect().await.expect("the server takes connections");
    sqlx::query(sql).execute(&mut connection).await.expect(sql);
}

#[tokio::test]
async fn two_opens_share_one_server_and_the_last_to_leave_stops_it() {
    let folder = Folder::new();
    let (first, second) = tokio::join!(Cluster::open(&folder.0), Cluster::open(&folder.0));
    let (first, second) = (first.expect("the first opens"), second.expect("the second opens"));
    let started = "SELECT pg_postmaster_start_time()::text";
    assert_eq!(ask(&first, started).await, ask(&second, started).await);

    first.close().await.expect("the first leaves");
    assert_eq!(ask(&second, "SELECT 'still here'").await, "still here");
    second.close().await.expect("the second leaves");
    assert_eq!(folder.postmaster(), None);
    assert!(!folder.0.join("postgres/postmaster.pid").exists(), "it was stopped in order");
}

#[tokio::test]
async fn data_survives_close_and_open() {
    let folder = Folder::new();
    let cluster = Cluster::open(&folder.0).await.expect("it opens");
    tell(&cluster, "CREATE TABLE kept AS SELECT 'a word' AS word").await;
    cluster.close().await.expect("it closes");

    let cluster = Cluster::open(&folder.0).await.expect("it opens again");
    assert_eq!(ask(&cluster, "SELECT word FROM kept").await, "a word");
    cluster.close().await.expect("it closes again");
}

#[tokio::test]
async fn a_killed_server_is_revived_with_its_data_and_a_living_one_left_alone() {
    let folder = Folder::new();
    let cluster = Cluster::open(&folder.0).await.expect("it opens");
    tell(&cluster, "CREATE TABLE kept AS SELECT 'a word' AS word").await;
    let pid = folder.postmaster().expect("it runs");
    cluster.revive().await.expect("nothing is to be done");
    assert_eq!(folder.postmaster(), Some(pid));

    kill_process(pid, Signal::KILL).expect("it can be killed");
    cluster.revive().await.expect("it starts again");
    assert_ne!(folder.postmaster(), Some(pid));
    assert_eq!(ask(&cluster, "SELECT word FROM kept").await, "a word");
    cluster.close().await.expect("it closes");
}

#[tokio::test]
async fn a_server_that_says_it_is_starting_is_waited_for_however_long_that_takes() {
    let folder = Folder::new();
    let cluster = Cluster::open(&folder.0).await.expect("it opens");
    tell(&cluster, "CREATE TABLE kept AS SELECT 'a word' AS word").await;
    kill_process(folder.postmaster().expect("it runs"), Signal::KILL).expect("it can be killed");
    // Recovery asks the archive for a file before anybody may connect, and the archive answers when the gate opens.
    let gate = folder.0.join("gate");
    let archive = format!(
        "\nrestore_command = 'until test -e \"{}\"; do sleep 0.1; done; false'\n",
        gate.display()
    );
    append_durably(&folder.0.join("postgres/postgresql.conf"), &archive).expect("it is written");
    fs::write(folder.0.join("postgres/recovery.signal"), "").expect("it is written");
    let binaries = folder.place().find_binaries(None, None).await.expect("they are there");
    // Long enough for a process to begin on a busy machine, where silence is counted too.
    let limit = Duration::from_secs(4);
    let opens = async {
        tokio::time::sleep(limit + Duration::from_secs(1)).await;
        fs::write(&gate, "").expect("the gate opens");
    };
    let starts = async {
        cluster.start(&binaries, limit).await.expect("it starts");
        assert!(gate.exists(), "it did not wait for the archive");
    };
    tokio::join!(starts, opens);
    assert_eq!(ask(&cluster, "SELECT word FROM kept").await, "a word");
    cluster.close().await.expect("it closes");
}

#[tokio::test]
async fn a_process_that_was_killed_leaves_a_server_that_the_next_one_attaches_to_and_stops() {
    let folder = Folder::new();
    // A drop does what a kill does: the locks go, the server stays.
    drop(Cluster::open(&folder.0).await.expect("it opens"));
    let pid = folder.postmaster().expect("it still runs");
    let cluster = Cluster::open(&folder.0).await.expect("it attaches");
    assert_eq!(folder.postmaster(), Some(pid));
    cluster.close().await.expect("it closes");
    assert_eq!(folder.postmaster(), None);
}

#[tokio::test]
async fn pid_files_of_before_a_crash_that_name_a_strangers_process_do_not_hinder_the_start() {
    let folder = Folder::new();
    Cluster::open(&folder.0).await.expect("it opens").close().await.expect("it closes");
    let stale = format!(
        "{}\n{}\n1\n5432\n\n\n0 0\nready\n",
        std::process::id(),
        folder.0.join("postgres").display()
    );
    let place = folder.place();
    for path in [place.pid_file(), place.socket_dir.join(".s.PGSQL.5432.lock")] {
        fs::write(path, &stale).expect("the file is written");
    }
    let cluster = Cluster::open(&folder.0).await.expect("it opens in spite of it");
    cluster.close().await.expect("it closes");
}

#[tokio::test]
async fn it_listens_on_no_network_and_only_its_own_user_reaches_the_socket() {
    let folder = Folder::new();
    let cluster = Cluster::open(&folder.0).await.expect("it opens");
    assert_eq!(ask(&cluster, "SHOW listen_addresses").await, "");
    let found = fs::metadata(&cluster.place.socket_dir).expect("the socket's folder is there");
    assert_eq!((found.mode() & 0o777, found.uid()), (0o700, cluster.place.uid()));
    cluster.close().await.expect("it closes");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_server_is_out_of_the_reach_of_ctrl_c_and_has_none_of_our_groups_and_secrets() {
    let folder = Folder::new();
    let cluster = Cluster::open(&folder.0).await.expect("it opens");
    let pid = folder.postmaster().expect("it runs");
    assert_eq!(rustix::process::getpgid(Some(pid)).expect("it has a group"), pid);
    let environment =
        fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
    assert!(!String::from_utf8_lossy(&environment).contains("CARGO"));
    if geteuid().is_root() {
        let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()))
            .expect("it has a status");
        let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).map(str::trim);
        assert_eq!(groups, Some(""));
    }
    cluster.close().await.expect("it closes");
}

#[tokio::test]
async fn a_data_folder_with_a_long_path_puts_the_socket_into_tmp() {
    let folder = Folder::new();
    let deep = folder.0.join("a-folder-name-of-some-length/".repeat(4));
    let cluster = Cluster::open(&deep).await.expect("it opens");
    let socket_dir = cluster.place.socket_dir.clone();
    assert!(
        socket_dir.starts_with("/tmp") && !socket_dir.starts_with(&folder.0),
        "{}",
        socket_dir.display()
    );
    assert_eq!(
        ask(&cluster, "SHOW unix_socket_directories").await.trim_matches('"'),
        socket_dir.display().to_string()
    );
    cluster.close().await.expect("it closes");
    fs::remove_dir_all(socket_dir).expect("the socket's folder goes");
}

#[tokio::test]
async fn a_cluster_of_another_major_version_is_refused_by_name() {
    let folder = Folder::new();
    Cluster::open(&folder.0).await.expect("it opens").close().await.expect("it closes");
    fs::write(folder.0.join("postgres/PG_VERSION"), "11\n").expect("the file is written");
    let error =
        Cluster::open(&folder.0).await.expect_err("nothing here runs version 11").to_string();
    for part in
        ["was made by Postgres 11, but only Postgres ", "apt-get install postgresql-11", "dump"]
    {
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_start_shows_the_end_of_its_log() {
    let folder = Folder::new();
    Cluster::open(&folder.0).await.expect("it opens").close().await.expect("it closes");
    append_durably(&folder.0.join("postgres/postgresql.conf"), "\nno_such_setting = 1\n")
        .expect("it is written");
    let error =
        Cluster::open(&folder.0).await.expect_err("Postgres refuses the setting").to_string();
    assert!(error.contains("ended while starting") && error.contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn an_initdb_that_was_killed_leaves_nothing_behind_that_matters() {
    let folder = Folder::new();
    fs::create_dir_all(folder.0.join("postgres.new-1/base")).expect("the leftover is made");
    let cluster = Cluster::open(&folder.0).await.expect("it opens");
    assert!(!folder.0.join("postgres.new-1").exists());
    cluster.close().await.expect("it closes");
}

#[tokio::test]
async fn what_is_no_cluster_and_what_has_no_binaries_is_refused_in_clear_words() {
    let folder = Folder::new();
    let error = Cluster::open_with(&folder.0, Some("/nowhere".into()))
        .await
        .expect_err("there are none")
        .to_string();
    assert!(error.starts_with("CRM_POSTGRES_BIN is `/nowhere`"), "{error}");

    fs::create_dir_all(folder.0.join("postgres/photos")).expect("the folder is made");
    let error = Cluster::open(&folder.0).await.expect_err("photos are no cluster").to_string();
    assert!(error.contains("holds no Postgres cluster"), "{error}");
}

#[test]
fn root_is_told_which_folder_shuts_postgres_out() {
    let folder = Folder::new();
    let inner = folder.0.join("closed/data");
    fs::create_dir_all(&inner).expect("the folders are made");
    fs::set_permissions(folder.0.join("closed"), Permissions::from_mode(0o700))
        .expect("the mode is set");
    let account = Account { uid: 54321, gid: 54321, name: "postgres".into() };
    let error = check_traversable(&inner, &account).expect_err("it is closed").to_string();
    assert!(
        error.contains("/closed`") && error.contains("chmod o+x") && error.contains("CRM_DATA_DIR"),
        "{error}"
    );
}

#[test]
fn a_socket_folder_that_others_may_enter_is_not_used() {
    let folder = Folder::new();
    let place = folder.place();
    fs::set_permissions(&place.socket_dir, Permissions::from_mode(0o755)).expect("the mode is set");
    let error = place.secure_socket_dir().expect_err("it is open").to_string();
    assert!(error.contains("is open to other users"), "{error}");
}

#[test]
fn a_long_log_is_put_aside() {
    let folder = Folder::new();
    let place = folder.place();
    fs::write(place.log_file(), "a line\n").expect("the log is written");
    assert_eq!(place.rotate_log().expect("it stays"), 7);
    let log = open_log(&place.log_file()).expect("the log opens");
    log.set_len(LOG_LIMIT + 1).expect("the log grows");
    assert_eq!(place.rotate_log().expect("it goes"), 0);
    assert!(folder.0.join("postgres.log.1").exists() && !place.log_file().exists());
}

#[test]
fn versions_are_read_as_postgres_writes_them() {
    for (text, expected) in
        [("15.18", Some(15)), ("17beta1", Some(17)), ("16\n", Some(16)), ("devel", None)]
    {
        assert_eq!(leading_number(text), expected, "{text}");
    }
}
