//! From loaded tables to live ones: what was appended meanwhile is followed, and the last of it taken in with the swap.

use std::sync::Arc;

use projections::database::Database;
use projections::dead_letter::DeadLetters;
use projections::follow::{FollowError, Follower, PAGE, Target};
use projections::generation::{self, Checkpoint, State};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::RebuildError;

/// Follows the log until there is at most a page left, then takes that in and swaps, in one transaction.
pub(super) async fn follow_and_swap(
    database: &Database,
    targets: &[Target],
    stop: &CancellationToken,
) -> Result<(), RebuildError> {
    let names = targets.iter().map(|target| (target.name(), Checkpoint::default()));
    let (checkpoints, _) = watch::channel(names.collect());
    let letters = Arc::new(DeadLetters::default());
    let follower = Follower::new(database.clone(), letters, "rebuild".to_owned(), checkpoints);
    let schemas: Vec<String> = targets.iter().map(Target::schema).collect();
    // A page that is being folded is waited for, but not somebody who has forgotten a transaction.
    let options = database.options_for(&schemas).options([("lock_timeout", "3s")]);
    let mut connection = options.connect().await?;
    follower.dead_letters().load(&mut connection, targets).await?;
    loop {
        for target in targets {
            follow(&follower, &mut connection, target, stop).await?;
        }
        if stop.is_cancelled() {
            return Err(RebuildError::Cancelled);
        }
        match swap(&follower, &mut connection, targets).await {
            Ok(()) => return Ok(()),
            // The last events cannot be taken in that easily: follow them with care, and try again.
            Err(FollowError::Project { name, source }) if !source.is_outage() => {
                tracing::debug!(projector = name, error = %source, "a swap has to wait");
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

fn failed(error: FollowError) -> RebuildError {
    match error {
        FollowError::Database(error) if is_timeout(&error) => RebuildError::Busy(error),
        error => error.into(),
    }
}

/// Whether a lock was waited for in vain.
pub(super) fn is_timeout(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "55P03")
}

async fn follow(
    follower: &Follower,
    connection: &mut PgConnection,
    target: &Target,
    stop: &CancellationToken,
) -> Result<(), RebuildError> {
    loop {
        if stop.is_cancelled() {
            return Err(RebuildError::Cancelled);
        }
        let from = position(connection, target).await?;
        let page = follower.read(connection, from).await?;
        let Some(end) = page.end else { return Ok(()) };
        let targets = std::slice::from_ref(target);
        match follower.take(connection, targets, from, &page, end).await {
            Ok(()) => {}
            // An earlier release may be following its own generation too, or somebody has taken a parked stream back.
            Err(FollowError::Overtaken(_)) => {
                follower.dead_letters().load(connection, std::slice::from_ref(target)).await?;
            }
            Err(error) => return Err(failed(error)),
        }
        if i64::try_from(page.events.len()).unwrap_or(i64::MAX) < PAGE.events / 2 {
            return Ok(());
        }
    }
}

async fn position(connection: &mut PgConnection, target: &Target) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select position from generation where projector = $1 and number = $2")
        .bind(target.name())
        .bind(target.number)
        .fetch_one(connection)
        .await
}

/// All of them at once: the last events, the change of state, and the news of it, or nothing.
async fn swap(
    follower: &Follower,
    connection: &mut PgConnection,
    targets: &[Target],
) -> Result<(), FollowError> {
    let mut tx = connection.begin().await?;
    // In the order in which whoever follows locks its checkpoints: otherwise each may wait for the other.
    let mut in_order: Vec<&Target> = targets.iter().collect();
    in_order.sort_by_key(|target| target.name());
    for target in in_order {
        let there = generation::lock(&mut tx, target.name()).await?;
        let live = there.iter().find(|generation| generation.state == State::Live);
        let own = there.iter().find(|generation| generation.number == target.number);
        let Some(own) = own.filter(|own| own.state == target.state) else {
            return Err(FollowError::Overtaken(target.name()));
        };
        follower.dead_letters().load(&mut tx, std::slice::from_ref(target)).await?;
        let mut now = own.checkpoint;
        let goal = live.map_or(0, |live| live.checkpoint.position);
        // Readers have seen the live one there, and must not be taken back.
        now = follower.close_gap(&mut tx, target, now, goal).await?;
        let revision = there.iter().map(|generation| generation.checkpoint.revision).max();
        sqlx::query(
            "update generation set state = 'previous' where projector = $1 and state = 'live'",
        )
        .bind(target.name())
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "update generation set state = 'live', position = $3, changed = $4, revision = $5
             where projector = $1 and number = $2",
        )
        .bind(target.name())
        .bind(target.number)
        .bind(now.position)
        .bind(now.changed)
        .bind(revision.unwrap_or(0) + 1)
        .execute(&mut *tx)
        .await?;
    }
    close(&mut tx, targets).await?;
    follower.announce(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

/// Whoever is killed from here on has rebuilt, and only leaves what was before to be cleared away. To roll back is no
/// rebuild.
async fn close(tx: &mut PgConnection, targets: &[Target]) -> Result<(), sqlx::Error> {
    let built = targets.iter().filter(|target| target.state == State::Building);
    sqlx::query(
        "update rebuild set phase = 'done', done = total, finished_at = clock_timestamp()
         where projector = any($1)",
    )
    .bind(built.map(Target::name).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}
