//! `crm projections`: what read models cannot follow, what they were told to skip, and what becomes of it.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use projections::log::Stream;
use projections::projector::Projector;
use projections::status::ParkedStatus;
use replay::Outcome;
use serde_json::Value;

use crate::backend::Store;
use crate::commands::{self, Interruption, say};
use crate::settings::Settings;

/// What to do with events that a read model cannot follow.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum Action {
    /// List the parked streams with their errors
    Parked {
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },
    /// List the events that read models were told to skip, with who decided so and why
    Skipped {
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Try parked streams again, all of a read model or one
    Retry {
        /// The read model
        name: String,
        /// The stream, as `crm projections parked` shows it, such as `lp 7`
        #[arg(num_args = 2, value_names = ["TYPE", "ID"])]
        stream: Vec<String>,
    },
    /// Leave out, for good, the event that a stream is parked at, and go on with what follows it
    Skip {
        /// The read model
        name: String,
        /// The stream, as `crm projections parked` shows it, such as `lp 7`
        #[arg(num_args = 2, value_names = ["TYPE", "ID"], required = true)]
        stream: Vec<String>,
        /// Why; recorded with the name of whoever runs this
        #[arg(long)]
        reason: String,
    },
}

/// Does what the arguments say.
///
/// # Errors
/// When the stream is not parked, or is parked again.
pub async fn run(settings: &Settings, args: &Args) -> anyhow::Result<()> {
    let mut interruption = Interruption::expect()?;
    if let Action::Skip { reason, .. } = &args.action {
        ensure!(!reason.trim().is_empty(), "--reason must say why the event may be left out");
    }
    let Some(store) = commands::open(settings, "projections", &mut interruption).await? else {
        return Ok(());
    };
    let result = act(&store, &args.action).await;
    let closed = store.close().await;
    result.and(closed)
}

async fn act(store: &Store, action: &Action) -> anyhow::Result<()> {
    let outcomes = match action {
        Action::Parked { json } => return list(store, *json).await,
        Action::Skipped { json } => return list_skipped(store, *json).await,
        Action::Retry { name, stream } => {
            let stream = stream_of(stream);
            replay::retry(&store.database, &projector(name)?, stream.as_ref()).await?
        }
        Action::Skip { name, stream, reason } => {
            let stream = stream_of(stream).context("name the stream as TYPE ID")?;
            let actor = commands::who();
            vec![replay::skip(&store.database, &projector(name)?, &stream, reason, &actor).await?]
        }
    };
    if outcomes.is_empty() {
        say("nothing is parked there");
    }
    for Outcome { stream, stuck } in &outcomes {
        match stuck {
            None => say(&format!("{stream}: the read model has caught up with it")),
            Some(stuck) => {
                say(&format!("{stream}: parked at position {}: {}", stuck.position, stuck.error))
            }
        }
    }
    ensure!(
        outcomes.iter().all(|outcome| outcome.stuck.is_none()),
        "some streams are still parked"
    );
    Ok(())
}

fn projector(name: &str) -> anyhow::Result<Arc<dyn Projector>> {
    Ok(replay::find(projections::read::projectors(), &[name.to_owned()])?.remove(0))
}

fn stream_of(words: &[String]) -> Option<Stream> {
    match words {
        [kind, id] => Some(Stream { kind: kind.clone(), id: id.clone() }),
        _ => None,
    }
}

async fn list(store: &Store, json: bool) -> anyhow::Result<()> {
    let mut connection = store.database.pool.acquire().await?;
    let parked = projections::status::parked(&mut connection).await?;
    if json {
        say(&serde_json::to_string(&parked.iter().map(to_json).collect::<Vec<_>>())?);
        return Ok(());
    }
    if parked.is_empty() {
        say("nothing is parked: every read model follows every stream");
    }
    for parked in &parked {
        say(&describe(parked));
    }
    Ok(())
}

/// A parked stream for programs.
pub fn to_json(parked: &ParkedStatus) -> Value {
    serde_json::json!({"projection": parked.projector, "aggregate_type": parked.aggregate_type,
        "aggregate_id": parked.aggregate_id, "position": parked.position, "error": parked.error,
        "parked_at": parked.parked_at})
}

/// A parked stream for people.
pub fn describe(parked: &ParkedStatus) -> String {
    format!(
        "{}: {} {} from position {} on, since {}: {}",
        parked.projector,
        parked.aggregate_type,
        parked.aggregate_id,
        parked.position,
        parked.parked_at.format("%Y-%m-%d %H:%M UTC"),
        parked.error
    )
}

async fn list_skipped(store: &Store, json: bool) -> anyhow::Result<()> {
    let mut connection = store.database.pool.acquire().await?;
    let all = projections::status::skipped(&mut connection).await?;
    if json {
        let told = all.iter().map(|skipped| {
            let mut told = serde_json::to_value(skipped)?;
            told["projection"] = skipped.projector.as_str().into();
            Ok(told)
        });
        say(&serde_json::to_string(&told.collect::<serde_json::Result<Vec<_>>>()?)?);
        return Ok(());
    }
    if all.is_empty() {
        say("nothing is skipped");
    }
    for skipped in all {
        say(&format!(
            "{}: position {} of {} {}, by {} at {}, since: {} ({})",
            skipped.projector,
            skipped.position,
            skipped.aggregate_type,
            skipped.aggregate_id,
            skipped.actor,
            skipped.skipped_at.format("%Y-%m-%d %H:%M UTC"),
            skipped.reason,
            skipped.error
        ));
    }
    Ok(())
}
