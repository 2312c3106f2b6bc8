//! The files that the log names: what garbage collection keeps, and what is to be there.

use std::collections::{BTreeMap, HashSet};
use std::path::{Component, Path};

use domain::note::{AudioFile, NoteEvent, RecordingId};
use domain::{Change, Event, NoteId};
use projections::database::Database;
use projections::files::document_key;
use projections::log::{LogReader, PageLimit, Recorded, Stream};
use serde_json::Value;
use sqlx::PgConnection;

/// How many events are looked at in one go.
const PAGE: PageLimit = PageLimit { events: 2_000 };

/// What the whole log names. What was removed or erased is not among it.
#[derive(Default)]
pub(crate) struct Named {
    /// Recordings, each with its note and its file.
    pub recordings: BTreeMap<RecordingId, (NoteId, AudioFile)>,
    /// Documents by their keys.
    pub documents: BTreeMap<String, NamedDocument>,
    /// The paths of the images of notes, between commas.
    pub images: BTreeMap<NoteId, String>,
    /// Positions of events that cannot be read: what they name is not known.
    pub unreadable: Vec<i64>,
}

/// The most records that are named of those that have a document.
pub(crate) const MOST_NAMED: usize = 5;

/// A document that events name.
#[derive(Debug, PartialEq)]
pub(crate) struct NamedDocument {
    pub sha256: String,
    /// Its length, where an event tells that it was stored.
    pub size: Option<u64>,
    /// Whose events name it: one more than [`MOST_NAMED`] at most.
    pub of: Vec<Stream>,
}

impl Named {
    pub(crate) async fn read(
        database: &Database,
        db: &mut PgConnection,
    ) -> Result<Self, sqlx::Error> {
        let (mut named, mut position) = (Self::default(), 0);
        let log = LogReader::new(database.keys().clone());
        loop {
            let page = log.read_page(db, position, PAGE).await?;
            named.unreadable.extend(page.broken.iter().map(|broken| broken.position));
            page.events.iter().for_each(|recorded| named.take(recorded));
            match page.end {
                Some(end) => position = end,
                None => return Ok(named),
            }
        }
    }

    /// The keys of recordings and documents.
    pub(crate) fn keys(self) -> HashSet<String> {
        let recordings = self.recordings.into_values().map(|(_, file)| file.key);
        recordings.chain(self.documents.into_keys()).collect()
    }

    fn take(&mut self, recorded: &Recorded) {
        let note = NoteId(recorded.id);
        match &recorded.event {
            Event::Note(NoteEvent::RecordingAttached { recording, file, .. }) => {
                self.recordings.insert(*recording, (note, file.clone()));
                return;
            }
            Event::Note(NoteEvent::RecordingRemoved { recording }) => {
                self.recordings.remove(recording);
                return;
            }
            Event::Note(
                NoteEvent::Registered { details: changes, .. }
                | NoteEvent::DetailsAmended { changes },
            ) => match &changes.image_paths {
                Change::Set(paths) => _ = self.images.insert(note, paths.clone()),
                Change::Clear => _ = self.images.remove(&note),
                Change::Keep => {}
            },
            _ => {}
        }
        match recorded.event.content() {
            Ok(content) => self.documents_in(&content, &recorded.stream()),
            Err(_) => self.unreadable.push(recorded.position),
        }
    }

    /// Documents stand in events by their hash, wherever an event has one.
    fn documents_in(&mut self, content: &Value, stream: &Stream) {
        match content {
            Value::Object(members) => {
                if let Some(sha256) = members.get("sha256").and_then(Value::as_str)
                    && let Ok(key) = document_key(sha256)
                {
                    let is_document = members.contains_key("media_type");
                    let size = members.get("size").filter(|_| is_document).and_then(Value::as_u64);
                    let known = self.documents.entry(key).or_insert_with(|| NamedDocument {
                        sha256: sha256.to_owned(),
                        size,
                        of: Vec::new(),
                    });
                    known.size = known.size.or(size);
                    if known.of.len() <= MOST_NAMED && !known.of.contains(stream) {
                        known.of.push(stream.clone());
                    }
                }
                members.values().for_each(|value| self.documents_in(value, stream));
            }
            Value::Array(items) => items.iter().for_each(|item| self.documents_in(item, stream)),
            _ => {}
        }
    }
}

/// The name that the image at this path is stored under, if it is a path in a folder.
pub(crate) fn image_name(path: &str) -> Option<&str> {
    let path = Path::new(path);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    path.file_name().and_then(|name| name.to_str()).filter(|_| inside)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_named_wherever_it_stands() {
        let (one, two) = ("a".repeat(64), "b".repeat(64));
        let mut named = Named::default();
        let stream = |id: i64| Stream { kind: "roadshow".to_owned(), id: id.to_string() };
        named.documents_in(
            &json!({"DetailsAmended": {"changes": {"flight_images":
            {"sha256": one, "size": 1, "media_type": "text/plain"}, "list": [{"sha256": two}]}}}),
            &stream(7),
        );
        named
            .documents_in(&json!({"Renamed": {"name": "sha256"}, "sha256": "no hash"}), &stream(7));
        named.documents_in(&json!({"sha256": one}), &stream(9));
        let known = |sha256: &String, size, of: &[i64]| {
            let of = of.iter().copied().map(stream).collect();
            let key = document_key(sha256).unwrap();
            (key, NamedDocument { sha256: sha256.clone(), size, of })
        };
        let expected = BTreeMap::from([known(&one, Some(1), &[7, 9]), known(&two, None, &[7])]);
        assert_eq!(named.documents, expected);
    }
}
