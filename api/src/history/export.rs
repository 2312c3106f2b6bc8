//! All entries of a selection, or all refusals, sent as they are read: as lines of JSON, or as CSV for spreadsheets.
//!
//! A page is read when the one before has been sent, so memory does not grow, and nothing is held for a slow reader. What
//! cannot be searched, since the read model does not follow it, is named in a last line and counted in a header: a file that
//! somebody keeps as evidence must say that it is not whole.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use domain::RecordRef;
use domain::telling::{label, plain};
use futures::{Stream, stream};
use projections::history::{History, HistoryEntry, Names, Refusal, RefusalFilter, Selection};
use serde_json::json;

use super::wanted::Format;
use super::{entry, refusal, time};
use crate::problem::Problem;

/// How many streams an export lacks in part, if it lacks any.
const MISSING: HeaderName = HeaderName::from_static("x-missing");

/// How many entries are read at once.
const PAGE: usize = 200;

/// The columns of entries as CSV.
pub const COLUMNS: [&str; 19] = [
    "position",
    "recorded_at",
    "occurred_at",
    "actor",
    "source",
    "client",
    "user_agent",
    "command",
    "command_id",
    "correlation_id",
    "causation_id",
    "event",
    "event_id",
    "kind",
    "id",
    "name",
    "sentence",
    "changes",
    "note",
];

/// The columns of refusals as CSV.
pub const REFUSED: [&str; 14] = [
    "id",
    "refused_at",
    "actor",
    "method",
    "path",
    "command",
    "kind",
    "record_id",
    "status",
    "why",
    "correlation_id",
    "causation_id",
    "client",
    "user_agent",
];

/// What is sent.
#[derive(Clone, Debug)]
pub enum What {
    /// These entries of a record.
    OfRecord(RecordRef, Selection),
    /// These entries of all records.
    Across(Selection),
    /// What was refused.
    Refusals(RefusalFilter),
}

/// What is sent, and how.
#[derive(Clone, Debug)]
pub struct Export {
    /// What.
    pub what: What,
    /// How.
    pub format: Format,
}

impl Export {
    /// The answer, of which the first page is there already: what fails until then is answered as a problem.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn send(self, history: History) -> Result<Response, Problem> {
        let (media_type, extension) = match self.format {
            Format::Csv { .. } => ("text/csv; charset=utf-8; header=present", "csv"),
            Format::Ndjson | Format::Json => ("application/x-ndjson", "ndjson"),
        };
        let name = match self.what {
            What::OfRecord(..) | What::Across(_) => "history",
            What::Refusals(_) => "refusals",
        };
        let Part { mut text, next, missing } = self.page(&history, None).await?;
        if let Format::Csv { is_marked } = self.format {
            let mark = if is_marked { "\u{feff}" } else { "" };
            text.insert_str(0, &format!("{mark}{}", line(self.columns())));
        }
        let known = missing.len();
        let first = Ok(Bytes::from(text));
        let rest = self.rest(history, Some(After { next, missing }));
        let body = Body::from_stream(stream::StreamExt::chain(stream::iter([first]), rest));
        let mut response = body.into_response();
        let headers = response.headers_mut();
        if known > 0 {
            headers.insert(MISSING, HeaderValue::from(known));
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        let disposition = format!("attachment; filename=\"{name}.{extension}\"");
        if let Ok(disposition) = HeaderValue::from_str(&disposition) {
            headers.insert(header::CONTENT_DISPOSITION, disposition);
        }
        Ok(response)
    }

    /// The pages after the first, and what they lack. An error in the middle ends the body, so that the client sees that it
    /// is incomplete.
    fn rest(
        self,
        history: History,
        after: Option<After>,
    ) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
        stream::try_unfold((self, history, after), |(export, history, after)| async move {
            let Some(After { next, mut missing }) = after else { return Ok(None) };
            let Some(cursor) = next else {
                let last = (!missing.is_empty()).then(|| Bytes::from(export.lacking(&missing)));
                return Ok(last.map(|last| (last, (export, history, None))));
            };
            match export.page(&history, Some(cursor)).await {
                Ok(part) => {
                    missing.extend(part.missing);
                    let after = After { next: part.next, missing };
                    Ok(Some((Bytes::from(part.text), (export, history, Some(after)))))
                }
                Err(error) => {
                    tracing::warn!(?error, "the export of a history was cut off");
                    Err(std::io::Error::other("the database cannot be asked"))
                }
            }
        })
    }

    fn columns(&self) -> &'static [&'static str] {
        match self.what {
            What::OfRecord(..) | What::Across(_) => &COLUMNS,
            What::Refusals(_) => &REFUSED,
        }
    }

    async fn page(&self, history: &History, cursor: Option<i64>) -> Result<Part, Problem> {
        let page = match &self.what {
            What::OfRecord(record, selection) => {
                history.of_record(*record, selection, cursor, PAGE).await?
            }
            What::Across(selection) => history.across(selection, cursor, PAGE).await?,
            What::Refusals(filter) => return self.refusals(history, filter, cursor).await,
        };
        let names = history.names(&page.entries).await?;
        let lines = page.entries.iter().map(|one| match self.format {
            Format::Csv { .. } => line(&cells(one, &names)),
            Format::Ndjson | Format::Json => format!("{}\n", entry(one, &names)),
        });
        let missing = page.missing.into_iter().collect();
        Ok(Part { text: lines.collect(), next: page.next, missing })
    }

    async fn refusals(
        &self,
        history: &History,
        filter: &RefusalFilter,
        cursor: Option<i64>,
    ) -> Result<Part, Problem> {
        let page = history.refusals(filter, cursor, PAGE).await?;
        let lines = page.refusals.iter().map(|one| match self.format {
            Format::Csv { .. } => line(&refused(one)),
            Format::Ndjson | Format::Json => format!("{}\n", refusal(one)),
        });
        Ok(Part { text: lines.collect(), next: page.next, missing: BTreeSet::new() })
    }

    /// The last line of what is not whole.
    fn lacking(&self, missing: &BTreeSet<String>) -> String {
        let list: Vec<&str> = missing.iter().map(String::as_str).collect();
        let note = format!("Not all is here: what cannot be read is missing, {}", list.join(", "));
        match self.format {
            Format::Csv { .. } => {
                let mut cells = vec![String::new(); self.columns().len()];
                if let Some(last) = cells.last_mut() {
                    *last = note;
                }
                line(&cells)
            }
            Format::Ndjson | Format::Json => {
                format!("{}\n", json!({"note": note, "missing": missing}))
            }
        }
    }
}

