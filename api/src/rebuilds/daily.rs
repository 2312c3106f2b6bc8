//! The check of every day: the log, the read models and the vectors, at a time of the machine's clock.
//!
//! A machine that is off or asleep at that time has its check soon after it is on again.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Local, NaiveTime, TimeDelta, Utc};
use projections::search::engine::Engine;
use projections::verification;
use replay::{Effort, VerifyError, VerifyOptions, Witness};

use super::Rebuilds;

/// How long after a start a check is made up for that is overdue: a server has other things to do first.
pub const SOON: Duration = Duration::from_secs(5 * 60);

/// A full check that is older than this, in seconds, is overdue.
const DAY: f64 = 24.0 * 60.0 * 60.0;

/// A check that comes within this time by itself is not made up for.
const CLOSE: Duration = Duration::from_secs(60 * 60);

/// How often to look at the clock: of the time that a machine sleeps, no timer knows.
const LOOK: Duration = Duration::from_secs(60);

/// When and how to check.
pub struct Daily {
    /// The time of day.
    pub at: NaiveTime,
    /// How long after the start, if the last full check is older than a day.
    pub soon: Duration,
    /// What is known of the seals beside the database.
    pub witness: Witness,
    /// The engine that holds the vectors.
    pub engine: Arc<dyn Engine>,
}

impl Rebuilds {
    /// Checks everything every day, until the server stops.
    pub async fn verify_daily(self, daily: Daily) {
        let next = until(daily.at, Local::now().time());
        let soon = first(next, self.age().await, daily.soon);
        let made_up = async {
            sleep_until(Utc::now() + soon).await;
            if soon < next {
                // What is being built anew cannot be compared yet.
                self.renewed().await;
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => return,
            () = made_up => {}
            () = sleep_until(Utc::now() + next) => {}
        }
        loop {
            self.verify(&daily).await;
            let wait = until(daily.at, Local::now().time());
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = sleep_until(Utc::now() + wait) => {}
            }
        }
    }

    /// How old the last full check is, in seconds.
    async fn age(&self) -> Option<f64> {
        let asking = async {
            let mut connection = self.database.pool.acquire().await?;
            verification::seconds_since_full(&mut connection).await
        };
        let age = self.database.ask(asking).await;
        age.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot tell when everything was checked last");
            None
        })
    }

    async fn verify(&self, daily: &Daily) {
        let options = VerifyOptions {
            projectors: self.projectors.clone(),
            engine: Some(daily.engine.clone()),
            effort: Effort::polite(),
            witness: daily.witness.clone(),
            stop: self.stop.child_token(),
        };
        match replay::verify(&self.database, options, |_| ()).await {
            Ok(report) if report.passed => {
                tracing::info!(
                    position = report.position,
                    "the daily check found everything in order"
                );
            }
            Ok(report) => tracing::error!(
                position = report.position,
                "the daily check found something wrong: `crm status --json` has it"
            ),
            // Another server on the same database does it.
            Err(VerifyError::Running) => {}
            Err(error) => tracing::warn!(%error, "the daily check came to nothing"),
        }
    }
}

/// Returns when the machine's clock says so, also if the machine sleeps meanwhile.
async fn sleep_until(at: DateTime<Utc>) {
    while let Ok(left) = at.signed_duration_since(Utc::now()).to_std() {
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

/// How long to wait for the first check after a start.
fn first(until: Duration, age: Option<f64>, soon: Duration) -> Duration {
    let is_overdue = age.is_none_or(|age| age > DAY);
    if is_overdue && until > CLOSE { soon.min(until) } else { until }
}

/// How long it is from one time of day to the next other; a whole day if they are the same.
fn until(at: NaiveTime, now: NaiveTime) -> Duration {
    let day = TimeDelta::days(1);
    let wait = at - now;
    let wait = if wait <= TimeDelta::zero() { wait + day } else { wait };
    wait.to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_next_check_is_today_or_tomorrow() {
        let check = |at: &str, now: &str, minutes: u32| {
            let time = |text: &str| NaiveTime::parse_from_str(text, "%H:%M").unwrap();
            assert_eq!(until(time(at), time(now)), MINUTE * minutes, "{at} {now}");
        };
        check("03:00", "02:59", 1);
        check("03:00", "03:01", 24 * 60 - 1);
        check("03:00", "03:00", 24 * 60);
    }

    #[test]
    fn a_check_that_is_overdue_at_the_start_is_made_soon_unless_it_comes_by_itself() {
        let check = |until: u32, age: Option<f64>, expected: u32| {
            assert_eq!(
                first(MINUTE * until, age, MINUTE * 5),
                MINUTE * expected,
                "{until} {age:?}"
            );
        };
        check(600, None, 5);
        check(600, Some(DAY + 1.0), 5);
        check(600, Some(DAY - 1.0), 600);
        check(30, None, 30);
        check(2, Some(DAY * 9.0), 2);
    }
}
