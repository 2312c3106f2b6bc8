//! How common words are, so that a rare one says more than a common one: as Postgres saw it when it last analysed the
//! passages. It keeps that anyway, so that nothing has to be counted once it has done so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::PgConnection;

/// How long it is believed.
const BELIEVED: Duration = Duration::from_secs(60);

/// Of at most so many passages words are counted, where Postgres has not done so.
const COUNTED: i64 = 5_000;

/// How many of the words that were counted are kept: as many as Postgres keeps.
const MOST_COMMON: i64 = 1_000;

/// How common words are among the passages.
#[derive(Clone, Debug, Default)]
pub(super) struct Common {
    /// How many passages there are, more or less.
    passages: f64,
    /// The most common lexemes, and which share of the passages has them.
    shares: HashMap<String, f64>,
    /// The smallest of these shares.
    least: f64,
}

impl Common {
    fn of(passages: f64, shares: HashMap<String, f64>) -> Self {
        let least = shares.values().copied().reduce(f64::min).unwrap_or_default();
        Self { passages, shares, least }
    }

    /// Whether a lexeme is known to be in some passage.
    pub(super) fn has(&self, lexeme: &str) -> bool {
        self.shares.contains_key(lexeme)
    }

    /// How many passages have a lexeme, more or less: those that are not among the most common are in half as many as the
    /// least of these.
    pub(super) fn passages_with(&self, lexeme: &str) -> f64 {
        let share = self.shares.get(lexeme).copied().unwrap_or(self.least / 2.0);
        share * self.passages
    }

    /// How much it says that a passage has a word which this many have: the logarithm that BM25 weighs words by.
    pub(super) fn weight(&self, passages_with: f64) -> f64 {
        let without = (self.passages - passages_with).max(0.0);
        ((without + 0.5) / (passages_with + 0.5)).ln_1p().max(0.05)
    }
}

/// What is known at the moment; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Commonness(Arc<Mutex<Option<Known>>>);

/// What was found out, and when.
type Known = (Instant, Arc<Common>);

impl Commonness {
    /// Looks it up, unless that was done a moment ago.
    pub(super) async fn now(&self, db: &mut PgConnection) -> Result<Arc<Common>, sqlx::Error> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, common)) = known.filter(|(at, _)| at.elapsed() < BELIEVED) {
            return Ok(common);
        }
        let common = Arc::new(look_up(db).await?);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), common.clone()));
        Ok(common)
    }
}

async fn look_up(db: &mut PgConnection) -> Result<Common, sqlx::Error> {
    let (passages, lexemes, shares): (f64, Option<Vec<String>>, Option<Vec<f32>>) = sqlx::query_as(
        "select greatest(reltuples, 0)::float8, most_common_elems::text::text[], most_common_elem_freqs
         from pg_class left join pg_stats
             on schemaname = relnamespace::regnamespace::text and tablename = relname and attname = 'words'
         where oid = 'passage'::regclass",
    )
    .fetch_one(&mut *db)
    .await?;
    // A table that is new has none yet.
    let Some(lexemes) = lexemes else { return count(db).await };
    // The shares are followed by the least and the greatest of them.
    let shares = shares.unwrap_or_default().into_iter().map(f64::from);
    Ok(Common::of(passages, lexemes.into_iter().zip(shares).collect()))
}

/// Counts the words of some passages, where Postgres has not done so.
async fn count(db: &mut PgConnection) -> Result<Common, sqlx::Error> {
    let some = format!("select words from passage limit {COUNTED}");
    let passages: i64 = sqlx::query_scalar(&format!("select count(*) from ({some}) as counted"))
        .fetch_one(&mut *db)
        .await?;
    let counts: Vec<(String, i32)> =
        sqlx::query_as("select word, ndoc from ts_stat($1) order by ndoc desc, word limit $2")
            .bind(some)
            .bind(MOST_COMMON)
            .fetch_all(db)
            .await?;
    #[allow(clippy::cast_precision_loss, reason = "some thousands")]
    let passages = passages as f64;
    let shares = counts.into_iter().map(|(word, count)| (word, f64::from(count) / passages));
    Ok(Common::of(passages, shares.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rare_word_says_more_than_a_common_one() {
        let shares = HashMap::from([("fund".to_owned(), 0.5), ("hedg".to_owned(), 0.01)]);
        let common = Common { passages: 20_000.0, shares, least: 0.01 };
        assert_eq!(common.passages_with("fund").round(), 10_000.0);
        assert_eq!(common.passages_with("xxi").round(), 100.0);
        let weight = |lexeme| common.weight(common.passages_with(lexeme));
        assert!(weight("xxi") > weight("hedg") && weight("hedg") > weight("fund"));
        assert!(common.weight(30_000.0) > 0.0);
    }

    #[test]
    fn without_statistics_all_words_say_the_same() {
        let common = Common::default();
        assert_eq!(
            common.weight(common.passages_with("a")),
            common.weight(common.passages_with("b"))
        );
    }
}
