//! `crm rebuild`: builds read models anew beside those that are read, and swaps them in.

mod vectors;

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use indicatif::{HumanDuration, HumanFloatCount, ProgressBar, ProgressStyle};
use projections::projector::Projector;
use projections::read;
use projections::status::RebuildStatus;
use replay::RebuildError;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::backend::Store;
use crate::commands::{self, Interruption, projections as parked, say};
use crate::settings::Settings;

/// Options of `crm rebuild`. The server may go on running.
#[derive(clap::Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("which").args(["names", "all"]).required(true).multiple(false))]
#[command(group = clap::ArgGroup::new("instead").args(["rollback", "drop_old", "cancel"]).multiple(false))]
pub struct Args {
    /// The read models, `crm status` lists them; or `vectors`, from the texts and the vectors that are known
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// All read models, from one reading of the log, swapped in together
    #[arg(long)]
    pub all: bool,
    /// Instead: make the previous generation the live one again, after it has caught up
    #[arg(long)]
    pub rollback: bool,
    /// Instead: drop the previous generation, which was kept to roll back to, and what a killed rebuild has left behind
    #[arg(long)]
    pub drop_old: bool,
    /// Instead: call off a rebuild that is running, here or in a server
    #[arg(long)]
    pub cancel: bool,
    /// Print progress as JSON lines; the last one has the outcome, and why it is none
    #[arg(long)]
    pub json: bool,
}

/// What the vectors are called among read models.
pub const VECTORS: &str = "vectors";

/// Does what the options say.
///
/// # Errors
/// When a rebuild fails, is called off, or another one of the same read model runs; the live read models are untouched
/// then.
pub async fn run(settings: &Settings, args: &Args) -> anyhow::Result<()> {
    let result = carry_out(settings, args).await;
    if let Err(error) = &result
        && args.json
    {
        say(&json!({"outcome": outcome_of(error), "error": format!("{error:#}")}).to_string());
    }
    result
}

/// What to call it when nothing was rebuilt.
fn outcome_of(error: &anyhow::Error) -> &'static str {
    match error.downcast_ref() {
        Some(RebuildError::Cancelled) => "cancelled",
        Some(
            RebuildError::Unknown { .. }
            | RebuildError::Held { .. }
            | RebuildError::Taken(_)
            | RebuildError::NoPrevious(_)
            | RebuildError::OtherVersion { .. }
            | RebuildError::Beyond { .. }
            | RebuildError::InUse { .. }
            | RebuildError::Read { .. },
        ) => "refused",
        _ => "failed",
    }
}

async fn carry_out(settings: &Settings, args: &Args) -> anyhow::Result<()> {
    // The names first: to be told that there is none such should not cost a start of the database.
    let with_vectors = args.names.iter().any(|name| name == VECTORS);
    let projectors = match with_vectors {
        true => vec![],
        false => replay::find(read::projectors(), &args.names)?,
    };
    if with_vectors && (args.names.len() > 1 || args.rollback || args.drop_old) {
        bail!(
            "`vectors` is rebuilt on its own, and the old ones are not kept: `crm rebuild {VECTORS}`"
        );
    }
    let mut interruption = Interruption::expect()?;
    let Some(store) = commands::open(settings, "rebuild", &mut interruption).await? else {
        return Ok(());
    };
    let result = match args {
        Args { cancel: true, .. } if with_vectors => vectors::cancel(&store).await,
        _ if with_vectors => vectors::rebuild(settings, &store, interruption, args.json).await,
        Args { rollback: true, .. } => {
            let is_all = args.names.is_empty();
            roll_back(&store, projectors, is_all, interruption, args.json).await
        }
        Args { drop_old: true, .. } => drop_old(&store, &projectors, args.json).await,
        Args { cancel: true, .. } => cancel(&store, &projectors, args.json).await,
        _ => rebuild(&store, projectors, interruption, args.json).await,
    };
    let closed = store.close().await;
    result.and(closed)
}

