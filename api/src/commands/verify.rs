//! `crm verify`: is the log whole, and is what readers see what the log says?

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use projections::projector::Projector;
use projections::read;
use projections::seal::PublicKey;
use projections::seal::note::Note;
use replay::{Effort, Finding, ModelReport, SealReport, VerifyOptions, VerifyReport, Witness};
use tokio_util::sync::CancellationToken;

use crate::backend::{self, Store};
use crate::commands::rebuild::VECTORS;
use crate::commands::{self, Interruption, say, seal};
use crate::settings::Settings;
use crate::vectors;

/// Options of `crm verify`. The server may go on running.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The read models to compare, and `vectors`; none named: all
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Look at the log alone
    #[arg(long, conflicts_with = "names")]
    pub log: bool,
    /// Public key of another installation that seals this log, as its `crm seal status` prints it; may be repeated
    #[arg(long, value_name = "KEY")]
    pub key: Vec<PublicKey>,
    /// A checkpoint that was kept elsewhere, signed by this installation's key or one of --key: the log must still fit it
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Checks, and prints what it found.
///
/// # Errors
/// When something is wrong, or nothing can be said.
pub async fn run(settings: &Settings, args: &Args) -> anyhow::Result<()> {
    let (projectors, with_vectors) = match args.log {
        true => (vec![], false),
        false => wanted(&args.names)?,
    };
    let known = backend::seal_witness(settings)?;
    let kept = match &args.checkpoint {
        Some(path) => Some(seal::last_note(&seal::read(path)?)?),
        None => None,
    };
    let mut interruption = Interruption::expect()?;
    let Some(store) = commands::open(settings, "verify", &mut interruption).await? else {
        return Ok(());
    };
    let report = match witness(known, &settings.seal_known_keys, &args.key, kept) {
        Ok(witness) => {
            let (effort, stop) = (Effort::full(), CancellationToken::new());
            let options = VerifyOptions { projectors, engine: None, witness, effort, stop };
            let engine = with_vectors.then_some(settings);
            check(&store, engine, options, interruption).await
        }
        Err(error) => Err(error),
    };
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

/// The read models that are named, and whether the vectors are; none named means all.
fn wanted(names: &[String]) -> anyhow::Result<(Vec<Arc<dyn Projector>>, bool)> {
    let models: Vec<String> = names.iter().filter(|name| *name != VECTORS).cloned().collect();
    let with_vectors = names.is_empty() || models.len() < names.len();
    let projectors = match models.is_empty() && with_vectors && !names.is_empty() {
        true => vec![],
        false => replay::find(read::projectors(), &models)?,
    };
    Ok((projectors, with_vectors))
}

/// What is known beside the database. Some key that is known must have signed the checkpoint given.
fn witness(
    mut witness: Witness,
    known: &[PublicKey],
    named: &[PublicKey],
    kept: Option<Note>,
) -> anyhow::Result<Witness> {
    witness.others.extend(named.iter().map(|key| key.key));
    if let Some(note) = kept {
        let origin = &note.unchecked().origin;
        let own = witness.own.map(|key| PublicKey { origin: origin.clone(), key });
        let keys: Vec<PublicKey> = own.into_iter().chain([known, named].concat()).collect();
        witness.checkpoints.push(note.open(&keys)?.0.clone());
    }
    Ok(witness)
}

async fn check(
    store: &Store,
    vectors: Option<&Settings>,
    mut options: VerifyOptions,
    mut interruption: Interruption,
) -> anyhow::Result<VerifyReport> {
    if let Some(settings) = vectors {
        options.engine = Some(vectors::engine(settings, &store.database).await?);
    }
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
    let VerifyReport { log, seals, projections, vectors, .. } = report;
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
    describe_seals(&mut text, seals);
    for model in projections {
        describe_model(&mut text, model);
    }
    if vectors.as_ref().is_some_and(Vec::is_empty) {
        let _ = writeln!(
            text,
            "vectors: none yet, texts are only found by word; `crm status` says why"
        );
    }
    for set in vectors.iter().flatten() {
        let outcome = match set.differences.len() {
            0 => "as the texts say".to_owned(),
            many => format!("{many} DIFFERENT"),
        };
        let _ = writeln!(
            text,
            "vectors, set {} in {}: {} texts: {outcome}",
            set.set, set.engine, set.points
        );
        for difference in set.differences.iter().take(SHOWN) {
            let _ = writeln!(text, "  {difference}");
        }
        if set.differences.len() > SHOWN {
            let _ = writeln!(text, "  … and {} more", set.differences.len() - SHOWN);
        }
    }
    let leaving_out = projections.iter().filter(|model| model.leaves_out());
    let leaving_out: Vec<&str> = leaving_out.map(|model| model.name.as_str()).collect();
    let outcome = match leaving_out.as_slice() {
        _ if !report.passed => "NOT well".to_owned(),
        [] => "All well".to_owned(),
        names => format!("All well, but for events left out by order in {}", names.join(", ")),
    };
    let _ = write!(text, "{outcome}; looked for {:.1} s.", report.seconds);
    text
}

fn describe_seals(text: &mut String, report: &SealReport) {
    let SealReport { seals, events, position, sealed_at, unsealed, errors, .. } = report;
    let _ = match sealed_at {
        Some(at) => writeln!(
            text,
            "seals: {seals} over {events} events, up to position {position} at {}, {unsealed} events behind it: {}",
            at.format("%Y-%m-%d %H:%M:%S UTC"),
            if *errors == 0 { "unbroken".to_owned() } else { format!("{errors} ERRORS") }
        ),
        None => writeln!(text, "seals: none yet; `crm serve` makes them"),
    };
    if let Some(first) = report.first_bad() {
        let _ = writeln!(text, "  the first bad position is {first}");
    }
    findings(text, &report.findings, *errors);
    findings(text, &report.notices, report.notices.len() as u64);
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
        _ if !model.was_compared() => "not compared".to_owned(),
        0 if model.leaves_out() => "as the log says, but for events left out by order".to_owned(),
        0 => "as the log says".to_owned(),
        _ => format!("{different} DIFFERENT"),
    };
    let _ = writeln!(text, "{name}: {rows} rows at position {position}: {outcome}");
    findings(text, &model.findings, model.findings.len() as u64);
    findings(text, &model.notices, model.notices.len() as u64);
    for difference in model.differences.iter().take(SHOWN) {
        let _ = writeln!(text, "  {} {}:", difference.table, difference.key.join(" "));
        for column in &difference.columns {
            let side = |value: &Option<serde_json::Value>| {
                value.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string)
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
