//! What a ranking is worth, and how sure that is.

use std::collections::BTreeMap;

/// Grades of the notes that a query should find.
pub type Grades = BTreeMap<String, u8>;

/// The grade of a note that answers.
const ANSWERS: u8 = 2;

/// How often queries are drawn anew for an interval.
const DRAWS: usize = 10_000;

/// Normalised discounted cumulative gain of the first `depth`: 1 if no ranking could be better. The gain of a grade is
/// 2^grade - 1.
pub fn ndcg<S: AsRef<str>>(ranking: &[S], grades: &Grades, depth: usize) -> f64 {
    let gain = |grade: u8| f64::from((1_u32 << grade) - 1);
    let discounted = |gains: &mut dyn Iterator<Item = f64>| -> f64 {
        gains.take(depth).zip(2_u32..).map(|(gain, rank)| gain / f64::from(rank).log2()).sum()
    };
    let mut found =
        ranking.iter().map(|note| grades.get(note.as_ref()).map_or(0.0, |grade| gain(*grade)));
    let mut best: Vec<u8> = grades.values().copied().collect();
    best.sort_unstable_by(|one, other| other.cmp(one));
    let ideal = discounted(&mut best.into_iter().map(gain));
    if ideal == 0.0 { 0.0 } else { discounted(&mut found) / ideal }
}

/// Which share of the notes that answer is among the first `depth`.
pub fn recall<S: AsRef<str>>(ranking: &[S], grades: &Grades, depth: usize) -> f64 {
    let answers = grades.values().filter(|grade| **grade == ANSWERS).count();
    let found = ranking.iter().take(depth).filter(|note| answers_with(grades, note.as_ref()));
    if answers == 0 { 0.0 } else { found.count() as f64 / answers as f64 }
}

/// One divided by the rank of the first note that answers; 0 if none does.
pub fn reciprocal_rank<S: AsRef<str>>(ranking: &[S], grades: &Grades) -> f64 {
    let first = ranking.iter().position(|note| answers_with(grades, note.as_ref()));
    first.map_or(0.0, |rank| 1.0 / (rank + 1) as f64)
}

fn answers_with(grades: &Grades, note: &str) -> bool {
    grades.get(note) == Some(&ANSWERS)
}

/// A mean over queries, and between which values it lies with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
}

impl Estimate {
    /// By the percentile bootstrap over queries. Differences of two systems on the same queries make a paired one.
    pub fn of(values: &[f64]) -> Self {
        if values.is_empty() {
            return Self { mean: f64::NAN, low: f64::NAN, high: f64::NAN };
        }
        let mut draws = Draws(0x5eed);
        let mut means: Vec<f64> = (0..DRAWS)
            .map(|_| mean(&mut values.iter().map(|_| values[draws.below(values.len())])))
            .collect();
        means.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| means[((DRAWS - 1) as f64 * share).round() as usize];
        Self { mean: mean(&mut values.iter().copied()), low: at(0.025), high: at(0.975) }
    }
}

fn mean(values: &mut dyn Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0_u32, 0.0), |(count, sum), value| (count + 1, sum + value));
    sum / f64::from(count)
}

/// The same numbers in every run (SplitMix64), so that the same rankings give the same intervals.
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

/// How often a value of `these` is above one of `those`, half of the ties included: 0.5 tells nothing, 1 all.
pub fn separation(these: &[f64], those: &[f64]) -> f64 {
    let pairs = these.iter().flat_map(|this| those.iter().map(move |that| (this, that)));
    let worth = |(this, that): (&f64, &f64)| match this.total_cmp(that) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    };
    mean(&mut pairs.map(worth))
}
