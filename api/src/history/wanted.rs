//! What a request wants to see of histories. An unknown parameter or a value without meaning is refused: whoever
//! misspells a filter must not get everything.

use axum::http::{HeaderMap, Uri, header};
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use domain::Kind;
use projections::history::{Network, Of, RefusalFilter, Selection};
use uuid::Uuid;

use super::names;
use crate::as_of;
use crate::body::Parameters;
use crate::problem::Problem;

/// The entries of a page, unless the request says otherwise.
pub const USUAL: usize = 50;
/// The most entries of a page.
pub const MOST: usize = 500;

/// How entries are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A page of them as one JSON object.
    Json,
    /// All of them, a line each, for spreadsheets.
    Csv {
        /// Whether a byte order mark says that it is UTF-8. Excel takes a file without one for Latin-1; to many programs the
        /// mark is part of the first column's name, so that it is only there where the address asks for a file.
        is_marked: bool,
    },
    /// All of them, a JSON object per line.
    Ndjson,
}

/// A page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// Begins after this.
    pub cursor: Option<i64>,
    /// How long it is at most.
    pub limit: usize,
}

/// The parameters of the history of one record.
pub const OF_RECORD: &[&str] = &[
    "actor",
    "event",
    "field",
    "from",
    "to",
    "source",
    "address",
    "program",
    "correlation",
    "q",
    "related",
    "refused",
    "limit",
    "cursor",
    "format",
    "min_position",
];

/// The parameters of the history of all records.
pub const ACROSS: &[&str] = &[
    "actor",
    "kind",
    "record",
    "related",
    "event",
    "field",
    "from",
    "to",
    "source",
    "address",
    "program",
    "correlation",
    "q",
    "limit",
    "cursor",
    "format",
    "min_position",
];

/// The parameters of refusals.
pub const REFUSALS: &[&str] = &[
    "actor",
    "kind",
    "record",
    "status",
    "from",
    "to",
    "correlation",
    "limit",
    "cursor",
    "format",
    "min_position",
];

/// The parameters of the list of recordings.
pub const RECORDINGS: &[&str] = &["state", "limit", "cursor", "min_position"];

/// The parameters of a request, of which each is known and there at most once.
pub struct Wanted(Parameters);

impl Wanted {
    /// Those of this address.
    ///
    /// # Errors
    /// [`Problem::Parameter`] when one is not among the known, or is there twice.
    pub fn of(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let parameters = Parameters::of(uri);
        let mut seen = Vec::new();
        for name in parameters.names() {
            if !known.contains(&name) {
                return Err(Problem::Parameter(format!(
                    "There is no parameter {name:?} here; there are {}",
                    known.join(", ")
                )));
            }
            if seen.contains(&name) {
                return Err(Problem::Parameter(format!("The parameter {name:?} is there twice")));
            }
            seen.push(name);
        }
        Ok(Self(parameters))
    }

    /// Which entries are wanted.
    ///
    /// # Errors
    /// [`Problem::Parameter`] when a value has no meaning.
    pub fn selection(&self) -> Result<Selection, Problem> {
        Ok(Selection {
            actor: self.text("actor")?,
            kind: self.parsed("kind", &format!("one of {}", Of::names()), Of::parse)?,
            record: self.record()?,
            related: self.flag("related")?,
            event: self.named("event", names::event)?,
            field: self.named("field", names::field)?,
            from: self.time("from")?,
            to: self.time("to")?,
            source: self.text("source")?,
            address: self.parsed("address", ADDRESS, |text| Network::parse(text.trim()))?,
            program: self.text("program")?,
            correlation: self.correlation()?,
            text: self.text("q")?,
        })
    }

    /// Which refusals are wanted.
    ///
    /// # Errors
    /// [`Problem::Parameter`] when a value has no meaning.
    pub fn refusals(&self) -> Result<RefusalFilter, Problem> {
        Ok(RefusalFilter {
            actor: self.text("actor")?,
            kind: self.kind()?,
            record: self.record()?,
            status: self.parsed("status", "a status such as 409", |text| text.parse().ok())?,
            from: self.time("from")?,
            to: self.time("to")?,
            correlation: self.correlation()?,
        })
    }

