//! `crm status`: how the log and every read model stand.

use std::fmt::Write as _;

use projections::search::vector_status::VectorStatus;
use projections::status::{FileStatus, Following, ProjectionStatus, RebuildStatus, Status};
use projections::verification::{Checks, VerificationStatus};
use projections::webhooks::WebhookStatus;

use crate::backend::{self, Store};
use crate::commands::{self, Interruption, say};
use crate::settings::Settings;
use crate::{file_keeper, vectors};

/// Options of `crm status`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Prints it; the server need not run.
///
/// # Errors
/// When the database does not answer.
pub async fn run(settings: &Settings, args: &Args) -> anyhow::Result<()> {
    let mut interruption = Interruption::expect()?;
    let Some(store) = commands::open(settings, "status", &mut interruption).await? else {
        return Ok(());
    };
    let status = ask(settings, &store).await;
    let closed = store.close().await;
    let status = status?;
    match args.json {
        true => say(&serde_json::to_string(&status)?),
        false => say(&describe(&status)),
    }
    closed
}

async fn ask(settings: &Settings, store: &Store) -> anyhow::Result<Status> {
    let mut connection = store.database.pool.acquire().await?;
    projections::generation::ensure(&mut connection, &projections::read::projectors()).await?;
    let mut status = projections::status::status(&mut connection).await?;
    let trust = backend::seal_trust(settings);
    status.seal_doubt = match &trust {
        Ok(trust) => trust.doubt(&mut connection).await?.map(|doubt| doubt.to_string()),
        Err(error) => Some(error.to_string()),
    };
    drop(connection);
    status.lack_for_vectors(vectors::lacking(settings));
    // What no process has written down is found out as a server finds it out.
    if let Err(error) = store.database.probe_writes().await {
        tracing::warn!(%error, "nobody knows whether the database takes writes");
    }
    status.writes = store.database.write_trouble();
    status.files =
        file_keeper::look_once(&store.database, &store.files, &trust.unwrap_or_default()).await?;
    Ok(status)
}

/// The status for people.
fn describe(status: &Status) -> String {
    let mut text = format!("The log ends at position {}.\n\n", status.head);
    let heading = ["read model", "generation", "position", "lag", "lag s", "events/s", "size", ""];
    let rows: Vec<[String; 8]> = std::iter::once(heading.map(str::to_owned))
        .chain(status.projections.iter().map(row))
        .collect();
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Names to the left, numbers to the right. Writing to a String cannot fail.
            let _ = match column {
                0 | 7 => write!(line, "{cell:<width$}  "),
                _ => write!(line, "{cell:>width$}  "),
            };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for set in &status.vectors {
        let _ = writeln!(text, "\n{}", describe_vectors(set));
    }
    if status.vectors.is_empty() {
        text.push_str(NO_VECTORS);
    } else if let Some(lack) = &status.vectors_lack {
        let _ = writeln!(text, "NOT well: texts are not embedded; {lack}.");
    }
    for projection in &status.projections {
        if projection.beyond > 0 {
            let ProjectionStatus { name, position, beyond, .. } = projection;
            let _ = writeln!(
                text,
                "\nNOT well: {name} stands at position {position}, {beyond} beyond the end of the log: an older log was put back; \
                 `crm rebuild {name}` builds it anew."
            );
        }
        if let Some(RebuildStatus { error: Some(error), .. }) = &projection.rebuild {
            let _ = writeln!(text, "\nThe last rebuild of {} failed: {error}", projection.name);
        }
        for parked in &projection.parked {
            let _ = writeln!(
                text,
                "\n{} cannot follow {} {} from position {} on (since {}): {}",
                projection.name,
                parked.aggregate_type,
                parked.aggregate_id,
                parked.position,
                parked.parked_at.format("%Y-%m-%d %H:%M UTC"),
                parked.error
            );
        }
    }
    for Following { reactor, lag_seconds } in &status.reactors {
        let jobs = &reactor.jobs;
        let _ = write!(
            text,
            "\nJobs of {}: {} waiting, {} running, {} postponed, {} suspended; {} workers; {} positions, {:.1} s behind.",
            reactor.name,
            jobs.waiting,
            jobs.running,
            jobs.postponed,
            jobs.suspended,
            reactor.workers,
            reactor.lag,
            lag_seconds
        );
        let _ = match &jobs.failure {
            Some(failure) => writeln!(text, " The last failure: {failure}"),
            None => writeln!(text),
        };
    }
    for webhook in &status.webhooks {
        let WebhookStatus { id, state, lag, lag_seconds, attempts, reason, .. } = webhook;
        let _ = write!(text, "\nWebhook {id}: {state}, {lag} positions, {lag_seconds:.1} s behind");
        if *attempts > 0 {
            let _ = write!(text, ", {attempts} attempts at the next event have failed");
        }
        let _ = match reason {
            Some(reason) => writeln!(text, ": {reason}"),
            None => writeln!(text, "."),
        };
    }
    let keys = &status.keys;
    if keys.destroyed > 0 {
        let _ = match keys.unscrubbed {
            0 => writeln!(text, "\nErased: {} records.", keys.destroyed),
            left => writeln!(
                text,
                "\nErased: {} records; traces of {left} are still to be wiped off the disk (a running server does it, or \
                 `crm erase --scrub`).",
                keys.destroyed
            ),
        };
    }
    let _ = match &status.seal {
        Some(seal) => writeln!(
            text,
            "\nSealed up to position {} at {}.",
            seal.position,
            seal.sealed_at.format("%Y-%m-%d %H:%M:%S UTC")
        ),
        None => writeln!(text, "\nNot sealed yet; `crm serve` does it."),
    };
    if let Some(doubt) = &status.seal_doubt {
        let _ = writeln!(text, "NOT well: {doubt}.");
    }
    describe_checks(&mut text, &status.checks);
    describe_stores(&mut text, status);
    text.trim_end().to_owned()
}

