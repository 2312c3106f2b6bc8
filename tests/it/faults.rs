//! Every single statement fails once, in every way that a statement can: nothing that was acknowledged is lost, nothing
//! is recorded twice, and whoever tries again gets it done.

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Duration;

use api::backend::Backend;
use api::embedded::Cluster;
use domain::fund::{Fund, FundCommand};
use domain::lp::{Lp, LpCommand};
use domain::todo::{Todo, TodoCommand, TodoStatus};
use domain::{Kind, LpId, Moment, TodoId, Verbatim};
use futures::FutureExt as _;
use projections::database::Database as Connections;
use projections::log::{CommandError, CommandRequest, Executable, Receipt};
use projections::read::Query;
use projections::status::ParkedStatus;
use replay::{
    Effort, ImportError, ImportOptions, RebuildError, Report, VerifyError, VerifyOptions, Witness,
    import,
};
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::check::{assert_read_models_match_the_log, whole_log};
use crate::harness::Database;
use crate::import::{assert_log_tells, execute, legacy};
use crate::log::request;
use crate::proxy::{Fault, Plan, Proxy, Statement};
use crate::server::Home;
use crate::verify::verify;

/// One failure of each sort for every statement of a run that went well; for one that comes again and again, for as
/// many of its times.
fn plans(proxy: &Proxy, most_times: usize) -> Vec<Plan> {
    let mut plans = Vec::new();
    for (statement, count) in proxy.seen() {
        // What Postgres says when its disk is full.
        let mut faults = vec![Fault::Unsent, Fault::Unanswered, Fault::Refused("53100")];
        match &statement {
            // It has done nothing yet that could go unanswered.
            Statement::Prepare(_) => faults.retain(|fault| *fault != Fault::Unanswered),
            // It takes place, or the connection is gone.
            Statement::Run(text) if text == "ROLLBACK" => faults.truncate(2),
            _ => {}
        }
        for fault in faults {
            let times = count.min(most_times);
            plans.extend((1..=times).map(|nth| Plan { statement: statement.clone(), nth, fault }));
        }
    }
    plans
}

/// Tries every plan, some at a time since most of it is waiting; `strike` gets a lane's number with each plan, and tells
/// whether the statement came and failed.
async fn try_all(plans: Vec<Plan>, strike: impl AsyncFn(usize, Plan) -> bool) {
    let (planned, struck) = (plans.len(), Cell::new(0));
    let plans = RefCell::new(plans);
    let lane = async |lane| {
        loop {
            let Some(plan) = plans.borrow_mut().pop() else { return };
            let tried = AssertUnwindSafe(strike(lane, plan.clone())).catch_unwind().await;
            struck.set(struck.get() + usize::from(tried.unwrap_or_else(|_| panic!("{plan:?}"))));
        }
    };
    futures::future::join_all((0..LANES).map(lane)).await;
    // What runs in the background, or on whichever connection is free, comes a little more or less often each time.
    let struck = struck.get();
    assert!(struck * 10 > planned * 9, "only {struck} of {planned} statements failed");
}

/// How often the same statement is made to fail in one sort of way, each time a later one of its kind: what comes more
/// often, such as the looking for news, comes again from the same place.
const MOST_TIMES: usize = 6;

/// How many runs go on at a time: as many as one Postgres has connections for.
const LANES: usize = 5;

/// A database for each lane.
async fn lanes(cluster: &Cluster) -> Vec<Database> {
    // Nobody kills this Postgres, so it need not wait for the disk.
    let mut connection = cluster.options("postgres").connect().await.unwrap();
    for statement in ["alter system set fsync = off", "select pg_reload_conf()"] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    let mut lanes = Vec::new();
    for lane in 0..LANES {
        lanes.push(Database::on(cluster, &format!("lane_{lane}"), 2).await);
    }
    lanes
}

/// What must hold whatever has gone wrong, once the projectors have come to the end: every event is there once, and the
/// read models are what the log says.
async fn assert_sound(db: &Database) {
    assert_read_models_match_the_log(&db.pool).await;
    let doubled: Vec<String> = sqlx::query_scalar(
        "select event_id::text from events group by event_id having count(*) > 1",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert_eq!(doubled, [""; 0]);
}

/// A morning's work, by somebody who can begin it again: what must not happen twice has an idempotency key.
struct Morning<'a> {
    backend: &'a Backend,
    name: &'a str,
    acknowledged: Vec<(Kind, Receipt)>,
}

