//! What the tasks behind the tables have in common: each is done by one process at a time, and tried again when it fails.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

/// How often to try to take over from another process, and to try again after a failure: at first, and at most.
const AGAIN: Duration = Duration::from_millis(500);
const AT_MOST: Duration = Duration::from_secs(30);

/// How a task that fails tries again: later each time, and complaining once of each trouble.
pub(super) struct Patience {
    stop: CancellationToken,
    wait: Duration,
    said: String,
}

impl Patience {
    pub(super) fn new(stop: &CancellationToken) -> Self {
        Self { stop: stop.clone(), wait: AGAIN, said: String::new() }
    }

    /// Whether this trouble is another one than the last.
    pub(super) fn is_news(&mut self, trouble: &str) -> bool {
        let is_news = trouble != self.said;
        trouble.clone_into(&mut self.said);
        is_news
    }

    /// Waits until it is time to try again, or to stop. After one that got on, that is soon.
    pub(super) async fn wait(&mut self, got_on: bool) {
        let time = self.next(got_on);
        pause(&self.stop, time).await;
    }

    fn next(&mut self, got_on: bool) -> Duration {
        let time = if got_on { AGAIN } else { self.wait };
        self.wait = (time * 2).min(AT_MOST);
        time
    }
}

/// How long a task that was told to stop may go on with what it has in hand.
const IN_HAND: Duration = Duration::from_secs(2);

/// Runs a task to its end. Told to stop, it has a moment for what it has in hand: it may be waiting for a server that never answers.
pub(super) async fn work(stop: CancellationToken, task: impl Future<Output = ()>) {
    let too_late = async {
        stop.cancelled().await;
        tokio::time::sleep(IN_HAND).await;
    };
    tokio::select! {
        () = task => {}
        () = too_late => {}
    }
}

/// Lets this time pass, unless it is time to stop.
pub(super) async fn pause(stop: &CancellationToken, time: Duration) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}

/// Waits until no other connection has this model's turn; `false` if it was told to stop first. The turn ends with the
/// connection, or by [`end`].
pub(super) async fn take(
    db: &mut PgConnection,
    lock: i32,
    model: i32,
    stop: &CancellationToken,
) -> Result<bool, sqlx::Error> {
    loop {
        let taken =
            sqlx::query_scalar("select pg_try_advisory_lock($1, $2)").bind(lock).bind(model);
        if taken.fetch_one(&mut *db).await? {
            return Ok(true);
        }
        pause(stop, AGAIN).await;
        if stop.is_cancelled() {
            return Ok(false);
        }
    }
}

/// Ends the turn: now, and not when the server notices that the connection has gone.
pub(super) async fn end(mut db: PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("select pg_advisory_unlock_all()").execute(&mut db).await?;
    db.close().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_again_and_again_waits_longer_but_not_for_ever() {
        let mut patience = Patience::new(&CancellationToken::new());
        let got_on = [false, false, false, false, false, false, false, false, true, false];
        let waits = got_on.map(|got_on| patience.next(got_on).as_secs_f64());
        assert_eq!(waits, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 0.5, 1.0]);
    }

    #[test]
    fn trouble_is_told_once() {
        let mut patience = Patience::new(&CancellationToken::new());
        let told = ["a", "a", "b", "a"].map(|trouble| patience.is_news(trouble));
        assert_eq!(told, [true, false, true, true]);
    }
}
