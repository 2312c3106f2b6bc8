//! `crm import`: takes a legacy database over, with a progress bar and a report.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use projections::database::Shortage;
use replay::{ImportOptions, Notice, Progress, Report};
use serde_json::{Value, json};

use crate::backend::{Backend, Store};
use crate::commands::{self, Interruption, explain};
use crate::settings::Settings;

/// Imports a legacy database. Run again on a newer copy of the file, it appends only what differs.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The legacy database, usually crm.db; it is only read
    pub file: PathBuf,
    /// Tell what would happen, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Import the file although it is older than the one imported last: what has come since is taken back
    #[arg(long)]
    pub older: bool,
    /// The folder with the images of Notion notes, usually notion_images; they are copied into the data folder
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Print the progress as JSON lines; the last line is the report, or why there is none
    #[arg(long)]
    pub json: bool,
}

/// Imports, and leaves the read models up to date, so that a server started next is ready at once.
///
/// # Errors
/// When the file is no legacy database, the import fails, or the report cannot be printed.
pub async fn run(settings: &Settings, args: &Args) -> anyhow::Result<()> {
    let result = open_and_import(settings, args).await;
    if let (Err(error), true) = (&result, args.json) {
        // Whoever reads may have gone away.
        let _ = writeln!(std::io::stdout(), "{}", json!({"error": explain(error)}));
    }
    result
}

async fn open_and_import(settings: &Settings, args: &Args) -> anyhow::Result<()> {
    // The file first: to be told that it is not there should not cost a start of the database.
    replay::check_file(&args.file)?;
    let mut interruption = Interruption::expect()?;
    let Some(store) = commands::open(settings, "import", &mut interruption).await? else {
        return called_off();
    };
    let result = import_and_settle(args, &store, &mut interruption).await;
    let closed = store.close().await;
    result.and(closed)
}

async fn import_and_settle(
    args: &Args,
    store: &Store,
    interruption: &mut Interruption,
) -> anyhow::Result<()> {
    tokio::select! {
        imported = import(args, store) => imported?,
        () = interruption.next() => return called_off(),
    }
    if args.dry_run {
        return Ok(());
    }
    tokio::select! {
        settled = settle(store) => settled.map_err(|error| {
            let folder = store.data_dir.display().to_string();
            explained(error, store.free_space(), &folder)
        }),
        // Everything is imported: the next server brings its read models up to date itself.
        () = interruption.next() => Ok(()),
    }
}

/// Brings the read models up to date.
async fn settle(store: &Store) -> anyhow::Result<()> {
    let backend = Backend::start(store.database.clone(), store.files.clone()).await?;
    let settled = backend.settle().await;
    backend.stop().await;
    settled
}

/// Below this Postgres may have stopped for want of room, in bytes: a file of its write-ahead log takes 16 MiB, and it gave
/// that back.
const TOO_LITTLE: u64 = 32 << 20;

/// Why the read models do not follow an import, and that this loses nothing. `free` is the room on the disk of our own
/// Postgres, in bytes.
fn explained(error: anyhow::Error, free: Option<u64>, folder: &str) -> anyhow::Error {
    const WHAT_TO_DO: &str =
        "Everything is imported; make room and start crm again: the read models then follow";
    // As crm says it, and as Postgres does.
    let said = format!("{error:#}");
    let lacks_room =
        Shortage::told_by(&said) == Some(Shortage::Disk) || said.contains("No space left");
    match free {
        Some(free) if lacks_room || free < TOO_LITTLE => {
            let megabytes = free / 1_000_000;
            error.context(format!(
                "the disk of `{folder}` is full ({megabytes} MB free). {WHAT_TO_DO}"
            ))
        }
        None if lacks_room => {
            error.context(format!("the disk of the database is full. {WHAT_TO_DO}"))
        }
        _ => error.context(
            "everything is imported, but the read models do not follow; the next start of crm goes on with them",
        ),
    }
}

fn called_off() -> anyhow::Result<()> {
    anyhow::bail!("the import was called off; run again, it goes on where it stopped")
}

