//! Answers to what somebody asks: what was found by word, by name and by meaning as one list, a page of it with all that is
//! shown.
//!
//! Only texts that stand in the tables at that moment are shown or counted: what an engine still holds of others is left
//! out, by the digests of the texts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::{Kind, RecordRef};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::asked::{Asked, Correction};
use super::commonness::Commonness;
use super::dictionary;
use super::fuse::{Fused, Ranked, Reason, by_share, fuse};
use super::highlight;
use super::lag::{Followed, changed_since, followed};
use super::lexical::{self, Lexical, Passage, WordHit};
use super::meaning::{Nearest, Unready};
use super::names::NameHit;
use super::showing::{shown, standing};
use super::text::is_brief;
use super::topic::Topic;
use super::unembedded::unembedded;
use super::vocabulary::Vocabulary;
use super::{Filter, Meaning, Part};
use crate::database::{Database, DatabaseError};
use crate::line::Lines;

/// How many of the nearest texts are fused with what was found otherwise.
const NEAREST: usize = 100;

/// What a place among the nearest counts for: as much as one among those that have all words, which go first all the same.
const NEAR: f64 = 0.999;

/// What a place among the nearest counts for where the question is a name, which texts are near to by chance.
const NEAR_A_NAME: f64 = 0.25;

/// What is missing of a page that goes on after one without meaning.
const GOES_ON_BY_WORD: &str = "the page before was found by word alone, and so is this one: begin anew without `cursor` to search by meaning as well";

/// What to do where a page cannot go on.
const CANNOT_GO_ON: &str = "The page before was found by meaning as well, and the next one would repeat hits of it: ask again in a \
                            moment, or begin anew without `cursor`";

/// From this likeness on a name says that its record is meant, and not something like it.
const MEANT: f64 = 0.5;

/// From this share of a question on a card that has it is meant, and what that counts for beside texts, which may be near as well.
const MOST_OF_IT: f64 = 0.5;
const CARD: f64 = 2.0;

/// What a name counts for that is just what was asked for, beside one that only begins so or has more words.
const CALLED_SO: f64 = 2.0;

/// How to search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// By word, by name and by meaning.
    #[default]
    Hybrid,
    /// By meaning alone.
    Semantic,
    /// By word and by name.
    Lexical,
}

impl Mode {
    /// Its name in requests and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Hybrid => "hybrid",
            Mode::Semantic => "semantic",
            Mode::Lexical => "lexical",
        }
    }

    /// The mode of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Mode::Hybrid, Mode::Semantic, Mode::Lexical].into_iter().find(|it| it.as_str() == name)
    }
}

/// What is wanted of a search.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The question.
    pub asked: Asked,
    /// Where to look.
    pub filter: Filter,
    /// How.
    pub mode: Mode,
    /// What comes after this hit of an earlier page.
    pub after: Option<Cursor>,
    /// How many hits at most.
    pub limit: usize,
}

/// The place of a hit among all hits of a question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cursor {
    /// Whether it is exactly what was asked for.
    pub is_exact: bool,
    /// How well it answers.
    pub score: f64,
    /// Which it is.
    pub record: RecordRef,
    /// How its page was searched, which says how the next one is; cursors of earlier releases do not tell.
    pub mode: Option<Mode>,
}

/// A record that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Which.
    pub record: RecordRef,
    /// What people call it.
    pub title: String,
    /// What tells it from others of that name.
    pub detail: Option<String>,
    /// The day it is of.
    pub date: Option<DateTime<Utc>>,
    /// What of it answers best.
    pub passage: Option<Passage>,
    /// What of that passage was asked for: from and to, in characters.
    pub highlights: Vec<[usize; 2]>,
    /// How well it answers, compared with other hits of the same question.
    pub score: f64,
    /// What each reason adds to that; nothing if it does not speak for it.
    pub parts: [(Reason, f64); 3],
}

