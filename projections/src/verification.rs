//! What checks of the log and the read models have come to, kept for whoever asks later.
//!
//! A check may look at everything or at a part. What a narrower one finds is shown beside the last full check and never in its
//! place: that one read model is right says nothing about the fault that was found in another.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;

/// A check that has ended, as it is to be recorded.
#[derive(Clone, Debug)]
pub struct Ended {
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// The log's end when it began.
    pub position: i64,
    /// What it looked at: `log`, read models by name, and `vectors`.
    pub scope: Vec<String>,
    /// Whether that is all there is.
    pub is_full: bool,
    /// Whether all was well, and the report; `None` if it came to nothing.
    pub outcome: Option<(bool, Value)>,
    /// Why it came to nothing.
    pub error: Option<String>,
}

impl Ended {
    /// A check that begins now.
    pub fn begin(scope: Vec<String>, is_full: bool) -> Self {
        Self { started_at: Utc::now(), position: 0, scope, is_full, outcome: None, error: None }
    }
}

/// A check.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct VerificationStatus {
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// The log's end when it began.
    pub position: i64,
    /// What it looked at: `log`, read models by name, and `vectors`.
    pub scope: Vec<String>,
    /// Whether that was all there is.
    #[serde(rename = "full")]
    pub is_full: bool,
    /// Whether all was well; `None` if it came to nothing.
    pub passed: Option<bool>,
    /// Why it came to nothing.
    pub error: Option<String>,
    /// What it found.
    pub report: Option<Value>,
}

/// What is known of the log and the read models by checks.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Checks {
    /// The last full check that came to something, if there ever was one.
    pub verification: Option<VerificationStatus>,
    /// What came after it: the last narrower check that passed, the last that found something wrong, and the last check that
    /// came to nothing.
    pub later_checks: Vec<VerificationStatus>,
}

impl Checks {
    /// Whether all is well as far as is known: the last full check found it so, and no narrower one since has found
    /// otherwise. `None` if nothing is known.
    pub fn verdict(&self) -> Option<bool> {
        if self.later_checks.iter().any(|check| check.passed == Some(false)) {
            return Some(false);
        }
        self.verification.as_ref()?.passed
    }

    /// The last check, if that came to nothing.
    pub fn unfinished(&self) -> Option<&VerificationStatus> {
        let last = self.later_checks.iter().max_by_key(|check| check.finished_at)?;
        Some(last).filter(|check| check.passed.is_none())
    }
}

/// Leaves word of a check. Of each sort the newest hundred are kept.
///
/// # Errors
/// When the database fails.
pub async fn record(db: &mut PgConnection, ended: &Ended) -> Result<(), sqlx::Error> {
    let (passed, report) = ended.outcome.as_ref().map(|(passed, report)| (passed, report)).unzip();
    sqlx::query(
        "insert into verification (started_at, position, scope, is_full, passed, report, error)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(ended.started_at)
    .bind(ended.position)
    .bind(&ended.scope)
    .bind(ended.is_full)
    .bind(passed)
    .bind(report.map(Json))
    .bind(&ended.error)
    .execute(&mut *db)
    .await?;
    sqlx::query(
        "delete from verification where id in (
             select id from (select id, row_number() over (partition by is_full, passed order by id desc) as age
                             from verification) as aged
             where age > 100)",
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What is known by checks.
///
/// # Errors
/// When the database fails.
pub async fn checks(db: &mut PgConnection) -> Result<Checks, sqlx::Error> {
    const COLUMNS: &str =
        "started_at, finished_at, position, scope, is_full, passed, error, report";
    let full = "select max(id) from verification where is_full and passed is not null";
    let verification =
        sqlx::query_as(&format!("select {COLUMNS} from verification where id = ({full})"))
            .fetch_optional(&mut *db)
            .await?;
    let later_checks = sqlx::query_as(&format!(
        "select distinct on (passed) {COLUMNS} from verification
         where id > coalesce(({full}), 0) order by passed nulls first, id desc"
    ))
    .fetch_all(db)
    .await?;
    Ok(Checks { verification, later_checks })
}

/// For how long no full check has come to anything, in seconds; `None` if none ever has.
///
/// # Errors
/// When the database fails.
pub async fn seconds_since_full(db: &mut PgConnection) -> Result<Option<f64>, sqlx::Error> {
    sqlx::query_scalar(
        "select extract(epoch from clock_timestamp() - max(started_at))::double precision
         from verification where is_full and passed is not null",
    )
    .fetch_one(db)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(passed: Option<bool>, at: i64) -> VerificationStatus {
        let at = DateTime::UNIX_EPOCH + chrono::Duration::seconds(at);
        VerificationStatus {
            started_at: at,
            finished_at: at,
            position: 7,
            scope: vec!["log".into()],
            is_full: false,
            passed,
            error: None,
            report: None,
        }
    }

    #[test]
    fn a_narrower_check_can_spoil_the_verdict_but_never_mend_it() {
        let verdict = |full: Option<bool>, later: &[Option<bool>]| {
            let later_checks = later.iter().map(|passed| check(*passed, 2)).collect();
            let verification = full.map(|passed| check(Some(passed), 1));
            Checks { verification, later_checks }.verdict()
        };
        assert_eq!(verdict(Some(false), &[Some(true)]), Some(false));
        assert_eq!(verdict(Some(true), &[Some(true), Some(false)]), Some(false));
        assert_eq!(verdict(Some(true), &[Some(true), None]), Some(true));
        assert_eq!(verdict(None, &[Some(true)]), None);
        assert_eq!(verdict(None, &[Some(false)]), Some(false));
        assert_eq!(verdict(None, &[]), None);
    }

    #[test]
    fn a_check_that_came_to_nothing_is_told_until_another_comes_to_something() {
        let unfinished = |later: &[(Option<bool>, i64)]| {
            let later_checks = later.iter().map(|(passed, at)| check(*passed, *at)).collect();
            Checks { verification: None, later_checks }.unfinished().is_some()
        };
        assert!(unfinished(&[(None, 3), (Some(true), 2)]));
        assert!(!unfinished(&[(None, 2), (Some(true), 3)]));
        assert!(!unfinished(&[]));
    }
}