/// How many events a morning's work leads to.
const EVENTS: usize = 8;

impl Morning<'_> {
    async fn work(&mut self) -> anyhow::Result<()> {
        let lp = self.register_lp().await?;
        self.revise(lp, "Lima", None).await?;
        match self.revise(lp, "Quito", Some(1)).await {
            Err(CommandError::VersionMismatch { current: 2 }) => {}
            other => anyhow::bail!("a change of an old version: {other:?}"),
        }
        let named = FundCommand::Register {
            fund_name: "One".into(),
            details: from(json!({})),
            legacy: Verbatim::default(),
        };
        let id = self.backend.log.fresh_id(Kind::Fund).await?;
        let fund = self.send::<Fund>(id, named, self.keyed("Register fund")).await?.id;
        let interest = FundCommand::RecordInterest {
            lp: LpId(lp),
            interest: from(json!("meeting")),
            contact: None,
            legacy: None,
        };
        self.send::<Fund>(fund, interest, request("RecordInterest")).await?;
        self.do_what_recurs(lp).await?;
        let list = self.backend.reader.answer(&Query::List(Kind::Lp)).await?.unwrap();
        let rows: Vec<Value> = serde_json::from_slice(&list.chunks.concat())?;
        let row = rows.iter().find(|row| row["id"] == json!(lp)).unwrap();
        anyhow::ensure!(row["location"] == json!("Lima"), "{row}");
        Ok(())
    }

    async fn register_lp(&mut self) -> Result<i64, CommandError> {
        let register = |name: &str| LpCommand::Register {
            name: name.into(),
            details: from(json!({})),
            legacy: Verbatim::default(),
        };
        let id = self.backend.log.fresh_id(Kind::Lp).await?;
        let lp = self.send::<Lp>(id, register("Ada"), self.keyed("Register LP")).await?.id;
        let mut other = self.keyed("Register LP");
        other.idempotency.as_mut().unwrap().1 = [1; 32];
        match self.send::<Lp>(id + 1, register("Bob"), other).await {
            Err(CommandError::KeyReused) => Ok(lp),
            Err(error) => Err(error),
            Ok(receipt) => panic!("a key that was used is used again: {receipt:?}"),
        }
    }

    async fn revise(
        &mut self,
        lp: i64,
        location: &str,
        if_match: Option<i64>,
    ) -> Result<Receipt, CommandError> {
        let revise = LpCommand::Revise { name: None, changes: from(json!({"location": location})) };
        self.send::<Lp>(lp, revise, CommandRequest { if_match, ..request("Revise") }).await
    }

    /// A todo that comes again when it is done.
    async fn do_what_recurs(&mut self, lp: i64) -> Result<(), CommandError> {
        let weekly = json!({"due_date": "2025-01-31T09:00:00", "recurrence_pattern": r#"{"type": "weekly"}"#});
        let register = TodoCommand::Register {
            title: "Send".into(),
            status: TodoStatus::Pending,
            details: from(weekly),
            legacy: Verbatim::default(),
        };
        let id = self.backend.log.fresh_id(Kind::Todo).await?;
        let todo = self.send::<Todo>(id, register, self.keyed("Register todo")).await?.id;
        let next = Some(TodoId(self.backend.log.fresh_id(Kind::Todo).await?));
        let at = Moment::parse("2025-01-31").unwrap();
        let complete = TodoCommand::Complete { title: None, changes: from(json!({})), at, next };
        self.send::<Todo>(todo, complete, self.keyed("Complete")).await?;
        let link = TodoCommand::Link { to: vec![Kind::Lp.record(lp)] };
        self.send::<Todo>(todo, link, request("Link")).await?;
        Ok(())
    }

    fn keyed(&self, name: &'static str) -> CommandRequest {
        let idempotency = Some((format!("{}: {name}", self.name), [0; 32]));
        CommandRequest { idempotency, ..request(name) }
    }

    /// Sends a command and waits until readers see it, as a request does.
    async fn send<A>(
        &mut self,
        id: i64,
        command: A::Command,
        request: CommandRequest,
    ) -> Result<Receipt, CommandError>
    where
        A: Executable<Command: Clone + Send>,
    {
        let receipt = self.backend.log.execute::<A>(id, command, &request).await?;
        self.acknowledged.push((A::KIND, receipt));
        let position = receipt.position.unwrap_or(0);
        let is_seen = self.backend.reader.reached(position, Duration::from_secs(20)).await;
        assert!(is_seen, "readers see what was acknowledged");
        Ok(receipt)
    }
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// One morning with a fault somewhere, and the same again until it is done. Tells which statements there were.
async fn morning(db: &Database, name: &str, plan: Option<Plan>) -> Proxy {
    let before = whole_log(&db.pool).await.len();
    let proxy = Proxy::before(&db.pool.connect_options(), plan).await;
    let connections = proxy.connections();
    let backend = match Backend::start(connections.clone(), db.files()).await {
        Ok(backend) => backend,
        Err(_) => Backend::start(connections.clone(), db.files()).await.unwrap(),
    };
    let mut morning = Morning { backend: &backend, name, acknowledged: vec![] };
    let mut result = morning.work().await;
    assert_recorded(db, &morning.acknowledged).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = result {
        assert!(Instant::now() < deadline, "it cannot be done: {error:#}");
        // The database counts as lost until it has answered once more; whoever asks all the time only delays that.
        tokio::time::sleep(Duration::from_millis(10)).await;
        result = morning.work().await;
    }
    backend.settle().await.unwrap();
    backend.stop().await;
    connections.pool.close().await;
    let log = whole_log(&db.pool).await;
    assert_eq!(log.len() - before, EVENTS, "everything is recorded once");
    assert_sound(db).await;
    proxy
}

async fn assert_recorded(db: &Database, acknowledged: &[(Kind, Receipt)]) {
    let log = whole_log(&db.pool).await;
    for (kind, receipt) in acknowledged {
        let Some(position) = receipt.position else { continue };
        let found = log.iter().find(|recorded| recorded.position == position);
        let found = found.unwrap_or_else(|| panic!("{kind}: {receipt:?} was acknowledged"));
        assert_eq!((found.id, found.sequence), (receipt.id, receipt.version), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_recorded_once_whichever_statement_fails_on_its_way() {
    let home = Home::new();
    let cluster = Cluster::open(home.path()).await.unwrap();
    let lanes = lanes(&cluster).await;
    for db in &lanes {
        // The very first makes the tables of the read models.
        morning(db, "the first", None).await;
    }
    let plans = plans(&morning(&lanes[0], "all is well", None).await, MOST_TIMES);
    let number = Cell::new(0);
    try_all(plans, async |lane, plan| {
        number.set(number.get() + 1);
        let name = format!("morning {}", number.get());
        morning(&lanes[lane], &name, Some(plan)).await.has_struck()
    })
    .await;
    for db in &lanes {
        assert!(verify(db).await.passed);
    }
}

/// What the live tables of these read models hold: how many rows of each, and a digest of all that stands in them.
async fn held(db: &Database, names: &[&str]) -> Vec<(String, i64, Option<String>)> {
    let tables: Vec<(String, String)> = sqlx::query_as(
        "select schemaname::text, tablename::text from pg_tables join generation
             on schemaname = format('read_%s_%s', projector, number)
         where state = 'live' and projector = any($1) order by tablename",
    )
    .bind(names)
    .fetch_all(&db.pool)
    .await
    .unwrap();
    let mut held = Vec::new();
    for (schema, table) in tables {
        let rows = format!(
            "select count(*), md5(string_agg(it::text, '\n' order by it::text)) from {schema}.{table} it"
        );
        let (count, digest) = sqlx::query_as(&rows).fetch_one(&db.pool).await.unwrap();
        held.push((table, count, digest));
    }
    held
}

/// Waits until Postgres has noticed that the connections of a rebuild have gone, and its locks with them.
async fn until_free(db: &Database) {
    let locks =
        "select count(*) from pg_locks join pg_database on pg_database.oid = pg_locks.database
         where locktype = 'advisory' and datname = current_database()";
    let deadline = Instant::now() + Duration::from_secs(20);
    while sqlx::query_scalar::<_, i64>(locks).fetch_one(&db.pool).await.unwrap() > 0 {
        assert!(Instant::now() < deadline, "its locks have gone");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A rebuild of these read models, with a fault somewhere or without. Nothing is written meanwhile, so whether it comes to
/// something or not, the live tables hold the same; and what the one before has left behind is in nobody's way.
async fn rebuild_with(db: &Database, names: &[&str], plan: Option<Plan>) -> Proxy {
    let before = held(db, names).await;
    assert!(before.iter().any(|(_, rows, _)| *rows > 0), "{before:?}");
    let proxy = Proxy::before(&db.pool.connect_options(), plan).await;
    let connections = proxy.connections();
    let names_of_all: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let projectors = replay::find(projections::read::projectors(), &names_of_all).unwrap();
    let rebuilding = async {
        let stop = CancellationToken::new();
        replay::Rebuild::admit(&connections, projectors, "a test", stop).await?.run(|_| ()).await
    };
    let rebuilt: Result<Vec<ParkedStatus>, RebuildError> = rebuilding.await;
    assert!(rebuilt.is_ok() || proxy.has_struck(), "nothing is in its way: {rebuilt:?}");
    connections.pool.close().await;
    until_free(db).await;
    assert_eq!(held(db, names).await, before);
    proxy
}

/// Rebuilds these read models once for every fault, and at last without any, and has everything checked.
async fn rebuild_with_every_fault(lanes: &[Database], names: &[&str], most_times: usize) {
    // What Postgres is asked only once in a database.
    rebuild_with(&lanes[0], names, None).await;
    let plans = plans(&rebuild_with(&lanes[0], names, None).await, most_times);
    try_all(plans, async |lane, plan| {
        rebuild_with(&lanes[lane], names, Some(plan)).await.has_struck()
    })
    .await;
    for db in lanes {
        rebuild_with(db, names, None).await;
        assert_sound(db).await;
        let report = verify(db).await;
        assert!(report.passed, "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_leaves_the_live_tables_whole_whichever_of_its_statements_fails() {
    let home = Home::new();
    let cluster = Cluster::open(home.path()).await.unwrap();
    let lanes = lanes(&cluster).await;
    for db in &lanes {
        morning(db, "the first", None).await;
    }
    rebuild_with_every_fault(&lanes, &["fund", "lp"], MOST_TIMES).await;
}

/// These are loaded in ways of their own: rows that never change are written all along, envelopes come from the log,
/// and long texts are cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_of_the_audit_and_of_the_passages_survives_a_fault_at_any_statement_at_any_time()
{
    let home = Home::new();
    let cluster = Cluster::open(home.path()).await.unwrap();
    let lanes = lanes(&cluster).await;
    let original = legacy(home.path(), FEW);
    for db in &lanes {
        let file = db.dir.path().join("crm.db");
        std::fs::copy(&original, &file).unwrap();
        import_again(db, &file, None).await;
        morning(db, "the first", None).await;
    }
    rebuild_with_every_fault(&lanes, &["audit", "passage"], usize::MAX).await;
}

/// A check of two read models: one whose records workers share, and one whose records they do not.
fn check_of_two() -> VerifyOptions {
    let names = ["fund".to_owned(), "lp".to_owned()];
    VerifyOptions {
        projectors: replay::find(projections::read::projectors(), &names).unwrap(),
        engine: None,
        witness: Witness::default(),
        effort: Effort::full(),
        stop: CancellationToken::new(),
    }
}

/// A check with a fault somewhere, and then one without.
async fn verify_twice(db: &Database, plan: Option<Plan>) -> Proxy {
    let fault = plan.as_ref().map(|plan| plan.fault);
    let proxy = Proxy::before(&db.pool.connect_options(), plan).await;
    let connections = proxy.connections();
    let checking = replay::verify(&connections, check_of_two(), |_| ());
    let checked = tokio::time::timeout(Duration::from_secs(20), checking).await;
    let is_refused = matches!(fault, Some(Fault::Refused(_)));
    match checked.expect("it comes to an end") {
        // Of what failed nothing depended on it, or it was done in another way; or it is what was found.
        Ok(report) => {
            let mut found = report.log.findings.iter().filter(|it| !it.what.contains("refused"));
            let is_well_else =
                found.next().is_none() && report.projections.iter().all(|it| it.passed());
            assert!(report.passed || (is_refused && is_well_else), "{report:?}");
        }
        Err(VerifyError::Database(error)) => {
            let said = error.to_string();
            assert!(!is_refused || said.contains("refused"), "it says why: {said}");
        }
        Err(error) => panic!("{error}"),
    }
    connections.pool.close().await;
    let left: Vec<String> =
        sqlx::query_scalar("select nspname::text from pg_namespace where nspname like 'verify%'")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    assert_eq!(left, [""; 0], "what was built for the check is gone");
    let deadline = Instant::now() + Duration::from_secs(20);
    // Its lock goes when Postgres notices that its connections have gone.
    let report = loop {
        match replay::verify(&db.connections, check_of_two(), |_| ()).await {
            Ok(report) => break report,
            Err(error) => assert!(matches!(error, VerifyError::Running), "{error}"),
        }
        assert!(Instant::now() < deadline, "the first check has gone");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(report.passed, "{report:?}");
    proxy
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_why_it_failed_and_leaves_nothing_behind_whichever_of_its_statements_fails() {
    let home = Home::new();
    let cluster = Cluster::open(home.path()).await.unwrap();
    let lanes = lanes(&cluster).await;
    for db in &lanes {
        morning(db, "the first", None).await;
        crate::seals::seal(db).await;
        verify_twice(db, None).await;
    }
    let plans = plans(&verify_twice(&lanes[0], None).await, MOST_TIMES);
    try_all(plans, async |lane, plan| verify_twice(&lanes[lane], Some(plan)).await.has_struck())
        .await;
}

/// Few rows of everything.
const FEW: &str = "--lps 3 --gps 2 --distributors 1 --funds 2 --people 2 --notes 3 --todos 3 --roadshows 1 --image-kb 1";

/// The legacy application goes on: something of every kind is new, changed or gone.
fn change(file: &Path, day: i64) {
    let id = 1_000 + day;
    execute(
        file,
        &format!(
            "insert into lp (id, name) values ({id}, 'New'); insert into note (id, name) values ({id}, 'New');
             insert into notelplink (note_id, lp_id) values ({id}, {id}); insert into notelplink values ({id}, 0);
             update lp set location = 'day {day}', aum_billions = 'many {day}' where id = 1;
             update fund set fund_name = 'day {day}' where id = 1; delete from note where id = {id} - 1;
             update todo set title = 'day {day}' where id = 1;"
        ),
    );
}

async fn import_with(
    database: &Connections,
    db: &Database,
    file: &Path,
) -> Result<Report, ImportError> {
    let options = ImportOptions { events_per_chunk: 3, ..ImportOptions::new(file) };
    import(database, &db.files(), &options, |_| ()).await
}

async fn events(db: &Database) -> i64 {
    sqlx::query_scalar("select count(*) from events").fetch_one(&db.pool).await.unwrap()
}

/// One import of a newer file with a fault somewhere, and then one without. Tells what a fault could have struck, and
/// how many events there were.
async fn import_again(db: &Database, file: &Path, plan: Option<Plan>) -> (Proxy, i64) {
    let before = events(db).await;
    let proxy = Proxy::before(&db.pool.connect_options(), plan).await;
    let connections = proxy.connections();
    let first = import_with(&connections, db, file).await;
    connections.pool.close().await;
    let written = events(db).await - before;
    if let Ok(report) = first {
        assert_eq!(report.events, written.unsigned_abs());
    }
    let second = import_with(&db.connections, db, file).await.unwrap();
    assert_log_tells(&db.pool, &db.files(), file, "after a fault").await;
    let backend = db.backend().await;
    backend.settle().await.unwrap();
    backend.stop().await;
    assert_sound(db).await;
    (proxy, written + i64::try_from(second.events).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_is_completed_by_the_next_run_whichever_statement_fails() {
    let home = Home::new();
    let cluster = Cluster::open(home.path()).await.unwrap();
    let lanes = lanes(&cluster).await;
    let days = [const { Cell::new(0) }; LANES];
    let next_day = async |lane: usize, plan| {
        let file = lanes[lane].dir.path().join("crm.db");
        days[lane].set(days[lane].get() + 1);
        change(&file, days[lane].get());
        import_again(&lanes[lane], &file, plan).await
    };
    let original = legacy(home.path(), FEW);
    for (lane, db) in lanes.iter().enumerate() {
        let file = db.dir.path().join("crm.db");
        std::fs::copy(&original, &file).unwrap();
        import_again(db, &file, None).await;
        next_day(lane, None).await;
    }
    let (proxy, events) = next_day(0, None).await;
    let plans = plans(&proxy, MOST_TIMES);
    try_all(plans, async |lane, plan| {
        let (proxy, recorded) = next_day(lane, Some(plan)).await;
        assert_eq!(recorded, events, "every event is recorded once");
        proxy.has_struck()
    })
    .await;
}
