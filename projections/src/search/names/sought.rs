//! What names are compared with, and which of those that are like it are what was asked for.

use std::collections::{BTreeSet, HashSet};

use domain::{Kind, RecordRef};
use sqlx::{PgConnection, Postgres, QueryBuilder, Row as _};

use super::alike::Alike;
use super::{Called, INSIDE, MOST, NAMED, PER_ERROR, SAME, WORDS_OF_NAME};
use super::{escaped, hits_of, is_indexed, pattern, restrict_kinds, without_and};
use crate::prose::fold;
use crate::search::Filter;
use crate::search::asked::{Asked, BRIEF, Near};
use crate::search::lexical::{Word, restrict_records};
use crate::search::spelling::{self, Said};

/// The most words in a row that are looked for as a name.
const SPAN: usize = 4;

/// The most whole names that are looked for because a word may be mistyped.
const MEANT: usize = 200;

/// How many characters of a name are looked for by the index where names are to begin with the question.
const BEGINNING: usize = 20;

/// How many digits a year has.
const YEAR: usize = 4;

/// From this likeness on a name is what was asked for, or begins with it.
const EXACT: f64 = 0.95;

/// From this likeness on a name is like the question, though no word of it may be as it is typed.
const LIKE: f64 = 0.5;

/// What names are compared with.
pub(super) struct Sought<'a> {
    /// The question.
    whole: &'a str,
    /// Its words.
    pub(super) said: Vec<&'a str>,
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
    /// What mistyped words may be.
    near: &'a [Near],
    records: &'a [RecordRef],
}

impl<'a> Sought<'a> {
    /// What a question may name.
    pub(super) fn of(folded: &'a str, said: &[&'a str], asked: &'a Asked, words: &[Word]) -> Self {
        let whole = folded.trim_matches(|c: char| !c.is_alphanumeric());
        Self {
            whole,
            said: said.to_vec(),
            spans: spans(whole, said, asked),
            meant: meant(said, &asked.near),
            inside: if said.len() <= WORDS_OF_NAME { said.to_vec() } else { vec![] },
            like: Alike::of(whole, said, words, &asked.near),
            is_strict: words.iter().all(|word| word.is_known),
            spelt: spelt(said, words, &asked.near),
            near: &asked.near,
            records: &asked.records,
        }
    }
}

impl Sought<'_> {
    pub(super) async fn hits(
        &self,
        db: &mut PgConnection,
        filter: &Filter,
    ) -> Result<Vec<Called>, sqlx::Error> {
        // There are too many ways to filter for all of them to be remembered.
        let is_plain = *filter == Filter::default();
        let statements = [Some(self.statement(filter)), self.like.statement(filter)];
        let mut found: Vec<Called> = Vec::new();
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
    fn told_apart(&self, hits: Vec<Called>) -> Vec<Called> {
        let mut judged = Vec::with_capacity(hits.len());
        for (mut hit, title) in hits {
            let name = without_and(&spelling::words(&title));
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
        has_all(&mut statement, &self.inside, &[]);
        statement.push(" then 0.85 else greatest(0");
        self.like.likeness(&mut statement);
        statement.push(") end::float8 as likeness from findable where not archived and (");
        self.is_it(&mut statement);
        let whole_names = self.spans.iter().chain(&self.meant).cloned().collect::<Vec<_>>();
        statement.push(" or folded_title = any (").push_bind(whole_names).push(") or ");
        self.begins(&mut statement);
        statement.push(" or ");
        has_all(&mut statement, &self.written(), self.near);
        for (one, other) in self.numbers() {
            statement.push(" and (folded_title like ").push_bind(format!("%{one}%"));
            statement.push(" or folded_title like ").push_bind(format!("%{other}%")).push(")");
        }
        // In a query of its own each is not compared with samples of all names while Postgres plans, and this way around the
        // index's answer is looked at once.
        let is_doubtful = self.is_brief() && !self.like.is_told;
        if let Some(it) = self.like.whole.as_ref().filter(|_| is_doubtful) {
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

    /// Whether the question has so few words that names are compared with all of it.
    fn is_brief(&self) -> bool {
        self.inside.len() <= BRIEF
    }

    /// The numbers of a question, as they are typed and as they may be written instead.
    fn numbers(&self) -> impl Iterator<Item = (&str, String)> {
        let numbers =
            self.spelt.iter().filter_map(|said| Some((said.word, spelling::number(said.word)?)));
        numbers.map(|(word, number)| (word, spelling::written_otherwise(word, number)))
    }

    /// Words that are all in a name that is asked for: not numbers, which may be written otherwise there, and of a question that is not
    /// brief those that some text has, so that a name of many words is found though others are mistyped.
    fn written(&self) -> Vec<&str> {
        let spelt = self.spelt.iter().filter(|said| said.is_known || self.is_brief());
        let words = spelt.map(|said| said.word);
        words.filter(|word| spelling::number(word).is_none()).collect()
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
        // Every other name begins with one character or another, and titles of notes with the day.
        let is_number = self.whole.len() < YEAR && self.whole.bytes().all(|it| it.is_ascii_digit());
        let is_unknown = !self.whole.is_ascii() && !is_indexed(self.whole);
        match self.whole.chars().count() {
            _ if is_number || is_unknown => statement.push("false"),
            0 | 1 => statement.push("false"),
            _ => {
                // The index looks for every three letters of it: the first ones are enough.
                let first: String = self.whole.chars().take(BEGINNING).collect();
                statement.push("(folded_title like ").push_bind(format!("{}%", escaped(&first)));
                statement.push(" and starts_with(folded_title, ");
                statement.push_bind(self.whole.to_owned()).push("))")
            }
        };
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

/// Whether a name has all these words, or what those are near that may be mistyped.
fn has_all(statement: &mut QueryBuilder<'_, Postgres>, words: &[&str], near: &[Near]) {
    if !words.iter().any(|word| is_indexed(word)) {
        statement.push("false");
        return;
    }
    for (before, word) in std::iter::once("((").chain(std::iter::repeat(") and (")).zip(words) {
        statement.push(before).push("folded_title like ").push_bind(pattern(word));
        let others = near.iter().filter(|near| near.typed == *word).flat_map(|near| &near.words);
        for other in others.filter(|other| is_indexed(other)) {
            statement.push(" or folded_title like ").push_bind(pattern(other));
        }
    }
    statement.push("))");
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