/// Whether anything can be stored, in the database and beside it.
fn describe_stores(text: &mut String, status: &Status) {
    // Writing to a String cannot fail.
    if let Some(trouble) = &status.writes {
        let _ = writeln!(text, "\nNOT well: {}.", trouble.error);
    }
    let FileStatus { troubles, garbage } = &status.files;
    if troubles.is_empty() {
        let _ = writeln!(text, "\nFiles can be stored.");
    }
    for trouble in troubles {
        let _ = writeln!(text, "\nNOT well: {trouble}.");
    }
    if let Some(why) = garbage {
        let _ = writeln!(text, "Files that nothing names are not removed: {why}.");
    }
}

/// The last full check, and what came after it.
fn describe_checks(text: &mut String, checks: &Checks) {
    let time = |check: &VerificationStatus| check.finished_at.format("%Y-%m-%d %H:%M UTC");
    let outcome = |passed: Option<bool>| match passed {
        Some(true) => "all well",
        _ => "DIFFERENCES, see `crm status --json`",
    };
    // Writing to a String cannot fail.
    let _ = match &checks.verification {
        Some(last) => writeln!(
            text,
            "Last check of everything: {} at {}, up to position {}.",
            outcome(last.passed),
            time(last),
            last.position
        ),
        None => writeln!(text, "Never checked as a whole; `crm verify` does it."),
    };
    for later in &checks.later_checks {
        let of = if later.is_full { "everything".to_owned() } else { later.scope.join(", ") };
        let _ = match &later.error {
            Some(error) => {
                writeln!(text, "Later check of {of} at {}: CAME TO NOTHING: {error}", time(later))
            }
            None => writeln!(
                text,
                "Later check of {of} alone: {} at {}, up to position {}.",
                outcome(later.passed),
                time(later),
                later.position
            ),
        };
    }
}

/// Said where nothing can be searched by meaning.
const NO_VECTORS: &str = "
vectors: none. Search by meaning takes a model (`crm models get embed`, EMBED_MODEL or EMBED_URL) and a running server; `GET /search?mode=semantic` \
     says what it lacks.
";

