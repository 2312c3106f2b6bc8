//! `/events`: every change as it is recorded, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, stream};
use projections::database::DatabaseError;
use projections::log::{Entry, Selection};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::body::{Parameters, parse_id};
use crate::describe::{Content, LIVE, Routes, get};
use crate::live::cloud_event::CloudEvent;
use crate::live::{Feed, Look, selection};
use crate::problem::{Fault, Problem};

/// Where a client that was cut off goes on.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Some proxies gather an answer before they pass it on, unless told not to.
const NO_BUFFERING: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// How long a client that was cut off waits before it comes again.
const COME_BACK: Duration = Duration::from_secs(1);

/// How long to wait for a database that is away before looking again.
const AGAIN: Duration = Duration::from_millis(250);

/// The routes of those who follow.
pub fn routes() -> Routes {
    Routes::tagged(LIVE).at(
        "/events",
        [get("Every change as it is recorded, as server-sent events", Content::Events(example()), follow)
            .query("after", false, "Begin after this position; 0 from the first event on. Not set: with what comes from now on. `Last-Event-ID` goes before it")
            .query("kind", false, "Only events of this kind of record, such as lp; several by commas or again")
            .query("record", false, "Only events of this record, such as lp/7; several likewise. Of a fund also those of roadshows that changed its roadshow date. With `kind`: what either of them asks for")
            .strict()],
    )
}

/// An event as it is sent, for the API's description.
pub fn example() -> Value {
    json!({"specversion": "1.0", "id": "0198c0de-0000-7000-8000-000000000001",
        "source": "urn:uuid:7f6b2c1e-4a57-4f4e-9c7d-0b8f3d2a1c55", "type": "crm.lp.Renamed", "subject": "lp/7",
        "time": "2025-01-31T15:04:05.000123Z", "datacontenttype": "application/json", "position": "1659",
        "sequence": "3", "actor": "anonymous", "command": "Revise",
        "commandid": "0198c0de-0000-7000-8000-000000000002", "correlationid": "0198c0de-0000-7000-8000-000000000003",
        "via": "api", "data": {"name": "Profuturo"}})
}

async fn follow(
    State(app): State<App>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    parameters.expect(&["after", "kind", "record", "min_position"])?;
    let wanted = wanted(&parameters)?;
    let asked = begin(&parameters, &headers)?;
    let head = app.live.head().await?;
    if let Some((place, position)) = asked.filter(|(_, position)| *position > head) {
        let said = format!("This log ends at {head}; begin there, or with after=0");
        let fault = Fault::new("position", place.map(Value::from), said);
        return Err(Problem::invalid(fault.with_input(position)));
    }
    let after = asked.map_or(head, |(_, position)| position);
    let telling = Telling {
        feed: app.live.feed(wanted, after),
        source: app.live.source.clone(),
        heartbeat: app.live.heartbeat,
        silent_until: None,
        dismissed: app.rebuilds.dismissal().clone(),
    };
    Ok(([NO_BUFFERING], Sse::new(telling.into_stream())).into_response())
}

fn wanted(parameters: &Parameters) -> Result<Selection, Problem> {
    let invalid = |name: &'static str, error: selection::FilterError| {
        Problem::invalid(Fault::new("filter", ["query".into(), name.into()], error.to_string()))
    };
    for name in ["kind", "record"] {
        if parameters.is_blank(name) {
            let said = "Name at least one, or leave the parameter out to get every event";
            let fault = Fault::new("filter", ["query".into(), name.into()], said);
            return Err(Problem::invalid(fault.with_input("")));
        }
    }
    let kinds = parameters.list("kind").map(selection::kind);
    let records = parameters.list("record").map(selection::record);
    Ok(Selection {
        kinds: kinds.collect::<Result<_, _>>().map_err(|error| invalid("kind", error))?,
        streams: records.collect::<Result<_, _>>().map_err(|error| invalid("record", error))?,
    })
}

/// The position that the client names, and where it does.
fn begin(
    parameters: &Parameters,
    headers: &HeaderMap,
) -> Result<Option<([&'static str; 2], i64)>, Problem> {
    let last = headers.get(LAST_EVENT_ID).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let (place, text) = match (&last, parameters.get("after")) {
        (Some(text), _) if !text.is_empty() => (["header", "last-event-id"], text.as_ref()),
        (_, Some(text)) => (["query", "after"], text),
        _ => return Ok(None),
    };
    let fault = |fault: Fault| Problem::invalid(fault.at(place.map(Value::from)).with_input(text));
    let position = parse_id(text).map_err(fault)?;
    if position < 0 {
        return Err(fault(Fault::new("position", [], "A position is 0 or more")));
    }
    Ok(Some((place, position)))
}

/// What one client has been told.
struct Telling {
    feed: Feed,
    source: Arc<str>,
    heartbeat: Duration,
    /// When it is time to show that the stream is alive; `None` before the first word.
    silent_until: Option<Instant>,
    dismissed: CancellationToken,
}

impl Telling {
    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut telling| async move {
            let event = telling.next().await?;
            telling.silent_until = Some(Instant::now() + telling.heartbeat);
            Some((Ok(event), telling))
        })
    }

    /// What to say next, when it is time; `None` when the stream ends.
    async fn next(&mut self) -> Option<Event> {
        let Some(due) = self.silent_until else {
            return Some(self.remark("following").retry(COME_BACK));
        };
        loop {
            if self.dismissed.is_cancelled() {
                return None;
            }
            let pause = match self.feed.look().await {
                Ok(Look::Entry(entry)) => return self.event(&entry),
                Ok(Look::Further) if Instant::now() < due => continue,
                Ok(Look::Further) => return Some(self.remark("heartbeat")),
                Ok(Look::Level) => None,
                // The database is away: the stream goes on where it was when that is over.
                Err(DatabaseError::Unavailable(_)) => Some(AGAIN),
                Err(DatabaseError::Failed(error)) => {
                    tracing::error!(%error, "a stream of events is cut off: the log cannot be read");
                    return None;
                }
            };
            let more = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => self.feed.grown().await,
                }
            };
            tokio::select! {
                () = self.dismissed.cancelled() => return None,
                () = tokio::time::sleep_until(due) => return Some(self.remark("heartbeat")),
                () = more => {}
            }
        }
    }

    /// A comment. Its id tells the client how far it has come, even if nothing that it wants was there: if it is cut off,
    /// it goes on from here.
    fn remark(&self, text: &str) -> Event {
        Event::default().id(self.feed.position().to_string()).comment(text)
    }

    fn event(&self, entry: &Entry) -> Option<Event> {
        match CloudEvent::new(&self.source, entry).to_json() {
            // Without a name of its own, so that it comes to `onmessage`.
            Ok(json) => Some(Event::default().id(entry.position.to_string()).data(json)),
            Err(error) => {
                tracing::error!(%error, position = entry.position, "an event cannot be told");
                None
            }
        }
    }
}
