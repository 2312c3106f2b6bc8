//! Records by their names, whole or in part, also mistyped: names are compared by their trigrams, and the best of them word by
//! word. What a mistyped word may be is looked up among the words that are known, since thousands of names share trigrams with
//! any word.

use std::collections::{BTreeSet, HashSet};

use domain::{Kind, RecordRef};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row as _};

use super::Filter;
use super::acronyms;
use super::asked::{Asked, Near};
use super::fuse::BY_CHANCE;
use super::highlight::Wanted;
use super::lag::changed_since;
use super::lexical::{Titled, Word, record_of, restrict_records};
use super::passage;
use super::spelling::{self, Said};
use crate::prose::fold;

/// The most names that are hits.
const MOST: i64 = 50;

/// The most names that one acronym stands for.
const MOST_SHORTENED: i64 = 8;

/// A longer question is not a name, though it may hold some.
pub(super) const WORDS_OF_NAME: usize = 10;

/// The most words in a row that are looked for as a name, and the most words that nobody wrote, which may be names
/// mistyped.
const SPAN: usize = 4;
const UNKNOWN: usize = 3;

/// The most whole names that are looked for because a word may be mistyped.
const MEANT: usize = 200;

/// How similar a part of a name must be to the question to be looked at, from 0 to 1.
pub(super) const SIMILAR: &str = "0.5";

/// How similar a word of a name must be to one that was mistyped, from 0 to 1.
pub(super) const SIMILAR_WORD: &str = "0.3";

/// From this likeness on a name is what was asked for, or begins with it.
const EXACT: f64 = 0.95;

/// From this likeness on a name has all that is asked for, or is a part of it.
const SAME: f64 = 0.85;

/// How much less a name is what was asked for by each typing error.
const PER_ERROR: f64 = 0.05;

/// The likeness of a name that stands in a question with other words.
const INSIDE: f64 = 0.9;

/// The likeness of a name whose initials are a short word that texts have, which may be chance.
const BY_CHANCE_INITIALS: f64 = 0.4;

/// From this likeness on a name is like the question, though no word of it may be as it is typed.
const LIKE: f64 = 0.5;

/// What has a name that people look for, and records about it.
pub(super) const NAMED: [Kind; 6] =
    [Kind::Lp, Kind::Gp, Kind::Distributor, Kind::Person, Kind::Fund, Kind::Roadshow];

/// One letter in so many of a name must be a word's for it to tell the name from others.
const ONE_IN: usize = 4;

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

/// Records by the initials of their names.
#[derive(Default)]
struct Shortened {
    /// With the acronym as a word of the name.
    found: Vec<(NameHit, String)>,
    /// Whether no text has it for something else, so that those are meant who have these initials.
    is_sure: bool,
}

/// Those that acronyms of the question stand for, as far as the filter lets them pass.
async fn shortened(
    db: &mut PgConnection,
    asked: &Asked,
    words: &[Word],
    filter: &Filter,
) -> Result<Shortened, sqlx::Error> {
    let mut shortened = Shortened::default();
    for acronym in &asked.acronyms {
        let is_it = |word: &&Word| Wanted::new(&word.lexemes, 0.0).is(&acronym.word);
        let is_known = words.iter().filter(is_it).any(|word| word.is_known);
        let is_chance = is_known && !acronyms::is_telling(&acronym.word);
        let likeness = if is_chance { BY_CHANCE_INITIALS } else { SAME };
        let mut statement = QueryBuilder::new("select kind, id, folded_title, ");
        statement.push_bind(likeness).push("::float8 as likeness from unnest(");
        let kinds = acronym.records.iter().map(|record| record.kind().as_str().to_owned());
        statement.push_bind(kinds.collect::<Vec<String>>()).push("::text[], ");
        statement.push_bind(acronym.records.iter().map(|it| it.id()).collect::<Vec<i64>>());
        statement.push(
            "::bigint[]) as named (kind, id) join findable using (kind, id) where not archived",
        );
        restrict_kinds(&mut statement, filter);
        restrict_records(&mut statement, filter);
        statement.push(" order by length(folded_title), kind, id limit ").push_bind(MOST_SHORTENED);
        let statement = statement.build().persistent(*filter == Filter::default());
        let rows = statement.fetch_all(&mut *db).await?;
        for (row, hit) in rows.iter().zip(hits_of(&rows)?) {
            let name: String = row.try_get("folded_title")?;
            // It may have been renamed a moment ago.
            if acronyms::of(&name).contains(&acronym.word) {
                shortened.is_sure |= !is_known;
                shortened.found.push((hit, format!("{name} {}", acronym.word)));
            }
        }
    }
    Ok(shortened)
}

