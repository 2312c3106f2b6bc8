//! Which weight meaning should have beside words where both are fused, found without looking at what it is measured on.
//!
//! The queries are split into folds; the weight that is best on all other folds ranks the queries of each. What remains
//! of the gain of the best weight is what a user of unseen queries may expect.

use std::collections::HashMap;

use super::measures::{Grades, ndcg};

/// How many folds there are.
const FOLDS: usize = 5;

/// Weights of meaning in tenths; words have the remainder.
const TENTHS: std::ops::RangeInclusive<u32> = 0..=10;

/// The usual constant of reciprocal rank fusion.
const RRF: f64 = 60.0;

/// A query's two rankings and what it should find.
pub struct Case<'a> {
    pub words: Vec<&'a str>,
    pub meaning: Vec<&'a str>,
    pub grades: &'a Grades,
}

/// What came of it.
pub struct Choice {
    /// The weight of meaning, in tenths, that each fold was ranked with.
    pub tenths: Vec<u32>,
    /// nDCG@10 of every query, ranked with the weight that the other folds chose; in the order of the cases.
    pub ndcg: Vec<f64>,
}

/// Neighbours in the list go into different folds, so that every stratum is in each.
pub fn cross_validate(cases: &[Case<'_>]) -> Choice {
    let scores: Vec<Vec<f64>> = cases
        .iter()
        .map(|case| TENTHS.map(|tenths| ndcg(&fuse(case, tenths), case.grades, 10)).collect())
        .collect();
    let mut choice = Choice { tenths: Vec::new(), ndcg: vec![0.0; cases.len()] };
    for fold in 0..FOLDS {
        let elsewhere = |tenths: u32| -> f64 {
            let others = scores.iter().enumerate().filter(|(at, _)| at % FOLDS != fold);
            others.map(|(_, scores)| scores[tenths as usize]).sum()
        };
        let best = TENTHS.max_by(|one, other| elsewhere(*one).total_cmp(&elsewhere(*other)));
        let best = best.unwrap_or_default();
        for at in (fold..cases.len()).step_by(FOLDS) {
            choice.ndcg[at] = scores[at][best as usize];
        }
        choice.tenths.push(best);
    }
    choice
}

fn fuse<'a>(case: &Case<'a>, tenths: u32) -> Vec<&'a str> {
    let mut scores: HashMap<&str, f64> = HashMap::new();
    for (ranking, weight) in [(&case.words, 10 - tenths), (&case.meaning, tenths)] {
        for (note, rank) in ranking.iter().zip(1_u32..).filter(|_| weight > 0) {
            *scores.entry(note).or_default() += f64::from(weight) / (RRF + f64::from(rank));
        }
    }
    let mut ranking: Vec<(&str, f64)> = scores.into_iter().collect();
    ranking.sort_unstable_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(other.0)));
    ranking.into_iter().map(|(note, _)| note).collect()
}
