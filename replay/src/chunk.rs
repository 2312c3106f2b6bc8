//! What is written in one transaction: events and the marks that they are done.

use chrono::{DateTime, Utc};
use domain::{Kind, import};
use projections::log::{Claim, NewEvent};
use serde_json::json;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::decide::Draft;
use crate::error::ImportError;
use crate::ledger::{Mark, Marks};

/// Events and marks that belong together.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The events, in order.
    pub events: Vec<NewEvent>,
    /// What they mean for who has which Notion id.
    pub claims: Vec<Claim>,
    /// What they leave in the ledger.
    pub marks: Marks,
    /// What the import is working on.
    pub phase: &'static str,
    /// Rows dealt with when this chunk is written.
    pub done: u64,
    /// Events when this chunk is written.
    pub total_events: u64,
}

/// Gathers events and hands them to the writer in chunks of bounded size.
pub struct Chunks {
    chunk: Chunk,
    bytes: usize,
    reported: u64,
    events_per_chunk: usize,
    command_id: Uuid,
    correlation_id: Uuid,
    source: String,
    writer: mpsc::Sender<Chunk>,
}

impl Chunks {
    const BYTES: usize = 4 << 20;
    /// After so many rows without an event the progress is told all the same.
    const ROWS: u64 = 5_000;

    /// Starts. `source` names the file in the metadata of every event.
    pub fn new(writer: mpsc::Sender<Chunk>, source: String, events_per_chunk: usize) -> Self {
        Self {
            chunk: Chunk::default(),
            bytes: 0,
            reported: 0,
            events_per_chunk,
            command_id: Uuid::nil(),
            correlation_id: Uuid::now_v7(),
            source,
            writer,
        }
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.chunk.total_events
    }

    /// Says what the import is working on from now on.
    pub fn enter(&mut self, phase: &'static str) {
        self.chunk.phase = phase;
    }

    /// Adds rows that are dealt with.
    pub fn count_rows(&mut self, rows: u64) {
        self.chunk.done += rows;
    }

    /// Adds a mark.
    pub fn mark(&mut self, kind: impl Into<String>, key: String, mark: Mark) {
        self.chunk.marks.insert((kind.into(), key), mark);
    }

    /// Adds an event of a record.
    pub fn push(
        &mut self,
        (kind, id): (Kind, i64),
        sequence: i64,
        draft: Draft,
        occurred_at: Option<DateTime<Utc>>,
    ) {
        self.add(kind.as_str(), id.to_string(), sequence, draft, occurred_at);
    }

    /// Adds what events of a record mean for who has which Notion id.
    pub fn claim(&mut self, claim: Option<Claim>) {
        self.chunk.claims.extend(claim);
    }

    /// Adds an event about a row that belongs to no record.
    pub fn push_row(&mut self, sequence: i64, draft: Draft) {
        self.add(import::STREAM_TYPE, import::STREAM_ID.to_owned(), sequence, draft, None);
    }

    fn add(
        &mut self,
        aggregate_type: &'static str,
        aggregate_id: String,
        sequence: i64,
        draft: Draft,
        occurred_at: Option<DateTime<Utc>>,
    ) {
        if draft.is_first {
            self.command_id = Uuid::new_v4();
        }
        let metadata = json!({ "command": draft.command, "source": self.source });
        self.bytes += draft.payload.len() + 300;
        self.chunk.total_events += 1;
        self.chunk.events.push(NewEvent {
            aggregate_type,
            aggregate_id,
            sequence,
            event_type: draft.event_type,
            event_version: draft.event_version,
            payload: draft.payload,
            metadata: metadata.to_string(),
            event_id: Uuid::new_v4(),
            command_id: self.command_id,
            correlation_id: self.correlation_id,
            causation_id: None,
            actor: "import".to_owned(),
            occurred_at,
        });
    }

    /// Hands the chunk over if it is large enough; called where everything that belongs together is in it.
    ///
    /// # Errors
    /// When the writer is gone.
    pub fn flush_if_large(&mut self) -> Result<(), ImportError> {
        let full = self.chunk.events.len().max(self.chunk.marks.len()) >= self.events_per_chunk;
        let due = self.chunk.done >= self.reported + Self::ROWS;
        if full || due || self.bytes >= Self::BYTES { self.flush() } else { Ok(()) }
    }

    /// Hands the chunk over.
    ///
    /// # Errors
    /// When the writer is gone.
    pub fn flush(&mut self) -> Result<(), ImportError> {
        let Chunk { phase, done, total_events, .. } = self.chunk;
        let next = Chunk { phase, done, total_events, ..Chunk::default() };
        let chunk = std::mem::replace(&mut self.chunk, next);
        (self.bytes, self.reported) = (0, done);
        let gone = |_| ImportError::Stopped("it was called off".to_owned());
        self.writer.blocking_send(chunk).map_err(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(bytes: usize) -> Draft {
        Draft {
            event_type: "Registered".to_owned(),
            event_version: "1".to_owned(),
            payload: "x".repeat(bytes),
            command: "Register",
            is_first: true,
        }
    }

    /// How many events there are in each chunk.
    fn chunks_of(sizes: &[usize]) -> Vec<usize> {
        let (sender, mut receiver) = mpsc::channel(sizes.len() + 1);
        let mut chunks = Chunks::new(sender, "import:crm.db".to_owned(), 3);
        for (id, size) in (1..).zip(sizes) {
            chunks.push((Kind::Note, id), 1, draft(*size), None);
            chunks.flush_if_large().unwrap();
        }
        chunks.flush().unwrap();
        drop(chunks);
        std::iter::from_fn(|| receiver.blocking_recv()).map(|chunk| chunk.events.len()).collect()
    }

    #[test]
    fn a_chunk_is_full_of_events_or_of_bytes() {
        assert_eq!(chunks_of(&[1, 1, 1, 1]), [3, 1]);
        assert_eq!(chunks_of(&[2 << 20, 3 << 20, 1]), [2, 1]);
        assert_eq!(chunks_of(&[9 << 20, 9 << 20, 1]), [1, 1, 1]);
    }
}
