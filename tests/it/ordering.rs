//! Whoever follows the log by position sees every event once, in order, with nothing left out behind: however many
//! write at once, and whoever is killed meanwhile.

mod killed;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::lp::{Lp, LpChanges, LpCommand};
use domain::{Kind, Verbatim};
use projections::database::Database as Connections;
use projections::log::{CommandError, EventLog, LogReader, PageLimit};
use replay::{ImportOptions, import};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, PgPool};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::check::{assert_read_models_match_the_log, whole_log};
use crate::harness::Database;
use crate::import::legacy;
use crate::log::request;
use crate::rebuild::rebuild;

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

/// Registers and revises records, with random pauses, and goes on for as long as something else does; tells what it was
/// told.
async fn write(log: EventLog, writer: usize, meanwhile: CancellationToken) -> Seen {
    /// How often it changes what all others change as well, and how often it writes at least.
    const TIMES: usize = 12;
    let mut acknowledged = Seen::new();
    for number in 0.. {
        let is_early = number < TIMES;
        if !is_early && meanwhile.is_cancelled() {
            break;
        }
        let id = log.fresh_id(Kind::Lp).await.unwrap();
        let name = format!("LP {writer}-{id}");
        let revise = LpCommand::Revise { name: Some(name.clone()), changes: LpChanges::default() };
        let commands = [(id, register(name)), (EVERYBODYS, revise)];
        for (id, command) in commands.into_iter().take(1 + usize::from(is_early)) {
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
            let random = Uuid::new_v4().as_u64_pair().1;
            tokio::time::sleep(Duration::from_micros(random % 12_000)).await;
        }
    }
    acknowledged
}

/// Sixteen writers in four processes, who write while something else is done; tells what they were told, and what that
/// came to.
async fn write_during<T>(processes: &[Connections], work: impl Future<Output = T>) -> (Seen, T) {
    let meanwhile = CancellationToken::new();
    let mut writers = JoinSet::new();
    for process in processes {
        let log = EventLog::start(process.clone());
        for _ in 0..4 {
            writers.spawn(write(log.clone(), writers.len(), meanwhile.clone()));
        }
    }
    let done = work.await;
    meanwhile.cancel();
    (writers.join_all().await.concat(), done)
}

async fn head(pool: &PgPool) -> i64 {
    let head = sqlx::query_scalar("select coalesce(max(position), 0) from events");
    head.fetch_one(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_follows_positions_misses_nothing_however_many_write_import_and_rebuild() {
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

    let (mut written, ()) = write_during(&processes, std::future::ready(())).await;
    let chunks = ImportOptions { events_per_chunk: 40, ..ImportOptions::new(&file) };
    let files = db.files();
    let before = head(&db.pool).await;
    let importing = async {
        let report = import(&db.connections, &files, &chunks, |_| ()).await.unwrap();
        (report.events, head(&db.pool).await)
    };
    let (beside, (imported, after)) = write_during(&processes, importing).await;
    let is_between = |(position, ..): &(i64, String, i64)| (before..after).contains(position);
    assert!(beside.iter().any(is_between), "they wrote while the import did");
    written.extend(beside);

    // One rebuild of all, and some that are short, so that there are many swaps.
    let mut rebuilds = Vec::new();
    let rebuilding = async {
        for names in [&[] as &[&str], &["lp"], &["lp", "passage"], &["lp"]] {
            let before = head(&db.pool).await;
            rebuild(&db, names).await.unwrap();
            rebuilds.push(before..head(&db.pool).await);
        }
    };
    let (beside, ()) = write_during(&processes, rebuilding).await;
    for span in rebuilds {
        let is_within = beside.iter().any(|(position, ..)| span.contains(position));
        assert!(is_within, "they wrote while the read models were rebuilt");
    }
    written.extend(beside);

    for follower in followers {
        let seen: BTreeSet<_> =
            follower.assert_saw_everything(&db.pool).await.into_iter().collect();
        for acknowledged in &written {
            assert!(seen.contains(acknowledged), "{acknowledged:?} was acknowledged");
        }
        let recorded = written.len() + usize::try_from(imported).unwrap() + 1;
        assert_eq!(seen.len(), recorded, "nothing else was recorded");
    }
    let head = head(&db.pool).await;
    assert!(
        backend.reader.reached(head, Duration::from_secs(20)).await,
        "projectors follow as well"
    );
    backend.settle().await.unwrap();
    backend.stop().await;
    assert_read_models_match_the_log(&db.pool).await;
}
