//! What `make eval` prints: figures by stratum, differences, queries without an answer, weights.

use crate::measures::{Estimate, ndcg, recall, reciprocal_rank, separation};
use crate::product::{Hit, LIMIT, Mode};
use crate::set::{Query, Set, Stratum};
use crate::weights::{Case, cross_validate};

/// How deep nDCG looks.
const DEPTH: usize = 10;

/// What one mode found, in the order of the queries.
pub struct Run {
    pub mode: Mode,
    pub found: Vec<Vec<Hit>>,
}

/// A measure of one query's hits.
type Measure = fn(&[&str], &Query) -> f64;

const MEASURES: [(&str, Measure); 3] = [
    ("nDCG@10", |ranking, query| ndcg(ranking, &query.relevant, DEPTH)),
    ("recall@20", |ranking, query| recall(ranking, &query.relevant, LIMIT)),
    ("MRR", |ranking, query| reciprocal_rank(ranking, &query.relevant)),
];

impl Run {
    fn ranking(&self, at: usize) -> Vec<&str> {
        self.found[at].iter().map(|hit| hit.note.as_str()).collect()
    }

    /// The measure of each query of that part.
    fn values(&self, set: &Set, measure: Measure, part: Part) -> Vec<f64> {
        let queries = set.queries.iter().enumerate().filter(|(_, query)| part.has(query));
        queries.map(|(at, query)| measure(&self.ranking(at), query)).collect()
    }

    fn best_score(&self, at: usize) -> f64 {
        self.found[at].first().map_or(0.0, |hit| hit.score)
    }
}

/// Says that a mode was not measured.
pub fn skipped(mode: Mode, missing: &str) {
    say(&format!("{} is not measured: {missing}", mode.word()));
}

/// Prints everything about these runs.
pub fn print(set: &Set, runs: &[Run]) {
    print_figures(set, runs);
    print_differences(set, runs);
    print_unanswered(set, runs);
    print_weights(set, runs);
}

/// A row of a table: a stratum, or all that have answers, asked in a language or in both.
#[derive(Clone, Copy)]
struct Part {
    name: &'static str,
    stratum: Option<Stratum>,
    lang: Option<&'static str>,
}

impl Part {
    fn all() -> impl Iterator<Item = Self> {
        let of =
            |stratum: Stratum| Self { name: stratum.word(), stratum: Some(stratum), lang: None };
        let across =
            |name, lang| Self { name, stratum: Some(Stratum::CrossLingual), lang: Some(lang) };
        let whole = Self { name: "all with answers", stratum: None, lang: None };
        let ways = [
            across("  Spanish asks for English", "es"),
            across("  English asks for Spanish", "en"),
        ];
        std::iter::once(whole).chain(Stratum::ANSWERED.map(of)).chain(ways)
    }

    fn has(self, query: &Query) -> bool {
        let in_stratum = match self.stratum {
            Some(stratum) => query.stratum == stratum,
            None => query.stratum != Stratum::NoAnswer,
        };
        in_stratum && self.lang.is_none_or(|lang| query.lang == lang)
    }
}

fn print_figures(set: &Set, runs: &[Run]) {
    for (name, measure) in MEASURES {
        say(&format!(
            "\n| {name} (95 % interval) | queries |{}",
            columns(runs, |run| run.mode.word().to_owned())
        ));
        say(&format!("|---|---|{}", columns(runs, |_| "---".to_owned())));
        for part in Part::all() {
            let count = set.queries.iter().filter(|query| part.has(query)).count();
            let figures = columns(runs, |run| {
                let Estimate { mean, low, high } = Estimate::of(&run.values(set, measure, part));
                format!("{mean:.3} ({low:.3}–{high:.3})")
            });
            say(&format!("| {} | {count} |{figures}", part.name));
        }
    }
}

fn columns(runs: &[Run], cell: impl Fn(&Run) -> String) -> String {
    runs.iter().map(|run| format!(" {} |", cell(run))).collect()
}

