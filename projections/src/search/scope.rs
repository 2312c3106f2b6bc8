//! What a question says beside its subject: of which time the records are, and of what kind (`Muguerza, 31 October 2025`, `roadshows of
//! Ridgeline IV`).
//!
//! Texts seldom have these words: the day is a date of the record, and its kind is said nowhere. So the rest of the question is looked
//! for once more, among the records of that time and kind. It is one more list: `October` and `fund` may be meant as words, too.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use domain::{Kind, RecordRef};
use sqlx::PgConnection;

use super::asked::Asked;
use super::commonness::Common;
use super::day;
use super::fuse::by_share;
use super::highlight::Sought;
use super::lexical::{self, Lexical, Passage, Titled, WordHit};
use super::names::{DATED, NameHit, dated};
use super::spelling::{self, number};
use super::topic::pieces;
use super::words::{is_stop_word, is_telling};
use super::{Filter, Language};

/// What people call records of each kind, in English and in Spanish, folded.
const CALLED: [(Kind, &[&str]); 8] = [
    (Kind::Lp, &["lp", "lps"]),
    (Kind::Gp, &["gp", "gps"]),
    (Kind::Distributor, &["distributor", "distributors", "distribuidor", "distribuidores"]),
    (
        Kind::Person,
        &[
            "person",
            "people",
            "contact",
            "contacts",
            "persona",
            "personas",
            "contacto",
            "contactos",
        ],
    ),
    (Kind::Fund, &["fund", "funds", "fondo", "fondos"]),
    (
        Kind::Note,
        &["note", "notes", "meeting", "meetings", "nota", "notas", "reunion", "reuniones"],
    ),
    (Kind::Todo, &["todo", "todos", "task", "tasks", "tarea", "tareas", "pendiente", "pendientes"]),
    (Kind::Roadshow, &["roadshow", "roadshows"]),
];

/// How many pieces a day has at most: `8th of July, of 2025`.
const LONGEST_DAY: usize = 6;

/// What counts what is of a time and has nothing else of the question.
const OTHERS: f64 = 0.25;

/// A question that says of which time or kind the records are that it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    /// The question without that; empty if it says nothing else.
    pub(super) rest: Asked,
    /// These records, as far as they were wanted anyway.
    pub(super) filter: Filter,
    /// Whether it says a time.
    pub(super) is_of_time: bool,
}

/// What was found in a scope, the best first.
#[derive(Clone, Debug, Default)]
pub(super) struct Scoped {
    /// By the words of the rest.
    pub(super) words: Vec<WordHit>,
    /// By names in the rest, and then what else is of that time.
    pub(super) names: Vec<NameHit>,
    /// By the meaning of the rest.
    pub(super) near: Vec<Passage>,
    /// Whether there is more than is looked at.
    pub(super) is_cut: bool,
}

impl Scope {
    /// What a question says of time and kind, unless it says nothing else that could be looked for. A word of one of these names, where
    /// the question has all of it, is no kind.
    pub(super) fn of(asked: &Asked, named: &[Titled], filter: &Filter) -> Option<Self> {
        if !asked.quoted.is_empty() || !asked.records.is_empty() {
            return None;
        }
        let pieces = pieces(&asked.text);
        let words: Vec<&str> = pieces.iter().map(|(_, word)| word.as_str()).collect();
        let (time, days) = day_in(&words).unzip();
        let days = days.unwrap_or_default();
        let of_names = in_names(&words, named);
        let kinds = (0..words.len()).filter_map(|at| {
            let kind = kind_called(words[at])?;
            let is_other_word = days.contains(&at)
                || of_names.contains(&at)
                || (kind == Kind::Todo && is_everything(&words, at))
                || is_numbered(&pieces, at, &days);
            (!is_other_word).then_some((at, kind))
        });
        let kinds: Vec<(usize, Kind)> = kinds.collect();
        let is_rest = |at: usize| !days.contains(&at) && kinds.iter().all(|(kind, _)| *kind != at);
        let rest = (0..pieces.len()).filter(|at| is_rest(*at)).map(|at| pieces[at].0);
        let rest = rest.collect::<String>().trim().to_owned();
        let rest = if is_telling(&rest) { rest } else { String::new() };
        let mut kinds: Vec<Kind> = kinds.into_iter().map(|(_, kind)| kind).collect();
        kinds.retain(|kind| filter.kinds.is_empty() || filter.kinds.contains(kind));
        // A day alone is a name, and `notes` alone are all of them.
        let says_more = !rest.is_empty() || (time.is_some() && !kinds.is_empty());
        let is_all_kinds =
            !filter.kinds.is_empty() && filter.kinds.iter().all(|kind| kinds.contains(kind));
        let narrows = time.is_some() || (!kinds.is_empty() && !is_all_kinds);
        (says_more && narrows).then(|| Self {
            rest: Asked { text: rest, ..asked.clone() },
            filter: narrowed(filter, kinds, time),
            is_of_time: time.is_some(),
        })
    }

