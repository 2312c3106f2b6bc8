//! Search by word and by name, in the tables of [`super::passage`].
//!
//! A passage is a hit if it has any word of the question. The rare words of a question say which passages are looked at, all
//! of them how good these are: so a word that half of all passages have costs nothing. Names are compared by their trigrams,
//! which forgives typing errors. All of it is asked in one snapshot.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::{Kind, RecordRef};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder, Row as _};

use super::asked::Asked;
use super::commonness::Common;
use super::highlight::{Tally, Wanted};
use super::names::{self, NameHit};
use super::passage::named;
use super::{Filter, Language, Part};

/// The most passages that are ranked, and how many of them rare words should give.
const RANKED: i64 = 600;
const ENOUGH: f64 = 300.0;

/// How many passages are looked at more closely.
const CLOSELY: i64 = 150;

/// The most words of a question that are looked for, the rarest first.
const WORDS: usize = 24;

/// A passage as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    /// Whose it is.
    pub record: RecordRef,
    /// Of which text.
    pub part: Part,
    /// Which piece of that text, from 0.
    pub ordinal: i32,
    /// The piece.
    pub text: String,
    /// What it is written in, if it is known.
    pub language: Option<Language>,
    /// The recording that it is of, if it was spoken.
    pub recording: Option<i64>,
    /// When it was spoken, in milliseconds of the recording.
    pub starts_ms: Option<i64>,
}

impl FromRow<'_, PgRow> for Passage {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let part: &str = row.try_get("part")?;
        let language: Option<&str> = row.try_get("lang")?;
        Ok(Self {
            record: record_of(row)?,
            part: Part::parse(part).ok_or_else(|| unknown("part", part))?,
            ordinal: row.try_get("ordinal")?,
            text: row.try_get("text")?,
            language: language.and_then(Language::parse),
            recording: row.try_get("recording")?,
            starts_ms: row.try_get("starts_ms")?,
        })
    }
}

/// The columns that [`Passage`] is made of.
pub(super) const PASSAGE: &str = "kind, id, part, ordinal, text, lang, recording, starts_ms";

/// The record of a row.
pub(super) fn record_of(row: &PgRow) -> Result<RecordRef, sqlx::Error> {
    let kind: &str = row.try_get("kind")?;
    let kind = Kind::parse(kind).ok_or_else(|| unknown("kind", kind))?;
    Ok(kind.record(row.try_get("id")?))
}

fn unknown(column: &str, value: &str) -> sqlx::Error {
    let source = format!("{value:?} is none that this release knows").into();
    sqlx::Error::ColumnDecode { index: column.to_owned(), source }
}

/// A record whose words are those of the question.
#[derive(Clone, Debug)]
pub(super) struct WordHit {
    /// Its best passage.
    pub(super) passage: Passage,
    pub(super) relevance: f64,
    /// Which share of the question it has, from 0 to 1, rare words counting for more.
    pub(super) coverage: f64,
    /// Whether it has every quotation.
    pub(super) is_quoted: bool,
}

/// What was found by word and by name, the best first, each record once in each list.
#[derive(Clone, Debug, Default)]
pub(super) struct Lexical {
    pub(super) words: Vec<WordHit>,
    pub(super) names: Vec<NameHit>,
    /// What was looked for, to be shown.
    pub(super) wanted: Vec<Wanted>,
}

/// A word of the question as it is looked for.
pub(super) struct Word {
    pub(super) lexemes: Vec<String>,
    passages_with: f64,
    weight: f64,
    /// Whether any passage has it.
    pub(super) is_known: bool,
}

/// Settings of the transaction that [`find`] wants: the planner must not read the whole table to be done early, and what
/// makes names similar.
pub(super) fn settings() -> String {
    let similar = names::SIMILAR;
    format!(
        "set local enable_seqscan = off; set local pg_trgm.word_similarity_threshold = {similar}"
    )
}

