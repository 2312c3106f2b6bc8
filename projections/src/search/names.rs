//! Records by their names, whole or in part, also mistyped, the best of them compared word by word. What a mistyped word may be is looked
//! up among the words that are known, since thousands of names share trigrams with any word; only where that does not tell are names
//! compared by their trigrams.
//!
//! `sought` asks for what a question names and tells it from what is only like it, `alike` is what may be mistyped, `shortened`
//! acronyms.

mod alike;
mod shortened;
mod sought;

use std::collections::HashSet;

use domain::{Kind, RecordRef};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row as _};

use self::shortened::shortened;
use self::sought::Sought;
use super::Filter;
use super::asked::{Asked, Near};
use super::day;
use super::dictionary;
use super::lag::changed_since;
use super::lexical::{Titled, Word, record_of, restrict_records};
use super::passage;
use super::spelling::{self, Said};
use super::words::{figures, without_figures};
use crate::prose::fold;

/// How many letters a word has at least that names somebody, and is no short form or number.
const LETTERS: usize = 5;

/// The most names that are hits.
const MOST: i64 = 50;

/// The most records of a day or a month.
pub(super) const DATED: usize = 50;

/// A longer question is not a name, though it may hold some.
pub(super) const WORDS_OF_NAME: usize = 10;

/// How similar a part of a name must be to the question to be looked at, from 0 to 1.
pub(super) const SIMILAR: &str = "0.5";

/// How similar a word of a name must be to one that was mistyped, from 0 to 1.
pub(super) const SIMILAR_WORD: &str = "0.3";

/// From this likeness on a name has all that is asked for, or is a part of it.
const SAME: f64 = 0.85;

/// How much less a name is what was asked for by each typing error.
const PER_ERROR: f64 = 0.05;

/// The likeness of a name that stands in a question with other words.
const INSIDE: f64 = 0.9;

/// What has a name that people look for, and records about it.
pub(super) const NAMED: [Kind; 6] =
    [Kind::Lp, Kind::Gp, Kind::Distributor, Kind::Person, Kind::Fund, Kind::Roadshow];

/// Of how many of those that are named the records about them are found.
const LOOKED_ABOUT: usize = 3;

/// What it counts for that a record is about what is named, beside having the name itself.
const ABOUT: f64 = 0.9;

/// A record whose name is that of the question, or in it, or like it.
#[derive(Clone, Copy, Debug)]
pub(super) struct NameHit {
    pub(super) record: RecordRef,
    /// From 0 to 1, which is the same name.
    pub(super) likeness: f64,
    /// Whether it is what was asked for, so that it goes before all that is not.
    pub(super) is_exact: bool,
    /// Whether it is only about what is named, and called something else.
    pub(super) is_about: bool,
}

/// What was found by name.
#[derive(Default)]
pub(super) struct Names {
    /// The records, the best first.
    pub(super) hits: Vec<NameHit>,
    /// Those that are named best, with their names, folded.
    pub(super) named: Vec<Titled>,
    /// Whether the question is a name and nothing else, so that what is near to it by meaning is near by chance.
    pub(super) is_all: bool,
}

/// A hit, and what it is called, folded.
type Called = (NameHit, String);

/// Records whose name is what is asked for, begins with it, is like it, or stands in it.
pub(super) async fn find(
    db: &mut PgConnection,
    folded: &str,
    asked: &Asked,
    words: &[Word],
    titled: &[Titled],
    filter: &Filter,
    behind: Option<i64>,
) -> Result<Names, sqlx::Error> {
    // Names have no figures, unless nothing else is asked for: `20%` is no name that begins with `20`.
    let rest = without_figures(folded);
    let has_words = !spelling::words(&rest).is_empty();
    let rest = if has_words { &rest } else { folded };
    let said = without_and(&spelling::words(rest));
    let is_whole = rest == folded;
    // Names are of no language.
    if said.is_empty() || filter.language.is_some() {
        return Ok(Names::default());
    }
    let sought = Sought::of(folded, &said, asked, words);
    let inside = inside(titled, &said, &asked.near);
    let figure = figures(folded).next().filter(|_| !has_words);
    let has_figure = |(_, title): &Called| {
        figure.as_ref().is_none_or(|figure| figures(title).any(|it| it.has(figure.whole())))
    };
    let (mut found, is_acronym) = called(db, &sought, asked, words, filter).await?;
    found.retain(has_figure);
    let mut hits: Vec<NameHit> = found.iter().map(|(hit, _)| *hit).collect();
    if let Some(time) = day::named(folded) {
        hits.extend(dated(db, &filter.within(time)).await?);
    }
    if (Filter { kinds: vec![], ..filter.clone() }) == Filter::default() {
        let is_wanted = |kind| filter.kinds.is_empty() || filter.kinds.contains(&kind);
        let wanted = inside.iter().filter(|(hit, _)| is_wanted(hit.record.kind()));
        hits.extend(wanted.map(|(hit, _)| *hit));
    }
    let mut named = match *filter == Filter::default() {
        true => found,
        false => {
            let all = Filter { kinds: NAMED.to_vec(), ..Filter::default() };
            called(db, &sought, asked, words, &all).await?.0
        }
    };
    named.retain(|it| NAMED.contains(&it.0.record.kind()) && has_figure(it));
    if let Some(position) = behind {
        let records = named.iter().map(|(hit, _)| hit.record);
        let changed = changed_since(db, position, records).await?;
        named.retain(|(hit, _)| !changed.contains(&hit.record));
    }
    named.extend(inside);
    best_first(&mut named, |(hit, _)| hit);
    named.truncate(LOOKED_ABOUT);
    best_first(&mut hits, |hit| hit);
    hits.extend(about(db, &named, filter).await?);
    let mut seen = HashSet::new();
    hits.retain(|hit| seen.insert(hit.record));
    let is_odd = words.iter().all(Word::is_odd);
    let is_all = (is_acronym && said.len() == 1)
        || named.iter().any(|(hit, name)| {
            is_whole && hit.is_exact && is_all(asked, &said, is_odd, hit.record, name)
        });
    let named = named.into_iter().map(|(hit, name)| (hit.record, name)).collect();
    Ok(Names { hits, named, is_all })
}

