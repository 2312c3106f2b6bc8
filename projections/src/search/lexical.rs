//! Search by word and by name, in the tables of [`super::passage`].
//!
//! A passage is a hit if it has any word of the question. The rare words of a question say which passages are looked at, all
//! of them how good these are: so a word that half of all passages have costs nothing. Cards are looked at apart from other
//! texts, so that thousands of contacts leave room for what was said. Names are found by their words and by
//! what mistyped ones may be, or else by their trigrams. All of it is asked in one snapshot.

mod beside;
mod quoted;
mod words;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::{Kind, RecordRef};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder, Row as _};

use super::asked::Asked;
use super::commonness::Common;
use super::highlight::{Sought, Tally, Wanted};
use super::lag::changed_since;
use super::names::{self, NameHit};
use super::passage::named;
use super::{Filter, Language, Part};

pub(super) use beside::Titled;
use beside::{cards, people_of, said_beside, titled};
pub(super) use words::{Opened, Word, folded, open};
use words::{any_form, any_of, meant, rare, words};

/// What is ranked apart, and the most passages of each that are. The conditions are those of the indexes.
const TEXTS: Group = Group { condition: "part <> 'card'", ranked: 500 };
const CARDS: Group = Group { condition: "part = 'card'", ranked: 250 };

/// How many passages of a group are looked at more closely.
const CLOSELY: i64 = 100;

/// How many records at most have a word that is rare: whoever types nothing but such words, as a name is, means those that have
/// them.
const FEW: usize = 10;

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
    /// Whether it has every word of the question.
    pub(super) has_all: bool,
    /// Whether it has the quotations: all, or one where nothing has all.
    pub(super) is_quoted: bool,
    /// Whether it has some words itself, and others stand beside it.
    pub(super) is_told_by_both: bool,
}

/// A passage whose words of the question are counted.
struct Counted<'w> {
    passage: Passage,
    is_quoted: bool,
    tally: Tally<'w>,
    is_told_by_both: bool,
}

impl<'w> Counted<'w> {
    fn new(tally: Tally<'w>, passage: Passage, is_quoted: bool) -> Self {
        Self { passage, is_quoted, tally, is_told_by_both: false }
    }

    /// The same with the words that stand beside its record.
    fn with(mut self, beside: &HashMap<RecordRef, HashSet<usize>>) -> Self {
        if let Some(beside) = beside.get(&self.passage.record).filter(|it| !it.is_empty()) {
            self.is_told_by_both =
                self.tally.has().enumerate().any(|(at, has)| has && !beside.contains(&at));
            self.tally.say(beside);
        }
        self
    }
}

/// The passages that are looked at for a question.
struct LookedAt {
    /// What is quoted first, with whether it is.
    passages: Vec<(Passage, bool)>,
    /// A query for the rare words, as text.
    rare: String,
    /// The records among them that people name.
    cards: Vec<RecordRef>,
    /// Whether there are others.
    is_cut: bool,
}

/// Passages that are ranked among each other.
struct Group {
    condition: &'static str,
    ranked: i64,
}

/// The best passages.
#[derive(Default)]
struct Best {
    passages: Vec<Passage>,
    /// Whether there are others.
    is_cut: bool,
}

/// What was found by word and by name, the best first, each record once in each list.
#[derive(Clone, Debug, Default)]
pub(super) struct Lexical {
    pub(super) words: Vec<WordHit>,
    pub(super) names: Vec<NameHit>,
    /// Whom the question may name, with their names, folded.
    pub(super) named: Vec<Titled>,
    /// Whether more passages have words of the question than are looked at.
    pub(super) is_cut: bool,
    /// Whether the question is a name and nothing else.
    pub(super) is_name: bool,
    /// Whether few records have each of its words.
    pub(super) is_rare: bool,
    /// What was looked for, to be shown.
    pub(super) wanted: Vec<Wanted>,
}

