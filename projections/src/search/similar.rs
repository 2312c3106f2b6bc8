//! What is like a note, or like an LP, by what was said.

use std::collections::{BTreeMap, HashMap};

use domain::{Kind, RecordRef};
use sqlx::{PgConnection, Postgres, Transaction};

use super::Filter;
use super::answer::{Hit, Search, SearchError};
use super::fuse::Reason;
use super::lag::{Followed, changed_since, followed};
use super::lexical::{Passage, record_of};
use super::meaning::{Nearest, Unready};
use super::passage::{named, record_named};
use super::showing::{standing, titles};

/// How many of the nearest texts are looked at.
const NEAREST: usize = 200;

/// How many notes stand for what was said with an LP, the newest.
const NOTES: i64 = 50;

/// What a place among the nearest counts for, as where lists are fused.
const K: f64 = 60.0;

/// What is similar.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Similar {
    /// The records, the most similar first.
    pub hits: Vec<Hit>,
    /// Whether the texts are behind the log: what changed since is left out.
    pub is_behind: bool,
    /// Which texts were not looked through, or why there is nothing to compare with them.
    pub missing: Option<String>,
}

impl Search {
    /// The notes that say what is nearest to what a note says, the nearest first.
    ///
    /// # Errors
    /// [`SearchError::Missing`] when it cannot be searched by meaning.
    pub async fn like_note(&self, note: RecordRef, limit: usize) -> Result<Similar, SearchError> {
        let Nearest { near, lacks, .. } = self.near_notes(&[note]).await?;
        let looking = async {
            let mut tx = self.snapshot().await?;
            let passages = standing(&mut tx, near, &Filter::default()).await?;
            let ranked = ranks(passages).map(|(score, passage)| (passage.record, score, passage));
            shown(&mut tx, ranked.collect(), limit).await
        };
        Ok(Similar { missing: lacks, ..self.database.ask(looking).await? })
    }

    /// The LPs in whose notes is said what is nearest to what the notes about an LP say, the nearest first. Each shows the
    /// passage that speaks for it most.
    ///
    /// # Errors
    /// [`SearchError::Missing`] when it cannot be searched by meaning.
    pub async fn like_lp(&self, lp: RecordRef, limit: usize) -> Result<Similar, SearchError> {
        let looking = async {
            let mut db = self.database.pool.acquire().await?;
            notes_about(&mut db, lp).await
        };
        let notes = self.database.ask(looking).await?;
        if notes.is_empty() {
            return Ok(Similar::default());
        }
        let Nearest { near, lacks, .. } = self.near_notes(&notes).await?;
        let looking = async {
            let mut tx = self.snapshot().await?;
            let passages = standing(&mut tx, near, &Filter::default()).await?;
            let records: Vec<RecordRef> = passages.iter().map(|passage| passage.record).collect();
            let lps = lps_of(&mut tx, &records).await?;
            shown(&mut tx, by_lp(lp, passages, &lps), limit).await
        };
        Ok(Similar { missing: lacks, ..self.database.ask(looking).await? })
    }

    async fn snapshot(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.database.pool.begin_with("begin isolation level repeatable read read only").await
    }

    async fn near_notes(&self, of: &[RecordRef]) -> Result<Nearest, SearchError> {
        let filter = Filter { kinds: vec![Kind::Note], ..Filter::default() };
        match self.meaning.near_records(of, &filter, NEAREST).await {
            Ok(near) => Ok(near),
            Err(Unready::Database(error)) => Err(error.into()),
            Err(unready) => Err(SearchError::Missing(unready.to_string())),
        }
    }
}

/// What each passage counts for by its place.
fn ranks(passages: Vec<Passage>) -> impl Iterator<Item = (f64, Passage)> {
    let mut rank = K;
    passages.into_iter().map(move |passage| {
        rank += 1.0;
        (1.0 / rank, passage)
    })
}

