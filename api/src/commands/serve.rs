//! `crm serve`: the API, until interrupted.

use std::io::ErrorKind;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use projections::database::Database;
use projections::files::Files;
use projections::history::History;
use projections::log::Turns;
use projections::seal::Sealer;
use projections::search::Search;
use projections::search::vectors::Vectors;
use projections::uploads::Intake;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::{Limits, Parts};
use crate::backend::{self, Backend, Store};
use crate::commands::{self, Interruption, say};
use crate::erasures::Erasures;
use crate::file_keeper::FileKeeper;
use crate::measures;
use crate::origins::Origins;
use crate::rebuilds::{Daily, SOON};
use crate::settings::{LlmSettings, Settings};
use crate::uploads;
use crate::vectors;
use crate::webhooks::{Reach, Webhooks};

/// Options of `crm serve`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Import the bundled demonstration data if the log is empty
    #[arg(long)]
    pub demo: bool,
}

/// How long a start waits for the read models before it says so, and at most.
const UNNOTICED: Duration = Duration::from_millis(500);
const CATCHING_UP: Duration = Duration::from_secs(20);

/// The demonstration data: a legacy database of a made-up team.
const DEMO: &[u8] = include_bytes!("../../../tests/fixtures/demo.db");

/// Serves until SIGINT or SIGTERM, then finishes what it accepted; the next such signal cuts that off.
///
/// # Errors
/// When the address is taken, or there is no database to work on; the text says what to do.
pub async fn run(settings: &Settings, args: &Args) -> anyhow::Result<()> {
    // The address first: to be told that it is taken should not cost a start of the database.
    let listener = listen(&settings.api_host, settings.api_port).await?;
    let mut interruption = Interruption::expect()?;
    let mut impatience = pin!(twice(Interruption::expect()?));
    let Some(store) = commands::open(settings, "serve", &mut interruption).await? else {
        return Ok(());
    };
    let served = tokio::select! {
        served = serve_store(settings, args, listener, &store, interruption) => Ok(served),
        again = &mut impatience => Err(again),
    };
    match served {
        Ok(served) => tokio::select! {
            closed = store.close() => served.and(closed),
            _ = impatience => give_up(),
        },
        Err(mut again) => {
            say(
                "crm was asked twice to stop and cuts off what is under way; what was answered is recorded",
            );
            // A Postgres of our own is stopped all the same, unless even that takes too long for somebody.
            tokio::select! {
                closed = store.close_within(Duration::ZERO) => {
                    if let Err(error) = closed {
                        tracing::warn!(%error, "Postgres was not stopped");
                    }
                }
                () = again.next() => {}
            }
            give_up()
        }
    }
}

/// Resolves when the process is asked a second time to stop; then listens for a third.
async fn twice(mut interruption: Interruption) -> Interruption {
    interruption.next().await;
    interruption.next().await;
    interruption
}

/// Ends the process, which is as safe as killing it: a Postgres of our own that still runs is taken over by the next crm.
/// Whoever merely returned would wait for the threads that work on recordings.
fn give_up() -> ! {
    std::process::exit(1)
}

/// Listens at an address.
///
/// # Errors
/// When that cannot be; the text says which setting is to be changed.
async fn listen(host: &str, port: u16) -> anyhow::Result<TcpListener> {
    let listening = TcpListener::bind((host, port)).await;
    listening.map_err(|error| {
        let advice = advice(&error);
        anyhow::anyhow!("cannot listen on {host}:{port}: {error}; {advice}")
    })
}

/// What to do when an address cannot be listened on.
fn advice(error: &std::io::Error) -> &'static str {
    const TAKEN: &str = "is another crm running there? Set API_PORT to another port";
    const NO_RIGHT: &str = "the first ports of a machine, usually those below 1024, are root's: set API_PORT to a higher one";
    const NOT_HERE: &str =
        "set API_HOST to an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them";
    match error.kind() {
        ErrorKind::AddrInUse => TAKEN,
        ErrorKind::PermissionDenied => NO_RIGHT,
        ErrorKind::AddrNotAvailable => NOT_HERE,
        // The name of a host that nobody knows is no error of the system.
        _ if error.raw_os_error().is_none() => NOT_HERE,
        _ => "look at API_HOST and API_PORT",
    }
}