/// A part of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The hits, the best first.
    pub hits: Vec<Hit>,
    /// How many hits there are of each kind, on all pages together.
    pub facets: BTreeMap<Kind, usize>,
    /// Whether more passages have words of the question than are looked at, so that pages and counts show the best of them.
    pub is_cut: bool,
    /// The place of the last hit, if others follow.
    pub next: Option<Cursor>,
    /// What was probably meant by words that nobody wrote, and looked for as well.
    pub corrections: Vec<Correction>,
    /// How it was searched: not always as was wanted.
    pub mode: Mode,
    /// Whether the texts are behind the log: what was written since is not found, and what changed since is left out.
    pub is_behind: bool,
    /// Why it was not searched by meaning, or which texts were not, if that was wanted.
    pub missing: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// It cannot be searched by meaning, which alone was wanted, or by which the page before was found; the text says what is
    /// missing.
    #[error("{0}")]
    Missing(String),
    /// The database did not answer.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Answers what somebody asks. Clones share what they know of words.
#[derive(Clone)]
pub struct Search {
    pub(super) database: Database,
    pub(super) meaning: Meaning,
    commonness: Commonness,
    vocabulary: Vocabulary,
    lines: Arc<Lines>,
}

impl Search {
    /// In the texts of this database, and by this meaning.
    pub fn new(database: Database, meaning: Meaning) -> Self {
        let (commonness, vocabulary, lines) = Default::default();
        Self { database, meaning, commonness, vocabulary, lines }
    }

    /// Keeps the words of texts in memory, by which typing errors are corrected, up with the texts until it is stopped. `tail` tells
    /// where the log ends. Without it a question reads them, and those of many texts are not read in time.
    pub async fn keep_words(self, tail: watch::Receiver<i64>, stop: CancellationToken) {
        tokio::task::spawn_blocking(dictionary::prepare);
        self.vocabulary.keep(self.database, tail, stop).await;
    }

    /// What is known of meaning.
    pub fn meaning(&self) -> &Meaning {
        &self.meaning
    }

    /// A page of hits, searched as the one before was, if there was one. A hybrid search without a model, whose texts are not
    /// embedded, or whose engine does not answer, is one by word, and says so; but not where the page before was found by
    /// meaning as well.
    ///
    /// # Errors
    /// See [`SearchError`].
    pub async fn find(&self, wanted: &Wanted) -> Result<Page, SearchError> {
        let mut asked = self.vocabulary.understood(&self.database, &wanted.asked).await?;
        asked.keep_corrections(|typed| !dictionary::has(typed));
        let wanted = &Wanted { asked, ..wanted.clone() };
        let before = wanted.after.and_then(|after| after.mode);
        let goes_on_by_word = wanted.mode == Mode::Hybrid && before == Some(Mode::Lexical);
        let near = match wanted.mode {
            _ if goes_on_by_word => Err(Unready::Missing(GOES_ON_BY_WORD.to_owned())),
            Mode::Lexical => Ok(None),
            _ if wanted.asked.is_empty() => Ok(None),
            _ if !wanted.asked.means_something() => {
                self.meaning.missing().map_or(Ok(None), |missing| Err(Unready::Missing(missing)))
            }
            _ => {
                // More than are ranked: several may be of one record, and some no longer stand there.
                let most = if wanted.filter.kinds.is_empty() { 3 * NEAREST } else { NEAREST };
                self.meaning.nearest(&wanted.asked, &wanted.filter, most).await.map(Some)
            }
        };
        let (near, mode, missing) = match near {
            Ok(Some(mut near)) => {
                let lacks = near.lacks.take();
                (near, wanted.mode, lacks)
            }
            Ok(None) => (Nearest::default(), wanted.mode, None),
            Err(Unready::Database(error)) => return Err(error.into()),
            Err(unready) if wanted.mode == Mode::Semantic => {
                return Err(SearchError::Missing(unready.to_string()));
            }
            Err(unready) if before == Some(Mode::Hybrid) => {
                return Err(SearchError::Missing(format!("{unready}. {CANNOT_GO_ON}")));
            }
            Err(unready) => (Nearest::default(), Mode::Lexical, Some(unready.to_string())),
        };
        let (search, asked) = (self.clone(), wanted.clone());
        let page = self
            .lines
            .ask(&self.database, move |db| {
                Box::pin(async move { search.look(db, &asked, near, mode).await })
            })
            .await?;
        Ok(Page { mode, missing, corrections: wanted.asked.corrections.clone(), ..page })
    }

