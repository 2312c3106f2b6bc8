//! Points as Qdrant has them: what stands in their payload, and what is asked of it.

use std::collections::HashMap;

use ::qdrant_client::qdrant::vectors_config::Config;
use ::qdrant_client::qdrant::{
    CollectionInfo, Condition, FieldType, Filter as Conditions, PointStruct, Range, RetrievedPoint,
    ScoredPoint, Value,
};
use sha2::{Digest as _, Sha256};
use uuid::Builder;

use super::super::{Held, Near, Place, Point, TextDigest};
use crate::search::passage::{named, record_named};
use crate::search::{Filter, Part};

/// `note:12`.
pub(super) const RECORD: &str = "record";
const KIND: &str = "kind";
const PART: &str = "part";
const ORDINAL: &str = "ordinal";
const DIGEST: &str = "digest";
const VERSION: &str = "version";
/// The record itself and all that it is about.
const ABOUT: &str = "about";
/// In microseconds since 1970: a double holds them exactly until the year 2255.
const DATE: &str = "date";
const LANGUAGE: &str = "language";
/// There, and true, for what is found only where its kind is asked for.
const BRIEF: &str = "brief";

/// What is filtered by, and so has an index.
pub(super) const INDEXED: &[(&str, FieldType)] = &[
    (RECORD, FieldType::Keyword),
    (KIND, FieldType::Keyword),
    (ABOUT, FieldType::Keyword),
    (LANGUAGE, FieldType::Keyword),
    (DATE, FieldType::Integer),
    (VERSION, FieldType::Integer),
    (BRIEF, FieldType::Bool),
];

/// A point to be written. Its id is made of its place, so that it takes the place of the one before.
pub(super) fn point(point: &Point) -> PointStruct {
    let Point { place, digest, version, vector, date, language, about, is_brief } = point;
    let about: Vec<Value> = std::iter::once(place.record)
        .chain(about.iter().copied())
        .map(|record| Value::from(named(record)))
        .collect();
    let mut payload = HashMap::from([
        (RECORD.to_owned(), Value::from(named(place.record))),
        (KIND.to_owned(), Value::from(place.record.kind().as_str())),
        (PART.to_owned(), Value::from(place.part.as_str())),
        (ORDINAL.to_owned(), Value::from(i64::from(place.ordinal))),
        (DIGEST.to_owned(), Value::from(digest.to_string())),
        (VERSION.to_owned(), Value::from(*version)),
        (ABOUT.to_owned(), Value::from(about)),
    ]);
    if let Some(date) = date {
        payload.insert(DATE.to_owned(), Value::from(date.timestamp_micros()));
    }
    if let Some(language) = language {
        payload.insert(LANGUAGE.to_owned(), Value::from(language.code()));
    }
    if *is_brief {
        payload.insert(BRIEF.to_owned(), Value::from(true));
    }
    PointStruct::new(id(place), vector.clone(), payload)
}

/// A UUID that is always the same for a place.
fn id(place: &Place) -> String {
    let hash = Sha256::digest(place.to_string());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

/// What a point must be to pass the filter.
pub(super) fn conditions(filter: &Filter) -> Conditions {
    let mut must = Vec::new();
    if !filter.kinds.is_empty() {
        let kinds: Vec<String> = filter.kinds.iter().map(|kind| kind.as_str().to_owned()).collect();
        must.push(Condition::matches(KIND, kinds));
    }
    must.extend(filter.about.iter().map(|record| Condition::matches(ABOUT, named(*record))));
    if filter.from.is_some() || filter.to.is_some() {
        #[allow(clippy::cast_precision_loss, reason = "exact until the year 2255")]
        let micros = |time: chrono::DateTime<chrono::Utc>| time.timestamp_micros() as f64;
        let range =
            Range { gte: filter.from.map(micros), lt: filter.to.map(micros), ..Range::default() };
        must.push(Condition::range(DATE, range));
    }
    if let Some(language) = filter.language {
        must.push(Condition::matches(LANGUAGE, language.code().to_owned()));
    }
    let is_brief = filter.kinds.is_empty().then(|| Condition::matches(BRIEF, true));
    Conditions { must, must_not: is_brief.into_iter().collect(), ..Conditions::default() }
}

/// Of a lower version than this.
pub(super) fn below(version: i64) -> Condition {
    #[allow(clippy::cast_precision_loss, reason = "versions are counted from 1 and far below 2^53")]
    let version = version as f64;
    Condition::range(VERSION, Range { lt: Some(version), ..Range::default() })
}

/// The length of the vectors of a collection.
pub(super) fn dimensions_of(info: &CollectionInfo) -> Option<u64> {
    let params = info.config.as_ref()?.params.as_ref()?;
    match params.vectors_config.as_ref()?.config.as_ref()? {
        Config::Params(vectors) => Some(vectors.size),
        Config::ParamsMap(_) => None,
    }
}

/// A point that was found; `None` if it is not one of ours.
pub(super) fn near_of(point: &ScoredPoint) -> Option<Near> {
    let place = place_of(&point.payload)?;
    Some(Near { place, digest: digest_of(&point.payload)?, score: point.score })
}

/// A point that was listed; `None` if it is not one of ours.
pub(super) fn held_of(point: &RetrievedPoint) -> Option<Held> {
    let payload = &point.payload;
    let version = payload.get(VERSION)?.as_integer()?;
    Some(Held { place: place_of(payload)?, version, digest: digest_of(payload)? })
}

fn place_of(payload: &HashMap<String, Value>) -> Option<Place> {
    let record = record_named(payload.get(RECORD)?.as_str()?)?;
    let part = Part::parse(payload.get(PART)?.as_str()?)?;
    let ordinal = i32::try_from(payload.get(ORDINAL)?.as_integer()?).ok()?;
    Some(Place { record, part, ordinal })
}

fn digest_of(payload: &HashMap<String, Value>) -> Option<TextDigest> {
    payload.get(DIGEST)?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use domain::Kind;

    use super::*;

    #[test]
    fn a_point_is_what_was_written() {
        let written = Point {
            place: Place { record: Kind::Note.record(12), part: Part::Text, ordinal: 3 },
            digest: TextDigest([7; 16]),
            version: 42,
            vector: vec![1.0, 0.0],
            date: None,
            language: None,
            about: vec![Kind::Lp.record(7)],
            is_brief: false,
        };
        let PointStruct { id: first, payload, .. } = point(&written);
        let listed = RetrievedPoint { payload, ..RetrievedPoint::default() };
        let Point { place, version, digest, .. } = written.clone();
        assert_eq!(held_of(&listed), Some(Held { place, version, digest }));
        let again = Point { version: 43, digest: TextDigest([8; 16]), ..written.clone() };
        assert_eq!(point(&again).id, first, "it takes the place of the one before");
        let mut elsewhere = written;
        elsewhere.place.ordinal = 4;
        assert_ne!(point(&elsewhere).id, first);
    }
}
