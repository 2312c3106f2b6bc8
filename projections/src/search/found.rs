//! What was found by word, by name and by meaning as one list: what each place in each of these counts for.

use std::collections::{BTreeMap, HashMap, HashSet};

use domain::{Kind, RecordRef};

use super::answer::{Cursor, Mode, Wanted};
use super::asked::Asked;
use super::fuse::{Fused, Ranked, Reason, by_share, fuse};
use super::highlight;
use super::lexical::{Lexical, Passage, WordHit};
use super::names::NameHit;
use super::scope::Scoped;
use super::text::is_brief;

/// What a place among the nearest counts for: as much as one among those that have all words, which go first all the same.
const NEAR: f64 = 0.999;

/// What a place among the nearest counts for where the question is a name, which texts are near to by chance.
const NEAR_A_NAME: f64 = 0.25;

/// What a place by word or by name among those counts for that are of the time and kind that a question names: they are meant.
const SCOPED: f64 = 2.0;

/// From this likeness on a name says that its record is meant, and not something like it.
const MEANT: f64 = 0.5;

/// From this share of a question on a card that has it is meant, and what that counts for beside texts, which may be near as well.
const MOST_OF_IT: f64 = 0.5;
const CARD: f64 = 2.0;

/// What a name counts for that is just what was asked for, beside one that only begins so or has more words.
const CALLED_SO: f64 = 2.0;

/// What was found in each way, the best first.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) lexical: Lexical,
    /// Of the time and kind that the question names.
    pub(super) scoped: Scoped,
    /// Nearest to the question.
    pub(super) near: Vec<Passage>,
    /// Nearest to its topic, among what is about whom it names.
    pub(super) topical: Vec<Passage>,
    /// Whose words say all that can be said: meaning does not know them yet.
    pub(super) unspoken: HashSet<RecordRef>,
}

/// All that was found, as one list.
pub(super) struct Found {
    pub(super) hits: Vec<Fused<RecordRef>>,
    /// The passage of each that is shown, but for those that were found by name alone.
    pub(super) passages: HashMap<RecordRef, Passage>,
    pub(super) wanted: Vec<highlight::Wanted>,
}

/// Those of the hits that make a page.
pub(super) struct Chosen {
    pub(super) hits: Vec<Fused<RecordRef>>,
    pub(super) next: Option<Cursor>,
}

impl Found {
    /// Makes one list of all.
    pub(super) fn of(wanted: &Wanted, gathered: Gathered, mode: Mode) -> Self {
        let near = if gathered.lexical.is_name { NEAR_A_NAME } else { NEAR };
        let by_meaning = |found: &[Passage]| {
            (Reason::Meaning, found.iter().map(|it| ranked(it.record, near)).collect())
        };
        let Scoped { words, names, near: scoped_near, .. } = &gathered.scoped;
        let in_scope = |record, weight: f64| ranked(record, SCOPED * weight);
        let words = words.iter().map(|hit| in_scope(hit.passage.record, by_share(hit.coverage)));
        let names = names.iter().map(|hit| in_scope(hit.record, hit.likeness));
        let hits = fuse(&[
            (Reason::Word, gathered.by_word(wanted, mode)),
            (Reason::Name, gathered.by_name(wanted, mode)),
            by_meaning(&gathered.near),
            by_meaning(&gathered.topical),
            (Reason::Word, words.collect()),
            (Reason::Name, names.collect()),
            by_meaning(scoped_near),
        ]);
        let is_foreign = |passage: &Passage| {
            let both = wanted.asked.language.zip(passage.language);
            mode == Mode::Hybrid && both.is_some_and(|(question, text)| question != text)
        };
        // What is in another language is shown only if nothing else speaks for the record.
        let Gathered { lexical, scoped, near, topical, .. } = gathered;
        let (foreign, own): (Vec<Passage>, Vec<Passage>) =
            lexical.words.into_iter().map(|hit| hit.passage).partition(is_foreign);
        let scoped = scoped.words.into_iter().map(|hit| hit.passage).chain(scoped.near);
        let mut passages = HashMap::new();
        for passage in own.into_iter().chain(near).chain(topical).chain(scoped).chain(foreign) {
            passages.entry(passage.record).or_insert(passage);
        }
        Self { hits, passages, wanted: lexical.wanted }
    }

    /// How many there are of each kind.
    pub(super) fn facets(&self) -> BTreeMap<Kind, usize> {
        let mut facets = BTreeMap::new();
        for hit in &self.hits {
            *facets.entry(hit.item.kind()).or_default() += 1;
        }
        facets
    }

