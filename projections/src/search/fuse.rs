//! Ranked lists made one: reciprocal rank fusion, which needs no scores that compare.
//!
//! A hit gets `weight / (20 + rank)` from each list that it is in. Some word of a question stands in many passages by chance,
//! in the question's own language above all, so that what is found by word counts for as much as it has of the question.
//! Names that are exactly what was asked for, and quotations, go before all else.

use std::collections::HashMap;
use std::hash::Hash;

/// How much the first ranks are above the others. Less than the usual 60: what is nearest by meaning must not be overtaken by what
/// has a word of the question by chance (docs/search.md).
const K: f64 = 20.0;

/// By which power of how much of a question was found a hit counts that may be one by chance. The third keeps such hits behind
/// what is meant (docs/search.md says how it was chosen).
pub const BY_CHANCE: i32 = 3;

/// What a place in the list of words counts for, by the share of the question that the passage has.
pub fn by_share(coverage: f64) -> f64 {
    coverage.powi(BY_CHANCE)
}

/// What speaks for a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Its words.
    Word,
    /// Its name.
    Name,
    /// What it means.
    Meaning,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 3] = [Reason::Word, Reason::Name, Reason::Meaning];

    /// Its name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Word => "word",
            Reason::Name => "name",
            Reason::Meaning => "meaning",
        }
    }
}

/// One hit of a ranked list.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked<T> {
    /// What was found.
    pub item: T,
    /// What its place in the list counts for: usually 1.
    pub weight: f64,
    /// Whether it goes before all that does not: it is exactly what was asked for.
    pub is_exact: bool,
}

/// A hit with all that speaks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fused<T> {
    /// What was found.
    pub item: T,
    /// Whether it is exactly what was asked for.
    pub is_exact: bool,
    /// How well it answers, compared with other hits of the same question.
    pub score: f64,
    /// What each list adds to that.
    pub parts: [(Reason, f64); 3],
}

/// All hits of the lists, the best first. Each list has the best first and no hit twice; of hits that are as good as each
/// other the order is that of the items.
pub fn fuse<T: Clone + Eq + Hash + Ord>(lists: &[(Reason, Vec<Ranked<T>>)]) -> Vec<Fused<T>> {
    let mut fused: HashMap<&T, Fused<T>> = HashMap::new();
    for (reason, list) in lists {
        let mut rank = K;
        for Ranked { item, weight, is_exact } in list {
            rank += 1.0;
            let hit = fused.entry(item).or_insert_with(|| Fused {
                item: item.clone(),
                is_exact: false,
                score: 0.0,
                parts: Reason::ALL.map(|reason| (reason, 0.0)),
            });
            hit.is_exact |= is_exact;
            for (_, part) in hit.parts.iter_mut().filter(|(which, _)| which == reason) {
                *part += weight / rank;
            }
        }
    }
    let mut fused: Vec<Fused<T>> = fused.into_values().collect();
    for hit in &mut fused {
        hit.score = hit.parts.iter().map(|(_, part)| part).sum();
    }
    fused.sort_by(|one, other| {
        let exact = other.is_exact.cmp(&one.is_exact);
        exact.then(other.score.total_cmp(&one.score)).then_with(|| one.item.cmp(&other.item))
    });
    fused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(reason: Reason, items: &[u32]) -> (Reason, Vec<Ranked<u32>>) {
        let ranked = |item: &u32| Ranked { item: *item, weight: 1.0, is_exact: false };
        (reason, items.iter().map(ranked).collect())
    }

    fn order(lists: &[(Reason, Vec<Ranked<u32>>)]) -> Vec<u32> {
        fuse(lists).into_iter().map(|hit| hit.item).collect()
    }

    #[test]
    fn what_two_lists_have_goes_before_what_one_has() {
        let lists = [list(Reason::Word, &[1, 2, 3]), list(Reason::Meaning, &[4, 3, 5])];
        assert_eq!(order(&lists), [3, 1, 4, 2, 5]);
        let hit = &fuse(&lists)[0];
        assert_eq!(
            hit.parts,
            [(Reason::Word, 1.0 / 23.0), (Reason::Name, 0.0), (Reason::Meaning, 1.0 / 22.0)]
        );
    }

    #[test]
    fn what_is_exact_goes_first_wherever_it_stands() {
        let mut lists = [list(Reason::Word, &[1, 2]), list(Reason::Name, &[3, 9])];
        lists[1].1[1].is_exact = true;
        assert_eq!(order(&lists), [9, 1, 3, 2]);
    }

    #[test]
    fn words_that_are_there_by_chance_hardly_count() {
        let check = |share, expected: [u32; 4]| {
            let mut lists = [list(Reason::Word, &[1, 2]), list(Reason::Meaning, &[3, 4, 2])];
            lists[0].1.iter_mut().for_each(|hit| hit.weight = by_share(share));
            assert_eq!(order(&lists), expected, "{share}");
        };
        check(0.25, [3, 4, 2, 1]);
        check(0.5, [2, 3, 4, 1]);
    }

    #[test]
    fn fusion_loses_nothing_and_is_the_same_each_time() {
        let mut seed = 7_u64;
        let mut roll = |sides: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % sides
        };
        for _ in 0..200 {
            let mut lists = Vec::new();
            for reason in Reason::ALL {
                let mut items: Vec<u32> =
                    (0..roll(30)).map(|_| u32::try_from(roll(40)).unwrap()).collect();
                let mut seen = std::collections::HashSet::new();
                items.retain(|item| seen.insert(*item));
                lists.push(list(reason, &items));
            }
            let fused = fuse(&lists);
            let all: std::collections::BTreeSet<u32> =
                lists.iter().flat_map(|(_, list)| list.iter().map(|hit| hit.item)).collect();
            assert_eq!(
                fused.iter().map(|hit| hit.item).collect::<std::collections::BTreeSet<_>>(),
                all
            );
            assert_eq!(fused.len(), all.len());
            assert!(fused.is_sorted_by(|one, other| one.score >= other.score));
            for hit in &fused {
                let sum: f64 = hit.parts.iter().map(|(_, part)| part).sum();
                assert!((sum - hit.score).abs() < 1e-12);
            }
            lists.rotate_left(1);
            let turned: Vec<u32> = order(&lists);
            assert_eq!(turned, fused.iter().map(|hit| hit.item).collect::<Vec<_>>());
        }
    }
}
