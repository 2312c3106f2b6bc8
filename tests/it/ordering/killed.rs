//! Sixteen writers who never give up, while whoever writes for them, whoever projects and Postgres itself are killed over
//! and over, somebody imports and somebody rebuilds.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use api::embedded::Cluster;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Follower, Seen};
use crate::import::legacy;
use crate::server::{Home, Server};

const WRITERS: usize = 16;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    /// The server that only writes.
    Writing,
    /// The server that came first, which is the one that runs the projectors.
    Projecting,
    /// The Postgres of both.
    Postgres,
}

/// What a writer was told: the names of LPs by id, and where each of its events stands.
type Acknowledged = (BTreeMap<i64, String>, Vec<(i64, String)>);

/// Where the two servers are, whoever has taken the place of whom.
type Places = Arc<[RwLock<String>; 2]>;

/// Somebody who writes.
struct Writer {
    number: usize,
    places: Places,
    /// How much the writers of each server have been told is recorded.
    told: Arc<[AtomicUsize; 2]>,
    client: Client,
}

impl Writer {
    /// The record that all writers change.
    const EVERYBODYS: &str = "/lps/1001";

    /// Sends one request until it is answered, by whoever is there, with one key: whether a server that died had recorded it,
    /// nobody knows. Tells the answer and its position.
    async fn insist(&self, method: Method, path: &str, body: &Value) -> (Value, i64) {
        let key = Uuid::new_v4().to_string();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let place = self.number % 2;
            let url = format!("{}{path}", self.places[place].read().unwrap());
            let asking = self.client.request(method.clone(), url).json(body);
            let answer = asking.header("idempotency-key", &key).send().await;
            let told = match answer {
                Ok(answer) if answer.status() == StatusCode::OK => {
                    let position = answer.headers()["x-position"].to_str().unwrap().parse();
                    answer.json().await.map(|row| Ok((row, position.unwrap())))
                }
                Ok(answer) => Ok(Err(answer.status())),
                Err(error) => Err(error),
            };
            match told {
                Ok(Ok(told)) => {
                    self.told[place].fetch_add(1, Ordering::Relaxed);
                    return told;
                }
                // The database is away, or so many write to one record that this one is out of luck.
                Ok(Err(StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT)) => {}
                Ok(Err(status)) => panic!("{path}: {status}"),
                Err(error) => assert!(!error.is_builder(), "{error}"),
            }
            assert!(Instant::now() < deadline, "it is recorded at last");
            pause(20_000).await;
        }
    }

    /// Writes until it is told to stop; tells what was acknowledged.
    async fn write(self, stop: CancellationToken) -> Acknowledged {
        let (mut names, mut places) = (BTreeMap::new(), Vec::new());
        for number in 0.. {
            if stop.is_cancelled() {
                break;
            }
            let name = format!("LP {}-{number}", self.number);
            let (row, position) = self.insist(Method::POST, "/lps", &json!({"name": name})).await;
            let id = row["id"].as_i64().unwrap();
            places.push((position, format!("lp {id}")));
            names.insert(id, name.clone());
            pause(12_000).await;
            let revise = json!({"name": name});
            let (_, position) = self.insist(Method::PUT, Self::EVERYBODYS, &revise).await;
            places.push((position, "lp 1001".to_owned()));
            pause(12_000).await;
        }
        (names, places)
    }
}

/// Pauses of differing length are what brings every order of events about.
async fn pause(most_micros: u64) {
    let random = Uuid::new_v4().as_u64_pair().1;
    tokio::time::sleep(Duration::from_micros(random % most_micros)).await;
}

/// Imports a file, by as many processes as it takes, and rebuilds from then on; whatever becomes of a rebuild must be in
/// nobody's way.
async fn import_and_rebuild(home: Arc<Home>, file: String, stop: CancellationToken) {
    let run = async |args: &[&str]| {
        let mut command = home.crm(args);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        tokio::select! {
            ended = child.wait() => ended.unwrap().success(),
            () = stop.cancelled() => {
                child.kill().await.unwrap();
                false
            }
        }
    };
    while !stop.is_cancelled() && !run(&["import", &file, "--json"]).await {}
    for names in [&["lp"][..], &["lp", "passage"], &["--all"]].iter().cycle() {
        if stop.is_cancelled() {
            return;
        }
        run(&[&["rebuild", "--json"], *names].concat()).await;
    }
}