    /// What the tables have in it, as [`lexical::find`] finds it.
    pub(super) async fn find(
        &self,
        db: &mut PgConnection,
        common: Arc<Common>,
        behind: Option<i64>,
    ) -> Result<Scoped, sqlx::Error> {
        let Self { rest, filter, is_of_time } = self;
        let folded = lexical::folded(db, &rest.text).await?;
        let found = lexical::find(db, common, rest, &folded, filter, behind).await?;
        let sought = Sought::of(&found.wanted);
        let shares = found.named.iter().map(|(_, name)| sought.tally(name).coverage());
        // What is about somebody is meant as far as the rest is a name.
        let share = by_share(shares.fold(0.0, f64::max));
        let Lexical { words, mut names, mut is_cut, .. } = found;
        names.iter_mut().filter(|hit| hit.is_about).for_each(|hit| hit.likeness *= share);
        // What is of a time has no language.
        if *is_of_time && filter.language.is_none() {
            let there: HashSet<RecordRef> = names.iter().map(|hit| hit.record).collect();
            let others = dated(db, filter).await?;
            is_cut |= others.len() == DATED;
            let others = others.into_iter().filter(|hit| !there.contains(&hit.record));
            names.extend(others.map(|hit| NameHit { likeness: OTHERS, is_exact: false, ..hit }));
        }
        Ok(Scoped { words, names, near: vec![], is_cut })
    }
}

/// The only day or month that is said, the longest that it can be, and where. Two are the ends of a time, or say something else.
fn day_in(words: &[&str]) -> Option<(day::Time, Range<usize>)> {
    let (time, at) = longest_day(words)?;
    let is_only =
        longest_day(&words[..at.start]).is_none() && longest_day(&words[at.end..]).is_none();
    is_only.then_some((time, at))
}

fn longest_day(words: &[&str]) -> Option<(day::Time, Range<usize>)> {
    let says = |word: &str| !word.is_empty() && !day::is_filler(word);
    let windows = (1..=LONGEST_DAY).rev().flat_map(|length| words.windows(length).enumerate());
    let mut whole = windows.filter(|(_, window)| {
        window.first().is_some_and(|it| says(it)) && window.last().is_some_and(|it| says(it))
    });
    whole.find_map(|(from, window)| {
        Some((day::named(&window.join(" "))?, from..from + window.len()))
    })
}

/// The places of the words of those names that are there as a whole.
fn in_names(words: &[&str], named: &[Titled]) -> HashSet<usize> {
    let places = |(_, name): &Titled| {
        let name = spelling::words(name);
        let is_whole = name.iter().all(|word| words.contains(word));
        let is_in_it = move |at: &usize| is_whole && name.contains(&words[*at]);
        (0..words.len()).filter(is_in_it).collect::<Vec<_>>()
    };
    named.iter().flat_map(places).collect()
}

/// Whether a word is followed by a number, as in `Fund IV`; not by a day, nor by an `I` that is no number (`notes I wrote`).
fn is_numbered(pieces: &[(&str, String)], at: usize, days: &Range<usize>) -> bool {
    let mut following = (at + 1..pieces.len()).filter(|at| !pieces[*at].1.is_empty());
    let Some(next) = following.next().filter(|next| !days.contains(next)) else { return false };
    let (typed, word) = &pieces[next];
    let is_letter = word.len() == 1 && !word.starts_with(|c: char| c.is_ascii_digit());
    let is_counted = !pieces[at].1.ends_with('s') && typed.starts_with(char::is_uppercase);
    number(word).is_some() && (!is_letter || is_counted)
}

/// Whether it is Spanish for all or everything: `todos los fondos`, `qué dijeron todos sobre`.
fn is_everything(words: &[&str], at: usize) -> bool {
    let is_filler = |at: Option<usize>| {
        at.and_then(|at| words.get(at)).is_some_and(|word| is_stop_word(word, Language::Spanish))
    };
    words[at].starts_with("todo") && (is_filler(at.checked_sub(1)) || is_filler(at.checked_add(1)))
}

fn kind_called(word: &str) -> Option<Kind> {
    CALLED.iter().find(|(_, names)| names.contains(&word)).map(|(kind, _)| *kind)
}

