//! The events that records have in the log already.

use std::collections::HashMap;

use domain::{Event, Kind};
use sqlx::PgPool;

use cqrs_es::persist::SerializedEvent;

use crate::error::ImportError;

/// A record's events and its version.
#[derive(Debug, Default)]
pub struct History {
    /// The events, in order.
    pub events: Vec<Event>,
    /// The sequence of the last one.
    pub version: i64,
}

type Row = (String, i64, String, String, String);

/// Loads the streams of these records.
///
/// # Errors
/// When the database fails or an event cannot be read.
pub async fn load(
    pool: &PgPool,
    kind: Kind,
    ids: &[i64],
) -> Result<HashMap<i64, History>, ImportError> {
    let keys: Vec<String> = ids.iter().map(i64::to_string).collect();
    let rows: Vec<Row> = sqlx::query_as(
        "select aggregate_id, sequence, event_type, event_version, payload::text from events
         where aggregate_type = $1 and aggregate_id = any($2) order by aggregate_id, sequence",
    )
    .bind(kind.as_str())
    .bind(keys)
    .fetch_all(pool)
    .await?;
    let mut histories: HashMap<i64, History> = HashMap::new();
    let upcasters = domain::upcasters();
    for (id, sequence, event_type, event_version, payload) in rows {
        let Ok(number) = id.parse() else { continue };
        let history = histories.entry(number).or_default();
        let event =
            decode(kind.as_str(), (id, sequence, event_type, event_version, payload), &upcasters)?;
        history.events.push(event);
        history.version = sequence;
    }
    Ok(histories)
}

/// Reads a stored event in today's form.
///
/// # Errors
/// When it does not fit.
pub fn decode(
    aggregate_type: &str,
    (id, sequence, event_type, event_version, payload): Row,
    upcasters: &[Box<dyn cqrs_es::persist::EventUpcaster>],
) -> Result<Event, domain::DecodeError> {
    let applies = upcasters.iter().any(|u| u.can_upcast(&event_type, &event_version));
    if !applies {
        return Event::decode(aggregate_type, &event_type, &payload);
    }
    let unreadable = |source| domain::DecodeError::Payload {
        aggregate_type: aggregate_type.to_owned(),
        event_type: event_type.clone(),
        source,
    };
    let mut event = SerializedEvent::new(
        id,
        usize::try_from(sequence).unwrap_or_default(),
        aggregate_type.to_owned(),
        event_type.clone(),
        event_version,
        serde_json::from_str(&payload).map_err(unreadable)?,
        serde_json::Value::Null,
    );
    for upcaster in upcasters {
        if upcaster.can_upcast(&event.event_type, &event.event_version) {
            event = upcaster.upcast(event);
        }
    }
    Event::decode(aggregate_type, &event.event_type, &event.payload.to_string())
}