/// Hybrid minus the better of the other two, query by query.
fn print_differences(set: &Set, runs: &[Run]) {
    let of = |mode| runs.iter().find(|run| run.mode == mode);
    let (Some(lexical), Some(semantic), Some(hybrid)) =
        (of(Mode::Lexical), of(Mode::Semantic), of(Mode::Hybrid))
    else {
        return;
    };
    say(
        "\n| hybrid − best single, nDCG@10 | best single | difference (95 % interval, paired) |\n|---|---|---|",
    );
    for part in Part::all() {
        let ndcg_of = |run: &Run| run.values(set, MEASURES[0].1, part);
        let total = |run: &Run| ndcg_of(run).iter().sum::<f64>();
        let single = if total(lexical) > total(semantic) { lexical } else { semantic };
        let differences: Vec<f64> =
            ndcg_of(hybrid).iter().zip(ndcg_of(single)).map(|(ours, other)| ours - other).collect();
        let Estimate { mean, low, high } = Estimate::of(&differences);
        say(&format!(
            "| {} | {} | {mean:+.3} ({low:+.3} to {high:+.3}) |",
            part.name,
            single.mode.word()
        ));
    }
}

/// What comes back where nothing answers, and whether the best score gives it away.
fn print_unanswered(set: &Set, runs: &[Run]) {
    say(
        "\n| queries that nothing answers | with hits | hits each | best score, median (range) | of answered ones | separation |\n|---|---|---|---|---|---|",
    );
    for run in runs {
        let (unanswered, answered): (Vec<usize>, Vec<usize>) =
            (0..set.queries.len()).partition(|at| set.queries[*at].stratum == Stratum::NoAnswer);
        let hits: usize = unanswered.iter().map(|at| run.found[*at].len()).sum();
        let with_hits = unanswered.iter().filter(|at| !run.found[**at].is_empty()).count();
        let scores = |queries: &[usize]| -> Vec<f64> {
            let mut scores: Vec<f64> = queries.iter().map(|at| run.best_score(*at)).collect();
            scores.sort_unstable_by(f64::total_cmp);
            scores
        };
        let (false_ones, true_ones) = (scores(&unanswered), scores(&answered));
        say(&format!(
            "| {} | {with_hits} of {} | {:.1} | {} | {} | {:.2} |",
            run.mode.word(),
            unanswered.len(),
            hits as f64 / unanswered.len() as f64,
            spread(&false_ones),
            spread(&true_ones),
            separation(&true_ones, &false_ones),
        ));
    }
    say(
        "\nSeparation: how often an answered query's best score is above that of an unanswered one; 0.5 tells nothing.",
    );
}

fn spread(sorted: &[f64]) -> String {
    match sorted {
        [] => "–".to_owned(),
        [low, ..] => {
            let (median, high) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
            format!("{median:.3} ({low:.3}–{high:.3})")
        }
    }
}

/// What plain reciprocal rank fusion would reach with a weight that other queries chose.
fn print_weights(set: &Set, runs: &[Run]) {
    let of = |mode| runs.iter().find(|run| run.mode == mode);
    let (Some(lexical), Some(semantic)) = (of(Mode::Lexical), of(Mode::Semantic)) else {
        return;
    };
    let answered: Vec<usize> =
        (0..set.queries.len()).filter(|at| !set.queries[*at].relevant.is_empty()).collect();
    let cases: Vec<Case<'_>> = answered
        .iter()
        .map(|at| Case {
            words: lexical.ranking(*at),
            meaning: semantic.ranking(*at),
            grades: &set.queries[*at].relevant,
        })
        .collect();
    let choice = cross_validate(&cases);
    let Estimate { mean, low, high } = Estimate::of(&choice.ndcg);
    say(&format!(
        "\nPlain fusion of the {LIMIT} best by words and by meaning, each fold with the weight of meaning that the other \
         folds chose ({:?} tenths): nDCG@10 {mean:.3} ({low:.3}–{high:.3})",
        choice.tenths
    ));
    for stratum in Stratum::ANSWERED {
        let of_stratum = answered.iter().zip(&choice.ndcg);
        let values: Vec<f64> = of_stratum
            .filter(|(at, _)| set.queries[**at].stratum == stratum)
            .map(|(_, ndcg)| *ndcg)
            .collect();
        say(&format!("  {}: {:.3}", stratum.word(), Estimate::of(&values).mean));
    }
}

#[allow(clippy::print_stdout, reason = "this is what an evaluation is for")]
fn say(line: &str) {
    println!("{line}");
}
