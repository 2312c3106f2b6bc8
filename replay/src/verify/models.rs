//! The read models: every row of the tables that this release serves against one folded from the log just now.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use projections::database::Database;
use projections::dead_letter::{self, Parked};
use projections::generation::{self, Generation};
use projections::log::Stream;
use projections::projector::{Projector, Table};
use projections::status;
use serde::Serialize;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use super::difference::{Difference, columns};
use super::{Finding, LISTED, VerifyError, VerifyOptions, careful, claims};
use crate::load::{Filled, Filling, Gauge, LoadError, load};

/// What was found in a read model.
#[derive(Clone, Debug, Serialize)]
pub struct ModelReport {
    /// The projector's name.
    pub name: String,
    /// The generation that this release serves, which was looked at.
    pub generation: i32,
    /// The position at which it was compared.
    pub position: i64,
    /// Rows compared.
    pub rows: u64,
    /// Rows that differ.
    pub different: u64,
    /// How they differ; a hundred of them at most.
    pub differences: Vec<Difference>,
    /// What else is wrong, such as a parked stream, a table or an index that is gone, or a Notion id that nobody claims.
    pub findings: Vec<Finding>,
    /// What is worth knowing: that it cannot be compared yet, and which events it leaves out by order.
    pub notices: Vec<Finding>,
}

/// What a notice is called that a read model cannot be compared yet.
const VERSION: &str = "version";

/// What a notice is called of an event that a read model leaves out by order.
const SKIPPED: &str = "skipped";

impl ModelReport {
    /// Whether it is what the log says.
    pub fn passed(&self) -> bool {
        self.different == 0 && self.findings.is_empty()
    }

    /// Whether its rows were compared: not while this release is yet to build it.
    pub fn was_compared(&self) -> bool {
        self.notices.iter().all(|notice| notice.check != VERSION)
    }

    /// Whether it leaves events out by order, so that what they say is not in it.
    pub fn leaves_out(&self) -> bool {
        self.notices.iter().any(|notice| notice.check == SKIPPED)
    }
}

/// What is compared: the generation that is served as the snapshot has it, and where its likeness is built.
struct Case {
    projector: Arc<dyn Projector>,
    live: Generation,
    scratch: String,
    skipped: HashSet<i64>,
    /// What the original does not follow, and from which position on.
    parked: HashMap<Stream, i64>,
}

impl Case {
    /// Its likeness, up to where the original stands.
    fn filling(&self) -> Filling {
        Filling {
            projector: self.projector.clone(),
            schema: self.scratch.clone(),
            to: self.live.checkpoint.position,
            skipped: self.skipped.clone(),
            parked: self.parked.clone(),
        }
    }
}

/// The schema that the likeness of a read model is built in.
pub(super) fn scratch(projector: &dyn Projector) -> String {
    format!("verify_{}", projector.name())
}

/// Compares the live read models. After an error the caller drops what was built for it. What was erased meanwhile is in the live tables of the snapshot and can no longer be
/// folded from the log: then all is compared once more.
pub(super) async fn check(
    database: &Database,
    control: &mut PgConnection,
    options: &VerifyOptions,
) -> Result<Vec<ModelReport>, VerifyError> {
    const ATTEMPTS: usize = 3;
    let mut attempt = 1;
    loop {
        let reports = check_once(database, control, options).await?;
        let from =
            reports.iter().filter(|report| !report.passed()).map(|report| report.position).min();
        let Some(from) = from.filter(|_| attempt < ATTEMPTS) else { return Ok(reports) };
        let erased_since: bool = sqlx::query_scalar(
            "select exists (select 1 from events where position > $1 and event_type = 'Erased')",
        )
        .bind(from)
        .fetch_one(&mut *control)
        .await?;
        if !erased_since {
            return Ok(reports);
        }
        attempt += 1;
    }
}