/// Finds by word and by name, within a transaction with these [`settings`].
pub(super) async fn find(
    db: &mut PgConnection,
    common: Arc<Common>,
    asked: &Asked,
    filter: &Filter,
) -> Result<Lexical, sqlx::Error> {
    if asked.is_empty() {
        return Ok(Lexical::default());
    }
    let (folded, words) = words(db, &common, &asked.text).await?;
    let wanted: Vec<Wanted> =
        words.iter().map(|word| Wanted::new(&word.lexemes, word.weight)).collect();
    let mut hits = Vec::new();
    if !asked.quoted.is_empty() {
        hits = quoted(db, &words, asked, filter).await?;
    }
    let rare = rare(&words);
    let mut passages = ranked(db, &words, &any_of(&words[..rare]), &[], filter).await?;
    if rare < words.len() && passages.len() < usize::try_from(CLOSELY).unwrap_or(usize::MAX) {
        passages = ranked(db, &words, &any_of(&words), &[], filter).await?;
    }
    hits.extend(passages.into_iter().map(|passage| (passage, false)));
    let names = names::find(db, &folded, asked, &words, filter).await?;
    Ok(Lexical { words: best_of_each(hits, &wanted), names, wanted })
}

/// The question folded, and its words, the rarest first.
async fn words(
    db: &mut PgConnection,
    common: &Common,
    text: &str,
) -> Result<(String, Vec<Word>), sqlx::Error> {
    let rows: Vec<(String, Option<Vec<String>>)> = sqlx::query_as(
        "select crm_fold($1), lexemes from (values (true)) as one left join crm_asked($1) on true order by place",
    )
    .bind(text)
    .fetch_all(&mut *db)
    .await?;
    let folded = rows.first().map(|(folded, _)| folded.clone()).unwrap_or_default();
    let mut words: Vec<Word> = Vec::new();
    for lexemes in rows.into_iter().filter_map(|(_, lexemes)| lexemes) {
        if words.iter().any(|word| word.lexemes == lexemes) {
            continue;
        }
        let is_known = lexemes.iter().any(|lexeme| common.has(lexeme));
        let passages_with = lexemes.iter().map(|it| common.passages_with(it)).fold(0.0, f64::max);
        words.push(Word { lexemes, passages_with, weight: 0.0, is_known });
    }
    look_up(db, &mut words).await?;
    for word in &mut words {
        word.weight = common.weight(word.passages_with);
    }
    words.sort_by(|one, other| one.passages_with.total_cmp(&other.passages_with));
    words.truncate(WORDS);
    Ok((folded, words))
}

/// Looks whether any passage has those words of which that is not known.
async fn look_up(db: &mut PgConnection, words: &mut [Word]) -> Result<(), sqlx::Error> {
    let mut doubtful: Vec<&mut Word> = words.iter_mut().filter(|word| !word.is_known).collect();
    if doubtful.is_empty() {
        return Ok(());
    }
    let queries: Vec<String> = doubtful.iter().map(|word| word.query()).collect();
    let known: Vec<bool> = sqlx::query_scalar(
        "select exists (select from passage where words @@ query::tsquery)
         from unnest($1::text[]) with ordinality as asked (query, at) order by at",
    )
    .bind(queries)
    .fetch_all(db)
    .await?;
    for (word, is_known) in doubtful.iter_mut().zip(known) {
        word.is_known = is_known;
        if !is_known {
            word.passages_with = 0.0;
        }
    }
    Ok(())
}

/// How many of the rarest words give enough passages.
fn rare(words: &[Word]) -> usize {
    let mut passages = 0.0;
    let rare = words.iter().take_while(|word| {
        let is_enough =
            passages >= ENOUGH || (passages > 0.0 && passages + word.passages_with > ENOUGH * 2.0);
        passages += word.passages_with;
        !is_enough
    });
    rare.count()
}

/// A query for any of the words, as text.
fn any_of(words: &[Word]) -> String {
    let any: Vec<String> = words.iter().map(Word::query).collect();
    any.join(" | ")
}

impl Word {
    /// A query for any of its forms, as text.
    fn query(&self) -> String {
        let quoted =
            |lexeme: &String| format!("'{}'", lexeme.replace('\\', "\\\\").replace('\'', "''"));
        self.lexemes.iter().map(quoted).collect::<Vec<_>>().join(" | ")
    }
}