/// Settings of the transaction that [`find`] wants: the planner must read neither a whole table to be done early nor a whole index
/// instead of a hundred of its entries, which are in memory or on a disk without moving parts; and what makes names similar.
pub(super) fn settings() -> String {
    let (part, word) = (names::SIMILAR, names::SIMILAR_WORD);
    format!(
        "set local enable_seqscan = off; set local random_page_cost = 1.1;
         set local pg_trgm.word_similarity_threshold = {part};
         set local pg_trgm.strict_word_similarity_threshold = {word}"
    )
}

/// Finds by word and by name what is asked for, which is given as it is and folded, within a transaction with these [`settings`] that
/// [`open`] has begun. Where the texts are behind the log, at this position, nobody is known by a name that may have changed since.
pub(super) async fn find(
    db: &mut PgConnection,
    common: Arc<Common>,
    asked: &Asked,
    folded: &str,
    filter: &Filter,
    behind: Option<i64>,
) -> Result<Lexical, sqlx::Error> {
    if asked.is_empty() {
        return Ok(Lexical::default());
    }
    let typed = words(db, &common, asked, folded).await?;
    let words = meant(&common, &typed, asked);
    let wanted: Vec<Wanted> = words.iter().map(Word::wanted).collect();
    let LookedAt { passages: hits, rare, cards, is_cut } =
        looked_at(db, &words, asked, filter).await?;
    let sought = Sought::of(&wanted);
    // While Postgres looks for names, the words of what it has found are counted.
    let naming = async {
        let mut titled = titled(db, &words, &rare, cards, filter).await?;
        if let Some(position) = behind {
            let records = titled.iter().map(|(record, _)| *record);
            let changed = changed_since(db, position, records).await?;
            titled.retain(|(record, _)| !changed.contains(record));
        }
        let names = names::find(db, folded, asked, &typed, &titled, filter, behind).await?;
        // A name alone asks for nobody of theirs.
        let whose = if words.len() > 1 { &names.named[..] } else { &[] };
        let people = people_of(db, whose, filter).await?;
        let named = names.named.iter().chain(&titled);
        let found = hits.iter().map(|(passage, _)| passage).chain(&people);
        let beside = said_beside(db, found, named, words.iter().zip(&wanted), &sought).await?;
        Ok::<_, sqlx::Error>((names, titled, people, beside))
    };
    let counting =
        async { hits.iter().map(|(passage, _)| sought.tally(&passage.text)).collect::<Vec<_>>() };
    let (named, tallies) = tokio::join!(naming, counting);
    let (names, titled, people, beside) = named?;
    let there: HashSet<RecordRef> = hits.iter().map(|(passage, _)| passage.record).collect();
    let people = people.into_iter().filter(|passage| !there.contains(&passage.record));
    let count = |it: Passage| Counted::new(sought.tally(&it.text), it, false).with(&beside);
    // Who has nothing of the question but the name of whom they belong to is not asked for.
    let people = people.map(count).filter(|hit| hit.is_told_by_both);
    let counted = hits.into_iter().zip(tallies);
    let counted =
        counted.map(|((it, is_quoted), tally)| Counted::new(tally, it, is_quoted).with(&beside));
    let hits: Vec<Counted<'_>> = counted.chain(people).collect();
    let is_rare = are_rare(hits.iter().map(|hit| (hit.passage.record, &hit.tally)));
    let (words, is_name) = (best_of_each(hits), names.is_all);
    let named = names.named.into_iter().chain(titled).collect();
    Ok(Lexical { words, names: names.hits, named, is_cut, is_name, is_rare, wanted })
}

/// Looks for the passages that have words of a question, or what is quoted in it.
async fn looked_at(
    db: &mut PgConnection,
    words: &[Word],
    asked: &Asked,
    filter: &Filter,
) -> Result<LookedAt, sqlx::Error> {
    let mut passages = Vec::new();
    if !asked.quoted.is_empty() {
        passages = quoted::find(db, words, asked, filter).await?;
    }
    let few = rare(words);
    let rare = any_of(&words[..few]);
    let mut best = ranked(db, words, &rare, &[], filter).await?;
    if few < words.len() && best.is_scarce(filter) {
        let others = ranked(db, words, &any_of(words), &[], filter).await?;
        best.add(others);
    }
    let cards = cards(&best.passages);
    passages.extend(best.passages.into_iter().map(|passage| (passage, false)));
    Ok(LookedAt { passages, rare, cards, is_cut: best.is_cut })
}