/// The words of a question.
pub(super) fn said(folded: &str) -> Vec<&str> {
    spelling::words(folded)
}

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
    if filter.language.is_some() {
        // Names are of no language.
        return Ok(Names::default());
    }
    let said = said(folded);
    let whole = folded.trim_matches(|c: char| !c.is_alphanumeric());
    if said.is_empty() {
        return Ok(Names::default());
    }
    let sought = Sought {
        whole,
        spans: spans(whole, &said, asked),
        meant: meant(&said, &asked.near),
        inside: if said.len() <= WORDS_OF_NAME { said.clone() } else { vec![] },
        like: Alike::of(whole, &said, words, &asked.near),
        is_strict: words.iter().all(|word| word.is_known),
        spelt: spelt(&said, words, &asked.near),
        records: &asked.records,
    };
    let found = sought.hits(db, filter).await?;
    let mut hits: Vec<NameHit> = found.iter().map(|(hit, _)| *hit).collect();
    let mut named = match *filter == Filter::default() {
        true => found,
        false => sought.hits(db, &Filter { kinds: NAMED.to_vec(), ..Filter::default() }).await?,
    };
    let short = shortened(db, asked, words, filter).await?;
    hits.extend(short.found.iter().map(|(hit, _)| *hit));
    named.extend(match *filter == Filter::default() {
        true => short.found,
        false => shortened(db, asked, words, &Filter::default()).await?.found,
    });
    named.retain(|(hit, _)| NAMED.contains(&hit.record.kind()));
    if let Some(position) = behind {
        let records = named.iter().map(|(hit, _)| hit.record);
        let changed = changed_since(db, position, records).await?;
        named.retain(|(hit, _)| !changed.contains(&hit.record));
    }
    let inside = inside(titled, &said, &asked.near);
    if (Filter { kinds: vec![], ..filter.clone() }) == Filter::default() {
        let is_wanted = |kind| filter.kinds.is_empty() || filter.kinds.contains(&kind);
        let wanted = inside.iter().filter(|(hit, _)| is_wanted(hit.record.kind()));
        hits.extend(wanted.map(|(hit, _)| *hit));
    }
    named.extend(inside);
    named.sort_by(|(one, _), (other, _)| {
        other.is_exact.cmp(&one.is_exact).then(other.likeness.total_cmp(&one.likeness))
    });
    let mut seen = HashSet::new();
    named.retain(|(hit, _)| seen.insert(hit.record));
    named.truncate(LOOKED_ABOUT);
    hits.sort_by(|one, other| {
        other.is_exact.cmp(&one.is_exact).then(other.likeness.total_cmp(&one.likeness))
    });
    hits.extend(about(db, &named, filter).await?);
    let mut seen = HashSet::new();
    hits.retain(|hit| seen.insert(hit.record));
    let is_odd = words.iter().all(Word::is_odd);
    let is_acronym = short.is_sure && said.len() == 1;
    let is_all = is_acronym
        || named.iter().any(|(hit, name)| hit.is_exact && is_all(&said, is_odd, hit.record, name));
    let named = named.into_iter().map(|(hit, name)| (hit.record, name)).collect();
    Ok(Names { hits, named, is_all })
}

/// Whether a question that has only words of a name can hardly mean anything else: it is most of the name, or words of a person's
/// name, which say nothing, unless it is a single one that texts have.
fn is_all(said: &[&str], is_odd: bool, record: RecordRef, name: &str) -> bool {
    let name = spelling::words(name);
    let letters = |words: &[&str]| words.iter().map(|word| word.chars().count()).sum::<usize>();
    let is_most = letters(said) * 4 >= letters(&name) * 3;
    let is_person = record.kind() == Kind::Person;
    let words: Vec<Said<'_>> = said.iter().map(|word| Said { word, is_known: false }).collect();
    spelling::errors(&words, &name, is_person).is_some()
        && (is_most || (is_person && (said.len() > 1 || is_odd)))
}

