//! An answer's bytes, ready to be sent, in whatever encoding the client takes.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use super::reader::StoredRecord;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// As it is.
    Identity,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// Brotli.
    Brotli,
}

/// JSON text in pieces. Clones share it, and share what it was compressed to.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Names this content among all that the same query ever had and will have.
    pub tag: String,
    /// The pieces, in order.
    pub chunks: Arc<[Bytes]>,
    /// Of a single record: from this event on its stream is parked, or that of a roadshow for the fund, so that nothing of that is in it.
    pub parked: Option<i64>,
    encoded: Arc<tokio::sync::Mutex<HashMap<Encoding, Bytes>>>,
}

impl Answer {
    /// An answer with this tag and these pieces.
    pub fn new(tag: String, chunks: Vec<Bytes>) -> Self {
        Self { tag, chunks: chunks.into(), parked: None, encoded: Arc::default() }
    }

    /// A single record.
    pub fn of_record(stored: StoredRecord) -> Self {
        Self { parked: stored.parked, ..Self::new(stored.tag, vec![stored.json]) }
    }

    /// A JSON array of these JSON texts.
    pub(super) fn array<'a>(tag: String, items: impl IntoIterator<Item = &'a str>) -> Self {
        let mut text = String::from("[");
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            text.push_str(item);
        }
        text.push(']');
        Self::new(tag, vec![text.into()])
    }

    /// The length in bytes before any encoding.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }

    /// Whether there is nothing in it. An array without items is not empty: it has brackets.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The body in this encoding. It is compressed once, off the server's threads, whoever asks and how often.
    pub async fn encoded(&self, encoding: Encoding) -> Arc<[Bytes]> {
        if encoding == Encoding::Identity {
            return self.chunks.clone();
        }
        let mut encoded = self.encoded.lock().await;
        if let Some(bytes) = encoded.get(&encoding) {
            return Arc::new([bytes.clone()]);
        }
        let chunks = self.chunks.clone();
        match tokio::task::spawn_blocking(move || compress(&chunks, encoding)).await {
            Ok(Ok(bytes)) => {
                encoded.insert(encoding, bytes.clone());
                Arc::new([bytes])
            }
            // Neither writing to memory nor these levels can fail; a cancelled task means the server is going down.
            Ok(Err(_)) | Err(_) => Arc::new([]),
        }
    }
}

/// Fast levels: the answer waits for this, and the wire is short.
fn compress(chunks: &[Bytes], encoding: Encoding) -> std::io::Result<Bytes> {
    let out = Vec::with_capacity(chunks.iter().map(Bytes::len).sum::<usize>() / 4);
    let out = match encoding {
        Encoding::Identity => chunks.concat(),
        Encoding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
            chunks.iter().try_for_each(|chunk| encoder.write_all(chunk))?;
            encoder.finish()?
        }
        Encoding::Zstd => {
            let mut encoder = zstd::Encoder::new(out, 1)?;
            chunks.iter().try_for_each(|chunk| encoder.write_all(chunk))?;
            encoder.finish()?
        }
        Encoding::Brotli => {
            let mut encoder = brotli::CompressorWriter::new(out, 1 << 16, 2, 22);
            chunks.iter().try_for_each(|chunk| encoder.write_all(chunk))?;
            encoder.into_inner()
        }
    };
    Ok(out.into())
}