    /// What stands in the tables, in one snapshot.
    async fn look(
        &self,
        connection: &mut PgConnection,
        wanted: &Wanted,
        nearest: Nearest,
        mode: Mode,
    ) -> Result<Page, sqlx::Error> {
        let settings = lexical::settings();
        let begin = format!("begin isolation level repeatable read read only; {settings}");
        let mut tx = connection.begin_with(begin).await?;
        let Wanted { asked, filter, .. } = wanted;
        let Followed { behind: lag, parked } = followed(&mut tx).await?;
        let is_gone = is_any_gone(&mut tx, &filter.about).await?;
        let lexical = match mode {
            _ if is_gone => Lexical::default(),
            Mode::Semantic => Lexical::default(),
            Mode::Hybrid | Mode::Lexical => {
                let common = self.commonness.now(&mut tx).await?;
                lexical::find(&mut tx, common, asked, filter, lag).await?
            }
        };
        let topical = match mode {
            Mode::Hybrid if !is_gone => self.topical(&mut tx, wanted, &lexical).await?,
            _ => vec![],
        };
        let unspoken = match nearest.answerer.filter(|_| mode == Mode::Hybrid) {
            Some(answerer) => {
                let records = lexical.words.iter().map(|hit| hit.passage.record);
                unembedded(&mut tx, answerer, records).await?
            }
            None => HashSet::new(),
        };
        let near = if is_gone { vec![] } else { nearest.near };
        let mut meant = standing(&mut tx, near, filter).await?;
        meant.retain(|passage| tells_enough(passage, filter));
        meant.truncate(NEAREST);
        let is_cut = lexical.is_cut;
        let mut found = Found::of(wanted, lexical, &unspoken, [meant, topical], mode);
        found.hits.retain(|hit| !parked.contains(&hit.item));
        if let Some(position) = lag {
            let records = found.hits.iter().map(|hit| hit.item);
            let changed = changed_since(&mut tx, position, records).await?;
            found.hits.retain(|hit| !changed.contains(&hit.item));
        }
        let page = found.page(wanted, mode);
        let hits = shown(&mut tx, &mut found, page.hits, asked).await?;
        tx.rollback().await?;
        let (facets, is_behind) = (found.facets(), lag.is_some());
        Ok(Page { hits, facets, is_cut, is_behind, next: page.next, ..Page::default() })
    }
}

impl Search {
    /// What was said about the topic of a question with whom it names, the nearest first.
    async fn topical(
        &self,
        db: &mut PgConnection,
        Wanted { asked, filter, .. }: &Wanted,
        lexical: &Lexical,
    ) -> Result<Vec<Passage>, sqlx::Error> {
        let topic = Topic::of(asked, &lexical.named, |word| self.meaning.knows(word));
        let Some(topic) = topic else { return Ok(vec![]) };
        let cards = lexical.words.iter().map(|hit| &hit.passage).filter(|it| it.part == Part::Card);
        let mut theirs = cards.filter(|it| topic.about.contains(&it.record));
        if theirs.any(|card| topic.is_description(&card.text)) {
            return Ok(vec![]);
        }
        let Topic { about, rest } = topic;
        let question = Asked::of(&rest);
        let mut near = Vec::new();
        for record in &about {
            let mut narrowed = filter.clone();
            narrowed.about.push(*record);
            // Where that cannot be asked now, what was found otherwise is the answer.
            let found = self.meaning.nearest(&question, &narrowed, NEAREST).await;
            near.extend(found.map(|found| found.near).unwrap_or_default());
        }
        near.sort_by(|one, other| other.score.total_cmp(&one.score));
        let mut meant = standing(db, near, filter).await?;
        let mut seen: HashSet<RecordRef> = about.into_iter().collect();
        meant.retain(|passage| tells_enough(passage, filter) && seen.insert(passage.record));
        meant.truncate(NEAREST);
        Ok(meant)
    }
}

/// Whether a passage says enough to be near to something. Sets from before do not know which cards are brief.
fn tells_enough(passage: &Passage, filter: &Filter) -> bool {
    !filter.kinds.is_empty() || !is_brief(passage.part, &passage.text)
}