/// The LPs that passages of notes speak for, the best first. A note about many says less of each.
fn by_lp(
    own: RecordRef,
    passages: Vec<Passage>,
    lps: &HashMap<RecordRef, Vec<RecordRef>>,
) -> Vec<(RecordRef, f64, Passage)> {
    let mut found: BTreeMap<RecordRef, (f64, Passage)> = BTreeMap::new();
    for (score, passage) in ranks(passages) {
        let about = lps.get(&passage.record).map(Vec::as_slice).unwrap_or_default();
        #[allow(clippy::cast_precision_loss, reason = "no note is about that many")]
        let score = score / about.len().max(1) as f64;
        for lp in about.iter().filter(|lp| **lp != own) {
            found.entry(*lp).or_insert_with(|| (0.0, passage.clone())).0 += score;
        }
    }
    let mut found: Vec<(RecordRef, f64, Passage)> =
        found.into_iter().map(|(lp, (score, passage))| (lp, score, passage)).collect();
    found.sort_by(|one, other| other.1.total_cmp(&one.1));
    found
}

async fn notes_about(
    db: &mut PgConnection,
    record: RecordRef,
) -> Result<Vec<RecordRef>, sqlx::Error> {
    let rows = sqlx::query(
        "select kind, id from findable where kind = 'note' and not archived and about @> $1
         order by on_date desc nulls last, id desc limit $2",
    )
    .bind(vec![named(record)])
    .bind(NOTES)
    .fetch_all(db)
    .await?;
    rows.iter().map(record_of).collect()
}

/// The LPs that these notes are about.
async fn lps_of(
    db: &mut PgConnection,
    notes: &[RecordRef],
) -> Result<HashMap<RecordRef, Vec<RecordRef>>, sqlx::Error> {
    let rows: Vec<(i64, Vec<String>)> =
        sqlx::query_as("select id, about from findable where kind = 'note' and id = any ($1)")
            .bind(notes.iter().map(|note| note.id()).collect::<Vec<_>>())
            .fetch_all(db)
            .await?;
    let lps = |about: Vec<String>| {
        let about = about.iter().filter_map(|name| record_named(name));
        about.filter(|record| record.kind() == Kind::Lp).collect()
    };
    Ok(rows.into_iter().map(|(id, about)| (Kind::Note.record(id), lps(about))).collect())
}

async fn shown(
    db: &mut PgConnection,
    mut found: Vec<(RecordRef, f64, Passage)>,
    limit: usize,
) -> Result<Similar, sqlx::Error> {
    let Followed { behind: lag, parked } = followed(db).await?;
    found.retain(|(record, _, passage)| {
        !parked.contains(record) && !parked.contains(&passage.record)
    });
    if let Some(position) = lag {
        let shown = found.iter().flat_map(|(record, _, passage)| [*record, passage.record]);
        let changed = changed_since(db, position, shown).await?;
        let stands = |record: RecordRef| !changed.contains(&record);
        found.retain(|(record, _, passage)| stands(*record) && stands(passage.record));
    }
    let records: Vec<RecordRef> = found.iter().map(|(record, ..)| *record).collect();
    let mut titles = titles(db, &records).await?;
    // What is archived is no hit.
    found.retain(|(record, ..)| titles.contains_key(record));
    found.truncate(limit);
    let hits = found.into_iter().filter_map(|(record, score, passage)| {
        let parts = [(Reason::Word, 0.0), (Reason::Name, 0.0), (Reason::Meaning, score)];
        Some(Hit { score, parts, passage: Some(passage), ..titles.remove(&record)? })
    });
    Ok(Similar { hits: hits.collect(), is_behind: lag.is_some(), missing: None })
}

#[cfg(test)]
mod tests {
    use super::super::Part;
    use super::*;

    fn passage(note: i64) -> Passage {
        Passage::example(Kind::Note.record(note), Part::Text)
    }

    #[test]
    fn an_lp_is_like_another_by_all_of_its_notes_that_are_near() {
        let lp = |id: i64| Kind::Lp.record(id);
        let lps = HashMap::from([
            (Kind::Note.record(1), vec![lp(7), lp(8)]),
            (Kind::Note.record(2), vec![lp(9)]),
            (Kind::Note.record(3), vec![lp(8)]),
            (Kind::Note.record(4), vec![]),
        ]);
        let found = by_lp(lp(7), [1, 2, 3, 4].map(passage).to_vec(), &lps);
        let order: Vec<_> = found.iter().map(|(lp, _, best)| (lp.id(), best.record.id())).collect();
        assert_eq!(order, [(8, 1), (9, 2)]);
    }
}
