//! An entry of the log as a CloudEvent (version 1.0 of the specification, JSON format).

use chrono::{DateTime, SecondsFormat, Utc};
use domain::Event;
use projections::log::Entry;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::selection::named;

/// The media type of one event.
pub const MEDIA_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// What is sent. Extension attributes are named as the specification demands: lower-case letters and digits. Numbers
/// are texts, since an integer of the specification has 32 bits only.
#[derive(Debug, Serialize)]
pub struct CloudEvent<'a> {
    specversion: &'static str,
    id: Uuid,
    source: &'a str,
    r#type: String,
    subject: String,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<&'static str>,
    /// The place in the log.
    position: String,
    /// The place among the record's own events.
    sequence: String,
    actor: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
    commandid: Uuid,
    correlationid: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    causationid: Option<Uuid>,
    /// When it happened, where that is known and differs from when it was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    occurredat: Option<String>,
    /// `api`, or `import:` and the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceid: Option<&'a str>,
    /// Why there is no data, if the event cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    dataerror: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

impl<'a> CloudEvent<'a> {
    /// An entry of the log of this name. Where its author sat (address, program) is not for those who follow.
    pub fn new(source: &'a str, entry: &'a Entry) -> Self {
        let (name, content) = match &entry.event {
            Ok(Event::Erased(_)) => {
                (entry.event_type.as_str(), Err("its record was erased".to_owned()))
            }
            Ok(event) => (event.name(), event.content().map_err(|error| error.to_string())),
            Err(error) => (entry.event_type.as_str(), Err(error.clone())),
        };
        let (data, dataerror) = match content {
            Ok(content) => (Some(content), None),
            Err(error) => (None, Some(error)),
        };
        let envelope = &entry.envelope;
        Self {
            specversion: "1.0",
            id: envelope.event_id,
            source,
            r#type: format!("crm.{}.{name}", entry.stream.kind),
            subject: named(&entry.stream),
            time: text(envelope.recorded_at),
            datacontenttype: data.is_some().then_some("application/json"),
            position: entry.position.to_string(),
            sequence: entry.sequence.to_string(),
            actor: &envelope.actor,
            command: envelope.command.as_deref(),
            commandid: envelope.command_id,
            correlationid: envelope.correlation_id,
            causationid: envelope.causation_id,
            occurredat: envelope.occurred_at.map(text),
            via: envelope.source.as_deref(),
            traceid: envelope.trace_id.as_deref(),
            dataerror,
            data,
        }
    }

    /// What it is about, as `crm.lp.Renamed`.
    pub fn kind(&self) -> &str {
        &self.r#type
    }

    /// As JSON, on one line.
    ///
    /// # Errors
    /// When it has no form in JSON, which is a defect.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}
