//! Import of a legacy file with 5,000 notes, against `psql \copy` of the very same events into a table like `events`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::table::{Table, Target, median};
use crate::workbench::Workbench;

const ROUNDS: usize = 3;

/// What the import gives; Postgres numbers and dates the rows itself.
const COLUMNS: &str = "aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, event_id, \
    command_id, correlation_id, causation_id, actor, occurred_at";

#[allow(clippy::cast_precision_loss, reason = "counts of some thousands")]
pub async fn run() -> anyhow::Result<()> {
    let (mut imports, mut commands, mut copies, mut ratios) = (vec![], vec![], vec![], vec![]);
    let mut events = 0;
    for _ in 0..ROUNDS {
        let bench = Workbench::open().await?;
        let file = legacy_file(&bench).await?;
        let imported = run_import(&bench, &file).await?;
        events = imported.events;
        let copied = events as f64 / copy(&bench).await?;
        imports.push(events as f64 / imported.seconds);
        commands.push(events as f64 / imported.whole);
        copies.push(copied);
        ratios.push(events as f64 / imported.seconds / copied);
        bench.close().await?;
    }
    let mut table = Table::new("events per second");
    let (import, whole, copy) = (median(&imports), median(&commands), median(&copies));
    let (name, reference) = (format!("import of {events} events"), format!("{copy:.0}"));
    let (ratio, target) = (median(&ratios), Target::AtLeast(0.5));
    table.row(&name, format!("{import:.0}"), reference.clone(), ratio, target);
    let name = "crm import, from its start until the read models are there";
    table.row(name, format!("{whole:.0}"), reference, whole / copy, Target::None);
    table.note(format!(
        "Reference: psql \\copy of the same events. The first line is what the import's report says: from opening the \
         file until all is in the log. Medians of {ROUNDS} rounds."
    ));
    table.print();
    Ok(())
}

/// A generated legacy database: 5,000 notes and all else.
pub async fn legacy_file(bench: &Workbench) -> anyhow::Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/make_legacy_db.py");
    let file = bench.folder.path().join("legacy.db");
    let output = Command::new("python3")
        .arg(script)
        .arg(&file)
        .output()
        .await
        .context("there is no python3")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(file)
}

/// What an import did, and how long it took: the import itself, and the command as a whole.
pub struct Imported {
    events: i64,
    seconds: f64,
    whole: f64,
}

/// Imports the file.
pub async fn run_import(bench: &Workbench, file: &Path) -> anyhow::Result<Imported> {
    let mut command = bench.crm(["import".as_ref(), "--json".as_ref(), file.as_os_str()])?;
    let start = Instant::now();
    let output = command.output().await?;
    let whole = start.elapsed().as_secs_f64();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The last line is the report.
    let text = String::from_utf8(output.stdout)?;
    let report: Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    let events = report["events"].as_i64().context("the report does not count events")?;
    let seconds = report["seconds"].as_f64().context("the report does not tell the time")?;
    Ok(Imported { events, seconds, whole })
}

/// Copies the events out, and into an empty table of the same kind. Tells the seconds that the latter took.
async fn copy(bench: &Workbench) -> anyhow::Result<f64> {
    let file = bench.folder.path().join("events.copy");
    let file = file.display();
    psql(bench, &format!("\\copy (select {COLUMNS} from events order by position) to '{file}'"))
        .await?;
    sqlx::query("create table public.bench_events (like events including all)")
        .execute(&bench.database.pool)
        .await?;
    sqlx::query("checkpoint").execute(&bench.database.pool).await?;
    let start = Instant::now();
    psql(bench, &format!("\\copy public.bench_events ({COLUMNS}) from '{file}'")).await?;
    Ok(start.elapsed().as_secs_f64())
}

/// Runs a command of psql's.
pub async fn psql(bench: &Workbench, command: &str) -> anyhow::Result<()> {
    let output =
        bench.program("psql")?.args(["--no-psqlrc", "--command", command]).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