/// The names that stand in a question with other words.
fn inside(titled: &[Titled], said: &[&str], near: &[Near]) -> Vec<(NameHit, String)> {
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
    let words = spelling::words(name);
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

/// The latest records about these, as far as the filter lets them pass: whoever names an organisation also looks for what
/// was said with it.
async fn about(
    db: &mut PgConnection,
    named: &[(NameHit, String)],
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

/// What names are compared with.
struct Sought<'a> {
    /// The question.
    whole: &'a str,
    /// What may be a whole name.
    spans: Vec<String>,
    /// What may be a whole name but for a mistyped word.
    meant: Vec<String>,
    /// Words that may all be in a name.
    inside: Vec<&'a str>,
    /// What a name may be like.
    like: Alike<'a>,
    /// Whether all words are known in some form, so that what is only like the question is no hit.
    is_strict: bool,
    /// The words of what may be a name, and nothing of what is longer.
    spelt: Vec<Said<'a>>,
    records: &'a [RecordRef],
}

impl Sought<'_> {
    async fn hits(
        &self,
        db: &mut PgConnection,
        filter: &Filter,
    ) -> Result<Vec<(NameHit, String)>, sqlx::Error> {
        // There are too many ways to filter for all of them to be remembered.
        let is_plain = *filter == Filter::default();
        let statements = [Some(self.statement(filter)), self.like.statement(filter)];
        let mut found: Vec<(NameHit, String)> = Vec::new();
        let mut seen = HashSet::new();
        for mut statement in statements.into_iter().flatten() {
            let rows = statement.build().persistent(is_plain).fetch_all(&mut *db).await?;
            for (row, hit) in rows.iter().zip(hits_of(&rows)?) {
                if seen.insert(hit.record) {
                    found.push((hit, row.try_get("folded_title")?));
                }
            }
        }
        Ok(self.told_apart(found))
    }

    /// Tells what was asked for from what is only like it, by the words of names. The best organisation, person, fund or
    /// roadshow that has all words of the question, or has them but for typing errors, goes first.
    fn told_apart(&self, hits: Vec<(NameHit, String)>) -> Vec<(NameHit, String)> {
        let mut judged = Vec::with_capacity(hits.len());
        for (mut hit, title) in hits {
            let name = spelling::words(&title);
            let is_person = hit.record.kind() == Kind::Person;
            let errors = spelling::errors(&self.spelt, &name, is_person);
            let is_same = self.spelt.iter().map(|said| said.word).eq(name.iter().copied());
            if is_same && !name.is_empty() {
                hit.likeness = 1.0;
            } else if let Some(errors) = errors {
                #[allow(clippy::cast_precision_loss, reason = "some words with two errors at most")]
                let errors = errors as f64;
                hit.likeness = hit.likeness.max(SAME - PER_ERROR * errors);
            }
            let is_odd = !self.is_strict && (hit.likeness >= LIKE || self.like.is_word_of(&name));
            if errors.is_some() || is_odd || hit.likeness >= SAME {
                judged.push((hit, errors, title));
            }
        }
        judged.sort_by(|(one, ..), (other, ..)| other.likeness.total_cmp(&one.likeness));
        let question = self.spelt.iter().map(|said| said.word).collect::<Vec<_>>().join(" ");
        let candidates = judged.iter().enumerate().filter_map(|(at, (hit, errors, title))| {
            let errors = errors.filter(|_| NAMED.contains(&hit.record.kind()))?;
            // Of names with the same words that is meant which has them in the order in which they were typed, and few more.
            let rest = strsim::osa_distance(&question, &spelling::words(title).join(" "));
            Some((errors, hit.likeness < EXACT, rest, at))
        });
        let best = candidates.min().map(|(.., at)| at);
        for (at, (hit, ..)) in judged.iter_mut().enumerate() {
            let goes_first = best.is_none() || NAMED.contains(&hit.record.kind());
            hit.is_exact = best == Some(at) || (hit.likeness >= EXACT && goes_first);
        }
        if let Some(at) = best {
            judged[..=at].rotate_right(1);
        }
        judged.into_iter().map(|(hit, _, title)| (hit, title)).collect()
    }

    fn statement<'q>(&self, filter: &Filter) -> QueryBuilder<'q, Postgres> {
        let mut statement = QueryBuilder::new("select kind, id, folded_title, case when ");
        self.is_it(&mut statement);
        statement.push(" then 1.0 when ");
        self.begins(&mut statement);
        statement.push(" then 0.95 when folded_title = any (").push_bind(self.spans.clone());
        statement.push(format!(") then {INSIDE} when folded_title = any ("));
        statement.push_bind(self.meant.clone()).push(") or ");
        self.has_all(&mut statement);
        statement.push(" then 0.85 else greatest(0");
        self.like.likeness(&mut statement);
        statement.push(") end::float8 as likeness from findable where not archived and (");
        self.is_it(&mut statement);
        let whole_names = self.spans.iter().chain(&self.meant).cloned().collect::<Vec<_>>();
        statement.push(" or folded_title = any (").push_bind(whole_names).push(") or ");
        self.begins(&mut statement);
        statement.push(" or ");
        self.has_all(&mut statement);
        // In a query of its own each is not compared with samples of all names while Postgres plans, and this way around the
        // index's answer is looked at once.
        if let Some(it) = &self.like.whole {
            statement.push(" or folded_title %> (select ").push_bind(it.clone()).push(")");
        }
        for it in &self.like.apart {
            statement.push(" or folded_title %>> (select ").push_bind(it.clone()).push(")");
        }
        statement.push(")");
        restrict_kinds(&mut statement, filter);
        restrict_records(&mut statement, filter);
        statement
            .push(format!(" order by likeness desc, length(folded_title), kind, id limit {MOST}"));
        statement
    }

    /// Whether it is a record that is named by its id, or has just this name.
    fn is_it(&self, statement: &mut QueryBuilder<'_, Postgres>) {
        statement.push("(folded_title = ").push_bind(self.whole.to_owned());
        for record in self.records {
            statement.push(" or (kind = ").push_bind(record.kind().as_str());
            statement.push(" and id = ").push_bind(record.id()).push(")");
        }
        statement.push(")");
    }

    fn begins(&self, statement: &mut QueryBuilder<'_, Postgres>) {
        match self.whole.chars().count() {
            // Every other name begins with one character or another.
            0 | 1 => statement.push("false"),
            _ => {
                statement.push("folded_title like ").push_bind(format!("{}%", escaped(self.whole)))
            }
        };
    }

    fn has_all(&self, statement: &mut QueryBuilder<'_, Postgres>) {
        // Without a word of three letters the index is of no use.
        if !self.inside.iter().any(|word| word.chars().count() > 2) {
            statement.push("false");
            return;
        }
        for (before, word) in
            std::iter::once("(").chain(std::iter::repeat(" and ")).zip(&self.inside)
        {
            statement
                .push(before)
                .push("folded_title like ")
                .push_bind(format!("%{}%", escaped(word)));
        }
        statement.push(")");
    }
}

