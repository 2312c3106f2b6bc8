//! Whoever follows the log by position sees every event once, in order, with nothing left out behind: however many
//! write at once, and whoever is killed meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::lp::{Lp, LpChanges, LpCommand};
use domain::{Kind, Verbatim};
use projections::log::{CommandError, EventLog, LogReader, PageLimit};
use replay::{ImportOptions, import};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, PgPool};
use tokio::task::{JoinHandle, JoinSet};

use crate::check::{assert_read_models_match_the_log, whole_log};
use crate::harness::Database;
use crate::import::legacy;
use crate::log::request;

/// What somebody saw who followed the log: position, stream and version of every event.
pub type Seen = Vec<(i64, String, i64)>;

/// Somebody who follows the log from its beginning, in a hurry, across every outage.
pub struct Follower {
    is_last_look: Arc<AtomicBool>,
    task: JoinHandle<Seen>,
}

impl Follower {
    /// Begins to follow.
    pub fn start(options: PgConnectOptions, page: i64) -> Self {
        let is_last_look = Arc::<AtomicBool>::default();
        let task = tokio::spawn(follow(options, PageLimit { events: page }, is_last_look.clone()));
        Self { is_last_look, task }
    }

    /// Stops at the end of the log, after its last writer, and compares what was seen with what there is.
    pub async fn assert_saw_everything(self, pool: &PgPool) -> Seen {
        self.is_last_look.store(true, Ordering::Release);
        let seen = self.task.await.unwrap();
        let log: Seen = whole_log(pool)
            .await
            .into_iter()
            .map(|recorded| (recorded.position, recorded.stream().to_string(), recorded.sequence))
            .collect();
        let positions: BTreeSet<i64> = seen.iter().map(|(position, ..)| *position).collect();
        let skipped: Vec<_> =
            log.iter().filter(|(position, ..)| !positions.contains(position)).collect();
        assert!(skipped.is_empty(), "skipped: {skipped:?}");
        assert_eq!(seen, log, "every event once and in order");
        seen
    }
}

async fn follow(
    options: PgConnectOptions,
    limit: PageLimit,
    is_last_look: Arc<AtomicBool>,
) -> Seen {
    let reader = LogReader::new(crate::harness::keys());
    let mut connection: Option<PgConnection> = None;
    let mut seen = Seen::new();
    loop {
        // Asked before reading: what was written by then is in the page, or there is another page.
        let is_last = is_last_look.load(Ordering::Acquire);
        let Some(open) = &mut connection else {
            connection = options.connect().await.ok();
            tokio::task::yield_now().await;
            continue;
        };
        let after = seen.last().map_or(0, |(position, ..)| *position);
        let Ok(page) = reader.read_after(open, after, limit).await else {
            connection = None;
            continue;
        };
        if page.is_empty() {
            if is_last {
                return seen;
            }
            // Whoever follows looks often, but leaves the machine to those who write.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let page = page.into_iter();
        seen.extend(page.map(|it| (it.position, it.stream().to_string(), it.sequence)));
    }
}

/// A record that all writers change, so that they get into each other's way.
const EVERYBODYS: i64 = 1_001;

fn register(name: String) -> LpCommand {
    LpCommand::Register { name, details: LpChanges::default(), legacy: Verbatim::default() }
}

/// Registers and revises records, with pauses; tells what it was told.
async fn write(log: EventLog, writer: u64) -> Vec<(i64, String, i64)> {
    let mut acknowledged = Vec::new();
    for number in 0..12 {
        let id = log.fresh_id(Kind::Lp).await.unwrap();
        let name = format!("LP {writer}-{number}");
        let revise = LpCommand::Revise { name: Some(name.clone()), changes: LpChanges::default() };
        for (id, command) in [(id, register(name)), (EVERYBODYS, revise)] {
            match log.execute::<Lp>(id, command, &request("Write")).await {
                Ok(receipt) => {
                    let position = receipt.position.unwrap();
                    acknowledged.push((position, Kind::Lp.record(id).to_string(), receipt.version));
                }
                // So many at one record may be one too many for a command; nothing was recorded then.
                Err(CommandError::Conflict) => {}
                Err(error) => panic!("{error}"),
            }
            // Pauses of differing length are what brings every order of events about.
            tokio::time::sleep(Duration::from_millis((writer * 7 + number * 5) % 11)).await;
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_follows_positions_misses_nothing_however_many_write() {
    let db = Database::new().await;
    let options = (*db.pool.connect_options()).clone();
    let file = legacy(db.dir.path(), "--lps 100 --notes 300 --todos 200");
    let followers = [1, 3, 1_000].map(|page| Follower::start(options.clone(), page));
    let backend = db.backend().await;
    // Ids above those of the file: else the import would have to be run again.
    sqlx::query("alter sequence lp_id restart with 2000").execute(&db.pool).await.unwrap();
    let everybodys = register("Everybody's".into());
    backend.log.execute::<Lp>(EVERYBODYS, everybodys, &request("Register")).await.unwrap();
    let processes: Vec<_> = (0..4).map(|_| crate::harness::connect(options.clone(), 3)).collect();
    let mut writers = JoinSet::new();
    for process in &processes {
        let log = EventLog::start(process.clone());
        for _ in 0..4 {
            let number = writers.len() as u64;
            writers.spawn(write(log.clone(), number));
        }
    }
    let chunks = ImportOptions { events_per_chunk: 40, ..ImportOptions::new(&file) };
    let files = db.files();
    let importing = import(&db.connections, &files, &chunks, |_| ());
    let (imported, written) = tokio::join!(importing, writers.join_all());
    let imported = imported.unwrap().events;
    for follower in followers {
        let seen: BTreeSet<_> =
            follower.assert_saw_everything(&db.pool).await.into_iter().collect();
        for acknowledged in written.iter().flatten() {
            assert!(seen.contains(acknowledged), "{acknowledged:?} was acknowledged");
        }
        let own: usize = written.iter().map(Vec::len).sum();
        assert_eq!(seen.len(), own + imported as usize + 1, "nothing else was recorded");
    }
    let head = written.iter().flatten().map(|(position, ..)| *position).max().unwrap();
    assert!(
        backend.reader.reached(head, Duration::from_secs(20)).await,
        "projectors follow as well"
    );
    backend.settle().await.unwrap();
    backend.stop().await;
    assert_read_models_match_the_log(&db.pool).await;
}
