//! The database is there but lacks something: whoever wants it is told what, the rest goes on, and once it is back so is
//! everything else, without a restart.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use api::app::Parts;
use api::backend::Backend;
use axum::body::Body;
use axum::http::{Method, Request};
use futures::StreamExt as _;
use projections::database::{DatabaseError, Shortage, is_passing};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::check::assert_read_models_match_the_log;
use crate::contract::{Api, app, ask, json_request, request};
use crate::crash::assert_everything_is_right;
use crate::harness::{Database, demo_file};
use crate::proxy::{Fault, Plan, Proxy, Statement};
use crate::rebuild::register;
use crate::server::{Home, Server};
use crate::uploads::{attached, begun, patch, stands, wav};

/// Sends a request that may be refused for want of something; tells status and body.
async fn send(api: &Api, request: Request<Body>) -> (u16, Value) {
    let answer = api.router.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    assert_eq!(status == 503, answer.headers().contains_key("retry-after"));
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn post(api: &Api, name: &str) -> (u16, Value) {
    send(api, json_request(Method::POST, "/lps", &json!({"name": name}))).await
}

fn told(what: &str) -> (u16, Value) {
    let detail = format!("The database is not available: {what}; please try again");
    (503, json!({ "detail": detail }))
}

/// Posts until it is accepted, as a client does that was told to try again. Tells the id.
async fn post_until_accepted(api: &Api, name: &str) -> i64 {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match post(api, name).await {
            (200, row) => return row["id"].as_i64().unwrap(),
            (503, told) => assert!(Instant::now() < deadline, "it goes on: {told}"),
            other => panic!("{other:?}"),
        }
    }
}

