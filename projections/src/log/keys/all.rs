//! All keys at once, still wrapped, for whoever reads the whole log: looking up each of them as its events come takes Postgres
//! longer than giving out the events.

use std::collections::HashMap;

use bytes::Bytes;
use domain::Kind;
use sqlx::PgConnection;
use tokio::sync::OnceCell;

use super::{KeyRing, Keys, Known};
use crate::copy::CopyOut;

/// The keys as the database had them when the first of them was needed.
#[derive(Debug)]
pub struct AllKeys {
    most: usize,
    read: OnceCell<HashMap<Kind, HashMap<Bytes, Wrapped>>>,
}

/// A key as it is stored.
#[derive(Debug)]
struct Wrapped {
    /// `None` once it was destroyed.
    key: Option<Bytes>,
    master_id: Bytes,
}

impl Default for AllKeys {
    /// Up to 200,000, which take some 40 MB.
    fn default() -> Self {
        Self::up_to(200_000)
    }
}

impl AllKeys {
    /// So many at most. If there are more, the others are to be looked up as their events come.
    pub fn up_to(most: usize) -> Self {
        Self { most, read: OnceCell::new() }
    }

    /// Puts the keys of streams on a ring. Returns the streams whose keys are none of these.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn hand_out<'a>(
        &self,
        db: &mut PgConnection,
        keys: &Keys,
        mut streams: Vec<(Kind, &'a str)>,
        ring: &mut KeyRing,
    ) -> Result<Vec<(Kind, &'a str)>, sqlx::Error> {
        if streams.is_empty() {
            return Ok(streams);
        }
        let all = self.read.get_or_try_init(|| read(db, self.most)).await?;
        streams.retain(|(kind, id)| {
            let wrapped = all.get(kind).and_then(|keys| keys.get(id.as_bytes()));
            let Some(Wrapped { key, master_id }) = wrapped else { return true };
            let master_id = || String::from_utf8_lossy(master_id).into_owned();
            if ring.get(*kind, id).is_none() {
                let known = match key {
                    None => Known::Destroyed,
                    Some(key) => keys.unwrap(*kind, id, key, master_id()),
                };
                ring.put(*kind, (*id).to_owned(), known);
            }
            false
        });
        Ok(streams)
    }
}

async fn read(
    db: &mut PgConnection,
    most: usize,
) -> Result<HashMap<Kind, HashMap<Bytes, Wrapped>>, sqlx::Error> {
    let mut keys: HashMap<Kind, HashMap<Bytes, Wrapped>> = HashMap::new();
    let query = format!(
        "select aggregate_type, aggregate_id, wrapped, master_id from stream_key limit {most}"
    );
    let mut rows = CopyOut::begin(db, &query).await?;
    while let Some(mut row) = rows.next::<4>().await? {
        let (kind, id) = (row.text()?, row.text()?);
        let wrapped = Wrapped { key: row.column()?, master_id: row.text()? };
        if let Some(kind) = std::str::from_utf8(&kind).ok().and_then(Kind::parse) {
            keys.entry(kind).or_default().insert(id, wrapped);
        }
    }
    Ok(keys)
}