/// Those that pass the filter and are called what is asked for, or have such initials; and whether a word of the question is initials and
/// nothing else.
async fn called(
    db: &mut PgConnection,
    sought: &Sought<'_>,
    asked: &Asked,
    words: &[Word],
    filter: &Filter,
) -> Result<(Vec<Called>, bool), sqlx::Error> {
    let mut found = sought.hits(db, filter).await?;
    let short = shortened(db, asked, &sought.said, words, filter).await?;
    if short.found.iter().any(|(hit, _)| hit.is_exact) {
        // Whoever types initials means who has them, and no note that begins with them.
        found.iter_mut().for_each(|(hit, _)| hit.is_exact &= NAMED.contains(&hit.record.kind()));
    }
    found.extend(short.found);
    Ok((found, short.is_sure))
}

/// Puts the best first, and leaves each record once.
fn best_first<T>(hits: &mut Vec<T>, hit: impl Fn(&T) -> &NameHit) {
    hits.sort_by(|one, other| {
        let (one, other) = (hit(one), hit(other));
        other.is_exact.cmp(&one.is_exact).then(other.likeness.total_cmp(&one.likeness))
    });
    let mut seen = HashSet::new();
    hits.retain(|it| seen.insert(hit(it).record));
}

/// Whether a question that has only words of a name can hardly mean anything else: it is most of the name, or words of a person's
/// name, which say nothing, or has one that no dictionary has, unless it is a single one that texts have.
fn is_all(asked: &Asked, said: &[&str], is_odd: bool, record: RecordRef, name: &str) -> bool {
    let name = spelling::words(name);
    let letters = |words: &[&str]| words.iter().map(|word| word.chars().count()).sum::<usize>();
    let is_most = letters(said) * 4 >= letters(&name) * 3;
    let is_person = record.kind() == Kind::Person;
    let words: Vec<Said<'_>> = said.iter().map(|word| Said { word, is_known: false }).collect();
    let says_nothing = || is_person || said.iter().any(|word| is_odd_word(asked, word));
    spelling::errors(&words, &name, is_person).is_some()
        && (is_most || ((said.len() > 1 || is_odd) && says_nothing()))
}

/// Whether a word of a question, folded, is long enough for a name, and none of English or Spanish.
fn is_odd_word(asked: &Asked, word: &str) -> bool {
    let mut typed = asked.text.split(|c: char| !c.is_alphanumeric());
    word.chars().filter(|c| c.is_alphabetic()).count() >= LETTERS
        && !dictionary::has_folded(word)
        && !typed.any(|it| fold(it) == word && dictionary::has(it))
}

/// The names that stand in a question with other words.
fn inside(titled: &[Titled], said: &[&str], near: &[Near]) -> Vec<Called> {
    let hit = |(record, name): &Titled| {
        let errors = errors_inside(name, said, near)?;
        #[allow(clippy::cast_precision_loss, reason = "a few words")]
        let likeness = INSIDE - PER_ERROR * errors as f64;
        let hit = NameHit { record: *record, likeness, is_exact: false, is_about: false };
        Some((hit, name.clone()))
    };
    titled.iter().filter_map(hit).collect()
}