/// A set of vectors in one line.
fn describe_vectors(set: &VectorStatus) -> String {
    let VectorStatus { set: number, model, engine, points, lag, waiting, rate, untold, .. } = set;
    let mut text = format!("vectors: set {number}, {}, in {engine}: {points} texts", set.state);
    // Writing to a String cannot fail.
    let _ = match (waiting, set.eta_seconds) {
        (0, _) => write!(text, ", lag {lag}"),
        (_, Some(seconds)) => {
            write!(text, ", {waiting} to go at {rate:.1}/s, about {:.0} s", seconds.ceil())
        }
        (_, None) if set.at_work => write!(text, ", {waiting} to go"),
        (_, None) => write!(text, ", {waiting} to go, at which nobody is"),
    };
    if *untold > 0 {
        let _ = write!(text, ", {engine} not told of {untold} records");
    }
    if let Some(error) = &set.error {
        let _ = write!(text, "; {error}");
    }
    let _ = write!(text, " ({model})");
    text
}

fn row(projection: &ProjectionStatus) -> [String; 8] {
    let generation = match projection.previous {
        Some(previous) => format!("{} (kept: {previous})", projection.generation),
        None => projection.generation.to_string(),
    };
    let mut remarks = Vec::new();
    if !projection.parked.is_empty() {
        remarks.push(format!("{} parked", projection.parked.len()));
    }
    if projection.skipped > 0 {
        remarks.push(format!("{} skipped", projection.skipped));
    }
    if let Some(rebuild) = &projection.rebuild {
        remarks.push(match rebuild.finished_at {
            Some(at) => format!("rebuild {} {}", rebuild.phase, at.format("%Y-%m-%d %H:%M")),
            None => format!("rebuild {} {}/{}", rebuild.phase, rebuild.done, rebuild.total),
        });
    }
    [
        projection.name.clone(),
        generation,
        projection.position.to_string(),
        projection.lag.to_string(),
        format!("{:.1}", projection.lag_seconds),
        format!("{:.1}", projection.rate),
        bytes(projection.size),
        remarks.join(", "),
    ]
}

