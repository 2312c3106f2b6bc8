//! The table of recordings: each as it stands, with its transcript, for readers and for searching.

mod listed;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use domain::note::{NoteEvent, Recording, RecordingId, Recordings};
use domain::{Event, Kind, NoteId};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

pub use self::listed::Phase;
use self::listed::lean;
use super::reader::{ReadError, Reader};
use crate::copy::CopyIn;
use crate::log::Recorded;
use crate::projector::{Fold, ProjectError, Projector, Table, Tables};

/// Keeps the table `recording`.
pub(super) struct RecordingProjector;

const TABLE: &str = "recording";

impl Projector for RecordingProjector {
    fn name(&self) -> &'static str {
        TABLE
    }

    fn version(&self) -> i32 {
        4
    }

    fn tables(&self) -> Vec<Table> {
        // `hidden` while the note is archived; `listed` is the record as lists have it.
        vec![Table {
            name: TABLE,
            columns: "id bigint not null, note_id bigint not null, position bigint not null,
                      hidden boolean not null, phase text not null, listed json not null,
                      record json not null"
                .to_owned(),
            long: &["record"],
            is_whole: false,
            key: &["id"],
            indexes: vec!["(note_id)".to_owned(), "(phase, id)".to_owned()],
        }]
    }

    fn follows(&self) -> &'static [Kind] {
        &[Kind::Note]
    }

    fn begin(&self) -> Box<dyn Fold> {
        Box::new(Notes::default())
    }
}

/// The recordings of the notes that a page is about.
#[derive(Default)]
struct Notes {
    notes: BTreeMap<i64, OfNote>,
    changed: Option<i64>,
    size: usize,
}

#[derive(Default)]
struct OfNote {
    recordings: Recordings,
    /// At which position each was attached.
    attached: BTreeMap<RecordingId, i64>,
    hidden: bool,
    position: i64,
    dirty: bool,
}

impl Fold for Notes {
    fn fold<'a>(
        &'a mut self,
        page: &'a [Recorded],
        db: &'a mut PgConnection,
        tables: Tables,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            if tables != Tables::Empty {
                self.load(db, page).await?;
            }
            for recorded in page {
                if let Event::Note(event) = &recorded.event {
                    self.apply(recorded, event);
                }
            }
            Ok(())
        })
    }

    fn write<'a>(
        &'a mut self,
        db: &'a mut PgConnection,
        tables: Tables,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            self.size = 0;
            let mut notes = std::mem::take(&mut self.notes);
            notes.retain(|_, note| note.dirty);
            if notes.is_empty() {
                return Ok(());
            }
            if tables != Tables::Empty {
                let ids: Vec<i64> = notes.keys().copied().collect();
                sqlx::query("delete from recording where note_id = any ($1)")
                    .bind(ids)
                    .execute(&mut *db)
                    .await?;
            }
            copy(db, &notes).await
        })
    }

    fn changed(&self) -> Option<i64> {
        self.changed
    }

    fn size(&self) -> usize {
        self.size
    }
}

impl Notes {
    fn apply(&mut self, recorded: &Recorded, event: &NoteEvent) {
        let is_known = self.notes.contains_key(&recorded.id);
        // Most notes have no recordings, and nothing of them is kept.
        if !is_known && !matches!(event, NoteEvent::RecordingAttached { .. }) {
            return;
        }
        let note = self.notes.entry(recorded.id).or_default();
        if let NoteEvent::RecordingAttached { recording, .. } = event {
            note.attached.insert(*recording, recorded.position);
        }
        match event {
            NoteEvent::Archived => note.hidden = true,
            NoteEvent::Restored => note.hidden = false,
            NoteEvent::Erased { .. } => note.recordings = Recordings::default(),
            event if event.recording().is_some() => note.recordings.change(event.clone()),
            _ => return,
        }
        note.position = recorded.position;
        note.dirty = true;
        self.size += recorded.size;
        self.changed = Some(recorded.position);
    }

    /// Loads the recordings of notes that were there before the page and change by it.
    async fn load(&mut self, db: &mut PgConnection, page: &[Recorded]) -> Result<(), ProjectError> {
        let ids: BTreeSet<i64> = page
            .iter()
            .filter(|recorded| match &recorded.event {
                Event::Note(
                    NoteEvent::Archived | NoteEvent::Restored | NoteEvent::Erased { .. },
                ) => true,
                Event::Note(event) => event.recording().is_some(),
                _ => false,
            })
            .map(|recorded| recorded.id)
            .filter(|id| !self.notes.contains_key(id))
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        let rows: Vec<Row> = sqlx::query_as(
            "select id, note_id, position, hidden, record::text from recording where note_id = any ($1)",
        )
        .bind(ids.into_iter().collect::<Vec<_>>())
        .fetch_all(db)
        .await?;
        let mut stored: BTreeMap<i64, (bool, Vec<(RecordingId, Recording)>)> = BTreeMap::new();
        let mut attached: BTreeMap<i64, BTreeMap<RecordingId, i64>> = BTreeMap::new();
        for (id, note, _, hidden, text) in rows {
            self.size += text.len();
            let (recording, position) =
                read(&text).map_err(|source| ProjectError::Row { table: TABLE, source })?;
            let (is_hidden, recordings) = stored.entry(note).or_default();
            *is_hidden = hidden;
            recordings.push((RecordingId(id), recording));
            let of_note = attached.entry(note).or_default();
            of_note.extend(position.map(|position| (RecordingId(id), position)));
        }
        for (note, (hidden, recordings)) in stored {
            let recordings = recordings.into_iter().collect();
            let attached = attached.remove(&note).unwrap_or_default();
            self.notes.insert(note, OfNote { recordings, attached, hidden, ..OfNote::default() });
        }
        Ok(())
    }
}