/// How many words are mistyped of a name of several words that stands in a question; `None` if it does not.
fn errors_inside(name: &str, said: &[&str], near: &[Near]) -> Option<usize> {
    let words = without_and(&spelling::words(name));
    if words.len() < 2 {
        return None;
    }
    let may_be = |said: &str, word: &str| {
        near.iter().any(|near| near.typed == said && near.words.iter().any(|it| it == word))
    };
    let errors = |window: &[&str]| {
        let pairs = window.iter().zip(&words);
        let is_it = pairs.clone().all(|(said, word)| said == word || may_be(said, word));
        is_it.then(|| pairs.filter(|(said, word)| said != word).count())
    };
    said.windows(words.len()).filter_map(errors).min()
}

/// The records of a time that a filter limits, the earliest first, at most [`DATED`].
pub(super) async fn dated(
    db: &mut PgConnection,
    filter: &Filter,
) -> Result<Vec<NameHit>, sqlx::Error> {
    let mut statement = QueryBuilder::new(
        "select kind, id, 1::float8 as likeness from findable where not archived",
    );
    restrict_kinds(&mut statement, filter);
    restrict_records(&mut statement, filter);
    statement.push(format!(" order by on_date, kind, id limit {DATED}"));
    let mut hits = hits_of(&statement.build().persistent(false).fetch_all(db).await?)?;
    hits.iter_mut().for_each(|hit| hit.is_exact = true);
    Ok(hits)
}

/// The latest records about these, as far as the filter lets them pass: whoever names an organisation also looks for what
/// was said with it.
async fn about(
    db: &mut PgConnection,
    named: &[Called],
    filter: &Filter,
) -> Result<Vec<NameHit>, sqlx::Error> {
    if named.is_empty() {
        return Ok(vec![]);
    }
    let references: Vec<String> = named.iter().map(|(hit, _)| passage::named(hit.record)).collect();
    let likeness: Vec<f64> = named.iter().map(|(hit, _)| hit.likeness * ABOUT).collect();
    let mut statement = QueryBuilder::new("select kind, id, (select max(likeness) from unnest(");
    statement.push_bind(references.clone()).push("::text[], ").push_bind(likeness);
    statement.push(
        "::float8[]) as named (record, likeness) where record = any (about)) as likeness
         from findable where not archived and about && ",
    );
    statement.push_bind(references).push("::text[]");
    restrict_kinds(&mut statement, filter);
    restrict_records(&mut statement, filter);
    statement
        .push(format!(" order by likeness desc, on_date desc nulls last, kind, id limit {MOST}"));
    let statement = statement.build().persistent(*filter == Filter::default());
    let mut hits = hits_of(&statement.fetch_all(db).await?)?;
    hits.iter_mut().for_each(|hit| hit.is_about = true);
    Ok(hits)
}

fn hits_of(rows: &[PgRow]) -> Result<Vec<NameHit>, sqlx::Error> {
    let hit = |row: &PgRow| {
        let (record, likeness) = (record_of(row)?, row.try_get("likeness")?);
        Ok(NameHit { record, likeness, is_exact: false, is_about: false })
    };
    rows.iter().map(hit).collect()
}

fn restrict_kinds(statement: &mut QueryBuilder<'_, Postgres>, filter: &Filter) {
    if !filter.kinds.is_empty() {
        let kinds: Vec<&str> = filter.kinds.iter().map(|kind| kind.as_str()).collect();
        statement.push(" and kind = any (").push_bind(kinds).push(")");
    }
}

/// Words without an `and` between them, in the place of which names often have a sign (`Johnson & Johnson`); a `y` may be an initial.
fn without_and<'a>(said: &[&'a str]) -> Vec<&'a str> {
    let is_long = |at: Option<usize>| {
        at.and_then(|at| said.get(at)).is_some_and(|word| word.chars().count() > 1)
    };
    let is_between = |at: usize| at > 0 && at + 1 < said.len();
    let joins = |(at, word): (usize, &str)| match word {
        "and" => is_between(at),
        "y" => is_long(at.checked_sub(1)) && is_long(Some(at + 1)),
        _ => false,
    };
    let kept = said.iter().enumerate().filter(|(at, word)| !joins((*at, word)));
    kept.map(|(_, word)| *word).collect()
}

/// Whether the index of names can look for this. It goes by three letters in a row, and where a server's locale is C it knows none
/// beyond ASCII: without any it would look at every name. Names in other scripts are found as wholes, and by the words of cards.
fn is_indexed(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(|run| run.len() > 2)
}

/// What a name with these words in a row is like, whatever stands between them.
fn pattern(words: &str) -> String {
    format!("%{}%", escaped(words).replace(' ', "%"))
}

/// The text with what `like` would take for wildcards taken as it is.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