async fn check_once(
    database: &Database,
    control: &mut PgConnection,
    options: &VerifyOptions,
) -> Result<Vec<ModelReport>, VerifyError> {
    // One snapshot of all live tables: what their checkpoints say holds for their rows.
    let mut snapshot = database
        .options_for(&[])
        .options([("idle_in_transaction_session_timeout", "0")])
        .connect()
        .await?;
    sqlx::query("begin isolation level repeatable read read only").execute(&mut snapshot).await?;
    let all = generation::all(&mut snapshot).await?;
    let end = status::head(&mut snapshot).await?;
    let mut reports = Vec::new();
    let mut cases = Vec::new();
    for projector in &options.projectors {
        let name = projector.name();
        // Beside a server of another release both have a generation of their own.
        let Some(live) = generation::served(&all, &**projector) else { continue };
        let parked = dead_letter::parked(&mut snapshot, live).await?;
        let mut report = ModelReport {
            name: name.to_owned(),
            generation: live.number,
            position: live.checkpoint.position,
            rows: 0,
            different: 0,
            differences: vec![],
            findings: parked.iter().map(left_out).collect(),
            notices: vec![],
        };
        report.findings.extend(beyond(live, end));
        if live.version != projector.version() {
            let what = "not comparable yet: another release has built it, and this one is yet to build its own, as `crm serve` \
                        does in the background";
            report.notices.push(Finding::new(VERSION, None, what));
        } else {
            let lacking = lacking(control, live, &**projector).await?;
            if !lacking.is_empty() {
                report.findings.extend(lacking);
                reports.push(report);
                continue;
            }
            report.findings.extend(claims::check(&mut snapshot, live).await?);
            let scratch = scratch(&**projector);
            // They must still be there when they are compared, even if they are no longer live by then.
            for table in projector.tables() {
                let (schema, name) = (live.schema(), table.name);
                let lock = format!("lock table {schema}.{name} in access share mode");
                sqlx::query(&lock).execute(&mut snapshot).await?;
            }
            let skips = skips(&mut snapshot, name).await?;
            report.notices.extend(told_to_skip(&skips));
            let (projector, live) = (projector.clone(), live.clone());
            let skipped = skips.iter().map(|skip| skip.position).collect();
            let parked = parked.into_iter().map(|parked| (parked.stream, parked.position));
            let case = Case { projector, live, scratch, skipped, parked: parked.collect() };
            cases.push((case, reports.len()));
        }
        reports.push(report);
    }
    compare_all(database, control, &mut snapshot, &cases, options, &mut reports).await?;
    for (case, _) in &cases {
        generation::drop_tables(control, &case.scratch).await?;
    }
    // It has only read.
    let _ = snapshot.close().await;
    Ok(reports)
}

/// A read model cannot have folded more than there is.
fn beyond(live: &Generation, end: i64) -> Option<Finding> {
    let position = live.checkpoint.position;
    let what = format!(
        "stands at position {position}, the log ends at {end}; `crm rebuild {}` builds it anew",
        live.projector
    );
    (position > end).then(|| Finding::new("position", None, what))
}

/// Its tables that are not there, unless all of it was dropped since the snapshot was taken.
async fn lacking(
    control: &mut PgConnection,
    live: &Generation,
    projector: &dyn Projector,
) -> Result<Vec<Finding>, sqlx::Error> {
    let tables = projector.tables();
    let lacking: Vec<String> = sqlx::query_scalar(
        "select name from unnest($2::text[]) as name where to_regclass($1 || '.' || name) is null
             and exists (select from generation where projector = $3 and number = $4)",
    )
    .bind(live.schema())
    .bind(tables.iter().map(|table| table.name).collect::<Vec<_>>())
    .bind(&live.projector)
    .bind(live.number)
    .fetch_all(control)
    .await?;
    let finding = |name| {
        let what = format!(
            "its table {name} is not there; `crm rebuild {}` builds it anew",
            live.projector
        );
        Finding::new("table", None, what)
    };
    Ok(lacking.into_iter().map(finding).collect())
}

/// It is compared as it was before that position.
fn left_out(parked: &Parked) -> Finding {
    let Parked { stream, position, error } = parked;
    let what = format!("{stream} is parked, and left out of the comparison from here on: {error}");
    Finding::new("parked", *position, what)
}

/// An event that a read model leaves out by order: whose it is by the log, not by the order, which somebody may have put
/// there past crm.
#[derive(sqlx::FromRow)]
struct Skip {
    position: i64,
    stream: Option<String>,
    event_type: Option<String>,
    reason: String,
    actor: String,
    skipped_at: DateTime<Utc>,
}

async fn skips(db: &mut PgConnection, projector: &str) -> Result<Vec<Skip>, sqlx::Error> {
    sqlx::query_as(
        "select position, events.aggregate_type || ' ' || events.aggregate_id as stream, event_type, reason,
             skipped_event.actor, skipped_at
         from skipped_event left join events using (position) where projector = $1 order by position",
    )
    .bind(projector)
    .fetch_all(db)
    .await
}