/// A recording as the table has it: itself, and at which position it was attached.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    attached: Option<i64>,
    #[serde(flatten)]
    recording: &'a Recording,
}

/// What earlier versions of the projector did not write.
#[derive(Deserialize)]
struct Attached {
    attached: Option<i64>,
}

fn read(text: &str) -> Result<(Recording, Option<i64>), serde_json::Error> {
    // In two passes: a map with numbers for keys cannot be read as part of a flattened struct.
    let Attached { attached } = serde_json::from_str(text)?;
    Ok((serde_json::from_str(text)?, attached))
}

/// Id, note, position, whether it is hidden, the recording as JSON.
type Row = (i64, i64, i64, bool, String);

async fn copy(db: &mut PgConnection, notes: &BTreeMap<i64, OfNote>) -> Result<(), ProjectError> {
    let columns = ["id", "note_id", "position", "hidden", "phase", "listed", "record"];
    let mut copy = CopyIn::begin(db, TABLE, &columns).await?;
    for (note, of_note) in notes {
        for (id, recording) in of_note.recordings.iter() {
            let attached = of_note.attached.get(&id).copied();
            let text = |recording: &Recording| {
                serde_json::to_string(&Written { attached, recording })
                    .map_err(|source| ProjectError::Row { table: TABLE, source })
            };
            copy.int(id.0).int(*note).int(of_note.position).flag(of_note.hidden);
            copy.text(Phase::of(recording).as_str()).text(&text(&lean(recording))?);
            copy.text(&text(recording)?);
            copy.end_row().await?;
        }
    }
    copy.finish().await?;
    Ok(())
}

/// A recording as readers get it.
#[derive(Clone, Debug)]
pub struct StoredRecording {
    /// Which.
    pub id: RecordingId,
    /// The note that it belongs to.
    pub note: NoteId,
    /// The last position that changed a recording of that note.
    pub position: i64,
    /// When it was attached; `None` only while the table of an earlier release is read.
    pub attached_at: Option<DateTime<Utc>>,
    /// As it stands.
    pub recording: Recording,
}

impl Reader {
    /// One recording, if it is there and its note is in use.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn recording(&self, id: RecordingId) -> Result<Option<StoredRecording>, ReadError> {
        Ok(self.recordings_where("id = $1", id.0).await?.pop())
    }

    /// The recordings of a note in use, in the order in which they were attached.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn recordings_of(&self, note: NoteId) -> Result<Vec<StoredRecording>, ReadError> {
        self.recordings_where("note_id = $1", note.0).await
    }

    async fn recordings_where(
        &self,
        condition: &str,
        id: i64,
    ) -> Result<Vec<StoredRecording>, ReadError> {
        let statement = format!(
            "select id, note_id, position, hidden, record::text from recording
             where {condition} and not hidden order by id"
        );
        let question = async {
            let mut db = self.pool().acquire().await?;
            let rows: Vec<Row> = sqlx::query_as(&statement).bind(id).fetch_all(&mut *db).await?;
            with_times(rows, &mut db).await
        };
        let found = self.database().ask(question).await?;
        stored(found)
    }
}

/// Rows as they are read, and when recordings were attached at which positions.
type Found = (Vec<(Result<(Recording, Option<i64>), serde_json::Error>, Row)>, Times);
type Times = BTreeMap<i64, DateTime<Utc>>;

async fn with_times(rows: Vec<Row>, db: &mut PgConnection) -> Result<Found, sqlx::Error> {
    let rows = rows.into_iter().map(|row| (read(&row.4), row)).collect::<Vec<_>>();
    let at = rows.iter().filter_map(|(read, _)| read.as_ref().ok()?.1).collect::<Vec<_>>();
    let times = "select position, recorded_at from events where position = any ($1)";
    let times: Vec<(i64, DateTime<Utc>)> =
        sqlx::query_as(times).bind(at).fetch_all(&mut *db).await?;
    Ok((rows, times.into_iter().collect()))
}

fn stored((rows, times): Found) -> Result<Vec<StoredRecording>, ReadError> {
    let stored = rows.into_iter().map(|(read, (id, note, position, ..))| {
        let (recording, at) = read.map_err(|error| ReadError::Internal(error.into()))?;
        let attached_at = at.and_then(|at| times.get(&at).copied());
        let (id, note) = (RecordingId(id), NoteId(note));
        Ok(StoredRecording { id, note, position, attached_at, recording })
    });
    stored.collect()
}