/// Whether any of these records is not there: nothing is linked to it any more.
async fn is_any_gone(db: &mut PgConnection, records: &[RecordRef]) -> Result<bool, sqlx::Error> {
    if records.is_empty() {
        return Ok(false);
    }
    sqlx::query_scalar(
        "select exists (select from unnest($1::text[], $2::bigint[]) as asked (kind, id)
             left join findable f using (kind, id) where coalesce(f.archived, true))",
    )
    .bind(records.iter().map(|record| record.kind().as_str()).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.id()).collect::<Vec<_>>())
    .fetch_one(db)
    .await
}

/// All that was found.
pub(super) struct Found {
    hits: Vec<Fused<RecordRef>>,
    /// The passage of each that is shown, but for those that were found by name alone.
    pub(super) passages: HashMap<RecordRef, Passage>,
    pub(super) wanted: Vec<highlight::Wanted>,
}

/// Those of the hits that make a page.
struct Chosen {
    hits: Vec<Fused<RecordRef>>,
    next: Option<Cursor>,
}

impl Found {
    /// Of the `unspoken` their words say all that can be said: meaning does not know them yet. What is `meant` are the nearest to the
    /// question, and to its topic among what is about whom it names.
    fn of(
        wanted: &Wanted,
        lexical: Lexical,
        unspoken: &HashSet<RecordRef>,
        meant: [Vec<Passage>; 2],
        mode: Mode,
    ) -> Self {
        let Wanted { asked, filter, .. } = wanted;
        let is_foreign = |passage: &Passage| {
            let both = asked.language.zip(passage.language);
            mode == Mode::Hybrid && both.is_some_and(|(question, text)| question != text)
        };
        let mut passages = HashMap::new();
        let is_meant_by_word = mode == Mode::Hybrid && means_its_words(asked, &lexical);
        let words = lexical.words.iter().map(|hit| Ranked {
            item: hit.passage.record,
            weight: match mode {
                // As if it were as near by meaning as it is by word.
                Mode::Hybrid if unspoken.contains(&hit.passage.record) => {
                    NEAR + by_share(hit.coverage)
                }
                // Its vector is not looked at unless its kind is asked for.
                Mode::Hybrid if filter.kinds.is_empty() && is_telling_card(hit) => {
                    CARD * hit.coverage
                }
                Mode::Hybrid => by_share(hit.coverage),
                _ => 1.0,
            },
            is_exact: hit.is_quoted || (is_meant_by_word && hit.has_all),
        });
        let words: Vec<Ranked<RecordRef>> = words.collect();
        // A note has a text to be near to the question; of what is only called something, the name stands for that.
        let standing_alone = |hit: &NameHit| {
            mode == Mode::Hybrid
                && hit.record.kind() != Kind::Note
                && !hit.is_about
                && hit.likeness >= MEANT
        };
        let named = lexical.names.iter().map(|hit| Ranked {
            item: hit.record,
            weight: hit.likeness
                * if standing_alone(hit) { 2.0 } else { 1.0 }
                * if hit.is_exact && hit.likeness >= 1.0 { CALLED_SO } else { 1.0 },
            is_exact: hit.is_exact || asked.records.contains(&hit.record),
        });
        let named: Vec<Ranked<RecordRef>> = named.collect();
        let weight = if lexical.is_name { NEAR_A_NAME } else { NEAR };
        let ranked = |passage: &Passage| Ranked { item: passage.record, weight, is_exact: false };
        let nearest =
            meant.each_ref().map(|list| (Reason::Meaning, list.iter().map(ranked).collect()));
        // What is in another language is shown only if nothing else speaks for the record.
        let (foreign, own): (Vec<Passage>, Vec<Passage>) =
            lexical.words.into_iter().map(|hit| hit.passage).partition(is_foreign);
        for passage in own.into_iter().chain(meant.into_iter().flatten()).chain(foreign) {
            passages.entry(passage.record).or_insert(passage);
        }
        let [nearest, topical] = nearest;
        let lists = [(Reason::Word, words), (Reason::Name, named), nearest, topical];
        Self { hits: fuse(&lists), passages, wanted: lexical.wanted }
    }