    /// The hits of a page, and the place of the last if others follow.
    pub(super) fn page(&self, wanted: &Wanted, mode: Mode) -> Chosen {
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

impl Gathered {
    /// What was found by words of texts, with what each place counts for.
    fn by_word(&self, Wanted { asked, filter, .. }: &Wanted, mode: Mode) -> Vec<Ranked<RecordRef>> {
        let may_mean_them = may_mean_its_words(asked, &self.lexical);
        let means_them = mode == Mode::Hybrid && self.lexical.is_rare && may_mean_them;
        let weight = |hit: &WordHit| match mode {
            // As if it were as near by meaning as it is by word.
            Mode::Hybrid if self.unspoken.contains(&hit.passage.record) => {
                NEAR + by_share(hit.coverage)
            }
            // Its vector is not looked at unless its kind is asked for.
            Mode::Hybrid if filter.kinds.is_empty() && is_telling_card(hit) => CARD * hit.coverage,
            Mode::Hybrid => by_share(hit.coverage),
            _ => 1.0,
        };
        let is_meant =
            |hit: &WordHit| hit.has_all && (means_them || (may_mean_them && has_role_there(hit)));
        let hit = |hit: &WordHit| Ranked {
            is_exact: hit.is_quoted || is_meant(hit),
            ..ranked(hit.passage.record, weight(hit))
        };
        self.lexical.words.iter().map(hit).collect()
    }

    /// What was found by name, likewise.
    fn by_name(&self, Wanted { asked, .. }: &Wanted, mode: Mode) -> Vec<Ranked<RecordRef>> {
        // A note has a text to be near to the question; of what is only called something, the name stands for that.
        let stands_alone = |hit: &NameHit| {
            mode == Mode::Hybrid
                && hit.record.kind() != Kind::Note
                && !hit.is_about
                && hit.likeness >= MEANT
        };
        let weight = |hit: &NameHit| {
            hit.likeness
                * if stands_alone(hit) { 2.0 } else { 1.0 }
                * if hit.is_exact && hit.likeness >= 1.0 { CALLED_SO } else { 1.0 }
        };
        let hit = |hit: &NameHit| Ranked {
            is_exact: hit.is_exact || asked.records.contains(&hit.record),
            ..ranked(hit.record, weight(hit))
        };
        self.lexical.names.iter().map(hit).collect()
    }
}

fn ranked(item: RecordRef, weight: f64) -> Ranked<RecordRef> {
    Ranked { item, weight, is_exact: false }
}

/// Whether it has much of the question, in a card that says who somebody is and is too short for its nearness to mean something: only its
/// words can speak for it.
fn is_telling_card(hit: &WordHit) -> bool {
    let Passage { record, part, text, .. } = &hit.passage;
    record.kind() != Kind::Note && is_brief(*part, text) && hit.coverage >= MOST_OF_IT
}

/// Whether a question is so brief that what has all of its words may be what is meant. Where some record is called so, that one is.
fn may_mean_its_words(asked: &Asked, lexical: &Lexical) -> bool {
    asked.is_brief() && asked.quoted.is_empty() && !lexical.names.iter().any(|hit| hit.is_exact)
}

/// Whether it is a card that says little but who somebody is, and what the question says beside that is whom they belong to: with a role
/// and an organisation there is no doubt who is meant.
fn has_role_there(hit: &WordHit) -> bool {
    let Passage { record, part, text, .. } = &hit.passage;
    record.kind() == Kind::Person && is_brief(*part, text) && hit.is_told_by_both
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Part;

    fn passage(note: i64) -> Passage {
        Passage::example(Kind::Note.record(note), Part::Text)
    }

    /// The first note where note 9 has this of the question's words, and notes 1 to 4 are the nearest.
    fn first(question: &str, hit: WordHit, is_rare: bool, unspoken: &[RecordRef]) -> i64 {
        let lexical = Lexical { words: vec![hit], is_rare, ..Lexical::default() };
        let unspoken = unspoken.iter().copied().collect();
        let near = (1..=4).map(passage).collect();
        let wanted = Wanted { asked: Asked::of(question), ..Wanted::default() };
        let gathered = Gathered { lexical, near, unspoken, ..Gathered::default() };
        Found::of(&wanted, gathered, Mode::Hybrid).hits[0].item.id()
    }

    fn having(coverage: f64) -> WordHit {
        let (relevance, has_all) = (1.0, coverage > 0.9);
        WordHit {
            passage: passage(9),
            relevance,
            coverage,
            has_all,
            is_quoted: false,
            is_told_by_both: false,
        }
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
    fn who_has_a_role_there_goes_first_and_who_has_words_of_roles_does_not() {
        let first = |is_told_by_both: bool| {
            let passage = Passage::example(Kind::Person.record(9), Part::Card);
            let mut words: Vec<WordHit> = (1..=8)
                .map(|note| WordHit { passage: self::passage(note), ..having(0.9) })
                .collect();
            words.push(WordHit { passage, is_told_by_both, ..having(1.0) });
            let lexical = Lexical { words, ..Lexical::default() };
            let wanted = Wanted { asked: Asked::of("private equity"), ..Wanted::default() };
            let near = (1..=8).map(self::passage).collect();
            let gathered = Gathered { lexical, near, ..Gathered::default() };
            Found::of(&wanted, gathered, Mode::Hybrid).hits[0].item
        };
        assert_eq!(first(true), Kind::Person.record(9));
        assert_eq!(first(false), Kind::Note.record(1));
    }

    #[test]
    fn what_meaning_does_not_know_yet_counts_by_its_words_instead() {
        let new = [Kind::Note.record(9)];
        assert_eq!(first("quixotrope fund?", having(0.8), false, &new), 9);
        assert_eq!(first("quixotrope fund?", having(0.8), false, &[]), 1);
    }
}