/// Shows how far the import is, and prints the report.
async fn import(args: &Args, store: &Store) -> anyhow::Result<()> {
    let (database, files) = (&store.database, &store.files);
    let options = ImportOptions {
        dry_run: args.dry_run,
        older: args.older,
        images: args.images.clone(),
        ..ImportOptions::new(&args.file)
    };
    let report = if args.json {
        replay::import(database, files, &options, print_json).await?
    } else {
        let bar = progress_bar();
        let report = replay::import(database, files, &options, |now| advance(&bar, now)).await;
        bar.finish_and_clear();
        report?
    };
    let mut text = if args.json { serde_json::to_string(&report)? } else { describe(&report) };
    text.push('\n');
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn print_json(progress: Progress) {
    // Whoever reads the progress may have gone away; the import goes on.
    if let Ok(line) = serde_json::to_string(&progress) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

/// A bar on a terminal, nothing elsewhere.
fn progress_bar() -> ProgressBar {
    const SHAPE: &str =
        "{msg:12} {bar:32} {percent:>3}%  {human_pos} of {human_len} rows  {rate}  {eta} left";
    let style =
        ProgressStyle::with_template(SHAPE).unwrap_or_else(|_| ProgressStyle::default_bar());
    let rate = |state: &ProgressState, to: &mut dyn std::fmt::Write| {
        let _ = write!(to, "{:.0}/s", state.per_sec());
    };
    ProgressBar::new(0).with_style(style.with_key("rate", rate))
}

fn advance(bar: &ProgressBar, now: Progress) {
    bar.set_length(now.total);
    bar.set_position(now.done);
    bar.set_message(now.phase);
}

/// How many notices of either sort the text report shows.
const SHOWN: usize = 200;

/// The report for people.
fn describe(report: &Report) -> String {
    let mut text = String::new();
    let (rows, events, seconds) = (report.rows, report.events, report.seconds);
    let did = if report.dry_run { "would append" } else { "appended" };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{} file, {rows} rows: {did} {events} events in {seconds:.1} s",
        report.generation
    );
    let _ = writeln!(
        text,
        "new {}, changed {}, deleted {}, unchanged {}, conflicts {}",
        report.new, report.changed, report.deleted, report.unchanged, report.conflicts
    );
    if report.images > 0 {
        let did = if report.dry_run { "to copy" } else { "copied" };
        let _ = writeln!(text, "{} images {did}", report.images);
    }
    let (known, news): (Vec<_>, Vec<_>) = report.notices.iter().partition(|it| it.unchanged);
    let (conflicts, odd): (Vec<_>, Vec<_>) = news.into_iter().partition(|it| it.conflict);
    let heading = format!("Conflicts, in which crm has the last word ({})", report.conflicts);
    list(&mut text, &heading, &conflicts);
    list(&mut text, &format!("Worth a look ({})", odd.len()), &odd);
    if !known.is_empty() {
        let _ = writeln!(
            text,
            "\nWorth a look in rows that are as they were at an earlier import: {}; `--json` lists them",
            known.len()
        );
    }
    if report.notices_left_out > 0 {
        let _ = writeln!(text, "\n{} more lines were too many to keep", report.notices_left_out);
    }
    text.trim_end().to_owned()
}

/// A heading and what stands below it; nothing if there is nothing.
fn list(text: &mut String, heading: &str, notices: &[&Notice]) {
    if notices.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{heading}:");
    for notice in notices.iter().take(SHOWN) {
        let _ = writeln!(text, "  {}", describe_notice(notice));
    }
    let more = notices.len().saturating_sub(SHOWN);
    if more > 0 {
        let _ = writeln!(text, "  … and {more} more; `--json` lists them, now or by another run");
    }
}

fn describe_notice(notice: &Notice) -> String {
    let id = match &notice.id {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let column = notice.column.as_ref().map(|column| format!(" {column}")).unwrap_or_default();
    let value = notice.value.as_ref().map(|value| format!(" ({value:?})")).unwrap_or_default();
    format!("{} {id}{column}: {}{value}", notice.table, notice.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_whose_read_models_find_no_room_says_so_and_that_nothing_is_lost() {
        let check = |error: &'static str, free: Option<u64>, expected: &str| {
            let told = explained(anyhow::anyhow!(error), free, "/srv/crm").to_string();
            assert!(told.contains(expected), "{told}");
            assert!(told.to_lowercase().contains("everything is imported"), "{told}");
        };
        let lost = "Connection reset by peer";
        check(lost, Some(3_500_000), "the disk of `/srv/crm` is full (3 MB free). Everything");
        check(lost, Some(1 << 40), "do not follow");
        check(lost, None, "do not follow");
        let full = "the database is not available: its disk is full";
        check(full, Some(64 << 20), "the disk of `/srv/crm` is full (67 MB free)");
        check(full, None, "the disk of the database is full");
    }

    #[test]
    fn the_report_names_table_id_column_reason_and_value() {
        let notice = Notice {
            table: "lp".into(),
            id: json!(21),
            column: Some("aum_billions".into()),
            reason: "text in a number column".into(),
            value: Some("12,5".into()),
            conflict: false,
            unchanged: false,
        };
        let known = Notice { unchanged: true, ..notice.clone() };
        let left_out =
            Notice { conflict: true, ..Notice::of_row("lp", json!(3), "changed in crm") };
        let report = Report {
            rows: 2,
            events: 3,
            new: 2,
            generation: "G4".into(),
            conflicts: 1,
            notices: vec![notice, left_out, known],
            ..Report::default()
        };
        assert_eq!(
            describe(&report),
            "G4 file, 2 rows: appended 3 events in 0.0 s\n\
             new 2, changed 0, deleted 0, unchanged 0, conflicts 1\n\n\
             Conflicts, in which crm has the last word (1):\n  lp 3: changed in crm\n\n\
             Worth a look (1):\n  lp 21 aum_billions: text in a number column (\"12,5\")\n\n\
             Worth a look in rows that are as they were at an earlier import: 1; `--json` lists them"
        );
    }
}