/// Waits until the writers of both servers have been told of more records than before.
async fn until_written(told: &[AtomicUsize; 2], more: usize) {
    let before = [0, 1].map(|place| told[place].load(Ordering::Relaxed));
    let deadline = Instant::now() + PATIENCE;
    while [0, 1].iter().any(|place| told[*place].load(Ordering::Relaxed) < before[*place] + more) {
        assert!(Instant::now() < deadline, "the writers go on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Nothing that was acknowledged is missing, and nothing is there twice.
async fn assert_recorded_once(pool: &PgPool, seen: &Seen, acknowledged: &[Acknowledged]) {
    let seen: HashSet<(i64, &str)> =
        seen.iter().map(|(position, stream, _)| (*position, stream.as_str())).collect();
    let mut positions = BTreeSet::new();
    for (position, stream) in acknowledged.iter().flat_map(|(_, places)| places) {
        assert!(seen.contains(&(*position, stream)), "{stream} at {position} was acknowledged");
        assert!(positions.insert(position), "two writers were told of position {position}");
    }
    let stored = async |event: &str, also: &str| -> Vec<(i64, String)> {
        let question = format!(
            "select aggregate_id::bigint, payload -> '{event}' ->> 'name' from events
             where aggregate_type = 'lp' and event_type = '{event}' {also} order by position"
        );
        sqlx::query_as(&question).fetch_all(pool).await.unwrap()
    };
    let registered = stored("Registered", "and aggregate_id::bigint > 1001").await;
    let expected: BTreeMap<i64, String> =
        acknowledged.iter().flat_map(|(names, _)| names.clone()).collect();
    assert_eq!(registered.len(), expected.len(), "each LP is registered once");
    assert_eq!(registered.into_iter().collect::<BTreeMap<_, _>>(), expected);
    let renamed = stored("Renamed", "and aggregate_id = '1001'").await;
    let names: BTreeSet<&String> = renamed.iter().map(|(_, name)| name).collect();
    assert_eq!((renamed.len(), names.len()), (expected.len(), expected.len()), "each name once");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_writers_go_on_over_every_kill_and_a_reader_sees_each_of_their_events_once() {
    use Victim::{Postgres, Projecting, Writing};

    let home = Arc::new(Home::new());
    let file = legacy(home.path(), "--lps 100 --notes 300 --todos 200");
    let file = file.to_str().unwrap().to_owned();
    let cluster = Cluster::open(home.path()).await.unwrap();
    let servers = [Server::start(&home, &[]).await, Server::start(&home, &[]).await];
    let database = crate::harness::connect(cluster.options("crm"), 2);
    // Ids above those of the file: else the import would have to be run again.
    sqlx::query("alter sequence lp_id restart with 1001").execute(&database.pool).await.unwrap();
    let lps = format!("{}/lps", servers[0].url);
    let made = Client::new().post(lps).json(&json!({"name": "Everybody's"})).send().await.unwrap();
    assert_eq!(made.json::<Value>().await.unwrap()["id"], json!(1_001));
    database.pool.close().await;
    let followers = [1, 50].map(|page| Follower::start(cluster.options("crm"), page));

    let places: Places = Arc::new([0, 1].map(|place| RwLock::new(servers[place].url.clone())));
    let told = Arc::<[AtomicUsize; 2]>::default();
    let (stop, mut writers) = (CancellationToken::new(), JoinSet::new());
    for number in 0..WRITERS {
        let (places, told) = (places.clone(), told.clone());
        let writer = Writer { number, places, told, client: Client::new() };
        writers.spawn(writer.write(stop.clone()));
    }
    until_written(&told, 20).await;
    let beside = tokio::spawn(import_and_rebuild(home.clone(), file.clone(), stop.clone()));
    let (mut servers, mut first) = (servers.map(Some), 0);
    for victim in [Writing, Projecting, Postgres].into_iter().cycle().take(9) {
        let place = match victim {
            Writing => 1 - first,
            Projecting => first,
            Postgres => 2,
        };
        if let Some(server) = servers.get_mut(place) {
            // Its writers knock in vain meanwhile; those of the other one go on.
            server.take().unwrap().kill().await;
            let next = Server::start(&home, &[]).await;
            places[place].write().unwrap().clone_from(&next.url);
            *server = Some(next);
            first = 1 - place;
        } else {
            home.kill_postgres();
        }
        until_written(&told, 20).await;
        pause(300_000).await;
    }
    stop.cancel();
    let acknowledged = writers.join_all().await;
    beside.await.unwrap();
    for server in servers.into_iter().flatten() {
        assert!(server.stop().await);
    }

    let database = crate::harness::connect(cluster.options("crm"), 2);
    let mut seen = Seen::new();
    for follower in followers {
        seen = follower.assert_saw_everything(&database.pool).await;
    }
    assert_recorded_once(&database.pool, &seen, &acknowledged).await;
    database.pool.close().await;
    cluster.close().await.unwrap();
    let imported = home.crm(&["import", &file, "--json"]).output().await.unwrap();
    assert!(imported.status.success());
    crate::crash::assert_everything_is_right(&home).await;
}