/// A filter that lets of what it let pass before these of its kinds pass, and this time.
fn narrowed(filter: &Filter, mut kinds: Vec<Kind>, time: Option<day::Time>) -> Filter {
    let mut narrowed = filter.clone();
    kinds.sort_unstable();
    kinds.dedup();
    if !kinds.is_empty() {
        narrowed.kinds = kinds;
    }
    match time {
        Some(time) => narrowed.within(time),
        None => narrowed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["pinnacle healthcare fund iv", "afore coppel", "fund of people"];

    /// The kinds, the first day and the rest.
    fn of(question: &str) -> Option<(Vec<Kind>, Option<String>, String)> {
        let named: Vec<Titled> =
            (1..).zip(NAMES).map(|(id, name)| (Kind::Lp.record(id), name.to_owned())).collect();
        let scope = Scope::of(&Asked::of(question), &named, &Filter::default())?;
        let from = scope.filter.from.map(|from| from.format("%F").to_string());
        Some((scope.filter.kinds, from, scope.rest.text))
    }

    #[test]
    fn a_day_or_a_month_beside_other_words_is_a_time() {
        let check = |question: &str, from: &str, rest: &str| {
            let expected = (vec![], Some(from.to_owned()), rest.to_owned());
            assert_eq!(of(question), Some(expected), "{question}");
        };
        check("Muguerza Family Office 31 October 2025", "2025-10-31", "Muguerza Family Office");
        check("llamada Muguerza 31/10/2025", "2025-10-31", "llamada Muguerza");
        check("Afore Coppel octubre de 2025", "2025-10-01", "Afore Coppel");
        check("2025_11_18 Larrea Losada", "2025-11-18", "Larrea Losada");
        check("fees on the 8th of July, 2025 in pesos", "2025-07-08", "fees on the in pesos");
    }

    #[test]
    fn what_people_call_records_is_a_kind() {
        let check = |question: &str, kinds: &[Kind], rest: &str| {
            let expected = (kinds.to_vec(), None, rest.to_owned());
            assert_eq!(of(question), Some(expected), "{question}");
        };
        check("roadshows of Ridgeline IV", &[Kind::Roadshow], "of Ridgeline IV");
        check("healthcare fund Pinnacle", &[Kind::Fund], "healthcare Pinnacle");
        check("notes I wrote on Coppel", &[Kind::Note], "I wrote on Coppel");
        check("todo DDQ Inbursa", &[Kind::Todo], "DDQ Inbursa");
        check("notas y tareas de Afore Coppel", &[Kind::Note, Kind::Todo], "y de Afore Coppel");
    }

    #[test]
    fn a_time_and_a_kind_need_nothing_else() {
        let expected = (vec![Kind::Note], Some("2025-10-01".to_owned()), String::new());
        assert_eq!(of("meetings in October 2025"), Some(expected));
        let day = (vec![Kind::Note], Some("2025-10-31".to_owned()), "Muguerza".to_owned());
        assert_eq!(of("notes 31 October 2025 Muguerza"), Some(day));
        let notes = Filter { kinds: vec![Kind::Note], ..Filter::default() };
        let scope = Scope::of(&Asked::of("meetings in October 2025"), &[], &notes).unwrap();
        assert!(scope.filter.from.is_some() && scope.filter.kinds == notes.kinds);
    }

    #[test]
    fn words_of_names_and_what_says_nothing_else_narrow_nothing() {
        for question in [
            "Pinnacle Healthcare Fund IV fees",
            "Kestrel Fund IV fees",
            "Kestrel fund iv fees",
            "Kestrel Fund I fees",
            "qué dijeron todos sobre las comisiones del plan",
            "todos los que firmaron",
            "Coppel between 1 October 2025 and 5 November 2025",
            "roadshows",
            "the notes",
            "31 October 2025",
            "Afore Coppel 2025",
            "\"Afore Coppel\" notes",
            "lp:7",
            "currency hedging",
        ] {
            assert_eq!(of(question), None, "{question}");
        }
    }

    #[test]
    fn what_a_filter_keeps_out_stays_out() {
        let time = |text: &str| text.parse().ok();
        let (from, kinds) = (time("2025-10-15T00:00:00Z"), vec![Kind::Todo]);
        let filter = Filter { from, kinds, ..Filter::default() };
        let scope = Scope::of(&Asked::of("notes of Coppel, October 2025"), &[], &filter).unwrap();
        let to = time("2025-11-01T00:00:00Z");
        assert_eq!(scope.filter, Filter { to, ..filter.clone() });
        assert_eq!(Scope::of(&Asked::of("notes of Coppel"), &[], &filter), None);
    }
}
