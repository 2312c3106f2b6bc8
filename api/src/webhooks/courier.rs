//! Sends each receiver what it was not told of yet: one process per receiver at a time, one event after the other.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use chrono::Utc;
use projections::database::DatabaseError;
use projections::log::{Entry, KeysError};
use projections::webhooks::{self, Next, Webhook};
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Webhooks;
use super::sender::{Outcome, Parcel};
use crate::live::cloud_event::CloudEvent;
use crate::live::{Look, selection};

/// The first key of the advisory lock of the process that sends to a receiver; the second is the receiver's id.
const LOCK: i32 = 0x0063_7768;

/// How often to look what other processes have changed, and whether they have gone.
const LOOK: Duration = Duration::from_secs(2);

/// How long a server that stops waits for an attempt that is under way. Abandoned, it is made again by the next one.
const GRACE: Duration = Duration::from_secs(3);

/// The receivers that this process sends to.
#[derive(Default)]
struct Rounds(BTreeMap<i32, (CancellationToken, JoinHandle<()>)>);

impl Rounds {
    async fn stop(self) {
        for (stop, _) in self.0.values() {
            stop.cancel();
        }
        for (_, round) in self.0.into_values() {
            // A panic has been reported already.
            let _ = round.await;
        }
    }

    /// Those that have ended by themselves.
    fn take_ended(&mut self) -> Vec<i32> {
        let ended = self.0.iter().filter(|(_, (_, round))| round.is_finished());
        let ended: Vec<i32> = ended.map(|(id, _)| *id).collect();
        self.0.retain(|id, _| !ended.contains(id));
        ended
    }
}