async fn serve_store(
    settings: &Settings,
    args: &Args,
    listener: TcpListener,
    store: &Store,
    interruption: Interruption,
) -> anyhow::Result<()> {
    measures::start();
    let key = backend::seal_key(settings)?;
    let backend = Backend::start(store.database.clone(), prompt_files(settings, store)).await?;
    let sealer = Sealer::start(store.database.clone(), key, backend::seal_trust(settings)?);
    let meant = vectors::options(settings);
    let vectors = Vectors::start(store.database.clone(), meant, backend.live.heads());
    let search = Search::new(store.database.clone(), vectors.meaning().clone());
    let stop = CancellationToken::new();
    let words = tokio::spawn(search.clone().keep_words(backend.live.heads(), stop.clone()));
    let result = match backend.work(settings, store.files.clone(), settings.workers) {
        Ok(workers) => {
            let result =
                serve(settings, args, listener, store, &backend, search, interruption).await;
            workers.stop().await;
            result
        }
        Err(error) => Err(error),
    };
    stop.cancel();
    if let Err(error) = words.await {
        tracing::error!(%error, "the words of texts were not followed to the end");
    }
    vectors.stop().await;
    backend.stop().await;
    sealer.stop().await;
    result
}

/// Waits for the read models to take in what was written before: a server or an import that was killed leaves them behind, and whoever
/// reads at once would take a part for all. Who connects meanwhile waits, too. What takes longer is told by `/readyz`.
async fn catch_up(backend: &Backend) {
    let end = backend.reader.health().await.head;
    if !backend.reader.reached(end, UNNOTICED).await {
        say("The read models take in what was written before this start …");
        if !backend.reader.reached(end, CATCHING_UP).await {
            tracing::warn!(
                "the read models are still behind the log: answers may lack what was written last"
            );
        }
    }
}

async fn serve(
    settings: &Settings,
    args: &Args,
    listener: TcpListener,
    store: &Store,
    backend: &Backend,
    search: Search,
    mut interruption: Interruption,
) -> anyhow::Result<()> {
    if args.demo {
        tokio::select! {
            imported = import_demo(store, backend) => imported?,
            () = interruption.next() => {
                say("crm is stopping; the next `crm serve --demo` goes on with the demonstration data");
                return Ok(());
            }
        }
    }
    tokio::select! {
        () = catch_up(backend) => {}
        () = interruption.next() => return Ok(()),
    }
    let reach = if settings.webhook_private { Reach::Private } else { Reach::Public };
    let webhooks = Webhooks::new(backend.live.clone(), reach)?;
    let intake = Intake::new(
        store.database.clone(),
        prompt_files(settings, store),
        settings.upload_limit,
        backend.rebuilds.stop_token().clone(),
    );
    let intake = if settings.seal_recordings { intake } else { intake.without_seals() };
    let trust = backend::seal_trust(settings)?;
    let keeper = FileKeeper::new(store.database.clone(), store.files.clone(), trust);
    let parts = Parts {
        log: backend.log.clone(),
        reader: backend.reader.clone(),
        search,
        files: prompt_files(settings, store),
        keeper: keeper.clone(),
        limits: Limits { body: settings.body_limit, time: settings.request_timeout },
        origins: Origins::new(&settings.frontend_origins),
        intake: intake.clone(),
        turns: Turns::default(),
        rebuilds: backend.rebuilds.clone(),
        scenes: backend.scenes.clone(),
        live: backend.live.clone(),
        erasures: Erasures::default(),
        webhooks: webhooks.clone(),
        llm: settings.llm.as_ref().map(LlmSettings::open).transpose()?,
        trust: backend::seal_trust(settings)?,
    };
    backend.rebuilds.spawn(webhooks.deliver(backend.rebuilds.stop_token().clone()));
    let address = listener.local_addr()?;
    say(&format!("crm is ready: http://{address}  (API documentation: http://{address}/docs)"));
    let scrubbing = parts.erasures.clone().scrub(backend.rebuilds.clone(), store.files.clone());
    backend.rebuilds.spawn(scrubbing);
    if let Some(at) = settings.verify_at {
        let witness = backend::seal_witness(settings)?;
        let engine = vectors::engine(settings, &store.database).await?;
        let daily = Daily { at, soon: SOON, witness, engine };
        backend.rebuilds.spawn(backend.rebuilds.clone().verify_daily(daily));
    }
    let chores = [
        tokio::spawn(forget_old_keys(backend.log.clone())),
        tokio::spawn(forget_old_refusals(store.database.clone(), settings.refusals_days)),
        tokio::spawn(measures::tidy()),
        tokio::spawn(keeper.clone().watch()),
        tokio::spawn(keeper.collect_garbage()),
        tokio::spawn(uploads::attach_waiting(backend.log.clone(), intake)),
    ];
    let rebuilds = backend.rebuilds.clone();
    let shutdown = async move {
        interruption.next().await;
        rebuilds.dismiss_watchers();
        say("crm is stopping");
    };
    let result = crate::server::serve(listener, parts, shutdown).await;
    chores.iter().for_each(JoinHandle::abort);
    say("crm has stopped; everything that was accepted is recorded");
    Ok(result?)
}

