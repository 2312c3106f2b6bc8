//! `crm verify`: is the log whole, and is what readers see what the log says?

use std::fmt::Write as _;

use anyhow::bail;
use projections::read;
use replay::{Effort, Finding, ModelReport, VerifyOptions, VerifyReport};
use tokio_util::sync::CancellationToken;

use crate::backend::Store;
use crate::commands::{self, Interruption, say};
use crate::settings::Settings;

/// Options of `crm verify`. The server may go on running.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The read models to compare; none named: all
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Look at the log alone
    #[arg(long, conflicts_with = "names")]
    pub log: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Checks, and prints what it found.
///
/// # Errors
/// When something is wrong, or nothing can be said.
pub async fn run(settings: &Settings, args: &Args) -> anyhow::Result<()> {
    let projectors = match args.log {
        true => vec![],
        false => replay::find(read::projectors(), &args.names)?,
    };
    let mut interruption = Interruption::expect()?;
    let Some(store) = commands::open(settings, &mut interruption).await? else { return Ok(()) };
    let options =
        VerifyOptions { projectors, effort: Effort::full(), stop: CancellationToken::new() };
    let report = check(&store, options, interruption).await;
    let closed = store.close().await;
    let report = report?;
    match args.json {
        true => say(&serde_json::to_string(&report)?),
        false => say(&describe(&report)),
    }
    closed?;
    match report.passed {
        true => Ok(()),
        false => bail!("the check found something wrong"),
    }
}

async fn check(
    store: &Store,
    options: VerifyOptions,
    mut interruption: Interruption,
) -> anyhow::Result<VerifyReport> {
    let stop = options.stop.clone();
    let mut connection = store.database.pool.acquire().await?;
    projections::generation::ensure(&mut connection, &options.projectors).await?;
    drop(connection);
    let database = store.database.clone();
    let mut work = tokio::spawn(async move { replay::verify(&database, options, |_| ()).await });
    loop {
        tokio::select! {
            report = &mut work => return Ok(report??),
            () = interruption.next() => stop.cancel(),
        }
    }
}

/// The report for people.
pub fn describe(report: &VerifyReport) -> String {
    let VerifyReport { log, projections, .. } = report;
    // Writing to a String cannot fail.
    let mut text = String::new();
    let _ = writeln!(
        text,
        "log: {} events in {} streams up to position {}: {}",
        log.events,
        log.streams,
        report.position,
        if log.errors == 0 { "whole".to_owned() } else { format!("{} ERRORS", log.errors) }
    );
    findings(&mut text, &log.findings, log.errors);
    if log.noticed > 0 {
        let _ = writeln!(text, "  worth knowing ({}):", log.noticed);
        findings(&mut text, &log.notices[..log.notices.len().min(SHOWN)], log.noticed);
    }
    for model in projections {
        describe_model(&mut text, model);
    }
    let outcome = if report.passed { "All well" } else { "NOT well" };
    let _ = write!(text, "{outcome}; looked for {:.1} s.", report.seconds);
    text
}

/// How many notices and differences the text report shows of each.
const SHOWN: usize = 20;

fn findings(text: &mut String, listed: &[Finding], all: u64) {
    for Finding { check, position, what } in listed {
        let _ = match position {
            Some(position) => writeln!(text, "  {check} at position {position}: {what}"),
            None => writeln!(text, "  {check}: {what}"),
        };
    }
    if all > listed.len() as u64 {
        let _ = writeln!(text, "  … and {} more", all - listed.len() as u64);
    }
}

fn describe_model(text: &mut String, model: &ModelReport) {
    let ModelReport { name, rows, different, position, .. } = model;
    let outcome = match different {
        0 => "as the log says".to_owned(),
        _ => format!("{different} DIFFERENT"),
    };
    let _ = writeln!(text, "{name}: {rows} rows at position {position}: {outcome}");
    findings(text, &model.findings, model.findings.len() as u64);
    for difference in model.differences.iter().take(SHOWN) {
        let _ = writeln!(text, "  {} {}:", difference.table, difference.key.join(" "));
        for column in &difference.columns {
            let side = |value: &Option<serde_json::Value>| {
                value.as_ref().map_or_else(|| "no row".to_owned(), ToString::to_string)
            };
            let (live, log) = (side(&column.live), side(&column.log));
            let _ = writeln!(text, "    {}: readers get {live}, the log says {log}", column.column);
        }
    }
    let left_out = different - (model.differences.len().min(SHOWN) as u64).min(*different);
    if left_out > 0 {
        let _ = writeln!(text, "  … and {left_out} more; --json lists up to a hundred");
    }
}