/// What a name may be like. That it is like one word of a question may be chance, so that counts only by the power
/// [`BY_CHANCE`]; that it is like the whole question is not.
struct Alike<'a> {
    /// The question, if it may be a name.
    whole: Option<String>,
    /// Words that nobody wrote, which may be mistyped.
    words: Vec<String>,
    /// What these may be, and others of which texts have another form.
    near: Vec<&'a Near>,
    /// Those of which it is not known what they may be.
    apart: Vec<String>,
}

impl<'a> Alike<'a> {
    /// Nothing where all words are known: whoever has them in the name is found by them.
    fn of(whole: &str, said: &[&str], words: &[Word], known: &'a [Near]) -> Self {
        // Of fewer characters every other name has one of the trigrams.
        let is_long = |it: &String| it.chars().count() > 2;
        let is_odd = words.iter().any(Word::is_odd) || !known.is_empty();
        let may_be_name = is_odd && said.len() <= WORDS_OF_NAME;
        let whole = may_be_name.then(|| whole.to_owned()).filter(is_long);
        let mut like = Self { whole, words: vec![], near: vec![], apart: vec![] };
        for word in words.iter().filter(|word| !word.is_known).take(UNKNOWN) {
            let typed = word.mistyped.clone().or_else(|| word.lexemes.last().cloned());
            let Some(typed) = typed.filter(is_long) else { continue };
            let wanted = Wanted::new(&word.lexemes, 0.0);
            match known.iter().find(|it| wanted.is(&it.typed)) {
                Some(near) => like.near.push(near),
                None => like.apart.push(typed.clone()),
            }
            like.words.push(typed);
        }
        // Of a whole name a word may be mistyped of which texts have another form.
        for near in known.iter().filter(|_| said.len() <= WORDS_OF_NAME) {
            if like.near.len() < UNKNOWN && !like.near.contains(&near) {
                like.near.push(near);
            }
        }
        like
    }
}