/// Fills an empty log, so that a first look shows something; or a log that an interrupted start did not fill wholly.
async fn import_demo(store: &Store, backend: &Backend) -> anyhow::Result<()> {
    let used: bool = sqlx::query_scalar(
        "select exists (select 1 from events where metadata->>'source' is distinct from 'import:demo.db')",
    )
    .fetch_one(&store.database.pool)
    .await?;
    if used {
        return Ok(());
    }
    let folder = tempfile::tempdir().context("there is no room for the demonstration data")?;
    let file = folder.path().join("demo.db");
    std::fs::write(&file, DEMO).context("there is no room for the demonstration data")?;
    let options = replay::ImportOptions::new(&file);
    let report = replay::import(&store.database, &store.files, &options, |_| ()).await?;
    if report.events == 0 {
        return Ok(());
    }
    backend.settle().await?;
    let instead = match store.database.is_own_server() {
        true => "CRM_DATA_DIR=<another folder>",
        false => "DATABASE_URL=<another database>",
    };
    say(&format!(
        "The log was empty: imported the demonstration data, {} rows of a legacy database as {} events.\n\
         To begin with your own data instead, stop crm and run `{instead} crm import <file>`.",
        report.rows, report.events
    ));
    Ok(())
}

/// The files for requests, which say in time that the store does not answer.
fn prompt_files(settings: &Settings, store: &Store) -> Files {
    store.files.with_patience(settings.request_timeout / 3)
}

/// Idempotency keys are promised for a day; this keeps their table small.
async fn forget_old_keys(log: projections::log::EventLog) {
    let mut hourly = tokio::time::interval(std::time::Duration::from_secs(3600));
    loop {
        hourly.tick().await;
        if let Err(error) = log.forget_old_keys().await {
            tracing::warn!(%error, "old idempotency keys were not forgotten; the next hour tries again");
        }
    }
}

/// Refusals are kept for as long as the settings say.
async fn forget_old_refusals(database: Database, days: Option<u32>) {
    let Some(days) = days else { return };
    let mut hourly = tokio::time::interval(Duration::from_secs(3600));
    loop {
        hourly.tick().await;
        match History::forget_refusals(&database, days).await {
            Ok(0) => {}
            Ok(forgotten) => tracing::info!(forgotten, days, "old refusals are forgotten"),
            Err(error) => {
                tracing::warn!(%error, "old refusals were not forgotten; the next hour tries again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_cannot_be_listened_on_is_blamed_on_the_setting_that_is_wrong() {
        let check = async |host: &str, port: u16, named: &str, other: &str| {
            let said = listen(host, port).await.unwrap_err().to_string();
            assert!(said.contains(named) && !said.contains(other), "{said}");
        };
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        check("127.0.0.1", port, "API_PORT", "API_HOST").await;
        // An address for documents only, and a name that never is one.
        check("192.0.2.1", 0, "API_HOST", "API_PORT").await;
        check("nohost.invalid", 8202, "API_HOST", "API_PORT").await;
        let denied = advice(&ErrorKind::PermissionDenied.into());
        assert!(denied.contains("API_PORT") && !denied.contains("API_HOST"));
    }
}
