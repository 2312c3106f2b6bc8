//! The words of a question, each with the records that have it in their names now: an event says by kind and id whom it is
//! about, and people look for what they are called.

use std::collections::BTreeMap;

use domain::{Kind, RecordRef};
use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::words;
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

/// Asks for what says all of these words, or happened to or is about what is called by them.
pub(super) fn push(query: &mut QueryBuilder<'_, Postgres>, words: &[Word]) {
    let (named, plain): (Vec<&Word>, Vec<&Word>) =
        words.iter().partition(|word| !word.named.is_empty());
    if !plain.is_empty() || words.is_empty() {
        let plain: Vec<&str> = plain.iter().map(|word| word.word.as_str()).collect();
        query.push(" and words @@ ").push_bind(words::query(&plain)).push("::tsquery");
    }
    for Word { word, named } in named {
        query.push(" and (words @@ ").push_bind(words::query(&[word])).push("::tsquery");
        let about: Vec<String> = named.iter().map(|record| audit::named(*record)).collect();
        query.push(" or about && ").push_bind(about);
        let mut ids = BTreeMap::<Kind, Vec<i64>>::new();
        named.iter().for_each(|record| ids.entry(record.kind()).or_default().push(record.id()));
        for (kind, ids) in ids {
            query.push(" or kind = ").push_bind(kind.as_str());
            query.push(" and id = any (").push_bind(ids).push(")");
        }
        query.push(")");
    }
}
