//! What one asks of single records, mostly before a command.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use chrono::NaiveDate;
use domain::{Contact, FundId, Kind, LpId, Moment, NoteId, PersonId, RecordRef, RoadshowId};
use serde_json::Value;

use super::{ReadError, Reader};
use crate::dead_letter;
use crate::read::fund;
use crate::read::standing::{INTEREST, LP_STATUS, newest_common_note};

/// One record as readers get it.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    /// The sequence of its last event.
    pub version: i64,
    /// Names this content among all that the record ever had.
    pub tag: String,
    /// The JSON text.
    pub json: Bytes,
    /// From this event on its stream is parked, or that of a roadshow for the fund, so that nothing of that is in the text.
    pub parked: Option<i64>,
}

impl StoredRecord {
    /// The JSON object.
    ///
    /// # Errors
    /// When the stored text is damaged.
    pub fn value(&self) -> Result<Value, ReadError> {
        serde_json::from_slice(&self.json).map_err(|error| ReadError::Internal(error.into()))
    }
}

/// SQL for the event from which on the row of a record misses something, given SQL for the name of its kind and its id.
fn parked_at(kind: Kind, name: &str, id: &str) -> String {
    match kind {
        Kind::Fund => fund::parked_at(name, id),
        _ => dead_letter::parked_at(name, name, id),
    }
}

