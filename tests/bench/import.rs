//! Import of a legacy file with 5,000 notes, against `psql \copy` of the very same events into a table like `events`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use crate::table::{Table, Target, median};
use crate::workbench::Workbench;

const ROUNDS: usize = 3;

/// What the import gives; Postgres numbers and dates the rows itself.
const COLUMNS: &str = "aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, event_id, \
    command_id, correlation_id, causation_id, actor, occurred_at";

#[allow(clippy::cast_precision_loss, reason = "counts of some thousands")]
pub async fn run() -> anyhow::Result<()> {
    let (mut imports, mut copies, mut ratios, mut events) = (vec![], vec![], vec![], 0);
    for _ in 0..ROUNDS {
        let bench = Workbench::open().await?;
        let file = legacy_file(&bench).await?;
        let seconds = run_import(&bench, &file).await?;
        events = sqlx::query_scalar::<_, i64>("select count(*) from events")
            .fetch_one(&bench.database.pool)
            .await?;
        let import = events as f64 / seconds;
        let copy = events as f64 / copy(&bench).await?;
        imports.push(import);
        copies.push(copy);
        ratios.push(import / copy);
        bench.close().await?;
    }
    let mut table = Table::new("events per second");
    let (import, copy) = (median(&imports), median(&copies));
    let name = format!("crm import, {events} events");
    table.row(
        &name,
        format!("{import:.0}"),
        format!("{copy:.0}"),
        median(&ratios),
        Target::AtLeast(0.5),
    );
    table.note("From the start of `crm` to its end, and of `psql` likewise; Postgres runs already. Medians of 3 rounds.");
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

/// Imports the file. Tells the seconds that it took.
pub async fn run_import(bench: &Workbench, file: &Path) -> anyhow::Result<f64> {
    let mut command = bench.crm(["import".as_ref(), file.as_os_str()])?;
    let start = Instant::now();
    let output = command.output().await?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(seconds)
}

/// Copies the events out, and into an empty table of the same kind. Tells the seconds that the latter took.
async fn copy(bench: &Workbench) -> anyhow::Result<f64> {
    let file = bench.folder.path().join("events.copy");
    let file = file.display();
    psql(bench, &format!("\\copy (select {COLUMNS} from events order by position) to '{file}'"))
        .await?;
    sqlx::query("create table bench_events (like events including all)")
        .execute(&bench.database.pool)
        .await?;
    sqlx::query("checkpoint").execute(&bench.database.pool).await?;
    let start = Instant::now();
    psql(bench, &format!("\\copy bench_events ({COLUMNS}) from '{file}'")).await?;
    Ok(start.elapsed().as_secs_f64())
}

async fn psql(bench: &Workbench, command: &str) -> anyhow::Result<()> {
    let output =
        bench.program("psql")?.args(["--no-psqlrc", "--command", command]).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