    /// Which page of them.
    ///
    /// # Errors
    /// [`Problem::Parameter`] when a value has no meaning.
    pub fn paging(&self) -> Result<Paging, Problem> {
        let limit = self.parsed("limit", &format!("a number from 1 to {MOST}"), |text| {
            text.parse().ok().filter(|limit| (1..=MOST).contains(limit))
        })?;
        let cursor = self.parsed("cursor", "what an earlier answer gave as `next`", |text| {
            text.parse().ok().filter(|cursor: &i64| *cursor >= 0)
        })?;
        Ok(Paging { cursor, limit: limit.unwrap_or(USUAL) })
    }

    /// How they are to be sent: as `format` says, else as `Accept` does.
    ///
    /// # Errors
    /// [`Problem::Parameter`] when it is unknown, or pages are asked of what has none.
    pub fn format(&self, headers: &HeaderMap) -> Result<Format, Problem> {
        let named = self.parsed("format", "json, csv or ndjson", |text| match text {
            "json" => Some(Format::Json),
            "csv" => Some(Format::Csv { is_marked: true }),
            "ndjson" => Some(Format::Ndjson),
            _ => None,
        })?;
        let format = named.unwrap_or_else(|| accepted(headers));
        let paged = ["limit", "cursor"].into_iter().find(|name| self.0.get(name).is_some());
        match paged {
            Some(name) if format != Format::Json => Err(Problem::Parameter(format!(
                "The parameter {name:?} is for pages of JSON: CSV and NDJSON are sent whole"
            ))),
            _ => Ok(format),
        }
    }

    /// A parameter that is true or false.
    ///
    /// # Errors
    /// [`Problem::Parameter`] when it is something else.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        Ok(self.parsed(name, "true or false", |text| text.parse().ok())?.unwrap_or(false))
    }

    /// A parameter that means something; `expected` says what it may be.
    ///
    /// # Errors
    /// [`Problem::Parameter`] when it has no meaning.
    pub fn parsed<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        parse(text).map(Some).ok_or_else(|| {
            Problem::Parameter(format!(
                "The parameter {name:?} is {text:?}; expected is {expected}"
            ))
        })
    }

    fn text(&self, name: &str) -> Result<Option<String>, Problem> {
        self.parsed(name, "a text that is not empty", |text| {
            (!text.trim().is_empty()).then(|| text.to_owned())
        })
    }

    /// A parameter that names something that is known; `known` says what is, if it is not.
    fn named(
        &self,
        name: &str,
        known: impl FnOnce(&str) -> Result<String, String>,
    ) -> Result<Option<String>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let wrong = |why| Problem::Parameter(format!("The parameter {name:?} is {text:?}: {why}"));
        known(&text).map(Some).map_err(wrong)
    }

    fn kind(&self) -> Result<Option<Kind>, Problem> {
        let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        self.parsed("kind", &format!("one of {}", kinds.join(", ")), Kind::parse)
    }

    fn record(&self) -> Result<Option<domain::RecordRef>, Problem> {
        self.parsed("record", "a kind and an id, such as lp/7", |text| {
            let (kind, id) = text.split_once('/')?;
            Some(Kind::parse(kind)?.record(id.parse().ok()?))
        })
    }

    fn correlation(&self) -> Result<Option<Uuid>, Problem> {
        self.parsed("correlation", "a UUID", |text| Uuid::try_parse(text).ok())
    }

    /// A time, in UTC where it says no offset, or a date, which begins at midnight UTC.
    ///
    /// # Errors
    /// [`Problem::Parameter`] when it is something else.
    pub fn time(&self, name: &str) -> Result<Option<DateTime<Utc>>, Problem> {
        let expected = "a time such as 2025-01-31T15:04:05 or 2025-01-31T15:04:05-05:00, in UTC without an offset, or a \
                        date, which begins at midnight UTC";
        self.parsed(name, expected, |text| as_of::instant(text.trim()))
    }

    /// The end of a span: a time, or a date, which is part of it.
    ///
    /// # Errors
    /// [`Problem::Parameter`] when it is something else.
    pub fn end(&self, name: &str) -> Result<Option<DateTime<Utc>>, Problem> {
        self.parsed(name, END, end_of_span)
    }
}

/// What may be an address.
const ADDRESS: &str = "a network address such as 10.1.2.3, or a network such as 10.1.0.0/16";

/// What may be the end of a span.
pub const END: &str = "a time such as 2025-01-31T15:04:05Z, or a date such as 2025-01-31, which counts to its end (UTC)";

/// The end of a span: a time, or midnight after a date.
pub fn end_of_span(text: &str) -> Option<DateTime<Utc>> {
    match text.parse::<NaiveDate>() {
        Ok(date) => Some(date.succ_opt()?.and_time(NaiveTime::MIN).and_utc()),
        Err(_) => as_of::instant(text.trim()),
    }
}

