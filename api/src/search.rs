//! What a request wants to be found, and what is sent of it.

use domain::{Kind, RecordRef};
use projections::search::asked::Asked;
use projections::search::{Cursor, Filter, Hit, Language, Mode, Page, Passage, Similar};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::history::plural;
use crate::history::wanted::Wanted;
use crate::problem::Problem;

/// The hits of a page, unless the request says otherwise, and at most.
const USUAL: usize = 20;
const MOST: usize = 100;

/// The parameters of a search.
pub const PARAMETERS: &[&str] = &[
    "q",
    "kinds",
    "lp",
    "gp",
    "fund",
    "person",
    "from",
    "to",
    "lang",
    "mode",
    "limit",
    "cursor",
    "min_position",
];

/// The parameters of what is similar.
pub const SIMILAR: &[&str] = &["limit", "min_position"];

/// Names a question with its filters and its mode, so that a cursor of another is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question(u32);

/// What a request wants to be found.
///
/// # Errors
/// [`Problem::Parameter`] when a value has no meaning.
pub fn wanted(parameters: &Wanted) -> Result<(projections::search::Wanted, Question), Problem> {
    let asked = parameters.parsed("q", "a text", |text| Some(Asked::of(text)))?;
    let asked = asked.ok_or_else(|| {
        let what = "The parameter \"q\" is missing: it says what to search for";
        Problem::Parameter(what.to_owned())
    })?;
    let filter = filter(parameters)?;
    let mode = parameters.parsed("mode", "hybrid, semantic or lexical", Mode::parse)?;
    let mode = mode.unwrap_or_default();
    let question = Question::of(&asked, &filter, mode);
    let expected = "what an earlier answer to the same search gave as `next`";
    let after = parameters.parsed("cursor", expected, |text| read_cursor(text, question))?;
    let limit = limit(parameters)?;
    Ok((projections::search::Wanted { asked, filter, mode, after, limit }, question))
}

/// How many hits are wanted.
///
/// # Errors
/// [`Problem::Parameter`] when it is no number, or too large a one.
pub fn limit(parameters: &Wanted) -> Result<usize, Problem> {
    let limit = parameters.parsed("limit", &format!("a number from 1 to {MOST}"), |text| {
        text.parse().ok().filter(|limit| (1..=MOST).contains(limit))
    })?;
    Ok(limit.unwrap_or(USUAL))
}

fn filter(parameters: &Wanted) -> Result<Filter, Problem> {
    let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    let expected = format!("some of {}, separated by commas", known.join(", "));
    let kinds = parameters.parsed("kinds", &expected, |text| {
        text.split(',').map(|kind| Kind::parse(kind.trim())).collect::<Option<Vec<_>>>()
    })?;
    let mut about = Vec::new();
    for kind in [Kind::Lp, Kind::Gp, Kind::Fund, Kind::Person] {
        let id =
            parameters.parsed(kind.as_str(), "the id of a record", |text| text.parse().ok())?;
        about.extend(id.map(|id| kind.record(id)));
    }
    Ok(Filter {
        kinds: kinds.unwrap_or_default(),
        about,
        from: parameters.time("from")?,
        to: parameters.end("to")?,
        language: parameters.parsed("lang", "en or es", Language::parse)?,
    })
}

impl Question {
    fn of(asked: &Asked, filter: &Filter, mode: Mode) -> Self {
        let hash = Sha256::digest(format!("{:?} {filter:?} {mode:?}", asked.text));
        let mut first = [0; 4];
        first.copy_from_slice(&hash[..4]);
        Self(u32::from_be_bytes(first))
    }
}

/// A cursor as clients keep it: the question, whether the hit is exact and how it was searched, its score bit for bit, and the hit.
fn write_cursor(question: Question, cursor: Cursor) -> String {
    let Cursor { is_exact, score, record, mode } = cursor;
    let mode = mode.map_or("", |mode| &mode.as_str()[..1]);
    let (kind, id) = (record.kind(), record.id());
    format!("{:x}.{}{mode}.{:x}.{kind}.{id}", question.0, u8::from(is_exact), score.to_bits())
}

fn read_cursor(text: &str, expected: Question) -> Option<Cursor> {
    let mut parts = text.splitn(5, '.');
    let question = u32::from_str_radix(parts.next()?, 16).ok()?;
    let (is_exact, mode) = parts.next()?.split_at_checked(1)?;
    let is_exact = match is_exact {
        "0" => false,
        "1" => true,
        _ => return None,
    };
    let mode = match mode {
        // As releases before this one wrote it.
        "" => None,
        "h" => Some(Mode::Hybrid),
        "s" => Some(Mode::Semantic),
        "l" => Some(Mode::Lexical),
        _ => return None,
    };
    let score = f64::from_bits(u64::from_str_radix(parts.next()?, 16).ok()?);
    let record = Kind::parse(parts.next()?)?.record(parts.next()?.parse().ok()?);
    (question == expected.0).then_some(Cursor { is_exact, score, record, mode })
}

/// A page as it is sent.
pub fn page(page: &Page, question: Question) -> Value {
    let facets: Map<String, Value> =
        page.facets.iter().map(|(kind, count)| (kind.to_string(), json!(count))).collect();
    let corrected: Map<String, Value> =
        page.corrections.iter().map(|it| (it.typed.clone(), json!(it.word))).collect();
    json!({
        "hits": page.hits.iter().map(hit).collect::<Vec<_>>(),
        "facets": facets,
        "cut": page.is_cut,
        "next": page.next.map(|cursor| write_cursor(question, cursor)),
        "mode": page.mode.as_str(),
        "missing": page.missing,
        "corrected": corrected,
    })
}