    fn facets(&self) -> BTreeMap<Kind, usize> {
        let mut facets = BTreeMap::new();
        for hit in &self.hits {
            *facets.entry(hit.item.kind()).or_default() += 1;
        }
        facets
    }

    fn page(&self, wanted: &Wanted, mode: Mode) -> Chosen {
        let is_later = |hit: &&Fused<RecordRef>| {
            wanted.after.is_none_or(|after| {
                let exact = after.is_exact.cmp(&hit.is_exact);
                let order = exact.then(after.score.total_cmp(&hit.score));
                order.then_with(|| hit.item.cmp(&after.record)).is_gt()
            })
        };
        let mut hits: Vec<Fused<RecordRef>> =
            self.hits.iter().filter(is_later).take(wanted.limit + 1).cloned().collect();
        let is_more = hits.len() > wanted.limit;
        hits.truncate(wanted.limit);
        let last = hits.last().filter(|_| is_more);
        let next = last.map(|hit| Cursor {
            is_exact: hit.is_exact,
            score: hit.score,
            record: hit.item,
            mode: Some(mode),
        });
        Chosen { hits, next }
    }
}

/// Whether it has much of the question, in a card that says who somebody is and is too short for its nearness to mean something: only its
/// words can speak for it.
fn is_telling_card(hit: &WordHit) -> bool {
    let Passage { record, part, text, .. } = &hit.passage;
    record.kind() != Kind::Note && is_brief(*part, text) && hit.coverage >= MOST_OF_IT
}

/// Whether a question is nothing but rare words, as a name is, so that what has all of them is meant. Where some record is called so,
/// that one is.
fn means_its_words(asked: &Asked, lexical: &Lexical) -> bool {
    lexical.is_rare
        && asked.is_brief()
        && asked.quoted.is_empty()
        && !lexical.names.iter().any(|hit| hit.is_exact)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage(note: i64) -> Passage {
        Passage::example(Kind::Note.record(note), Part::Text)
    }

    /// The first note where note 9 has this of the question's words, and notes 1 to 4 are the nearest.
    fn first(question: &str, hit: WordHit, is_rare: bool, unspoken: &[RecordRef]) -> i64 {
        let lexical = Lexical { words: vec![hit], is_rare, ..Lexical::default() };
        let unspoken = unspoken.iter().copied().collect();
        let meant = [(1..=4).map(passage).collect(), vec![]];
        let wanted = Wanted { asked: Asked::of(question), ..Wanted::default() };
        Found::of(&wanted, lexical, &unspoken, meant, Mode::Hybrid).hits[0].item.id()
    }

    fn having(coverage: f64) -> WordHit {
        let (relevance, has_all) = (1.0, coverage > 0.9);
        WordHit { passage: passage(9), relevance, coverage, has_all, is_quoted: false }
    }

    #[test]
    fn what_has_all_words_goes_before_what_is_only_near() {
        assert_eq!(first("Siobhan Nunez", having(1.0), false, &[]), 9);
        assert_eq!(first("Siobhan Nunez", having(0.5), false, &[]), 1);
        // A mistyped word counts for less, and is meant all the same if few have it.
        assert_eq!(first("Hendriks", having(0.95), true, &[]), 9);
        assert_eq!(first("Hendriks", having(0.95), false, &[]), 1);
        assert_eq!(first("what did we say to him of Hendriks", having(0.95), true, &[]), 1);
    }

    #[test]
    fn a_card_that_has_most_of_a_question_goes_before_texts_that_are_only_near() {
        let first = |coverage: f64, kind: Kind| {
            let passage = Passage::example(kind.record(9), Part::Card);
            first("Kestrel Lending Fund III", WordHit { passage, ..having(coverage) }, false, &[])
        };
        assert_eq!(first(0.7, Kind::Fund), 9);
        assert_eq!(first(0.4, Kind::Fund), 1);
        assert_eq!(first(0.7, Kind::Note), 1, "its text may be near");
    }

    #[test]
    fn what_meaning_does_not_know_yet_counts_by_its_words_instead() {
        let new = [Kind::Note.record(9)];
        assert_eq!(first("quixotrope fund?", having(0.8), false, &new), 9);
        assert_eq!(first("quixotrope fund?", having(0.8), false, &[]), 1);
    }
}
