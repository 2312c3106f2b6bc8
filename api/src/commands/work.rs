//! `crm work`: works on recordings, until interrupted. The same workers as in `crm serve`, on another machine.

use projections::files::FileError;

use crate::backend::{Backend, Store};
use crate::commands::{self, Interruption, say};
use crate::settings::Settings;

/// Options of `crm work`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// How many recordings to work on at a time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: u16,
}

/// Works until SIGINT or SIGTERM, and gives back what is under way.
///
/// # Errors
/// When there is no database to work on; the text says what to do.
pub async fn run(settings: &Settings, args: &Args) -> anyhow::Result<()> {
    let mut interruption = Interruption::expect()?;
    let Some(store) = commands::open(settings, "work", &mut interruption).await? else {
        return Ok(());
    };
    let result = work(settings, args, &store, interruption).await;
    let closed = store.close().await;
    result.and(closed)
}

async fn work(
    settings: &Settings,
    args: &Args,
    store: &Store,
    mut interruption: Interruption,
) -> anyhow::Result<()> {
    let backend = Backend::start(store.database.clone(), store.files.clone()).await?;
    if let Err(error) = check_files(settings, store).await {
        backend.stop().await;
        return Err(error);
    }
    let result = match backend.work(settings, store.files.clone(), args.workers.into()) {
        Ok(workers) => {
            say(&format!("crm works on recordings, {} at a time", args.workers));
            interruption.next().await;
            say("crm is stopping; what is under way is done elsewhere, or at the next start");
            workers.stop().await;
            Ok(())
        }
        Err(error) => Err(error),
    };
    backend.stop().await;
    result
}

/// Whether this machine keeps files where the server does: one of the newest recordings must be there. A worker that has
/// none of them would take jobs that it cannot do.
async fn check_files(settings: &Settings, store: &Store) -> anyhow::Result<()> {
    const NEWEST: &str =
        "select record->'file'->>'key' from recording where not hidden order by id desc limit 20";
    let keys: Vec<String> =
        sqlx::query_scalar(NEWEST).fetch_all(&store.database.pool).await.unwrap_or_default();
    let files = store.files.store();
    for key in &keys {
        match files.facts(key).await {
            Err(FileError::OtherFolder(_)) => {}
            Ok(None) if !files.is_known(key) => {}
            // Also where it is lost, and where they cannot be read at present: they are waited for.
            Ok(_) | Err(_) => return Ok(()),
        }
    }
    let (place, what) = match &settings.s3_bucket {
        Some(bucket) => (format!("the bucket {bucket}"), "S3_BUCKET and AWS_ENDPOINT_URL"),
        None => (
            format!("the folder {}", settings.data_dir.display()),
            "S3_BUCKET, or a CRM_DATA_DIR that both machines share,",
        ),
    };
    anyhow::ensure!(
        keys.is_empty(),
        "this worker keeps files in {place}, which has none of the newest recordings: set {what} as the server has it, or is a disk not mounted?"
    );
    Ok(())
}
