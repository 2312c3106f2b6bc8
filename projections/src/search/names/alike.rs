//! Names that are like a question, or have what a mistyped word of it may be.

use sqlx::{Postgres, QueryBuilder};

use super::{MOST, WORDS_OF_NAME, is_indexed, pattern, restrict_kinds};
use crate::search::Filter;
use crate::search::asked::Near;
use crate::search::dictionary;
use crate::search::fuse::BY_CHANCE;
use crate::search::highlight::Wanted;
use crate::search::lexical::{Word, restrict_records};
use crate::search::spelling;

/// The most words that nobody wrote, which may be names mistyped.
const UNKNOWN: usize = 3;

/// One letter in so many of a name must be a word's for it to tell the name from others.
const ONE_IN: usize = 4;

/// What a name may be like. That it is like one word of a question may be chance, so that counts only by the power
/// [`BY_CHANCE`]; that it is like the whole question is not.
pub(super) struct Alike<'a> {
    /// The question, if it may be a name.
    pub(super) whole: Option<String>,
    /// Words that nobody wrote, which may be mistyped.
    words: Vec<String>,
    /// What these may be, and others of which texts have another form.
    near: Vec<&'a Near>,
    /// Those of which it is not known what they may be.
    pub(super) apart: Vec<String>,
    /// Whether it is known of all words that may be mistyped what they may be, so that nothing else needs to be looked for.
    pub(super) is_told: bool,
}

impl<'a> Alike<'a> {
    /// Nothing where all words are known: whoever has them in the name is found by them.
    pub(super) fn of(whole: &str, said: &[&str], words: &[Word], known: &'a [Near]) -> Self {
        let is_odd = words.iter().any(Word::is_odd) || !known.is_empty();
        let may_be_name = is_odd && said.len() <= WORDS_OF_NAME;
        let whole = may_be_name.then(|| whole.to_owned()).filter(|it| is_indexed(it));
        // Of many that a word may be the one that is meant may be none of those that are known.
        let is_any = |near: &&Near| !near.is_cut && near.words.iter().any(|it| is_indexed(it));
        let told = known.iter().filter(is_any);
        let is_told = |word: &Word| {
            let wanted = Wanted::new(&word.lexemes, 0.0);
            told.clone().any(|near| wanted.is(&near.typed))
        };
        let is_told = words.iter().filter(|word| word.is_odd()).all(is_told);
        let mut like = Self { whole, words: vec![], near: vec![], apart: vec![], is_told };
        for word in words.iter().filter(|word| !word.is_known).take(UNKNOWN) {
            let typed = word.mistyped.clone().or_else(|| word.lexemes.last().cloned());
            let is_sought =
                |it: &String| is_indexed(it) && dictionary::may_be_mistyped(it, said.len());
            let Some(typed) = typed.filter(is_sought) else { continue };
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

    /// Adds how much a name is like the question, as arguments of a function.
    pub(super) fn likeness(&self, statement: &mut QueryBuilder<'_, Postgres>) {
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
    pub(super) fn statement<'q>(&self, filter: &Filter) -> Option<QueryBuilder<'q, Postgres>> {
        let (mut patterns, mut words, mut ranks) = (vec![], vec![], vec![]);
        for (typed, near) in (0_i32..).zip(&self.near) {
            for (rank, word) in (0_i32..).zip(&near.words).filter(|(_, word)| is_indexed(word)) {
                patterns.push(pattern(word));
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
    pub(super) fn is_word_of(&self, name: &[&str]) -> bool {
        let letters = |word: &str| word.chars().count();
        let all: usize = name.iter().map(|word| letters(word)).sum();
        name.iter().enumerate().any(|(at, word)| {
            let tells = at == 0 || letters(word) * ONE_IN >= all;
            tells && self.words.iter().any(|typed| spelling::is_like(typed, word))
        })
    }
}