impl Alike<'_> {
    /// Adds how much a name is like the question, as arguments of a function.
    fn likeness(&self, statement: &mut QueryBuilder<'_, Postgres>) {
        let Self { whole, words, .. } = self;
        for (it, power) in
            whole.iter().map(|it| (it, 1)).chain(words.iter().map(|it| (it, BY_CHANCE)))
        {
            statement.push(", (0.8 * word_similarity(").push_bind(it.clone());
            statement.push(format!(", folded_title)) ^ {power}"));
        }
    }

    /// Names with what mistyped words may be, with most of them and the nearest first. Only the first are compared with the
    /// question, not all that have such a word.
    fn statement<'q>(&self, filter: &Filter) -> Option<QueryBuilder<'q, Postgres>> {
        let (mut patterns, mut words, mut ranks) = (vec![], vec![], vec![]);
        for (typed, near) in (0_i32..).zip(&self.near) {
            for (rank, word) in (0_i32..).zip(&near.words) {
                patterns.push(format!("%{}%", escaped(word)));
                words.push(typed);
                ranks.push(rank);
            }
        }
        if patterns.is_empty() {
            return None;
        }
        let mut statement = QueryBuilder::new("select kind, id, folded_title, greatest(0");
        self.likeness(&mut statement);
        statement.push(
            ")::float8 as likeness from (
                 select kind, id, folded_title, count(distinct word) as words, min(rank) as rank from unnest(",
        );
        statement.push_bind(patterns).push("::text[], ").push_bind(words).push("::int[], ");
        statement.push_bind(ranks).push(
            "::int[]) as near (pattern, word, rank) join findable on folded_title like pattern
                 where not archived",
        );
        restrict_kinds(&mut statement, filter);
        restrict_records(&mut statement, filter);
        statement.push(format!(
            " group by kind, id
                 order by words desc, rank, length(folded_title), kind, id limit {MOST}) as near
             order by likeness desc, length(folded_title), kind, id"
        ));
        Some(statement)
    }

    /// Whether one of the words that nobody wrote is a telling word of a name, mistyped: its first, or no small part of it.
    fn is_word_of(&self, name: &[&str]) -> bool {
        let letters = |word: &str| word.chars().count();
        let all: usize = name.iter().map(|word| letters(word)).sum();
        name.iter().enumerate().any(|(at, word)| {
            let tells = at == 0 || letters(word) * ONE_IN >= all;
            tells && self.words.iter().any(|typed| spelling::is_like(typed, word))
        })
    }
}

/// The words of a question that may be a name.
fn spelt<'a>(said: &[&'a str], words: &[Word], near: &[Near]) -> Vec<Said<'a>> {
    if said.len() > WORDS_OF_NAME {
        return vec![];
    }
    // One word alone of which texts have another form is no name: that is only how it is inflected.
    let is_near = |it: &str| said.len() > 1 && near.iter().any(|near| near.typed == it);
    let is_known =
        |it: &str| !is_near(it) && words.iter().all(|word| word.mistyped.as_deref() != Some(it));
    said.iter().map(|word| Said { word, is_known: is_known(word) }).collect()
}

/// What may be a whole name: the question, some words of it in a row, or what is quoted.
fn spans(whole: &str, said: &[&str], asked: &Asked) -> Vec<String> {
    let mut spans = vec![whole.to_owned(), said.join(" ")];
    for length in 1..=SPAN.min(said.len()) {
        spans.extend(said.windows(length).map(|span| span.join(" ")).filter(|it| it.len() > 3));
    }
    let quoted = asked.quoted.iter();
    spans.extend(quoted.map(|phrase| fold(phrase)));
    spans
}

/// What may be a whole name of several words if one of them is what a mistyped one may be.
fn meant(said: &[&str], near: &[Near]) -> Vec<String> {
    let mut meant = BTreeSet::new();
    for length in 2..=SPAN.min(said.len()) {
        for span in said.windows(length) {
            for (at, typed) in span.iter().enumerate() {
                for near in near.iter().filter(|near| near.typed == *typed) {
                    for word in &near.words {
                        let mut span = span.to_vec();
                        span[at] = word;
                        meant.insert(span.join(" "));
                    }
                }
            }
            if meant.len() >= MEANT {
                break;
            }
        }
    }
    meant.into_iter().take(MEANT).collect()
}

/// The text with what `like` would take for wildcards taken as it is.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
