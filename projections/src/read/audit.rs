//! The table that entries of the log are searched in: who, from where, what, which fields, about whom, and the words.
//!
//! Nothing is folded: a row is made of one event, so it is there as soon as its event is, and never changes but when its
//! record is erased. What is shown of a row is told from the stream, see [`crate::history`].

use std::collections::BTreeSet;

use domain::{Event, Kind, RecordRef};
use futures::future::BoxFuture;
use serde_json::Value;
use sqlx::PgConnection;

use crate::history::origin::{NETWORKS, number_of, parsed};
use crate::history::words;
use crate::log::{Recorded, Stream};
use crate::projector::{Fold, ProjectError, Projector, Table, Tables};
use crate::tsvector::TsVector;

/// The name of the read model and its table.
pub(crate) const NAME: &str = "audit";

/// The block of positions that a row is in, as the indexes without order of positions know it.
pub(crate) const BLOCK: &str = "array[position >> 15]";

/// A block has two to the power of this many positions. With smaller ones a range has more, each to be looked for; in larger ones
/// there is more to be looked through.
pub(crate) const BLOCK_BITS: u32 = 15;

/// The most text of one event that is searched, in bytes: Postgres takes no more than 1 MB of different words.
const SEARCHED: usize = 256 << 10;

/// The most rows and text in one statement.
const ROWS: usize = 5_000;
const BYTES: usize = 4 << 20;

/// Keeps the table `audit`. It is the one projector that reads more than it is given: the envelopes of its events, which
/// stand in the log and never change.
pub(super) struct AuditProjector;

impl Projector for AuditProjector {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> i32 {
        5
    }

    fn tables(&self) -> Vec<Table> {
        // Each index that ends in the position gives the newest entries of one filter as they stand there.
        let indexes = [
            "(kind, id, position)",
            "(kind, position)",
            "(event, position)",
            "(actor, position)",
            "(source, position)",
            "(correlation_id, position)",
            "(command_id)",
            "(event_id)",
            "(causation_id) where causation_id is not null",
        ];
        // What is still to be sorted into them, every question looks through: so, in kB, it is little.
        let origin = format!("({NETWORKS}), (array[program])");
        let gathering = ["fields", "about", "words", &origin].map(|columns| {
            format!("using gin ({columns}, ({BLOCK})) with (gin_pending_list_limit = 256)")
        });
        vec![Table {
            name: NAME,
            columns:
                "position bigint not null, kind text not null collate \"C\", id bigint not null,
                      event text not null collate \"C\", actor text not null, source text,
                      command_id uuid not null, correlation_id uuid not null, causation_id uuid,
                      event_id uuid not null, recorded_at timestamptz not null,
                      client inet, program bigint, fields text[] not null, about text[] not null,
                      words tsvector not null"
                    .to_owned(),
            long: &["words"],
            is_whole: false,
            key: &["position"],
            indexes: indexes.map(str::to_owned).into_iter().chain(gathering).collect(),
        }]
    }

    fn follows(&self) -> &'static [Kind] {
        Kind::ALL
    }

    fn is_awaited(&self) -> bool {
        false
    }

    fn is_append_only(&self) -> bool {
        true
    }

    fn begin(&self) -> Box<dyn Fold> {
        Box::new(Rows::default())
    }
}

/// How the table names a record.
pub(crate) fn named(record: RecordRef) -> String {
    format!("{}:{}", record.kind(), record.id())
}

#[derive(Default)]
struct Rows {
    rows: Vec<Row>,
    /// Streams whose rows from before this position must say nothing.
    erased: Vec<(Stream, i64, i64)>,
    changed: Option<i64>,
    size: usize,
}

struct Row {
    position: i64,
    stream: Stream,
    id: i64,
    /// Whether it outlives its stream's key.
    is_plain: bool,
    fields: String,
    about: String,
    words: TsVector,
}

impl Row {
    fn of(recorded: &Recorded) -> Self {
        let Recorded { position, id, event, .. } = recorded;
        let (fields, about) = (event.touched().join(","), event.references());
        let about: Vec<String> = about.into_iter().map(named).collect();
        let (position, id, stream) = (*position, *id, recorded.stream());
        let is_plain = Event::is_plain(event.name());
        Self {
            position,
            stream,
            id,
            is_plain,
            fields,
            about: about.join(","),
            words: words::of(&said(event)),
        }
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.fields.len() + self.about.len() + self.words.size() + 32
    }
}

impl Fold for Rows {
    fn fold<'a>(
        &'a mut self,
        page: &'a [Recorded],
        _: &'a mut PgConnection,
        _: Tables,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            for recorded in page {
                if recorded.event.is_erasure() {
                    self.forget(recorded);
                }
                let row = Row::of(recorded);
                self.size += row.size();
                self.rows.push(row);
                self.changed = Some(recorded.position);
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
            let (rows, erased) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.erased));
            self.size = 0;
            // What is still to be written of them was blanked in memory. A load ends at a position that it knew before it began
            // to read, so that the keys of all that it sees erased were gone by then: it has never read what they said, and
            // nothing of it is to be looked for in a table without an index.
            if tables == Tables::Filled && !erased.is_empty() {
                blank(db, &erased).await?;
            }
            let (mut batch, mut bytes) = (Vec::new(), 0);
            for row in rows {
                bytes += row.size();
                batch.push(row);
                if batch.len() >= ROWS || bytes >= BYTES {
                    insert(db, &std::mem::take(&mut batch)).await?;
                    bytes = 0;
                }
            }
            match batch.is_empty() {
                true => Ok(()),
                false => insert(db, &batch).await,
            }
        })
    }

    fn changed(&self) -> Option<i64> {
        self.changed
    }

    fn size(&self) -> usize {
        self.size
    }
}