/// JSON, unless one of the others is named and JSON is not.
fn accepted(headers: &HeaderMap) -> Format {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let accept = accept.unwrap_or_default();
    if accept.contains("application/json") {
        Format::Json
    } else if accept.contains("text/csv") {
        Format::Csv { is_marked: false }
    } else if accept.contains("application/x-ndjson") {
        Format::Ndjson
    } else {
        Format::Json
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of(query: &str) -> Result<Wanted, Problem> {
        Wanted::of(&format!("/audit?{query}").parse().unwrap(), ACROSS)
    }

    fn refused<T>(result: Result<T, Problem>) -> String {
        match result {
            Err(Problem::Parameter(what)) => what,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("accepted"),
        }
    }

    #[test]
    fn what_is_asked_for_is_understood() {
        let query = "kind=lp&record=fund/2&from=2025-01-31&to=2025-02-01T00:00:00%2B01:00&related=true&q=a+b";
        let selection = of(query).unwrap().selection().unwrap();
        assert_eq!(selection.kind, Some(Of::Records(Kind::Lp)));
        assert_eq!(selection.record, Some(Kind::Fund.record(2)));
        assert_eq!(selection.from.unwrap().to_rfc3339(), "2025-01-31T00:00:00+00:00");
        assert_eq!(selection.to.unwrap().to_rfc3339(), "2025-01-31T23:00:00+00:00");
        let selection_of = |query: &str| of(query).unwrap().selection().unwrap();
        assert_eq!(selection_of("kind=import").kind, Some(Of::Imports));
        for time in
            ["2025-01-31T15:04:05", "2025-01-31T10:04:05-05:00", "2025-01-31T16:04:05+01:00"]
        {
            let from = selection_of(&format!("from={time}")).from.unwrap();
            assert_eq!(from.to_rfc3339(), "2025-01-31T15:04:05+00:00", "{time}");
        }
        let selection_from = selection_of("address=10.1.2.3/16&program=curl/8.5.0");
        assert_eq!(selection_from.address, Network::parse("10.1.0.0/16"));
        assert_eq!(selection_from.program.as_deref(), Some("curl/8.5.0"));
        assert!(selection.related);
        assert_eq!(selection.text.as_deref(), Some("a b"));
        assert_eq!(of("").unwrap().selection().unwrap(), Selection::default());
        let paging = of("limit=500&cursor=7").unwrap().paging().unwrap();
        assert_eq!(paging, Paging { cursor: Some(7), limit: 500 });
        assert_eq!(of("").unwrap().paging().unwrap(), Paging { cursor: None, limit: USUAL });
    }

    #[test]
    fn what_has_no_meaning_is_refused_with_what_is_expected() {
        assert!(refused(of("actr=x")).contains("there are actor, kind, record"));
        assert_eq!(refused(of("q=a&q=b")), "The parameter \"q\" is there twice");
        for query in [
            "kind=company",
            "record=lp",
            "record=lp/x",
            "from=yesterday",
            "correlation=7",
            "address=10",
            "address=10.0.0.0/33",
            "program=",
            "q=",
            "related=1",
        ] {
            assert!(refused(of(query).unwrap().selection()).contains("expected is"), "{query}");
        }
        for query in ["limit=0", "limit=501", "limit=x", "cursor=-1", "cursor=x"] {
            assert!(refused(of(query).unwrap().paging()).contains("expected is"), "{query}");
        }
    }

    #[test]
    fn the_format_is_what_the_address_or_the_header_says() {
        let check = |query: &str, accept: &str, expected: Format| {
            let accept = HeaderValue::from_str(accept).unwrap();
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept)]);
            assert_eq!(
                of(query).unwrap().format(&headers).unwrap(),
                expected,
                "{query} {accept_text}",
                accept_text = headers[header::ACCEPT].to_str().unwrap()
            );
        };
        check("", "*/*", Format::Json);
        check("", "text/csv", Format::Csv { is_marked: false });
        check("", "application/x-ndjson", Format::Ndjson);
        check("", "application/json, text/csv", Format::Json);
        check("format=csv", "application/json", Format::Csv { is_marked: true });
        let none = HeaderMap::new();
        assert!(refused(of("format=xml").unwrap().format(&none)).contains("json, csv or ndjson"));
        assert!(refused(of("format=csv&limit=3").unwrap().format(&none)).contains("sent whole"));
    }
}
