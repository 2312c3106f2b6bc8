//! All entries of a selection, sent as they are read: as lines of JSON, or as CSV for spreadsheets.
//!
//! A page is read when the one before has been sent, so memory does not grow, and nothing is held for a slow reader.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use domain::RecordRef;
use domain::telling::{label, plain};
use futures::{Stream, stream};
use projections::history::{History, HistoryEntry, Names, Selection};

use super::wanted::Format;
use super::{entry, time};
use crate::problem::Problem;

/// How many entries are read at once.
const PAGE: usize = 200;

/// The columns of CSV.
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

/// Whose history is sent.
#[derive(Clone, Debug)]
pub struct Export {
    /// Of one record, or of all.
    pub of: Option<RecordRef>,
    /// Which entries.
    pub selection: Selection,
    /// How.
    pub format: Format,
}

impl Export {
    /// The answer, of which the first page is there already: what fails until then is answered as a problem.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn send(self, history: History) -> Result<Response, Problem> {
        let (media_type, file) = match self.format {
            Format::Csv => ("text/csv; charset=utf-8; header=present", "history.csv"),
            Format::Ndjson | Format::Json => ("application/x-ndjson", "history.ndjson"),
        };
        let (mut first, next) = self.page(&history, None).await?;
        if self.format == Format::Csv {
            first.insert_str(0, &line(COLUMNS.map(str::to_owned)));
        }
        let first = Ok(Bytes::from(first));
        let rest = self.rest(history, next);
        let body = Body::from_stream(stream::StreamExt::chain(stream::iter([first]), rest));
        let mut response = body.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        let disposition = format!("attachment; filename=\"{file}\"");
        if let Ok(disposition) = HeaderValue::from_str(&disposition) {
            headers.insert(header::CONTENT_DISPOSITION, disposition);
        }
        Ok(response)
    }

    /// The pages after the first. An error in the middle ends the body, so that the client sees that it is incomplete.
    fn rest(
        self,
        history: History,
        next: Option<i64>,
    ) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
        stream::try_unfold((self, history, next), |(export, history, next)| async move {
            let Some(cursor) = next else { return Ok(None) };
            match export.page(&history, Some(cursor)).await {
                Ok((text, next)) => Ok(Some((Bytes::from(text), (export, history, next)))),
                Err(error) => {
                    tracing::warn!(?error, "the export of a history was cut off");
                    Err(std::io::Error::other("the database cannot be asked"))
                }
            }
        })
    }

    async fn page(
        &self,
        history: &History,
        cursor: Option<i64>,
    ) -> Result<(String, Option<i64>), Problem> {
        let page = match self.of {
            Some(record) => history.of_record(record, &self.selection, cursor, PAGE).await?,
            None => history.across(&self.selection, cursor, PAGE).await?,
        };
        let names = history.names(&page.entries).await?;
        let lines = page.entries.iter().map(|one| match self.format {
            Format::Csv => line(cells(one, &names)),
            Format::Ndjson | Format::Json => format!("{}\n", entry(one, &names)),
        });
        Ok((lines.collect(), page.next))
    }
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
        entry.sentence.to_text(|of| names.call(of)),
        changes.collect::<Vec<_>>().join("; "),
        text(&entry.note),
    ]
}

/// A line of CSV, as RFC 4180 has it.
fn line<const N: usize>(cells: [String; N]) -> String {
    let mut line = cells.map(cell).join(",");
    line.push_str("\r\n");
    line
}

/// A cell. Spreadsheets take what begins with one of some signs for a formula and would carry out what somebody has put
/// into a name, so such a text gets an apostrophe before it.
fn cell(text: String) -> String {
    let text = match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}"),
        false => text,
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
    fn a_cell_is_text_to_every_spreadsheet() {
        let check = |text: &str, expected: &str| assert_eq!(cell(text.to_owned()), expected);
        check("Afore XXI", "Afore XXI");
        check("a, \"b\"\nc", "\"a, \"\"b\"\"\nc\"");
        check("=1+1", "'=1+1");
        check("@x", "'@x");
        check("-2,5", "\"'-2,5\"");
        check("+52 55", "'+52 55");
        check("", "");
    }
}