/// A page as it is sent.
struct Part {
    text: String,
    next: Option<i64>,
    /// Streams that are not searched from some event on.
    missing: BTreeSet<String>,
}

/// What is still to be sent after a page.
struct After {
    next: Option<i64>,
    missing: BTreeSet<String>,
}

fn cells(entry: &HistoryEntry, names: &Names) -> [String; COLUMNS.len()] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let record = entry.record;
    let changes = entry.changes.iter().map(|change| {
        let about = change.about.map(|of| format!(" ({})", names.call(of))).unwrap_or_default();
        let (from, to) = (plain(&change.from), plain(&change.to));
        format!("{}{about}: {from} → {to}", label(&change.field))
    });
    [
        entry.position.to_string(),
        time(entry.recorded_at),
        entry.occurred_at.map(time).unwrap_or_default(),
        entry.actor.clone(),
        text(&entry.source),
        text(&entry.client),
        text(&entry.user_agent),
        text(&entry.command),
        entry.command_id.to_string(),
        entry.correlation_id.to_string(),
        entry.causation_id.map(|id| id.to_string()).unwrap_or_default(),
        entry.event.clone(),
        entry.event_id.to_string(),
        record.map(|of| of.kind().to_string()).unwrap_or_default(),
        record.map(|of| of.id().to_string()).unwrap_or_default(),
        record.and_then(|of| names.name(of)).unwrap_or_default().to_owned(),
        entry.sentence.to_text(|of, begins| names.told(of, begins)),
        changes.collect::<Vec<_>>().join("; "),
        text(&entry.note),
    ]
}

fn refused(refusal: &Refusal) -> [String; REFUSED.len()] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        refusal.id.to_string(),
        time(refusal.refused_at),
        refusal.actor.clone(),
        refusal.method.clone(),
        refusal.path.clone(),
        text(&refusal.command),
        text(&refusal.kind),
        refusal.record_id.map(|id| id.to_string()).unwrap_or_default(),
        refusal.status.to_string(),
        refusal.why.clone(),
        refusal.correlation_id.to_string(),
        refusal.causation_id.map(|id| id.to_string()).unwrap_or_default(),
        text(&refusal.client),
        text(&refusal.user_agent),
    ]
}

/// A line of CSV, as RFC 4180 has it.
fn line(cells: &[impl AsRef<str>]) -> String {
    let cells: Vec<String> = cells.iter().map(|text| cell(text.as_ref())).collect();
    format!("{}\r\n", cells.join(","))
}

/// A cell. Spreadsheets take what begins with one of some signs for a formula and would carry out what somebody has put
/// into a name, so such a text gets an apostrophe before it.
fn cell(text: &str) -> String {
    let text = match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    };
    match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_line_says_what_is_missing() {
        let missing = ["lp/7 from position 12 on".to_owned()].into();
        let of = |format| Export { what: What::Across(Selection::default()), format };
        let csv = of(Format::Csv { is_marked: true }).lacking(&missing);
        let note = "Not all is here: what cannot be read is missing, lp/7 from position 12 on";
        assert_eq!(csv, format!("{}\"{note}\"\r\n", ",".repeat(COLUMNS.len() - 1)));
        let last: serde_json::Value =
            serde_json::from_str(&of(Format::Ndjson).lacking(&missing)).unwrap();
        assert_eq!(last, json!({"note": note, "missing": ["lp/7 from position 12 on"]}));
    }

    #[test]
    fn a_cell_is_text_to_every_spreadsheet() {
        let check = |text: &str, expected: &str| assert_eq!(cell(text), expected);
        check("Afore XXI", "Afore XXI");
        check("a, \"b\"\nc", "\"a, \"\"b\"\"\nc\"");
        check("=1+1", "'=1+1");
        check("@x", "'@x");
        check("-2,5", "\"'-2,5\"");
        check("+52 55", "'+52 55");
        check("", "");
    }
}
