//! The words of a question, each with the records that have it in their names now: an event says by kind and id whom it is
//! about, and people look for what they are called.

use std::collections::BTreeMap;

use domain::{Kind, RecordRef};
use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::gather::Stretch;
use super::{Of, words};
use crate::prose::cut;
use crate::read::audit;

/// The kinds that sentences call by a name alone. Notes and todos are found by what they say.
const NAMED: [Kind; 6] =
    [Kind::Lp, Kind::Gp, Kind::Distributor, Kind::Person, Kind::Fund, Kind::Roadshow];

/// A word that more names have than this tells none of them, and counts only where events themselves say it.
const MOST: usize = 200;

/// The index of names knows three letters in a row.
const SHORTEST: usize = 3;

/// So many words of a question are looked for in names.
const WORDS: usize = 8;

/// The numbers of words, which are counted, are below this.
pub(super) const MARKS: i64 = 10;
const _: () = assert!(WORDS < MARKS as usize);

/// So many records are looked for at a time in the index of those that events are about: it compares each event that is about
/// one of them with all of them.
const AT_A_TIME: usize = 16;

/// A word, and who has it in their name.
pub(super) struct Word {
    word: String,
    named: Vec<RecordRef>,
}

/// The words of a text.
pub(super) async fn words_of(db: &mut PgConnection, text: &str) -> Result<Vec<Word>, sqlx::Error> {
    // The read model of names may still be being built.
    let has_names: bool = sqlx::query_scalar("select to_regclass('findable') is not null")
        .fetch_one(&mut *db)
        .await?;
    let mut all = Vec::new();
    for (at, word) in words::each_of(text).into_iter().enumerate() {
        let is_sought = has_names && at < WORDS && word.chars().count() >= SHORTEST;
        let named = if is_sought { named(db, &word).await? } else { vec![] };
        all.push(Word { word, named });
    }
    Ok(all)
}

async fn named(db: &mut PgConnection, word: &str) -> Result<Vec<RecordRef>, sqlx::Error> {
    let rows: Vec<(String, i64, String)> = sqlx::query_as(
        "select kind, id, folded_title from findable where folded_title like $1 and kind = any ($2) limit $3",
    )
    .bind(format!("%{word}%"))
    .bind(NAMED.map(|kind| kind.as_str()).to_vec())
    .bind(i64::try_from(MOST + 1).unwrap_or(i64::MAX))
    .persistent(false)
    .fetch_all(db)
    .await?;
    if rows.len() > MOST {
        return Ok(vec![]);
    }
    let has_it = rows.into_iter().filter(|(.., name)| cut(name).any(|part| part == word));
    Ok(has_it.filter_map(|(kind, id, _)| Some(Kind::parse(&kind)?.record(id))).collect())
}

impl Word {
    /// Those who have it in their name and can be what something happened to, if only one kind is asked for.
    fn subjects(&self, of: Option<Of>) -> BTreeMap<Kind, Vec<i64>> {
        let mut ids = BTreeMap::<Kind, Vec<i64>>::new();
        let named =
            self.named.iter().filter(|record| of.is_none_or(|of| of == Of::Records(record.kind())));
        named.for_each(|record| ids.entry(record.kind()).or_default().push(record.id()));
        ids
    }

    /// Whether this record is called by it.
    pub(super) fn names(&self, record: RecordRef) -> bool {
        self.named.contains(&record)
    }
}

/// Asks for what says all of these words, or happened to or is about what is called by them; of one kind perhaps, which is
/// asked for elsewhere.
///
/// What each word is found by has to be gathered from indexes before any row is looked at, since rows are long. Postgres
/// does so only as long as no two words have a condition in common, as they do if one name has both, and as any has with what
/// is asked for beside it alone. So each has a mark of its own, that no row has, and words that no name has are asked for in
/// the same form. Where all that pass are to be gathered of a range alone, each looks only there.
pub(super) fn push(
    query: &mut QueryBuilder<'_, Postgres>,
    words: &[&Word],
    of: Option<Of>,
    within: Option<Stretch>,
) {
    let (named, plain): (Vec<&Word>, Vec<&Word>) =
        words.iter().copied().partition(|word| !word.named.is_empty());
    if !plain.is_empty() || words.is_empty() {
        let plain: Vec<&str> = plain.iter().map(|word| word.word.as_str()).collect();
        query.push(" and (");
        push_said(query, &plain, within, 0);
        if !named.is_empty() || within.is_some() {
            query.push(" or about && ").push_bind(vec![mark(0)]);
        }
        query.push(")");
    }
    for (word, number) in named.into_iter().zip(1_i64..) {
        query.push(" and (");
        push_said(query, &[&word.word], within, number);
        for some in word.named.chunks(AT_A_TIME) {
            let about = some.iter().map(|record| audit::named(*record));
            query.push(" or about && ");
            query.push_bind(about.chain([mark(number)]).collect::<Vec<_>>());
            if let Some(within) = within {
                within.push_blocks(query, number);
            }
        }
        for (kind, mut ids) in word.subjects(of) {
            ids.push(-number);
            query.push(" or kind = any (").push_bind(vec![kind.to_string(), mark(number)]);
            query.push(") and id = any (").push_bind(ids).push(")");
            if let Some(within) = within {
                within.push_positions(query, number);
            }
        }
        query.push(")");
    }
}

/// Asks for what says all of these words itself.
fn push_said(
    query: &mut QueryBuilder<'_, Postgres>,
    words: &[&str],
    within: Option<Stretch>,
    number: i64,
) {
    query.push("words @@ ").push_bind(words::query(words)).push("::tsquery");
    if let Some(within) = within {
        within.push_blocks(query, number);
    }
}

/// Names no record.
pub(super) fn mark(number: i64) -> String {
    format!("#{number}")
}