/// The best of the passages that a query finds, by which words they have.
async fn ranked(
    db: &mut PgConnection,
    words: &[Word],
    query: &str,
    phrases: &[String],
    filter: &Filter,
) -> Result<Vec<Passage>, sqlx::Error> {
    if query.is_empty() {
        return Ok(vec![]);
    }
    let mut statement = QueryBuilder::new(format!("select {PASSAGE} from (select {PASSAGE}, (0"));
    for word in words.iter().filter(|word| word.is_known) {
        statement.push(" + case when words @@ ").push_bind(word.query());
        statement.push("::text::tsquery then ").push_bind(word.weight).push(" else 0 end");
    }
    // Of two passages with the same words the shorter speaks more of them.
    // Unpacked once, and not for every word that is looked for in them.
    statement.push(format!(
        ") / (0.7::float8 + 0.003::float8 * length(words)) as score
         from (select {PASSAGE}, strip(words) as words from passage where words @@ "
    ));
    statement.push_bind(query.to_owned()).push("::text::tsquery");
    restrict_passages(&mut statement, filter);
    statement.push(format!(" limit {RANKED}) as looked_at where true"));
    for phrase in phrases {
        statement.push(" and position(crm_fold(").push_bind(phrase.clone());
        statement.push(") in regexp_replace(crm_fold(text), '\\s+', ' ', 'g')) > 0");
    }
    statement.push(") as scored");
    statement.push(format!(" order by score desc, kind, id, part, ordinal limit {CLOSELY}"));
    // Planned for these very words: how common they are decides how they are best found.
    statement.build_query_as().persistent(false).fetch_all(db).await
}

/// Adds the conditions of a filter on passages.
pub(super) fn restrict_passages(statement: &mut QueryBuilder<'_, Postgres>, filter: &Filter) {
    if !filter.kinds.is_empty() {
        let kinds: Vec<&str> = filter.kinds.iter().map(|kind| kind.as_str()).collect();
        statement.push(" and kind = any (").push_bind(kinds).push(")");
    }
    if let Some(language) = filter.language {
        statement.push(" and lang = ").push_bind(language.code());
    }
    if filter.about.is_empty() && filter.from.is_none() && filter.to.is_none() {
        return;
    }
    statement.push(" and (kind, id) in (select kind, id from findable where not archived");
    restrict_records(statement, filter);
    statement.push(")");
}

/// Adds the conditions of a filter on records, but for their kinds.
pub(super) fn restrict_records(statement: &mut QueryBuilder<'_, Postgres>, filter: &Filter) {
    for about in &filter.about {
        statement.push(" and (about @> ").push_bind(vec![named(*about)]);
        statement.push(" or (kind = ").push_bind(about.kind().as_str());
        statement.push(" and id = ").push_bind(about.id()).push("))");
    }
    let mut limit = |condition: &str, time: Option<DateTime<Utc>>| {
        if let Some(time) = time {
            statement.push(condition).push_bind(time);
        }
    };
    limit(" and on_date >= ", filter.from);
    limit(" and on_date < ", filter.to);
}

/// Passages that have every quotation as it is.
async fn quoted(
    db: &mut PgConnection,
    words: &[Word],
    asked: &Asked,
    filter: &Filter,
) -> Result<Vec<(Passage, bool)>, sqlx::Error> {
    let lexemes: Vec<(Vec<String>,)> = sqlx::query_as("select lexemes from crm_asked($1)")
        .bind(asked.quoted.join(" "))
        .fetch_all(&mut *db)
        .await?;
    let all = lexemes.into_iter().map(|(lexemes,)| {
        let word = Word { lexemes, passages_with: 0.0, weight: 0.0, is_known: true };
        format!("({})", word.query())
    });
    let all: Vec<String> = all.collect();
    let passages = ranked(db, words, &all.join(" & "), &asked.quoted, filter).await?;
    Ok(passages.into_iter().map(|passage| (passage, true)).collect())
}

/// The best passage of each record, the best record first.
fn best_of_each(passages: Vec<(Passage, bool)>, wanted: &[Wanted]) -> Vec<WordHit> {
    let mut hits: Vec<WordHit> = passages
        .into_iter()
        .map(|(passage, is_quoted)| {
            let tally = Tally::of(&passage.text, wanted);
            let (relevance, coverage) = (tally.relevance(), tally.coverage());
            WordHit { passage, relevance, coverage, is_quoted }
        })
        .collect();
    hits.sort_by(|one, other| {
        let quoted = other.is_quoted.cmp(&one.is_quoted);
        let order = quoted.then(other.relevance.total_cmp(&one.relevance));
        let place = |hit: &WordHit| (hit.passage.record, hit.passage.part, hit.passage.ordinal);
        order.then_with(|| place(one).cmp(&place(other)))
    });
    let mut seen = std::collections::HashSet::new();
    hits.retain(|hit| seen.insert(hit.passage.record));
    hits
}
