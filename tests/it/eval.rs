//! The evaluation of search: its set is what its README says, and its measures measure. `make eval` runs it.

#[path = "../eval/measures.rs"]
mod measures;
#[path = "../eval/set.rs"]
mod set;
#[path = "../eval/weights.rs"]
mod weights;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use measures::{Estimate, Grades, ndcg, recall, reciprocal_rank, separation};
use set::{Set, Stratum};
use weights::{Case, cross_validate};

fn grades(of: &[(&str, u8)]) -> Grades {
    of.iter().map(|(note, grade)| ((*note).to_owned(), *grade)).collect()
}

fn close(figure: f64, wanted: f64) {
    assert!((figure - wanted).abs() < 1e-4, "{figure} instead of {wanted}");
}

#[test]
fn the_best_ranking_has_a_gain_of_one_and_others_less() {
    let wanted = grades(&[("a", 2), ("b", 1)]);
    close(ndcg(&["a", "b", "c"], &wanted, 10), 1.0);
    // (1 + 3 / log2 3) / (3 + 1 / log2 3)
    close(ndcg(&["b", "a"], &wanted, 10), 0.7967);
    close(ndcg(&["c", "b", "a"], &wanted, 2), 0.1738);
    close(ndcg(&["c", "d"], &wanted, 10), 0.0);
}

#[test]
fn recall_and_first_rank_look_at_answers_only() {
    let wanted = grades(&[("a", 2), ("b", 1), ("c", 2)]);
    close(recall(&["b", "a", "d", "c"], &wanted, 3), 0.5);
    close(reciprocal_rank(&["b", "a", "c"], &wanted), 0.5);
    close(reciprocal_rank(&["b", "d"], &wanted), 0.0);
}

#[test]
fn an_interval_surrounds_the_mean_and_shrinks_with_more_queries() {
    let few = [0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0];
    let many = few.repeat(20);
    let (wide, narrow) = (Estimate::of(&few), Estimate::of(&many));
    close(wide.mean, 0.625);
    close(narrow.mean, 0.625);
    assert!(wide.low < narrow.low && narrow.high < wide.high, "{wide:?} {narrow:?}");
    // What the normal distribution says: 0.625 ± 1.96 √(0.625 · 0.375 / 160).
    assert!((narrow.low - 0.55).abs() < 0.02 && (narrow.high - 0.70).abs() < 0.02, "{narrow:?}");
    assert_eq!(Estimate::of(&few), wide, "the same values give the same interval");
}

#[test]
fn separation_tells_how_often_the_better_score_is_above() {
    close(separation(&[3.0, 4.0], &[1.0, 2.0]), 1.0);
    close(separation(&[1.0, 3.0], &[2.0, 2.0]), 0.5);
    close(separation(&[2.0], &[2.0]), 0.5);
}

#[test]
fn a_weight_is_chosen_by_other_queries_than_it_ranks() {
    let wanted = grades(&[("right", 2)]);
    let case = |by_meaning: bool| {
        let (right, wrong) = (vec!["right", "wrong"], vec!["wrong", "right"]);
        let (words, meaning) = if by_meaning { (wrong, right) } else { (right, wrong) };
        Case { words, meaning, grades: &wanted }
    };
    let all_by_meaning: Vec<Case<'_>> = (0..10).map(|_| case(true)).collect();
    let choice = cross_validate(&all_by_meaning);
    assert!(choice.tenths.iter().all(|tenths| *tenths > 5), "{:?}", choice.tenths);
    assert!(choice.ndcg.iter().all(|ndcg| *ndcg == 1.0), "{:?}", choice.ndcg);
    // The first fold alone is better by words: its own queries would have chosen otherwise.
    let odd: Vec<Case<'_>> = (0..10).map(|at| case(at % 5 != 0)).collect();
    let choice = cross_validate(&odd);
    assert!(choice.ndcg[0] < 1.0 && choice.ndcg[5] < 1.0, "{:?}", choice.ndcg);
}

#[test]
fn the_set_is_frozen_and_as_large_as_its_readme_says() {
    let set = Set::read().unwrap();
    assert_eq!((set.organisations.len(), set.notes.len()), (57, 212));
    assert!(set.organisations.iter().all(|one| ["lp", "gp", "distributor"].contains(&&*one.kind)));
    let english = set.notes.iter().filter(|note| note.lang == "en").count();
    assert_eq!(english, 106);
    let mut strata: BTreeMap<(Stratum, &str), usize> = BTreeMap::new();
    for query in &set.queries {
        *strata.entry((query.stratum, &query.lang)).or_default() += 1;
    }
    let of = |stratum| ["en", "es"].map(|lang| strata[&(stratum, lang)]);
    assert_eq!(Stratum::ANSWERED.map(of), [[12, 12], [18, 18], [12, 12], [14, 10]]);
    assert_eq!(of(Stratum::NoAnswer), [6, 6]);
    let words: BTreeSet<&str> = strata.keys().map(|(stratum, _)| stratum.word()).collect();
    assert_eq!(words.len(), 5);
}

#[test]
fn notes_are_of_a_note_s_length_and_none_repeats_another() {
    let set = Set::read().unwrap();
    let mut seen: HashMap<Vec<&str>, &str> = HashMap::new();
    for note in &set.notes {
        let words: Vec<&str> = note.text.split_whitespace().collect();
        assert!((40..=250).contains(&words.len()), "{}: {} words", note.id, words.len());
        assert!(!note.title.is_empty() && note.date.len() == 10, "{}", note.id);
        for run in words.windows(7) {
            let other = seen.insert(run.to_vec(), &note.id);
            assert!(other.is_none_or(|id| id == note.id), "{} and {other:?}: {run:?}", note.id);
        }
    }
}

#[test]
fn paraphrases_share_no_long_word_with_their_answers() {
    let set = Set::read().unwrap();
    let words = |text: &str| -> BTreeSet<String> {
        let words = text.split(|letter: char| !letter.is_alphabetic()).map(str::to_lowercase);
        words.filter(|word| word.chars().count() > 5 && word != "porque").collect()
    };
    let notes: HashMap<&str, BTreeSet<String>> =
        set.notes.iter().map(|note| (&*note.id, words(&note.text))).collect();
    for query in set.queries.iter().filter(|query| query.stratum == Stratum::Paraphrase) {
        for (note, _) in query.relevant.iter().filter(|(_, grade)| **grade == 2) {
            let shared: Vec<_> =
                words(&query.text).intersection(&notes[&**note]).cloned().collect();
            assert!(shared.is_empty(), "{} and {note} share {shared:?}", query.id);
        }
    }
}