impl Reader {
    /// One record, if it exists and is in use.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn record(&self, record: RecordRef) -> Result<Option<StoredRecord>, ReadError> {
        self.check()?;
        let kind = record.kind();
        let statement = format!(
            "select version, position, record::text, {} from {kind} where id = $1 and not archived",
            parked_at(kind, "$2", "$1::text")
        );
        let row: Option<(i64, i64, String, Option<i64>)> = self
            .lines
            .ask(&self.database, move |db| {
                Box::pin(async move {
                    let question = sqlx::query_as(&statement).bind(record.id());
                    question.bind(kind.as_str()).fetch_optional(db).await
                })
            })
            .await?;
        let Some((version, position, text, parked)) = row else { return Ok(None) };
        let tag = self.tag_of(kind, version, position);
        let json = self.with_files(kind, text).await?.into();
        Ok(Some(StoredRecord { version, tag, json, parked }))
    }

    /// The event from which on readers miss what happened to a record, if its stream is parked, or that of a roadshow for the fund.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn parked(&self, record: RecordRef) -> Result<Option<i64>, ReadError> {
        self.check()?;
        let statement = format!("select {}", parked_at(record.kind(), "$1", "$2"));
        let asking = sqlx::query_scalar(&statement).bind(record.kind().as_str());
        let asking = asking.bind(record.id().to_string()).fetch_one(&self.database.pool);
        Ok(self.database.ask(asking).await?)
    }

    /// Names what a record was after its event of this version, its row last changed at this position.
    pub(in crate::read) fn tag_of(&self, kind: Kind, version: i64, position: i64) -> String {
        // Another generation may show the same version of a record differently.
        let revision = self.checkpoint(kind).revision;
        format!("{}-{revision:x}-{version:x}-{position:x}", self.log.simple())
    }

    /// How these LPs stand to these funds, where they do.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn interests(
        &self,
        funds: &[FundId],
        lps: &[LpId],
    ) -> Result<HashMap<(FundId, LpId), String>, ReadError> {
        self.check()?;
        let asking = sqlx::query_as(
            "select fund_id, lp_id, interest from interest where fund_id = any ($1) and lp_id = any ($2)",
        )
        .bind(funds.iter().map(|fund| fund.0).collect::<Vec<_>>())
        .bind(lps.iter().map(|lp| lp.0).collect::<Vec<_>>());
        let rows: Vec<(i64, i64, String)> =
            self.database.ask(asking.fetch_all(&self.database.pool)).await?;
        Ok(rows.into_iter().map(|(fund, lp, stage)| ((FundId(fund), LpId(lp)), stage)).collect())
    }

    /// As [`Reader::missing`], by the log: for when tables are behind it. The names of events are never sealed.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn missing_in_log(&self, records: &[RecordRef]) -> Result<Vec<RecordRef>, ReadError> {
        self.check()?;
        let asking = sqlx::query_scalar(
            "select coalesce((select event_type not in ('Archived', 'Erased') from events
                              where aggregate_type = kind and aggregate_id = id
                                  and (sequence = 1 or event_type in ('Archived', 'Restored', 'Erased'))
                              order by sequence desc limit 1), false)
             from unnest($1::text[], $2::text[]) with ordinality as wanted (kind, id, place) order by place",
        )
        .bind(records.iter().map(|record| record.kind().as_str()).collect::<Vec<_>>())
        .bind(records.iter().map(|record| record.id().to_string()).collect::<Vec<_>>());
        let there: Vec<bool> = self.database.ask(asking.fetch_all(&self.database.pool)).await?;
        let missing = records.iter().zip(there).filter(|(_, is_there)| !is_there);
        Ok(missing.map(|(record, _)| *record).collect())
    }

    /// Which of these records do not exist or are archived.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn missing(&self, records: &[RecordRef]) -> Result<Vec<RecordRef>, ReadError> {
        self.check()?;
        let mut missing = Vec::new();
        for kind in Kind::ALL {
            let ids: Vec<i64> =
                records.iter().filter(|r| r.kind() == *kind).map(|r| r.id()).collect();
            if ids.is_empty() {
                continue;
            }
            let there: Vec<i64> = self
                .database
                .ask(
                    sqlx::query_scalar(&format!(
                        "select id from {kind} where id = any($1) and not archived"
                    ))
                    .bind(&ids)
                    .fetch_all(&self.database.pool),
                )
                .await?;
            let there: HashSet<i64> = there.into_iter().collect();
            missing
                .extend(ids.into_iter().filter(|id| !there.contains(id)).map(|id| kind.record(id)));
        }
        Ok(missing)
    }

    /// The event from which on the stream of a record is parked, which was neither deleted nor erased as far as that can be read.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn unreadable(&self, record: RecordRef) -> Result<Option<i64>, ReadError> {
        self.check()?;
        let kind = record.kind();
        let statement = format!(
            "select {} where not exists (select from {kind} where id = $3)
                 and not exists (select from stream_key
                     where aggregate_type = $1 and aggregate_id = $2 and destroyed_at is not null)",
            dead_letter::parked_at("$1", "$1", "$2")
        );
        let asking = sqlx::query_scalar(&statement).bind(kind.as_str());
        let asking = asking.bind(record.id().to_string()).bind(record.id());
        let found: Option<Option<i64>> =
            self.database.ask(asking.fetch_optional(&self.database.pool)).await?;
        Ok(found.flatten())
    }

    /// Whether the record was erased: of such a one only the row is left.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn is_erased(&self, record: RecordRef) -> Result<bool, ReadError> {
        self.check()?;
        let kind = record.kind();
        let statement =
            format!("select exists (select from {kind} where id = $1 and record::text = 'null')");
        let asking = sqlx::query_scalar(&statement).bind(record.id());
        Ok(self.database.ask(asking.fetch_one(&self.database.pool)).await?)
    }

    /// The first record in use that has this Notion id. Todos and roadshows have none.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn notion_id_owner(
        &self,
        kind: Kind,
        notion_id: &str,
    ) -> Result<Option<i64>, ReadError> {
        self.check()?;
        let owner = self
            .database
            .ask(
                sqlx::query_scalar(&format!(
                    "select min(id) from {kind} where notion_id = $1 and not archived"
                ))
                .bind(notion_id)
                .fetch_one(&self.database.pool),
            )
            .await?;
        Ok(owner)
    }

    /// The newest note about an LP and a fund or roadshow, as a contact to remember.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn newest_common_note(
        &self,
        owner: RecordRef,
        lp: LpId,
    ) -> Result<Option<Contact>, ReadError> {
        self.check()?;
        Ok(self.database.ask(newest_common_note(&self.database.pool, owner, lp)).await?)
    }

    /// One LP's interest in a fund, as the answer to recording it.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn interest(&self, fund: FundId, lp: LpId) -> Result<Option<Value>, ReadError> {
        Ok(self.database.ask(INTEREST.one(&self.database.pool, fund.0, lp.0)).await?)
    }

    /// The days of meetings, as their notes say; those without one are left out.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn meeting_days(
        &self,
        notes: &[NoteId],
    ) -> Result<HashMap<NoteId, NaiveDate>, ReadError> {
        self.check()?;
        let statement = "select id, record->>'date' from note where id = any ($1)";
        let asking =
            sqlx::query_as(statement).bind(notes.iter().map(|it| it.0).collect::<Vec<_>>());
        let rows: Vec<(i64, Option<String>)> =
            self.database.ask(asking.fetch_all(&self.database.pool)).await?;
        let days = rows
            .into_iter()
            .filter_map(|(note, date)| Some((NoteId(note), Moment::parse(&date?).ok()?.date())));
        Ok(days.collect())
    }

    /// The people in use who are called exactly so.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn people_called(&self, name: &str) -> Result<Vec<PersonId>, ReadError> {
        self.check()?;
        let statement = "select id from person where not archived and record->>'name' = $1";
        let asking = sqlx::query_scalar(statement).bind(name);
        let ids: Vec<i64> = self.database.ask(asking.fetch_all(&self.database.pool)).await?;
        Ok(ids.into_iter().map(PersonId).collect())
    }

    /// One LP's status at a roadshow, as the answer to recording it.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn lp_status(
        &self,
        roadshow: RoadshowId,
        lp: LpId,
    ) -> Result<Option<Value>, ReadError> {
        Ok(self.database.ask(LP_STATUS.one(&self.database.pool, roadshow.0, lp.0)).await?)
    }
}