impl Rows {
    /// Leaves of a stream what a rebuild finds in it once its key is gone: that its events were there.
    fn forget(&mut self, erasure: &Recorded) {
        let stream = erasure.stream();
        for row in self.rows.iter_mut().filter(|row| row.stream == stream && !row.is_plain) {
            (row.fields, row.about, row.words) = Default::default();
        }
        self.erased.push((stream, erasure.id, erasure.position));
    }
}

/// Every value that an event says, as text to be searched.
fn said(event: &Event) -> String {
    let mut text = String::new();
    if let Ok(content) = event.content() {
        gather(&content, &mut text);
    }
    text
}

fn gather(value: &Value, text: &mut String) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => add(&number.to_string(), text),
        Value::String(value) => add(value, text),
        Value::Array(values) => values.iter().for_each(|value| gather(value, text)),
        Value::Object(members) => members.values().for_each(|value| gather(value, text)),
    }
}

fn add(words: &str, text: &mut String) {
    let room = SEARCHED.saturating_sub(text.len()).min(words.len());
    let end = (0..=room).rev().find(|end| words.is_char_boundary(*end)).unwrap_or(0);
    text.push_str(&words[..end]);
    text.push(' ');
}

/// The envelope comes from the log, within the database, but for what stands for where it came from.
async fn insert(db: &mut PgConnection, rows: &[Row]) -> Result<(), ProjectError> {
    let positions: Vec<i64> = rows.iter().map(|row| row.position).collect();
    let origins: Vec<(String, String)> = sqlx::query_as(
        "select distinct coalesce(metadata ->> 'client', ''), coalesce(metadata ->> 'user_agent', '')
         from events where position = any ($1)",
    )
    .bind(&positions)
    .fetch_all(&mut *db)
    .await?;
    let addresses = origins.iter().map(|(client, _)| parsed(client).map(|it| it.to_string()));
    let programs = origins.iter().map(|(_, agent)| (!agent.is_empty()).then(|| number_of(agent)));
    let (addresses, programs): (Vec<_>, Vec<_>) = addresses.zip(programs).unzip();
    let (clients, agents): (Vec<String>, Vec<String>) = origins.into_iter().unzip();
    sqlx::query(
        "insert into audit (position, kind, id, event, actor, source, command_id, correlation_id, causation_id,
                            event_id, recorded_at, client, program, fields, about, words)
         select position, new.kind, new.id, event_type, actor, metadata ->> 'source', command_id, correlation_id,
                causation_id, event_id, recorded_at, origin.client, origin.program, string_to_array(new.fields, ','),
                string_to_array(new.about, ','), new.words
         from unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::tsvector[])
                as new (position, kind, id, fields, about, words)
              join events using (position)
              join unnest($7::text[], $8::text[], $9::text[]::inet[], $10::bigint[])
                as origin (address, agent, client, program)
                on address = coalesce(metadata ->> 'client', '') and agent = coalesce(metadata ->> 'user_agent', '')",
    )
    .bind(&positions)
    .bind(rows.iter().map(|row| row.stream.kind.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.fields.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.about.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| &row.words).collect::<Vec<_>>())
    .bind(clients)
    .bind(agents)
    .bind(addresses)
    .bind(programs)
    .execute(db)
    .await?;
    Ok(())
}

async fn blank(db: &mut PgConnection, erased: &[(Stream, i64, i64)]) -> Result<(), ProjectError> {
    sqlx::query(
        "update audit set fields = '{}', about = '{}', words = ''
         from unnest($1::text[], $2::bigint[], $3::bigint[]) as gone (kind, id, position)
         where audit.kind = gone.kind and audit.id = gone.id and audit.position < gone.position
           and event <> all ($4) and (fields <> '{}' or about <> '{}' or words <> '')",
    )
    .bind(erased.iter().map(|(stream, ..)| stream.kind.as_str()).collect::<Vec<_>>())
    .bind(erased.iter().map(|(_, id, _)| *id).collect::<Vec<_>>())
    .bind(erased.iter().map(|(.., position)| *position).collect::<Vec<_>>())
    .bind(Event::PLAIN)
    .execute(db)
    .await?;
    Ok(())
}

/// The streams that are missing in the table from some event on, since today's code cannot read it.
pub(crate) async fn missing(db: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "select aggregate_type, aggregate_id, dead_letter.position
         from dead_letter join generation using (projector)
         where projector = $1 and generation = number and state = 'live' order by dead_letter.position",
    )
    .bind(NAME)
    .fetch_all(db)
    .await?;
    let told: BTreeSet<String> = rows
        .into_iter()
        .map(|(kind, id, position)| format!("{kind}/{id} from position {position} on"))
        .collect();
    Ok(told.into_iter().collect())
}