impl Webhooks {
    /// Sends until told to stop.
    pub async fn deliver(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let mut rounds = Rounds::default();
            if let Err(error) = self.share_out(&mut rounds, &stop).await {
                tracing::debug!(%error, "webhooks wait for the database");
            }
            // Its locks went with the connection: another process may be at it by now.
            rounds.stop().await;
            self.pause(LOOK, &stop).await;
        }
    }

    /// Takes the receivers that no other process sends to, until told to stop or the connection breaks.
    async fn share_out(
        &self,
        rounds: &mut Rounds,
        stop: &CancellationToken,
    ) -> Result<(), sqlx::Error> {
        let options = self.live.database().pool.connect_options();
        let mut connection = options.connect().await?;
        while !stop.is_cancelled() {
            let changed = self.changed.notified();
            for id in rounds.take_ended() {
                let unlock = sqlx::query("select pg_advisory_unlock($1, $2)").bind(LOCK).bind(id);
                unlock.execute(&mut connection).await?;
            }
            match webhooks::wrap_plain(&mut connection, self.live.database().keys()).await {
                Err(KeysError::Database(error)) => return Err(error),
                Err(error) => {
                    tracing::error!(%error, "the secrets of webhooks that an earlier release stored are not wrapped")
                }
                Ok(()) => {}
            }
            for id in take(&mut connection, rounds).await? {
                let stop = CancellationToken::new();
                let round = tokio::spawn(self.clone().go_round(id, stop.clone()));
                rounds.0.insert(id, (stop, round));
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = changed => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        Ok(())
    }

    /// Sends to one receiver until it is disabled or removed.
    async fn go_round(self, id: i32, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.round(id, &stop).await {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return,
                Err(DatabaseError::Unavailable(_)) => self.pause(LOOK, &stop).await,
                Err(DatabaseError::Failed(error)) => {
                    tracing::error!(webhook = id, %error, "nothing can be sent; crm tries again");
                    self.pause(LOOK, &stop).await;
                }
            }
        }
    }

    /// Sends what there is to send under the receiver's present terms, and waits a while for more.
    async fn round(
        &self,
        id: i32,
        stop: &CancellationToken,
    ) -> Result<ControlFlow<()>, DatabaseError> {
        const GO_ON: Result<ControlFlow<()>, DatabaseError> = Ok(ControlFlow::Continue(()));
        // What changes from here on ends the waiting below.
        let changed = self.changed.notified();
        let Some(mut hook) = self.find(id).await?.filter(Webhook::is_enabled) else {
            return Ok(ControlFlow::Break(()));
        };
        if let Ok(early) = (hook.next_attempt_at - Utc::now()).to_std() {
            tokio::select! {
                () = changed => {}
                () = self.pause(early.min(LOOK), stop) => {}
            }
            return GO_ON;
        }
        let wanted = selection::selection(&hook.kinds, &hook.records)
            .map_err(|error| DatabaseError::Failed(sqlx::Error::Decode(error.into())))?;
        let mut feed = self.live.feed(wanted, hook.position);
        let look_again = tokio::time::sleep(LOOK);
        tokio::pin!(changed, look_again);
        loop {
            match feed.look().await? {
                Look::Entry(entry) => match self.tell(&hook, &entry, stop).await? {
                    Some(told) if told.attempts == 0 && told.is_enabled() => {
                        hook = told;
                        continue;
                    }
                    _ => return GO_ON,
                },
                Look::Further => continue,
                Look::Level => {}
            }
            tokio::select! {
                () = feed.grown() => {}
                () = stop.cancelled() => return GO_ON,
                () = &mut changed => return GO_ON,
                () = &mut look_again => {
                    // What was not wanted need not be searched again, but is not worth a write each time.
                    if feed.position() > hook.position {
                        self.book(&hook, &Next::After(feed.position())).await?;
                    }
                    return GO_ON;
                }
            }
        }
    }

    /// One attempt at one event, and its booking. `None` when nothing was booked: crm stops, or a person has changed the
    /// receiver meanwhile.
    async fn tell(
        &self,
        hook: &Webhook,
        entry: &Entry,
        stop: &CancellationToken,
    ) -> Result<Option<Webhook>, DatabaseError> {
        if stop.is_cancelled() {
            return Ok(None);
        }
        let unreadable = |error| DatabaseError::Failed(sqlx::Error::Decode(error));
        let secrets = hook.secrets(self.live.database().keys());
        let secrets = secrets.map_err(|error| unreadable(error.into()))?;
        let event = CloudEvent::new(&self.live.source, entry);
        let body = event.to_json().map_err(|error| unreadable(error.into()))?;
        let parcel = Parcel {
            position: Some(entry.position),
            event_id: entry.envelope.event_id,
            event_type: event.kind().to_owned(),
            body,
        };
        let too_late = async {
            stop.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        let outcome = tokio::select! {
            outcome = self.sender.send(hook, &secrets, &parcel) => outcome,
            () = too_late => return Ok(None),
        };
        let next = self.next(hook, entry.position, &outcome);
        if let Next::Never(reason) = &next {
            tracing::warn!(webhook = hook.id, reason, "a webhook is disabled");
        }
        self.keep(hook.id, &outcome).await?;
        self.book(hook, &next).await
    }

    fn next(&self, hook: &Webhook, position: i64, outcome: &Outcome) -> Next {
        if outcome.is_delivered() {
            return Next::After(position);
        }
        if outcome.is_gone() {
            return Next::Never("the receiver answered 410 Gone".to_owned());
        }
        let failed = usize::try_from(hook.attempts).unwrap_or(usize::MAX);
        let Some(pause) = self.pauses.get(failed) else {
            let error = outcome.delivery.error.as_deref().unwrap_or_default();
            return Next::Never(format!("{} attempts failed; the last: {error}", failed + 1));
        };
        let pause = (*pause).max(outcome.pause.unwrap_or_default());
        // Up to a tenth later, so that receivers that failed together are not tried together.
        let random = f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0;
        Next::Again(Utc::now() + pause.mul_f64(1.0 + random / 10.0))
    }

    async fn find(&self, id: i32) -> Result<Option<Webhook>, DatabaseError> {
        let database = self.live.database();
        database.check()?;
        let asking = async {
            let mut connection = database.pool.acquire().await?;
            webhooks::find(&mut connection, id).await
        };
        database.ask(asking).await
    }

    async fn book(&self, hook: &Webhook, next: &Next) -> Result<Option<Webhook>, DatabaseError> {
        let database = self.live.database();
        let asking = async {
            let mut connection = database.pool.acquire().await?;
            webhooks::book(&mut connection, hook, next).await
        };
        database.ask(asking).await
    }

    /// Keeps an attempt for whoever asks how the receiver fares.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn keep(&self, id: i32, outcome: &Outcome) -> Result<(), DatabaseError> {
        let database = self.live.database();
        let asking = async {
            let mut connection = database.pool.acquire().await?;
            webhooks::keep(&mut connection, id, &outcome.delivery).await
        };
        database.ask(asking).await
    }

    async fn pause(&self, time: Duration, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(time) => {}
        }
    }
}

/// Takes the locks of receivers that nobody sends to.
async fn take(connection: &mut PgConnection, rounds: &Rounds) -> Result<Vec<i32>, sqlx::Error> {
    let mine: Vec<i32> = rounds.0.keys().copied().collect();
    sqlx::query_scalar(
        "select id from (select id from webhook where state = 'enabled' and id <> all ($2) offset 0) as free
         where pg_try_advisory_lock($1, id)",
    )
    .bind(LOCK)
    .bind(mine)
    .fetch_all(connection)
    .await
}