/// The product on a database that is reached through a proxy.
async fn behind_proxy(plan: Option<Plan>) -> (Proxy, Api) {
    let db = Database::new().await;
    let proxy = Proxy::before(&db.pool.connect_options(), plan).await;
    let backend = Backend::start(proxy.connections(), db.files()).await.unwrap();
    let router = api::server::router(app(&db, &backend, 64 << 20));
    (proxy, Api { router, backend, db })
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_a_read_model_that_was_just_replaced_is_told_to_try_again() {
    let api = Api::new().await;
    let ada = api.made("lps", json!({"name": "Ada"})).await;
    let show = || Request::get(format!("/lps/{ada}")).body(Body::empty()).unwrap();
    let rename = async |from: &str, to: &str| {
        let statement = format!("alter table read_lp_1.{from} rename to {to}");
        sqlx::query(&statement).execute(&api.db.pool).await.unwrap();
    };
    rename("lp", "gone").await;
    let (status, told) = send(&api, show()).await;
    assert_eq!(status, 503, "{told}");
    assert_eq!(told["detail"], "The database is not available; please try again");
    rename("gone", "lp").await;
    let (status, row) = send(&api, show()).await;
    assert_eq!((status, &row["name"]), (200, &json!("Ada")));
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_postgres_lacks_is_told_to_whoever_wants_to_write() {
    let (proxy, api) = behind_proxy(None).await;
    api.made("lps", json!({"name": "Ada"})).await;
    let inserts = |statement: &Statement| match statement {
        Statement::Run(text) => text.contains("insert into events"),
        _ => false,
    };
    let statement = proxy.seen().into_keys().find(inserts).unwrap();
    for (code, what) in [
        ("53100", "its disk is full"),
        ("53200", "its memory is full"),
        ("53300", Shortage::Connections.as_str()),
        ("53400", "one of its limits is reached"),
        ("25006", "it takes no changes at present"),
    ] {
        let fault = Fault::Refused(code);
        let (_proxy, api) =
            behind_proxy(Some(Plan { statement: statement.clone(), nth: 1, fault })).await;
        assert_eq!(post(&api, "Ada").await, told(what));
        assert_eq!(api.ids("/lps").await, [0; 0]);
        api.made("lps", json!({"name": "Bob"})).await;
        assert_eq!(api.events().await, 1);
    }
}

/// From now on a table fails with this when a row of it is written.
async fn fail(api: &Api, table: &str, code: &str, message: &str) {
    let statements = format!(
        "create or replace function public.failing() returns trigger language plpgsql as
             $$ begin raise '%', '{message}' using errcode = '{code}'; end $$;
         create or replace trigger failing before insert or update on {table}
             for each row execute function public.failing();"
    );
    sqlx::raw_sql(&statements).execute(&api.db.pool).await.unwrap();
}

async fn mend(api: &Api, table: &str) {
    let statement = format!("drop trigger failing on {table}");
    sqlx::query(&statement).execute(&api.db.pool).await.unwrap();
}

const QUOTA: &str = r#"could not extend file "base/5/16384": Disk quota exceeded"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_that_postgres_has_no_code_for_is_told_as_one() {
    let api = Api::new().await;
    let check = async |code: &str, message: &str, expected: Option<Shortage>| {
        let raise = format!("do $$ begin raise '%', '{message}' using errcode = '{code}'; end $$");
        let error = sqlx::raw_sql(&raise).execute(&api.db.pool).await.unwrap_err();
        assert_eq!(Shortage::of(&error), expected, "{error}");
        assert_eq!(is_passing(&error), expected.is_some(), "{error}");
    };
    let disk = Some(Shortage::Disk);
    check("XX000", QUOTA, disk).await;
    check("XX000", "could not write init file", disk).await;
    check("58030", "could not write to file: No space left on device", disk).await;
    check("58030", "could not extend file: Input/output error", None).await;
    check("XX000", "cache lookup failed for type 7", None).await;
    check("22023", "No space left on device", None).await;

    fail(&api, "events", "XX000", QUOTA).await;
    assert_eq!(post(&api, "Ada").await, told("its disk is full"));
    mend(&api, "events").await;
    assert_eq!(post(&api, "Ada").await.0, 200);
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_lets_nobody_connect_is_not_available() {
    let db = Database::new().await;
    let options = db.pool.connect_options();
    let name = options.get_database().unwrap().to_owned();
    let beside = crate::harness::connect((*options).clone().database("postgres"), 1);
    let admit = async |whether: bool| {
        let statement = format!("alter database {name} allow_connections {whether}");
        sqlx::query(&statement).execute(&beside.pool).await.unwrap();
    };
    let database = crate::harness::connect((*options).clone(), 2);
    let ask = async || database.ask(sqlx::query("select 1").execute(&database.pool)).await;
    admit(false).await;
    let refused = ask().await.unwrap_err();
    assert!(matches!(refused, DatabaseError::Unavailable(_)), "{refused:?}");
    assert!(database.is_down());
    admit(true).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while database.is_down() {
        assert!(Instant::now() < deadline, "it answers again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ask().await.unwrap();
}

/// Waits until what is told of why LPs are not projected `is_expected`.
async fn told_of_lp(api: &Api, is_expected: impl Fn(Option<&String>) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let failures = api.backend.runner().failures();
        if is_expected(failures.get("lp")) {
            return;
        }
        assert!(Instant::now() < deadline, "{failures:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_that_the_database_fails_parks_nothing_and_says_why() {
    let api = Api::new().await;
    let parked = async || -> i64 {
        let count = sqlx::query_scalar("select count(*) from dead_letter");
        count.fetch_one(&api.db.pool).await.unwrap()
    };
    let mut position = register(&api.backend, "before").await;
    assert!(api.backend.reader.reached(position, Duration::from_secs(20)).await);
    for (code, message) in [
        ("58030", "could not read block 7: Input/output error"),
        ("42501", "permission denied for table lp"),
        ("XX001", "invalid page in block 7"),
        ("XX000", QUOTA),
    ] {
        fail(&api, "read_lp_1.lp", code, message).await;
        position = register(&api.backend, message).await;
        told_of_lp(&api, |told| told.is_some_and(|why| why.contains(message))).await;
        mend(&api, "read_lp_1.lp").await;
        assert!(api.backend.reader.reached(position, Duration::from_secs(20)).await, "{code}");
        assert_eq!(parked().await, 0, "{code}");
        told_of_lp(&api, |told| told.is_none()).await;
    }
    api.backend.stop().await;
    assert_read_models_match_the_log(&api.db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_database_is_read_and_takes_changes_again_when_it_may() {
    let api = Api::new().await;
    let id = api.made("lps", json!({"name": "Ada"})).await;
    let Api { backend, db, .. } = api;
    backend.stop().await;
    let name = db.pool.connect_options().get_database().unwrap().to_owned();
    let alter = async |how: &str| {
        let statement = format!("alter database {name} {how}");
        sqlx::query(&statement).execute(&db.pool).await.unwrap();
    };
    alter("set default_transaction_read_only = on").await;
    // What the product opens from now on is read-only.
    let connections = crate::harness::connect((*db.pool.connect_options()).clone(), 8);
    let backend = Backend::start(connections, db.files()).await.unwrap();
    let router = api::server::router(app(&db, &backend, 64 << 20));
    let api = Api { router, backend, db: Database::new().await };
    assert_eq!(api.ids("/lps").await, [id]);
    let readiness = api
        .router
        .clone()
        .oneshot(request(Method::GET, "/readyz").body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(readiness.status(), 200, "it can be read");
    let told_of = axum::body::to_bytes(readiness.into_body(), usize::MAX).await.unwrap();
    let told_of: Value = serde_json::from_slice(&told_of).unwrap();
    assert_eq!(told_of["parts"]["writes"]["status"], "degraded");
    let reason = told_of["parts"]["writes"]["reasons"][0].as_str().unwrap();
    assert!(reason.contains("DATABASE_URL must name the writer"), "{reason}");
    let status = api.read("/projections").await;
    assert_eq!(status["writes"]["error"], reason);
    let takes_none = told("it takes no changes at present");
    assert_eq!(post(&api, "Bob").await, takes_none);
    let uri = format!("/lps/{id}");
    let revise = json_request(Method::PUT, &uri, &json!({"name": "Eve"}));
    assert_eq!(send(&api, revise).await, takes_none);
    assert_eq!(api.read(&uri).await["name"], json!("Ada"));

    alter("reset default_transaction_read_only").await;
    let (mut ids, mut refused) = (vec![id], 0);
    for number in 0..20 {
        match post(&api, &format!("LP {number}")).await {
            (200, row) => ids.extend(row["id"].as_i64()),
            (_, told) => {
                assert_eq!(told, takes_none.1);
                refused += 1;
            }
        }
    }
    assert!(
        refused <= 1,
        "sessions stay as they were opened, but the first that is refused tells of all others"
    );
    assert_eq!(api.ids("/lps").await, ids);
    api.backend.settle().await.unwrap();
    api.backend.stop().await;
    assert_read_models_match_the_log(&db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_that_take_all_connections_hold_up_nobody_for_long() {
    let db = Database::new().await;
    let options = replay::ImportOptions::new(demo_file());
    replay::import(&db.connections, &db.files(), &options, |_| ()).await.unwrap();
    let connections = crate::harness::connect((*db.pool.connect_options()).clone(), 4);
    let backend = Backend::start(connections, db.files()).await.unwrap();
    backend.settle().await.unwrap();
    // The notes are too large to be kept in memory, the LPs are not.
    let reader = backend.reader.clone().with_shelf_limit(400_000);
    let router = api::server::router(Parts { reader, ..app(&db, &backend, 64 << 20) });
    let api = Api { router, backend, db };
    let lps = api.ids("/lps").await;
    // The last of the four connections is the one that the projectors listen on, until they need a second and wait in vain.
    let mut slow = Vec::new();
    while slow.len() < 4 {
        let notes = request(Method::GET, "/notes").body(Body::empty()).unwrap();
        let answer = api.router.clone().oneshot(notes).await.unwrap();
        let is_begun = answer.status() == 200;
        let mut pieces = answer.into_body().into_data_stream();
        // What comes after the first piece is not read: the client takes its time.
        if is_begun && matches!(pieces.next().await, Some(Ok(_))) {
            slow.push(pieces);
        }
    }
    let started = Instant::now();
    let ask = |path: &str| request(Method::GET, path).body(Body::empty()).unwrap();
    let uri = format!("/lps/{}", lps[0]);
    let (show, people) = (ask(&uri), ask(&format!("{uri}/people")));
    let (shown, listed, written) =
        tokio::join!(send(&api, show), send(&api, people), post(&api, "Bob"));
    assert!(started.elapsed() < Duration::from_secs(8), "nobody is kept waiting");
    assert_eq!(listed, told(Shortage::Connections.as_str()));
    // What writes, folds, lists and shows single records has connections of its own.
    assert_eq!((shown.0, written.0), (200, 200));
    let bob = written.1["id"].as_i64().unwrap();
    assert_eq!(api.ids("/lps").await, [lps.as_slice(), &[bob]].concat());

    drop(slow);
    let ann = post_until_accepted(&api, "Ann").await;
    assert_eq!(api.read(&uri).await["id"], json!(lps[0]));
    assert_eq!(api.ids("/lps").await.last(), Some(&ann));
    api.backend.stop().await;
}

/// A disk of its own below a folder, that is soon full.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of so many megabytes, if the tests may: that takes root, or a container with the right to. If they may not,
    /// says that this was not tested.
    pub fn mount(folder: &Path, megabytes: u32, what: &str) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m,mode=755"), "crm-tests"])
            .arg(folder)
            .output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder.to_owned()));
        }
        // Past what the test harness captures, since a test that passes is not heard otherwise.
        let said = format!("NOT TESTED: {what}, since this user may not mount one");
        let mut stderr = std::io::stderr();
        writeln!(stderr, "\n{said}").unwrap();
        None
    }

    /// Takes all the room that there is.
    pub fn fill(&self) {
        let mut ballast = std::fs::File::create(self.ballast()).unwrap();
        while ballast.write_all(&[0; 1024]).is_ok() {}
    }

    /// Gives it back.
    pub fn make_room(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    /// Lets nothing be written any more, or lets it again.
    pub fn remount(&self, how: &str) {
        let options = format!("remount,{how}");
        let done = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(done.unwrap().success(), "{options}");
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It goes when the last process has left it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Has Postgres killed before its disk goes.
struct Killed<'a>(&'a Home);

impl Drop for Killed<'_> {
    fn drop(&mut self) {
        self.0.kill_postgres();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_writers_only_and_only_until_there_is_room() {
    let home = &Home::new();
    let Some(disk) = SmallDisk::mount(home.path(), 160, "a full disk") else { return };
    let _killed = Killed(home);
    let server = Server::start(home, &[]).await;
    let client = reqwest::Client::new();
    let (lps, notes) = (format!("{}/lps", server.url), format!("{}/notes", server.url));
    let posted = client.post(&lps).json(&json!({"name": "Ada"})).send().await.unwrap();
    let ada: Value = posted.json().await.unwrap();
    disk.fill();
    // Postgres has some room in what it occupies already.
    let mut kept = Vec::new();
    let refused = loop {
        let text: String = (0..3_000).map(|_| Uuid::new_v4().simple().to_string()).collect();
        let note = json!({"name": "Long", "raw_notes": text});
        let answer = client.post(&notes).json(&note).send().await.unwrap();
        if answer.status() != 200 {
            break answer;
        }
        kept.push(answer.json::<Value>().await.unwrap()["id"].clone());
        assert!(kept.len() < 1_000, "the disk is full");
    };
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let detail = refused.json::<Value>().await.unwrap()["detail"].clone();
    assert_eq!(detail, "The database is not available: its disk is full; please try again");
    let rows: Value = client.get(&lps).send().await.unwrap().json().await.unwrap();
    assert_eq!(rows, json!([ada]), "it can be read");
    let part = async || {
        let ready = client.get(format!("{}/readyz", server.url)).send().await.unwrap();
        assert_eq!(ready.status(), 200, "it can be read");
        ready.json::<Value>().await.unwrap()["parts"]["writes"].clone()
    };
    let told = part().await;
    assert_eq!(told["status"], "degraded");
    assert!(told["reasons"][0].as_str().unwrap().contains("its disk is full; make room"), "{told}");
    let status = home.crm(&["status"]).output().await.unwrap();
    let said = String::from_utf8(status.stdout).unwrap();
    assert!(said.contains("NOT well: the database takes nothing new, its disk is full"), "{said}");

    disk.make_room();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = client.post(&notes).json(&json!({"name": "Short"})).send().await.unwrap();
        if answer.status() == 200 {
            kept.push(answer.json::<Value>().await.unwrap()["id"].clone());
            break;
        }
        assert_eq!(answer.status(), 503);
        assert!(Instant::now() < deadline, "it goes on once there is room");
    }
    while part().await != json!({"status": "ok", "reasons": []}) {
        assert!(Instant::now() < deadline, "it says so by itself");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let rows: Vec<Value> = client.get(&notes).send().await.unwrap().json().await.unwrap();
    for id in &kept {
        assert!(rows.iter().any(|row| row["id"] == *id), "note {id} was acknowledged");
    }
    assert_eq!(rows.len(), kept.len(), "what was refused is not there");
    assert!(server.stop().await);
    assert_everything_is_right(home).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_finds_no_room_goes_on_where_it_stood_once_there_is_some() {
    let api = Api::new().await;
    let note = api.made("notes", json!({"name": "Call"})).await;
    let kept = api.made("notes", json!({"name": "Kept"})).await;
    let Some(disk) = SmallDisk::mount(api.db.dir.path(), 48, "a full upload folder") else {
        return;
    };
    let sent_before = wav(300_000);
    let one = request(Method::POST, &format!("/notes/{kept}/recordings"));
    let one = ask(&api.router, one.body(Body::from(sent_before.clone())).unwrap()).await;
    let one = one.expect(201, "a recording before");
    let content = wav(12 << 20);
    let length = content.len().to_string();
    let place = begun(&api, note, &[("upload-length", &length)]).await;
    let first = 1 << 20;
    assert_eq!(patch(&api, &place, 0, &[], &content[..first]).await.status, 204);
    disk.fill();
    let refused = patch(&api, &place, first, &[], &content[first..]).await;
    assert_eq!(refused.status, 507);
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("The file storage is full"), "{detail}");
    let stood = stands(&api, &place).await;
    assert!((first..content.len()).contains(&stood), "{stood}");
    // Whole ones are refused as well, and everything else goes on.
    let whole = request(Method::POST, &format!("/notes/{note}/recordings"));
    let whole = ask(&api.router, whole.body(Body::from(content.clone())).unwrap()).await;
    assert_eq!(whole.status, 507, "{}", whole.body);
    api.made("lps", json!({"name": "Ada"})).await;
    let audio = api.get(&format!("/recordings/{}/audio", one["id"])).await;
    assert_eq!((audio.status, audio.bytes.to_vec() == sent_before), (200, true));

    disk.make_room();
    let last = patch(&api, &place, stood, &[], &content[stood..]).await;
    assert_eq!(last.status, 204, "{}", last.body);
    let recording = last.header("content-location").unwrap().to_owned();
    let audio = api.get(&format!("{recording}/audio")).await;
    assert_eq!((audio.status, audio.bytes.to_vec() == content), (200, true));
    assert_eq!(attached(&api).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_whose_table_is_gone_parks_nothing() {
    let api = Api::new().await;
    let id = api.made("lps", json!({"name": "Ada"})).await;
    let rename = async |from: &str, to: &str| {
        let statement = format!("alter table read_lp_1.{from} rename to {to}");
        sqlx::query(&statement).execute(&api.db.pool).await.unwrap();
    };
    rename("lp", "elsewhere").await;
    // It is recorded, though nobody can see it yet.
    let revise = json_request(Method::PUT, &format!("/lps/{id}"), &json!({"name": "Eve"}));
    api.router.clone().oneshot(revise).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let parked: i64 = sqlx::query_scalar("select count(*) from dead_letter")
        .fetch_one(&api.db.pool)
        .await
        .unwrap();
    assert_eq!(parked, 0);
    rename("elsewhere", "lp").await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while api.read(&format!("/lps/{id}")).await["name"] != json!("Eve") {
        assert!(Instant::now() < deadline, "it is followed again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    api.backend.stop().await;
    assert_read_models_match_the_log(&api.db.pool).await;
}