#[allow(clippy::cast_precision_loss, reason = "rounded to three digits anyway")]
fn bytes(size: i64) -> String {
    match size {
        0..1_000_000 => format!("{} kB", size / 1_000),
        1_000_000..1_000_000_000 => format!("{:.1} MB", size as f64 / 1e6),
        _ => format!("{:.1} GB", size as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use projections::jobs::{JobCount, ReactorStatus};
    use projections::log::keys::KeyCount;

    use super::*;

    fn projection() -> ProjectionStatus {
        ProjectionStatus {
            name: "lp".into(),
            version: 1,
            generation: 2,
            previous: Some(1),
            position: 40,
            lag: 2,
            beyond: 0,
            lag_seconds: 0.25,
            rate: 12.0,
            size: 1_234_567,
            parked: vec![],
            skipped: 1,
            skipped_events: vec![],
            rebuild: Some(RebuildStatus {
                projector: "lp".into(),
                generation: 3,
                holder: "a server".into(),
                phase: "failed".into(),
                done: 7,
                total: 42,
                parked: 0,
                rate: 1.0,
                eta_seconds: None,
                started_at: DateTime::UNIX_EPOCH,
                finished_at: Some(DateTime::UNIX_EPOCH),
                error: Some("the disk is full".into()),
            }),
        }
    }

    fn check(scope: &[&str], passed: Option<bool>) -> VerificationStatus {
        VerificationStatus {
            started_at: DateTime::UNIX_EPOCH,
            finished_at: DateTime::UNIX_EPOCH,
            position: 42,
            scope: scope.iter().map(|name| (*name).to_owned()).collect(),
            is_full: scope.is_empty(),
            error: passed.is_none().then(|| "the check was called off".to_owned()),
            passed,
            report: None,
        }
    }

    fn checks() -> Checks {
        let later_checks = vec![check(&[], None), check(&["log", "lp"], Some(true))];
        Checks { verification: Some(check(&[], Some(false))), later_checks }
    }

    #[test]
    fn the_status_is_a_table_that_a_person_can_read() {
        let status = Status {
            head: 42,
            projections: vec![projection()],
            reactors: vec![Following {
                reactor: ReactorStatus {
                    name: "recordings".into(),
                    position: 42,
                    lag: 0,
                    jobs: JobCount {
                        waiting: 2,
                        running: 1,
                        postponed: 1,
                        suspended: 0,
                        oldest_seconds: 90.0,
                        failure: Some("the disk is full".into()),
                    },
                    workers: 1,
                },
                lag_seconds: 0.0,
            }],
            webhooks: vec![
                WebhookStatus {
                    id: 1,
                    state: "enabled".into(),
                    reason: None,
                    position: 40,
                    lag: 2,
                    lag_seconds: 3.5,
                    attempts: 2,
                },
                WebhookStatus {
                    id: 2,
                    state: "disabled".into(),
                    reason: Some("it answered 410".into()),
                    position: 2,
                    lag: 40,
                    lag_seconds: 90.0,
                    attempts: 0,
                },
            ],
            keys: KeyCount { present: 3, destroyed: 2, unscrubbed: 1 },
            checks: checks(),
            seal: None,
            seal_doubt: Some("the seals are not those that were made here".into()),
            unsealed_seconds: 7.0,
            vectors: vec![VectorStatus {
                set: 1,
                model: "small".into(),
                state: "live".into(),
                engine: "qdrant".into(),
                position: 40,
                lag: 2,
                points: 120,
                waiting: 30,
                at_work: true,
                rate: 12.5,
                eta_seconds: Some(2.4),
                untold: 3,
                error: None,
            }],
            vectors_lack: None,
            writes: None,
            files: FileStatus { troubles: vec![], garbage: Some("they are another's".into()) },
        };
        let expected = "\
The log ends at position 42.

read model   generation  position  lag  lag s  events/s    size
lp          2 (kept: 1)        40    2    0.2      12.0  1.2 MB  1 skipped, rebuild failed 1970-01-01 00:00

vectors: set 1, live, in qdrant: 120 texts, 30 to go at 12.5/s, about 3 s, qdrant not told of 3 records (small)

The last rebuild of lp failed: the disk is full

Jobs of recordings: 2 waiting, 1 running, 1 postponed, 0 suspended; 1 workers; 0 positions, 0.0 s behind. The last failure: the disk is full

Webhook 1: enabled, 2 positions, 3.5 s behind, 2 attempts at the next event have failed.

Webhook 2: disabled, 40 positions, 90.0 s behind: it answered 410

Erased: 2 records; traces of 1 are still to be wiped off the disk (a running server does it, or `crm erase --scrub`).

Not sealed yet; `crm serve` does it.
NOT well: the seals are not those that were made here.
Last check of everything: DIFFERENCES, see `crm status --json` at 1970-01-01 00:00 UTC, up to position 42.
Later check of everything at 1970-01-01 00:00 UTC: CAME TO NOTHING: the check was called off
Later check of log, lp alone: all well at 1970-01-01 00:00 UTC, up to position 42.

Files can be stored.
Files that nothing names are not removed: they are another's.";
        assert_eq!(describe(&status), expected);
        let mut lacking = status.clone();
        lacking.lack_for_vectors(Some("run `crm models get embed`".into()));
        let told = describe(&lacking);
        let waits = "120 texts, 30 to go, qdrant not told of 3 records (small)\nNOT well: texts are not embedded; run `crm models get embed`.";
        assert!(told.contains(waits), "{told}");
        let mut alone = status.clone();
        (alone.vectors[0].at_work, alone.vectors[0].eta_seconds) = (false, None);
        let told = describe(&alone);
        assert!(told.contains("30 to go, at which nobody is, qdrant"), "{told}");
        let beyond = ProjectionStatus { position: 50, beyond: 8, ..projection() };
        let status = Status { vectors: vec![], projections: vec![beyond], ..status };
        let told = describe(&status);
        assert!(told.contains(NO_VECTORS));
        let said = "NOT well: lp stands at position 50, 8 beyond the end of the log: an older log was put back; `crm rebuild lp`";
        assert!(told.contains(said), "{told}");
    }
}