/// Rows are as the log says without these events, and readers cannot know.
fn told_to_skip(skips: &[Skip]) -> Vec<Finding> {
    let told = |skip: &Skip| {
        let Skip { position, stream, event_type, reason, actor, skipped_at } = skip;
        let event = match (stream, event_type) {
            (Some(stream), Some(event_type)) => format!("the {event_type} event of {stream}"),
            _ => "an event that is not in the log".to_owned(),
        };
        let at = skipped_at.format("%Y-%m-%d %H:%M:%S UTC");
        let what = format!("{event} is left out by order of {actor} at {at}: {reason}");
        Finding::new(SKIPPED, *position, what)
    };
    let mut notices: Vec<Finding> = skips.iter().take(LISTED).map(told).collect();
    if skips.len() > LISTED {
        let what = format!("{} more events are left out by order", skips.len() - LISTED);
        notices.push(Finding::new(SKIPPED, None, what));
    }
    notices
}

/// What readers see was made of it, and today nobody could make it again.
fn unfolded(parked: &Parked) -> Finding {
    let Parked { stream, position, error } = parked;
    let what = format!(
        "{stream} cannot be folded again from here on, though it was once: a rebuild would park it: {error}"
    );
    Finding::new("fold", *position, what)
}

async fn compare_all(
    database: &Database,
    control: &mut PgConnection,
    snapshot: &mut PgConnection,
    cases: &[(Case, usize)],
    options: &VerifyOptions,
    reports: &mut [ModelReport],
) -> Result<(), VerifyError> {
    let unfoldable = match build(database, control, cases, options).await? {
        Some(filled) => filled.into_iter().map(|filled| filled.parked).collect(),
        None => build_each(database, control, cases, options).await?,
    };
    for ((case, at), unfoldable) in cases.iter().zip(unfoldable) {
        let report = &mut reports[*at];
        let news = unfoldable.iter().filter(|one| !case.parked.contains_key(&one.stream));
        report.findings.extend(news.take(LISTED).map(unfolded));
        report.findings.extend(unindexed(control, case).await?);
        for table in case.projector.tables() {
            compare(control, snapshot, case, &table, report).await?;
        }
    }
    Ok(())
}

/// Its indexes that are not there, or of no use: rows are then looked for in the whole table, or may be there twice.
async fn unindexed(control: &mut PgConnection, case: &Case) -> Result<Vec<Finding>, sqlx::Error> {
    // Their names say nothing, and their definitions name the schema.
    let lacking: Vec<(String, bool, String)> = sqlx::query_as(
        "with made as (
             select nspname, relname::text, indisunique,
                 replace(substring(pg_get_indexdef(indexrelid) from ' USING (.*)'), nspname || '.', '') as built
             from pg_index
             join pg_class on pg_class.oid = indrelid
             join pg_namespace on pg_namespace.oid = relnamespace
             where indisvalid and nspname in ($1, $2))
         select relname, indisunique, built from made where nspname = $2
         except select relname, indisunique, built from made where nspname = $1
         order by relname, built",
    )
    .bind(case.live.schema())
    .bind(&case.scratch)
    .fetch_all(control)
    .await?;
    let name = &case.live.projector;
    let finding = |(table, is_unique, built): (String, bool, String)| {
        let sort = if is_unique { "unique index" } else { "index" };
        let what = format!(
            "its {sort} of {table}, {built}, is not there; `crm rebuild {name}` builds it anew"
        );
        Finding::new("index", None, what)
    };
    Ok(lacking.into_iter().map(finding).collect())
}

/// Builds each likeness by itself, since not all can be built from this log as a whole. Tells what each cannot follow.
async fn build_each(
    database: &Database,
    control: &mut PgConnection,
    cases: &[(Case, usize)],
    options: &VerifyOptions,
) -> Result<Vec<Vec<Parked>>, VerifyError> {
    let mut unfoldable = Vec::with_capacity(cases.len());
    for case in cases {
        let alone = std::slice::from_ref(case);
        unfoldable.push(match build(database, control, alone, options).await? {
            Some(filled) => filled.into_iter().flat_map(|filled| filled.parked).collect(),
            None => {
                make(control, &case.0).await?;
                careful::fill(database, case.0.filling()).await?
            }
        });
    }
    Ok(unfoldable)
}