async fn rebuild(
    store: &Store,
    projectors: Vec<Arc<dyn Projector>>,
    mut interruption: Interruption,
    json: bool,
) -> anyhow::Result<()> {
    let names: Vec<&str> = projectors.iter().map(|projector| projector.name()).collect();
    let stop = CancellationToken::new();
    let holder = "`crm rebuild`";
    let rebuild = replay::Rebuild::admit(&store.database, projectors, holder, stop.clone()).await?;
    let bar = progress_bar(json);
    let shown = bar.clone();
    let watch = move |all: &[RebuildStatus]| {
        // How it ends, the last line tells.
        let Some(first) = all.first().filter(|first| !first.is_over()) else { return };
        if json {
            say(&json!({"phase": first.phase, "done": first.done, "total": first.total, "rate": first.rate.round(),
                "eta_seconds": first.eta_seconds}).to_string());
        } else {
            shown.set_length(first.total.unsigned_abs());
            shown.set_position(first.done.unsigned_abs());
            shown.set_prefix(first.phase.clone());
            shown.set_message(pace(first.rate, first.eta_seconds));
        }
    };
    let started = std::time::Instant::now();
    let mut work = tokio::spawn(rebuild.run(watch));
    let outcome = loop {
        tokio::select! {
            outcome = &mut work => break outcome,
            () = interruption.next() => stop.cancel(),
        }
    };
    bar.finish_and_clear();
    let streams = outcome??;
    let seconds = started.elapsed().as_secs_f64();
    if json {
        let parked: Vec<Value> = streams.iter().map(parked::to_json).collect();
        say(&json!({"outcome": "done", "phase": "done", "rebuilt": names, "seconds": seconds, "parked": parked})
            .to_string());
        return Ok(());
    }
    say(&format!("Rebuilt in {seconds:.1} s: {}", names.join(", ")));
    if !streams.is_empty() {
        say("But it cannot follow these streams, which `crm projections retry` tries again:");
    }
    for stream in &streams {
        say(&format!("  {}", parked::describe(stream)));
    }
    Ok(())
}

/// A bar on a terminal, nothing elsewhere.
fn progress_bar(hidden: bool) -> ProgressBar {
    const SHAPE: &str =
        "{prefix:9} {bar:32} {percent:>3}%  {human_pos} of {human_len} events  {msg}";
    if hidden {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template(SHAPE).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

/// How fast it goes and how much longer that takes, as long as that is known: of what comes after reading nobody knows.
fn pace(rate: f64, eta_seconds: Option<f64>) -> String {
    let left = eta_seconds.and_then(|left| Duration::try_from_secs_f64(left.ceil()).ok());
    match left.map(HumanDuration) {
        Some(left) => format!("{}/s  {left:#} left", HumanFloatCount(rate.round())),
        None => String::new(),
    }
}

/// All read models that are asked for at once; of all there are, those that have something to go back to.
async fn roll_back(
    store: &Store,
    mut projectors: Vec<Arc<dyn Projector>>,
    is_all: bool,
    mut interruption: Interruption,
    json: bool,
) -> anyhow::Result<()> {
    if is_all {
        replay::retain_with_previous(&store.database, &mut projectors).await?;
        if projectors.is_empty() {
            bail!(
                "no read model has a previous generation: there is one after a rebuild, until it is dropped"
            );
        }
    }
    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        interruption.next().await;
        asked.cancel();
    });
    let numbers = replay::roll_back(&store.database, &projectors, &stop).await?;
    for (name, number) in projectors.iter().map(|projector| projector.name()).zip(numbers) {
        match json {
            true => say(&json!({"projection": name, "live": number}).to_string()),
            false => say(&format!("{name}: generation {number} is live again")),
        }
    }
    Ok(())
}

async fn drop_old(
    store: &Store,
    projectors: &[Arc<dyn Projector>],
    json: bool,
) -> anyhow::Result<()> {
    for projector in projectors {
        let name = projector.name();
        let dropped = replay::drop_old(&store.database, projector).await?;
        match json {
            true => say(&json!({"projection": name, "dropped": dropped}).to_string()),
            false if dropped.is_empty() => say(&format!("{name}: there was nothing to drop")),
            false => say(&format!("{name}: dropped generation {dropped:?}")),
        }
    }
    Ok(())
}

async fn cancel(
    store: &Store,
    projectors: &[Arc<dyn Projector>],
    json: bool,
) -> anyhow::Result<()> {
    let mut connection = store.database.pool.acquire().await?;
    let mut any = false;
    for projector in projectors {
        let name = projector.name();
        let asked = replay::cancel(&mut connection, name).await?;
        any |= asked;
        match json {
            true => say(&json!({"projection": name, "cancelled": asked}).to_string()),
            false if asked => say(&format!("{name}: the rebuild was asked to stop")),
            false => {}
        }
    }
    match any {
        true => Ok(()),
        false => bail!("no such rebuild is running"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_rounded_and_told_only_while_the_log_is_read() {
        assert_eq!(pace(5209.9688, Some(3.2)), "5,210/s  4s left");
        assert_eq!(pace(0.4, Some(125.0)), "0/s  2m left");
        assert_eq!(pace(5209.9688, None), "");
    }
}