/// What is similar, as it is sent.
pub fn similar(similar: &Similar) -> Value {
    json!({"hits": similar.hits.iter().map(hit).collect::<Vec<_>>(), "missing": similar.missing})
}

/// The path of a record.
fn link(record: RecordRef) -> String {
    format!("/{}/{}", plural(record.kind()), record.id())
}

fn hit(hit: &Hit) -> Value {
    let parts: Map<String, Value> =
        hit.parts.iter().map(|(reason, part)| (reason.as_str().to_owned(), json!(part))).collect();
    let why: Vec<&str> =
        hit.parts.iter().filter(|(_, part)| *part > 0.0).map(|(why, _)| why.as_str()).collect();
    json!({
        "kind": hit.record.kind(),
        "id": hit.record.id(),
        "title": hit.title,
        "detail": hit.detail,
        "date": hit.date.map(|date| date.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
        "passage": hit.passage.as_ref().map(|passage| self::passage(hit, passage)),
        "score": hit.score,
        "parts": parts,
        "why": why,
        "link": link(hit.record),
    })
}

fn passage(hit: &Hit, passage: &Passage) -> Value {
    let mut sent = json!({
        "part": passage.part.as_str(),
        "ordinal": passage.ordinal,
        "text": passage.text,
        "starts_ms": passage.starts_ms,
        "highlights": hit.highlights,
    });
    if let Some(recording) = passage.recording {
        sent["recording"] = json!(recording);
    }
    // What speaks for one record may stand in another.
    if passage.record != hit.record {
        sent["kind"] = json!(passage.record.kind());
        sent["id"] = json!(passage.record.id());
        sent["link"] = json!(link(passage.record));
    }
    sent
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Result<(projections::search::Wanted, Question), Problem> {
        wanted(&Wanted::of(&format!("/search?{query}").parse().unwrap(), PARAMETERS)?)
    }

    #[test]
    fn what_is_asked_for_is_understood() {
        let query = "q=currency+hedging&kinds=lp,%20note&lp=7&fund=2&from=2025-01-31&to=2025-01-31&lang=es&mode=lexical&limit=3";
        let (wanted, _) = of(query).unwrap();
        assert_eq!(wanted.asked.text, "currency hedging");
        assert_eq!(wanted.filter.kinds, [Kind::Lp, Kind::Note]);
        assert_eq!(wanted.filter.about, [Kind::Lp.record(7), Kind::Fund.record(2)]);
        assert_eq!(wanted.filter.from.unwrap().to_rfc3339(), "2025-01-31T00:00:00+00:00");
        // A day goes from its beginning to its end.
        assert_eq!(wanted.filter.to.unwrap().to_rfc3339(), "2025-02-01T00:00:00+00:00");
        let (timed, _) = of("q=a&to=2025-01-31T12:00:00Z").unwrap();
        assert_eq!(timed.filter.to.unwrap().to_rfc3339(), "2025-01-31T12:00:00+00:00");
        assert_eq!(wanted.filter.language, Some(Language::Spanish));
        assert_eq!((wanted.mode, wanted.limit), (Mode::Lexical, 3));
        let (wanted, _) = of("q=").unwrap();
        assert!(wanted.asked.is_empty() && wanted.filter.is_empty());
        assert_eq!((wanted.mode, wanted.limit), (Mode::Hybrid, USUAL));
    }

    #[test]
    fn what_has_no_meaning_is_refused_with_what_is_expected() {
        let refused = |query: &str| match of(query) {
            Err(Problem::Parameter(what)) => what,
            Err(other) => panic!("{query}: {other:?}"),
            Ok(_) => panic!("{query} is accepted"),
        };
        assert!(refused("").contains("\"q\" is missing"));
        assert!(refused("q=a&kinds=company").contains("some of lp, gp"));
        assert!(refused("q=a&kind=lp").contains("there are q, kinds"));
        for query in [
            "lp=x",
            "lang=fr",
            "mode=fast",
            "limit=0",
            "limit=101",
            "from=soon",
            "cursor=x",
            "cursor=",
            "kinds=",
            "cursor=0.0.0.lp.7",
        ] {
            assert!(refused(&format!("q=a&{query}")).contains("expected is"), "{query}");
        }
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written_by_the_same_question_alone() {
        let (wanted, question) = of("q=a").unwrap();
        assert_eq!(wanted.after, None);
        let (score, record) = (1.0 / 61.0 + 0.1, Kind::Note.record(-7));
        let modes = [Mode::Hybrid, Mode::Semantic, Mode::Lexical].map(Some);
        // One without a mode is of an earlier release.
        for mode in modes.into_iter().chain([None]) {
            let cursor = Cursor { is_exact: true, score, record, mode };
            let text = write_cursor(question, cursor);
            assert_eq!(of(&format!("q=a&cursor={text}&limit=5")).unwrap().0.after, Some(cursor));
        }
        let text = write_cursor(question, Cursor { is_exact: true, score, record, mode: None });
        assert!(text.contains(".1."), "{text}");
        for odd in [".1x.", "..", ".é."] {
            let text = text.replace(".1.", odd);
            assert!(of(&format!("q=a&cursor={text}")).is_err(), "{text}");
        }
        for other in ["q=b", "q=a&lp=7", "q=a&mode=lexical"] {
            assert!(of(&format!("{other}&cursor={text}")).is_err(), "{other}");
        }
    }
}
