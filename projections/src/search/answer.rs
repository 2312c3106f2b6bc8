//! Answers to what somebody asks: what was found by word, by name and by meaning as one list, a page of it with all that is
//! shown.
//!
//! Only texts that stand in the tables at that moment are shown or counted: what an engine still holds of others is left
//! out, by the digests of the texts.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::{Kind, RecordRef};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::asked::{Asked, Correction};
use super::commonness::Commonness;
use super::dictionary;
use super::found::{Found, Gathered};
use super::fuse::Reason;
use super::lag::{Followed, changed_since};
use super::lexical::{self, Lexical, Opened, Passage};
use super::meaning::{Nearest, Unready};
use super::scope::{Scope, Scoped};
use super::showing::{shown, standing};
use super::text::is_brief;
use super::topic::Topic;
use super::unembedded::unembedded;
use super::vocabulary::{Understood, Vocabulary};
use super::{Filter, Meaning, Part};
use crate::database::{Database, DatabaseError};
use crate::line::Lines;

/// How many of the nearest texts are fused with what was found otherwise.
const NEAREST: usize = 100;

/// What is missing of a page that goes on after one without meaning.
const GOES_ON_BY_WORD: &str = "the page before was found by word alone, and so is this one: begin anew without `cursor` to search by meaning as well";

/// What to do where a page cannot go on.
const CANNOT_GO_ON: &str = "The page before was found by meaning as well, and the next one would repeat hits of it: ask again in a \
                            moment, or begin anew without `cursor`";

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
        let mut understood = self.vocabulary.understood(&self.database, &wanted.asked).await?;
        // Meaning is not asked twice.
        if wanted.mode != Mode::Lexical && understood.as_of.is_some() {
            understood = self.vocabulary.understood_now(&self.database, &wanted.asked).await?;
        }
        loop {
            if let Some(page) = self.answered(wanted, understood).await? {
                return Ok(page);
            }
            // This is right whatever changes.
            understood = self.vocabulary.understood_now(&self.database, &wanted.asked).await?;
        }
    }

    /// Likewise, by what a question was understood to mean; `None` if that may no longer be right.
    async fn answered(
        &self,
        wanted: &Wanted,
        understood: Understood,
    ) -> Result<Option<Page>, SearchError> {
        let Understood { mut asked, as_of } = understood;
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
                Box::pin(async move { search.look(db, &asked, as_of, near, mode).await })
            })
            .await?;
        let corrections = wanted.asked.corrections.clone();
        Ok(page.map(|page| Page { mode, missing, corrections, ..page }))
    }

    /// What stands in the tables, in one snapshot; `None` if records have changed there behind the position as of which the question was
    /// understood.
    async fn look(
        &self,
        connection: &mut PgConnection,
        wanted: &Wanted,
        as_of: Option<i64>,
        nearest: Nearest,
        mode: Mode,
    ) -> Result<Option<Page>, sqlx::Error> {
        let settings = lexical::settings();
        let begin = format!("begin isolation level repeatable read read only; {settings}");
        let mut tx = connection.begin_with(begin).await?;
        let Wanted { asked, filter, .. } = wanted;
        let Opened { folded, followed, is_current } = lexical::open(&mut tx, asked, as_of).await?;
        if !is_current {
            return Ok(None);
        }
        let Followed { behind: lag, parked } = followed;
        let is_gone = is_any_gone(&mut tx, &filter.about).await?;
        let lexical = match mode {
            _ if is_gone => Lexical::default(),
            Mode::Semantic => Lexical::default(),
            Mode::Hybrid | Mode::Lexical => {
                let common = self.commonness.now(&mut tx).await?;
                lexical::find(&mut tx, common, asked, &folded, filter, lag).await?
            }
        };
        let scope =
            Scope::of(asked, &lexical.named, filter).filter(|_| mode != Mode::Semantic && !is_gone);
        let scoped = match &scope {
            Some(scope) => self.scoped(&mut tx, scope, lag, mode).await?,
            None => Scoped::default(),
        };
        let subject = scope.as_ref().map_or(asked, |scope| &scope.rest);
        let topical = match mode {
            Mode::Hybrid if !is_gone => self.topical(&mut tx, subject, filter, &lexical).await?,
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
        let mut near = standing(&mut tx, near, filter).await?;
        near.retain(|passage| tells_enough(passage, filter));
        near.truncate(NEAREST);
        let is_cut = lexical.is_cut || scoped.is_cut;
        let gathered = Gathered { lexical, scoped, near, topical, unspoken };
        let mut found = Found::of(wanted, gathered, mode);
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
        Ok(Some(Page { hits, facets, is_cut, is_behind, next: page.next, ..Page::default() }))
    }
}

impl Search {
    /// What there is of the time and the kind that a question names.
    async fn scoped(
        &self,
        db: &mut PgConnection,
        scope: &Scope,
        behind: Option<i64>,
        mode: Mode,
    ) -> Result<Scoped, sqlx::Error> {
        let common = self.commonness.now(db).await?;
        let mut found = scope.find(db, common, behind).await?;
        // To a kind alone cards are near that say no more than it.
        if mode == Mode::Hybrid && scope.is_of_time && scope.rest.means_something() {
            // Where that cannot be asked now, what was found otherwise is the answer.
            let near = self.meaning.nearest(&scope.rest, &scope.filter, 3 * NEAREST).await;
            let near = near.map(|near| near.near).unwrap_or_default();
            found.near = standing(db, near, &scope.filter).await?;
            found.near.retain(|passage| tells_enough(passage, &Filter::default()));
            found.near.truncate(NEAREST);
        }
        Ok(found)
    }

    /// What was said about the topic of a question with whom it names, the nearest first.
    async fn topical(
        &self,
        db: &mut PgConnection,
        asked: &Asked,
        filter: &Filter,
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
