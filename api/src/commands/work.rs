//! `crm work`: works on recordings, until interrupted. The same workers as in `crm serve`, on another machine.

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
    let Some(store) = commands::open(settings, "work", &mut interruption).await? else { return Ok(()) };
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