impl Best {
    /// Whether rare words gave so little that passages with the other words should be looked at as well. Cards count only where
    /// texts are not asked for: there are always some more with a common word.
    fn is_scarce(&self, filter: &Filter) -> bool {
        let counts = |passage: &&Passage| !has_texts(filter) || passage.part != Part::Card;
        let found = self.passages.iter().filter(counts).count();
        found < usize::try_from(CLOSELY).unwrap_or(usize::MAX)
    }

    /// Adds what others there are. What is there stays: of a common word just any passages were looked at.
    fn add(&mut self, others: Best) {
        let place = |passage: &Passage| (passage.record, passage.part, passage.ordinal);
        let there: HashSet<_> = self.passages.iter().map(place).collect();
        let new = others.passages.into_iter().filter(|passage| !there.contains(&place(passage)));
        self.passages.extend(new);
        self.is_cut |= others.is_cut;
    }
}

/// The best of the passages that a query finds and that match all of these regular expressions, by which words they have.
/// Without a query every passage is looked at.
async fn ranked(
    db: &mut PgConnection,
    words: &[Word],
    query: &str,
    phrases: &[String],
    filter: &Filter,
) -> Result<Best, sqlx::Error> {
    if query.is_empty() && phrases.is_empty() {
        return Ok(Best::default());
    }
    // Texts are fetched last, by where they stand: most of what is ranked is not wanted.
    let mut statement = QueryBuilder::new(format!(
        "select {PASSAGE}, place from (
             select at, row_number() over (
                 partition by part = 'card' order by score desc, kind, id, part, ordinal) as place
             from (select at, kind, id, part, ordinal, (0"
    ));
    for word in words.iter().filter(|word| word.is_known) {
        statement.push(" + case when words @@ ").push_bind(word.query());
        statement.push("::text::tsquery then ").push_bind(word.weight).push(" else 0 end");
    }
    // Of two passages with the same words the shorter speaks more of them.
    statement.push(") / (0.7::float8 + 0.003::float8 * length(words)) as score from (");
    for (before, group) in ["", " union all "].into_iter().zip(groups(filter)) {
        let Group { condition, ranked } = group;
        statement.push(format!(
            "{before}(select ctid as at, kind, id, part, ordinal, words from passage where {condition}"
        ));
        if !query.is_empty() {
            statement.push(" and words @@ ").push_bind(query.to_owned()).push("::text::tsquery");
        }
        restrict_passages(&mut statement, filter);
        for phrase in phrases {
            statement.push(" and crm_fold(text) ~ ").push_bind(phrase.clone());
        }
        statement.push(format!(" limit {ranked})"));
    }
    // One more than are wanted tells whether there are others.
    statement.push(format!(
        ") as looked_at) as scored) as placed join passage on passage.ctid = placed.at
         where place <= {CLOSELY} + 1 order by place"
    ));
    // There are too many ways to filter and to quote for all of them to be remembered.
    let is_plain = phrases.is_empty() && *filter == Filter::default();
    let rows = statement.build().persistent(is_plain).fetch_all(db).await?;
    let mut best = Best::default();
    for row in &rows {
        match row.try_get::<i64, _>("place")? <= CLOSELY {
            true => best.passages.push(Passage::from_row(row)?),
            false => best.is_cut = true,
        }
    }
    Ok(best)
}

/// The groups in which there may be what passes a filter: only notes have texts beside their cards.
fn groups(filter: &Filter) -> impl Iterator<Item = Group> {
    has_texts(filter).then_some(TEXTS).into_iter().chain([CARDS])
}

fn has_texts(filter: &Filter) -> bool {
    filter.kinds.is_empty() || filter.kinds.contains(&Kind::Note)
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
    restrict_about(statement, filter);
}

/// Adds the conditions of a filter on what passages are about, and of which day.
pub(super) fn restrict_about(statement: &mut QueryBuilder<'_, Postgres>, filter: &Filter) {
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

/// Whether few of these records have each word.
fn are_rare<'a>(found: impl Iterator<Item = (RecordRef, &'a Tally<'a>)>) -> bool {
    let mut having: Vec<HashSet<RecordRef>> = Vec::new();
    for (record, tally) in found {
        for (at, _) in tally.has().enumerate().filter(|(_, has)| *has) {
            having.resize(having.len().max(at + 1), HashSet::new());
            having[at].insert(record);
        }
    }
    having.iter().all(|records| records.len() <= FEW)
}

/// The best passage of each record, the best record first.
fn best_of_each(passages: Vec<Counted<'_>>) -> Vec<WordHit> {
    let hit = |Counted { passage, is_quoted, tally, is_told_by_both }: Counted<'_>| WordHit {
        passage,
        relevance: tally.relevance(),
        coverage: tally.coverage(),
        has_all: tally.has().all(|has| has),
        is_quoted,
        is_told_by_both,
    };
    let mut hits: Vec<WordHit> = passages.into_iter().map(hit).collect();
    hits.sort_by(|one, other| {
        let quoted = other.is_quoted.cmp(&one.is_quoted);
        let order = quoted.then(other.relevance.total_cmp(&one.relevance));
        let place = |hit: &WordHit| (hit.passage.record, hit.passage.part, hit.passage.ordinal);
        order.then_with(|| place(one).cmp(&place(other)))
    });
    let mut seen = HashSet::new();
    hits.retain(|hit| seen.insert(hit.passage.record));
    hits
}

#[cfg(test)]
impl Passage {
    /// One that says nothing, to test with.
    pub(super) fn example(record: RecordRef, part: Part) -> Self {
        let (text, language, recording, starts_ms) = (String::new(), None, None, None);
        Self { record, part, ordinal: 0, text, language, recording, starts_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(part: Part, ids: std::ops::Range<i64>) -> Best {
        let passage = |id| Passage::example(Kind::Lp.record(id), part);
        Best { passages: ids.map(passage).collect(), is_cut: false }
    }

    #[test]
    fn words_are_rare_if_few_records_have_each() {
        let wanted = ["hendrick", "came"].map(|it| Wanted::new(&[it.to_owned()], 1.0));
        let sought = Sought::of(&wanted);
        let rare = |texts: &[(i64, &str)]| {
            let tallies: Vec<_> = texts
                .iter()
                .map(|(id, text)| (Kind::Note.record(*id), sought.tally(text)))
                .collect();
            are_rare(tallies.iter().map(|(record, tally)| (*record, tally)))
        };
        let few = i64::try_from(FEW).unwrap();
        let mut texts: Vec<(i64, &str)> = (0..few).map(|id| (id, "Hendricks came.")).collect();
        assert!(rare(&[]) && rare(&texts));
        texts.push((0, "Hendricks said so once more."));
        assert!(rare(&texts), "records count, not passages");
        texts.push((few, "Nobody else came."));
        assert!(!rare(&texts));
    }

    #[test]
    fn what_rare_words_found_stays_and_enough_cards_are_enough_where_texts_are_not_asked_for() {
        let any = Filter::default();
        let lps = Filter { kinds: vec![Kind::Lp], ..Filter::default() };
        assert!(found(Part::Card, 0..CLOSELY).is_scarce(&any));
        assert!(!found(Part::Card, 0..CLOSELY).is_scarce(&lps));
        assert!(found(Part::Card, 1..CLOSELY).is_scarce(&lps));
        assert!(!found(Part::Text, 0..CLOSELY).is_scarce(&any));
        let mut best = found(Part::Card, 0..3);
        best.add(found(Part::Card, 2..5));
        let ids: Vec<i64> = best.passages.iter().map(|passage| passage.record.id()).collect();
        assert_eq!(ids, [0, 1, 2, 3, 4]);
    }
}