/// Makes the tables of a likeness. What a check that was broken off has left behind goes.
async fn make(control: &mut PgConnection, case: &Case) -> Result<(), sqlx::Error> {
    generation::drop_tables(control, &case.scratch).await?;
    generation::create_tables(control, &*case.projector, &case.scratch).await
}

/// Builds the likeness of live tables, each up to where its original stands. `None` if the log cannot be folded into them
/// as a whole.
async fn build(
    database: &Database,
    control: &mut PgConnection,
    cases: &[(Case, usize)],
    options: &VerifyOptions,
) -> Result<Option<Vec<Filled>>, VerifyError> {
    let mut fillings = Vec::new();
    for (case, _) in cases {
        make(control, case).await?;
        fillings.push(case.filling());
    }
    match load(database, &fillings, options.effort, &Arc::<Gauge>::default(), &options.stop).await {
        Ok(filled) => Ok(Some(filled)),
        Err(LoadError::Database(error)) => Err(error.into()),
        Err(LoadError::Stopped) => Err(VerifyError::Stopped),
        Err(LoadError::Project { source, .. }) if source.is_outage() => {
            Err(sqlx::Error::Io(std::io::Error::other(source)).into())
        }
        Err(LoadError::Panicked(error)) => {
            tracing::warn!(%error, "the log cannot be folded as a whole; event by event then");
            Ok(None)
        }
        Err(LoadError::Project { name, source }) => {
            tracing::warn!(projector = name, error = %source, "the log cannot be folded as a whole; event by event then");
            Ok(None)
        }
    }
}

/// A row: its key, and the whole of it as JSON text.
type Row = (Vec<String>, String);

fn rows<'c>(
    connection: &'c mut PgConnection,
    statement: &'c str,
) -> BoxStream<'c, Result<Row, sqlx::Error>> {
    sqlx::query_as::<_, Row>(statement).persistent(false).fetch(connection)
}

fn select(schema: &str, Table { name, key, .. }: &Table) -> String {
    let texts: Vec<String> = key.iter().map(|column| format!("{column}::text")).collect();
    format!(
        "select array[{}], row_to_json(whole)::text from {schema}.{name} as whole order by {}",
        texts.join(", "),
        key.join(", ")
    )
}

/// Walks through both tables in the order of their key.
async fn compare(
    control: &mut PgConnection,
    snapshot: &mut PgConnection,
    case: &Case,
    table: &Table,
    report: &mut ModelReport,
) -> Result<(), VerifyError> {
    let (live, log) = (select(&case.live.schema(), table), select(&case.scratch, table));
    let (mut live, mut log) = (rows(snapshot, &live), rows(control, &log));
    let (mut one, mut other) = (live.try_next().await?, log.try_next().await?);
    loop {
        let order = match (&one, &other) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((one, _)), Some((other, _))) => compare_keys(one, other),
        };
        report.rows += 1;
        let (mine, theirs) = (
            if order.is_le() { one.take() } else { None },
            if order.is_ge() { other.take() } else { None },
        );
        let text = |row: &Option<Row>| row.as_ref().map(|(_, text)| text.clone());
        let (mine_text, theirs_text) = (text(&mine), text(&theirs));
        if mine_text != theirs_text {
            report.different += 1;
            if report.differences.len() < LISTED {
                let key = mine.or(theirs).map(|(key, _)| key).unwrap_or_default();
                let columns = columns(mine_text.as_deref(), theirs_text.as_deref());
                report.differences.push(Difference { table: table.name, key, columns });
            }
        }
        if order.is_le() {
            one = live.try_next().await?;
        }
        if order.is_ge() {
            other = log.try_next().await?;
        }
    }
}

/// Keys are numbers, or texts that are sorted by their bytes.
fn compare_keys(one: &[String], other: &[String]) -> Ordering {
    let parts = one.iter().zip(other).map(|(one, other)| {
        match (one.parse::<i64>(), other.parse::<i64>()) {
            (Ok(one), Ok(other)) => one.cmp(&other),
            _ => one.as_bytes().cmp(other.as_bytes()),
        }
    });
    parts.fold(Ordering::Equal, Ordering::then)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_compare_as_the_tables_are_sorted() {
        let key = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
        let sorted = [key(&["gp", "2"]), key(&["gp", "10"]), key(&["note", "1"])];
        assert!(sorted.is_sorted_by(|one, other| compare_keys(one, other).is_lt()));
    }
}
