//! `crm erase`: destroys the key of a person or a note, then wipes what is left of it off the disk.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use chrono::DateTime;
use clap::ValueEnum;
use domain::note::{Note, NoteCommand};
use domain::person::{Person, PersonCommand};
use domain::{Kind, RecordRef};
use projections::database::Database;
use projections::history::{History, Refusal};
use projections::log::{CommandError, CommandRequest, Receipt};
use projections::read;
use replay::{Effort, ScrubError, ScrubOptions, ScrubReport};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backend::{Backend, Store};
use crate::commands::{self, Interruption, say};
use crate::problem::Problem;
use crate::settings::Settings;

/// What can be erased.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum What {
    /// A person.
    Person,
    /// A note.
    Note,
}

/// Options of `crm erase`. The server may go on running.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// What to erase
    #[arg(required_unless_present = "scrub", requires = "id")]
    pub what: Option<What>,
    /// Its id
    pub id: Option<i64>,
    /// Why. It stays readable for ever, so it must not name or describe anybody: a case number is a good reason
    #[arg(long, required_unless_present = "scrub")]
    pub reason: Option<String>,
    /// Instead: only wipe what earlier erasures have left on the disk
    #[arg(long, conflicts_with_all = ["what", "reason"])]
    pub scrub: bool,
    /// Print the outcome as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Erases, scrubs, and reports.
///
/// # Errors
/// When the rules forbid it, or something is left on the disk that another run has to wipe. What crm has no right to wipe
/// is told, and no error: it is for whoever runs the database.
pub async fn run(settings: &Settings, args: &Args) -> anyhow::Result<()> {
    let mut interruption = Interruption::expect()?;
    let Some(store) = commands::open(settings, "erase", &mut interruption).await? else {
        return Ok(());
    };
    let result = erase(&store, args, interruption).await;
    let closed = store.close().await;
    result.and(closed)
}

async fn erase(store: &Store, args: &Args, mut interruption: Interruption) -> anyhow::Result<()> {
    let backend = Backend::start(store.database.clone(), store.files.clone()).await?;
    let stop = CancellationToken::new();
    let asked = stop.clone();
    let listener = tokio::spawn(async move {
        interruption.next().await;
        asked.cancel();
    });
    let result = erase_with(store, &backend, args, stop).await;
    listener.abort();
    backend.stop().await;
    result
}

async fn erase_with(
    store: &Store,
    backend: &Backend,
    args: &Args,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut erased = None;
    if let (Some(what), Some(id), Some(reason)) = (args.what, args.id, &args.reason) {
        let (record, receipt) = destroy(backend, what, id, reason.clone()).await?;
        erased = Some(record);
        if !args.json {
            say(&match receipt.position {
                Some(position) => {
                    format!("{record} is erased: its key was destroyed (position {position}).")
                }
                None => format!("{record} was erased before."),
            });
        }
        backend.settle().await?;
    }
    let options = ScrubOptions {
        projectors: read::projectors(),
        files: store.files.clone(),
        effort: Effort::full(),
        stop,
    };
    let scrubbed = match scrub_patiently(&store.database, options).await {
        Err(ScrubError::Running) => {
            let what = "it is erased; a running server is wiping what is left on the disk, `crm status` shows when it is done";
            say(&if args.json { json!({"erased": erased, "scrub": "running"}).to_string() } else { what.to_owned() });
            return Ok(());
        }
        scrubbed => scrubbed.context(
            "the key is destroyed, but traces are still on the disk; a running server wipes them within some minutes by itself, or \
             else run `crm erase --scrub`",
        )?,
    };
    match args.json {
        true => say(&json!({"erased": erased, "scrub": scrubbed}).to_string()),
        false => say(&describe(scrubbed.as_ref())),
    }
    Ok(())
}

/// Scrubs; while Postgres has no connection to spare, tries again for a while, with as few as it can be done with.
async fn scrub_patiently(
    database: &Database,
    mut options: ScrubOptions,
) -> Result<Option<ScrubReport>, ScrubError> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match replay::scrub(database, &options).await {
            Err(error)
                if error.is_for_want_of_connections()
                    && Instant::now() < deadline
                    && !options.stop.is_cancelled() =>
            {
                options.effort = Effort::polite();
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            scrubbed => return scrubbed,
        }
    }
}

async fn destroy(
    backend: &Backend,
    what: What,
    id: i64,
    reason: String,
) -> anyhow::Result<(RecordRef, Receipt)> {
    let request = CommandRequest {
        name: "Erase",
        actor: commands::who(),
        command_id: Uuid::now_v7(),
        correlation_id: Uuid::now_v7(),
        causation_id: None,
        source: "cli".to_owned(),
        client: None,
        user_agent: None,
        trace_id: None,
        if_match: None,
        idempotency: None,
    };
    let (log, record) = (
        &backend.log,
        match what {
            What::Person => Kind::Person.record(id),
            What::Note => Kind::Note.record(id),
        },
    );
    let done = match what {
        What::Person => log.execute::<Person>(id, PersonCommand::Erase { reason }, &request).await,
        What::Note => log.execute::<Note>(id, NoteCommand::Erase { reason }, &request).await,
    };
    match done {
        Ok(receipt) => Ok((record, receipt)),
        Err(error) => {
            let said = match &error {
                CommandError::Refused(refusal) => {
                    format!("{} {id} is not erased: {refusal}", record.kind())
                }
                other => format!("{other:#}"),
            };
            keep(backend, &request, record, error).await;
            bail!(said)
        }
    }
}

/// Keeps that an erasure was refused, as a request's refusal is kept. That this fails is no reason to say anything else.
async fn keep(backend: &Backend, request: &CommandRequest, record: RecordRef, error: CommandError) {
    let why = error.to_string();
    let refusal = Refusal {
        id: 0,
        refused_at: DateTime::UNIX_EPOCH,
        actor: request.actor.clone(),
        method: request.source.clone(),
        path: format!("crm erase {} {}", record.kind(), record.id()),
        command: Some(request.name.to_owned()),
        kind: Some(record.kind().as_str().to_owned()),
        record_id: Some(record.id()),
        // As the same command by request would have been answered.
        status: i16::try_from(Problem::of_command(error, record).status().as_u16())
            .unwrap_or(i16::MAX),
        why,
        correlation_id: request.correlation_id,
        causation_id: None,
        client: None,
        user_agent: None,
    };
    if let Err(error) = History::refuse(backend.log.database(), &refusal).await {
        tracing::warn!(%error, "that this was refused is not kept");
    }
}

fn describe(report: Option<&ScrubReport>) -> String {
    let Some(ScrubReport { records, rebuilt, files, todos, moved_on, left }) = report else {
        return "Nothing is left on the disk that has to be wiped.".to_owned();
    };
    let moved_on = if *moved_on { ", the write-ahead log moved on" } else { "" };
    let mut text = format!(
        "Wiped the traces of {} records off the disk: read models {} built anew, {files} files removed{moved_on}.",
        records.len(),
        rebuilt.join(", ")
    );
    if !todos.is_empty() {
        let todos: Vec<String> = todos.iter().map(ToString::to_string).collect();
        text.push_str(
            "\nLeft to you: these came of what was said in an erased note, and are kept in plain with what their titles and \
             descriptions say: ",
        );
        text.push_str(&todos.join(", "));
    }
    for left in left {
        text.push_str("\nLeft to whoever runs the database: ");
        text.push_str(left);
    }
    text
}
