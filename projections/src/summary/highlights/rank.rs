//! The most telling sentences: LexRank finds those that many others resemble, and of these each is taken only if it says
//! something else than those taken before (maximal marginal relevance).

use std::collections::{BTreeMap, HashMap};

use super::spoken::Sentence;
use crate::prose::{Numbers, stems};

/// Sentences that are ranked together: about half an hour of speech. So a long recording is covered from end to end, and
/// the cost grows with its length and not with the square of it.
const WINDOW: usize = 400;

/// The fewest stems with a meaning that a telling sentence has.
const LEAST_STEMS: usize = 5;

/// The most sentences that are chosen.
const MOST: usize = 10;

/// Sentences that resemble each other less are not neighbours.
const RESEMBLANCE: f32 = 0.1;

/// How much of its rank a sentence passes on.
const DAMPING: f32 = 0.85;

/// How much the rank counts against being different.
const RELEVANCE: f32 = 0.7;

/// A sentence as its stems with their weights, of length 1.
type Vector = BTreeMap<usize, f32>;

/// The most telling sentences, in their order: one in ten, but three to ten.
pub(super) fn most_telling(sentences: &[Sentence]) -> Vec<&Sentence> {
    let wanted = (sentences.len() / 10).clamp(3, MOST);
    let windows = sentences.len().div_ceil(WINDOW).max(1);
    let mut chosen: Vec<(f32, usize)> = sentences
        .chunks(WINDOW)
        .enumerate()
        .flat_map(|(at, window)| {
            let chosen = of_window(window, wanted.div_ceil(windows));
            chosen.into_iter().map(move |(score, index)| (score, at * WINDOW + index))
        })
        .collect();
    chosen.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
    chosen.truncate(wanted);
    chosen.sort_by_key(|(_, index)| *index);
    chosen.into_iter().map(|(_, index)| &sentences[index]).collect()
}

/// Scores and places of the most telling sentences of a window.
fn of_window(window: &[Sentence], wanted: usize) -> Vec<(f32, usize)> {
    let vectors = vectors(window);
    let ranks = ranks(&vectors);
    let highest = ranks.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let telling = |index: &usize| vectors[*index].len() >= LEAST_STEMS;
    let weight = |index: usize| {
        // Amounts, dates and percentages are what people look for afterwards.
        let has_number = Numbers::of(&window[index].text).telling().next().is_some();
        let bonus = if has_number { 1.25 } else { 1.0 };
        (index, bonus * ranks[index] / highest)
    };
    let mut candidates: Vec<(usize, f32)> = (0..window.len()).filter(telling).map(weight).collect();
    let mut chosen: Vec<(f32, usize)> = Vec::new();
    while chosen.len() < wanted {
        let score = |(index, weight): &(usize, f32)| {
            let nearest =
                chosen.iter().map(|(_, other)| cosine(&vectors[*index], &vectors[*other]));
            RELEVANCE * weight - (1.0 - RELEVANCE) * nearest.fold(0.0, f32::max)
        };
        let scores = candidates.iter().map(score).enumerate();
        let Some((at, best)) =
            scores.max_by(|one, other| one.1.total_cmp(&other.1).then(other.0.cmp(&one.0)))
        else {
            break;
        };
        let (index, _) = candidates.swap_remove(at);
        candidates.sort_by_key(|(index, _)| *index);
        chosen.push((best, index));
    }
    chosen
}

/// The sentences by TF-IDF.
fn vectors(window: &[Sentence]) -> Vec<Vector> {
    let mut ids: HashMap<String, usize> = HashMap::new();
    let counts: Vec<Vector> = window
        .iter()
        .map(|sentence| {
            let mut counts = Vector::new();
            for stem in stems(&sentence.text) {
                let next = ids.len();
                *counts.entry(*ids.entry(stem).or_insert(next)).or_default() += 1.0;
            }
            counts
        })
        .collect();
    let mut spread = vec![0.0_f32; ids.len()];
    counts.iter().flat_map(Vector::keys).for_each(|stem| spread[*stem] += 1.0);
    let sentences = window.len() as f32;
    counts.into_iter().map(|counts| weighted(counts, &spread, sentences)).collect()
}

fn weighted(mut counts: Vector, spread: &[f32], sentences: f32) -> Vector {
    for (stem, weight) in &mut counts {
        *weight *= ((1.0 + sentences) / (0.5 + spread[*stem])).ln();
    }
    let length = counts.values().map(|weight| weight * weight).sum::<f32>().sqrt();
    if length > 0.0 {
        counts.values_mut().for_each(|weight| *weight /= length);
    }
    counts
}

fn cosine(one: &Vector, other: &Vector) -> f32 {
    let (short, long) = if one.len() < other.len() { (one, other) } else { (other, one) };
    short.iter().filter_map(|(stem, weight)| Some(weight * long.get(stem)?)).sum()
}

/// How central each sentence is among its neighbours.
fn ranks(vectors: &[Vector]) -> Vec<f32> {
    const STEPS: usize = 30;
    let count = vectors.len();
    let neighbours: Vec<Vec<(usize, f32)>> = (0..count)
        .map(|one| {
            let others = (0..count).filter(|other| *other != one);
            let near = others.map(|other| (other, cosine(&vectors[one], &vectors[other])));
            near.filter(|(_, resemblance)| *resemblance >= RESEMBLANCE).collect()
        })
        .collect();
    let totals: Vec<f32> =
        neighbours.iter().map(|near| near.iter().map(|(_, weight)| weight).sum()).collect();
    let base = (1.0 - DAMPING) / count.max(1) as f32;
    let mut ranks = vec![1.0 / count.max(1) as f32; count];
    for _ in 0..STEPS {
        // What resembles is mutual, so those that a sentence gives to are those it gets from.
        ranks = (0..count)
            .map(|one| {
                let got: f32 = neighbours[one]
                    .iter()
                    .map(|(other, weight)| ranks[*other] * weight / totals[*other])
                    .sum();
                base + DAMPING * got
            })
            .collect();
    }
    ranks
}
