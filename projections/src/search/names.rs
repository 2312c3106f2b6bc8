//! Records by their names, whole or in part, also mistyped: names are compared by their trigrams.

use domain::RecordRef;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row as _};

use super::Filter;
use super::asked::Asked;
use super::highlight::folded as folded_char;
use super::lexical::{Word, record_of, restrict_records};

/// The most names that are hits.
const MOST: i64 = 50;

/// A longer question is not a name, though it may hold some.
const WORDS_OF_NAME: usize = 6;

/// The most words in a row that are looked for as a name, and the most words that nobody wrote, which may be names
/// mistyped.
const SPAN: usize = 4;
const UNKNOWN: usize = 3;

/// How similar a name must be to be a hit, from 0 to 1.
pub(super) const SIMILAR: &str = "0.42";

/// From this likeness on a name is what was asked for, or begins with it.
pub(super) const EXACT: f64 = 0.95;

/// A record whose name is that of the question, or in it, or like it.
#[derive(Clone, Copy, Debug)]
pub(super) struct NameHit {
    pub(super) record: RecordRef,
    /// From 0 to 1, which is the same name.
    pub(super) likeness: f64,
}

/// Records whose name is what is asked for, begins with it, is like it, or stands in it.
pub(super) async fn find(
    db: &mut PgConnection,
    folded: &str,
    asked: &Asked,
    words: &[Word],
    filter: &Filter,
) -> Result<Vec<NameHit>, sqlx::Error> {
    if filter.language.is_some() {
        // Names are of no language.
        return Ok(vec![]);
    }
    let said: Vec<&str> =
        folded.split(|c: char| !c.is_alphanumeric()).filter(|it| !it.is_empty()).collect();
    let whole = folded.trim_matches(|c: char| !c.is_alphanumeric());
    if said.is_empty() {
        return Ok(vec![]);
    }
    let like = alike(whole, &said, words);
    let spans = spans(whole, &said, asked);
    let rows = statement(whole, &spans, &like, asked.record, filter)
        .build()
        .persistent(false)
        .fetch_all(db)
        .await?;
    rows.iter()
        .map(|row| Ok(NameHit { record: record_of(row)?, likeness: row.try_get("likeness")? }))
        .collect()
}

fn statement<'a>(
    whole: &'a str,
    spans: &'a [String],
    like: &'a [String],
    named: Option<RecordRef>,
    filter: &'a Filter,
) -> QueryBuilder<'a, Postgres> {
    let (kind, id) = (named.map(|it| it.kind().as_str()), named.map(RecordRef::id));
    let mut statement = QueryBuilder::new("select kind, id, case when kind = ");
    statement
        .push_bind(kind)
        .push(" and id = ")
        .push_bind(id)
        .push(" then 1.0 when folded_title = ");
    statement.push_bind(whole).push(" then 1.0 when starts_with(folded_title, ").push_bind(whole);
    statement.push(") then 0.95 when folded_title = any (").push_bind(spans);
    statement.push(") then 0.9 else 0.9 * greatest(0");
    for it in like {
        statement.push(", word_similarity(").push_bind(it).push(", folded_title)");
    }
    statement.push(
        ") end::float8 as likeness from findable where not archived and (folded_title = any (",
    );
    statement.push_bind(spans).push(")");
    if whole.chars().count() > 1 {
        statement.push(" or folded_title like ").push_bind(format!("{}%", escaped(whole)));
    }
    for it in like {
        statement.push(" or ").push_bind(it).push(" <% folded_title");
    }
    statement.push(")");
    if !filter.kinds.is_empty() {
        let kinds: Vec<&str> = filter.kinds.iter().map(|kind| kind.as_str()).collect();
        statement.push(" and kind = any (").push_bind(kinds).push(")");
    }
    restrict_records(&mut statement, filter);
    statement.push(format!(" order by likeness desc, length(folded_title), kind, id limit {MOST}"));
    statement
}

/// What names are to be like: the question, if it may be a name, and words that no passage has.
fn alike(whole: &str, said: &[&str], words: &[Word]) -> Vec<String> {
    let is_name = said.len() <= WORDS_OF_NAME;
    let unknown = words.iter().filter(|word| !word.is_known && said.len() > 1);
    let unknown = unknown.filter_map(|word| word.lexemes.last().cloned()).take(UNKNOWN);
    let mut like: Vec<String> =
        is_name.then(|| whole.to_owned()).into_iter().chain(unknown).collect();
    // Of fewer characters every other name has one of the trigrams.
    like.retain(|it| it.chars().count() > 2);
    like
}

/// What may be a whole name: the question, some words of it in a row, or what is quoted.
fn spans(whole: &str, said: &[&str], asked: &Asked) -> Vec<String> {
    let mut spans = vec![whole.to_owned(), said.join(" ")];
    for length in 1..=SPAN.min(said.len()) {
        spans.extend(said.windows(length).map(|span| span.join(" ")).filter(|it| it.len() > 3));
    }
    let quoted = asked.quoted.iter();
    spans.extend(quoted.map(|phrase| phrase.chars().flat_map(folded_char).collect()));
    spans
}

/// The text with what `like` would take for wildcards taken as it is.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
