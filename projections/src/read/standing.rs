//! How LPs stand to a fund (the sales funnel) and to a roadshow: the same question, asked twice.

use std::collections::BTreeMap;

use domain::fund::FundEvent;
use domain::roadshow::RoadshowEvent;
use domain::{Contact, Event, Kind, LpId, Moment, NoteId, RecordRef};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

use crate::copy::CopyIn;
use crate::log::Recorded;
use crate::projector::{Fold, ProjectError, Projector, Table, Tables};

/// Keeps one of the two tables and answers from it.
#[derive(Clone, Copy)]
pub(super) struct Standings {
    table: &'static str,
    /// The kind of record that LPs stand to.
    owner: Kind,
    follows: &'static [Kind],
    owner_id: &'static str,
    key: &'static [&'static str],
    /// The column and JSON key of the word that says how.
    word: &'static str,
    read: fn(&Event) -> Option<News<'_>>,
}

/// Interest of LPs in funds.
pub(super) const INTEREST: Standings = Standings {
    table: "interest",
    owner: Kind::Fund,
    follows: &[Kind::Fund],
    owner_id: "fund_id",
    key: &["fund_id", "lp_id"],
    word: "interest",
    read: |event| match event {
        Event::Fund(FundEvent::InterestRecorded { lp, interest, contact, .. }) => {
            Some(News { lp: *lp, word: Some(interest.as_str()), contact: *contact })
        }
        Event::Fund(FundEvent::InterestCleared { lp }) => {
            Some(News { lp: *lp, word: None, contact: None })
        }
        _ => None,
    },
};

/// Status of LPs at roadshows.
pub(super) const LP_STATUS: Standings = Standings {
    table: "lp_status",
    owner: Kind::Roadshow,
    follows: &[Kind::Roadshow],
    owner_id: "roadshow_id",
    key: &["roadshow_id", "lp_id"],
    word: "status",
    read: |event| match event {
        Event::Roadshow(RoadshowEvent::StatusRecorded { lp, status, contact, .. }) => {
            Some(News { lp: *lp, word: Some(status.as_str()), contact: *contact })
        }
        Event::Roadshow(RoadshowEvent::StatusCleared { lp }) => {
            Some(News { lp: *lp, word: None, contact: None })
        }
        _ => None,
    },
};

/// What an event says about one LP; without a word it is forgotten.
struct News<'a> {
    lp: LpId,
    word: Option<&'a str>,
    contact: Option<Contact>,
}

/// What the row of one LP becomes.
enum Fate {
    /// The word changes; the contact stays unless there is a new one.
    Kept {
        word: String,
        contact: Option<Contact>,
    },
    Gone,
}

impl Projector for Standings {
    fn name(&self) -> &'static str {
        self.table
    }

    fn tables(&self) -> Vec<Table> {
        let Self { table, owner_id, word, .. } = self;
        // The contact is what a legacy row, or the last change of the standing, remembered.
        let columns = format!(
            "{owner_id} bigint not null, lp_id bigint not null,
             {word} text not null, contact_date text, contact_note bigint"
        );
        vec![Table {
            name: table,
            columns,
            long: &[],
            is_whole: false,
            key: self.key,
            indexes: vec![],
        }]
    }

    fn follows(&self) -> &'static [Kind] {
        self.follows
    }

    fn begin(&self) -> Box<dyn Fold> {
        Box::new(Fates { of: *self, fates: BTreeMap::new(), changed: None })
    }
}

/// What becomes of the rows.
struct Fates {
    of: Standings,
    fates: BTreeMap<Key, Fate>,
    changed: Option<i64>,
}

impl Fold for Fates {
    fn fold<'a>(
        &'a mut self,
        page: &'a [Recorded],
        _: &'a mut PgConnection,
        _: Tables,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            for recorded in page {
                let Some(news) = (self.of.read)(&recorded.event) else { continue };
                let key = (recorded.id, news.lp.0);
                let contact = match self.fates.remove(&key) {
                    Some(Fate::Kept { contact, .. }) => news.contact.or(contact),
                    // Recorded anew after it was forgotten: nothing older may shine through.
                    Some(Fate::Gone) => news.contact.or(Some(Contact::default())),
                    None => news.contact,
                };
                let fate = match news.word {
                    Some(word) => Fate::Kept { word: word.to_owned(), contact },
                    None => Fate::Gone,
                };
                self.fates.insert(key, fate);
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
        let fates = std::mem::take(&mut self.fates);
        match tables {
            Tables::Empty => Box::pin(self.of.copy(db, fates)),
            Tables::Own | Tables::Filled => Box::pin(self.of.write(db, fates)),
        }
    }

    fn changed(&self) -> Option<i64> {
        self.changed
    }

    fn size(&self) -> usize {
        // The word is a dozen bytes on the heap; a tree's nodes are about two thirds full.
        self.fates.len() * (size_of::<(Key, Fate)>() * 3 / 2 + 32)
    }
}

type Key = (i64, i64);

impl Standings {
    async fn copy(
        &self,
        db: &mut PgConnection,
        fates: BTreeMap<Key, Fate>,
    ) -> Result<(), ProjectError> {
        if fates.is_empty() {
            return Ok(());
        }
        let Standings { table, owner_id, word, .. } = self;
        let columns = [owner_id, "lp_id", word, "contact_date", "contact_note"];
        let mut copy = CopyIn::begin(db, table, &columns).await?;
        for ((owner, lp), fate) in fates {
            let Fate::Kept { word, contact } = fate else { continue };
            let contact = contact.unwrap_or_default();
            copy.int(owner).int(lp).text(&word);
            let date = contact.date.map(|date| date.to_string());
            copy.maybe(date.as_deref(), CopyIn::text);
            copy.maybe(contact.note.map(|note| note.0), CopyIn::int).end_row().await?;
        }
        copy.finish().await?;
        Ok(())
    }

    async fn write(
        &self,
        db: &mut PgConnection,
        fates: BTreeMap<Key, Fate>,
    ) -> Result<(), ProjectError> {
        let mut gone = Vec::new();
        let mut kept: Vec<(Key, String)> = Vec::new();
        let mut touched: Vec<(Key, Contact)> = Vec::new();
        for (key, fate) in fates {
            match fate {
                Fate::Gone => gone.push(key),
                Fate::Kept { word, contact } => {
                    kept.push((key, word));
                    touched.extend(contact.map(|contact| (key, contact)));
                }
            }
        }
        let Standings { table, owner_id, word, .. } = self;
        if !gone.is_empty() {
            sqlx::query(&format!(
                "delete from {table} using unnest($1::bigint[], $2::bigint[]) as gone (owner, lp)
                 where {owner_id} = gone.owner and lp_id = gone.lp"
            ))
            .bind(gone.iter().map(|(owner, _)| *owner).collect::<Vec<_>>())
            .bind(gone.iter().map(|(_, lp)| *lp).collect::<Vec<_>>())
            .execute(&mut *db)
            .await?;
        }
        if !kept.is_empty() {
            sqlx::query(&format!(
                "insert into {table} ({owner_id}, lp_id, {word})
                 select * from unnest($1::bigint[], $2::bigint[], $3::text[])
                 on conflict ({owner_id}, lp_id) do update set {word} = excluded.{word}"
            ))
            .bind(kept.iter().map(|((owner, _), _)| *owner).collect::<Vec<_>>())
            .bind(kept.iter().map(|((_, lp), _)| *lp).collect::<Vec<_>>())
            .bind(kept.iter().map(|(_, word)| word.as_str()).collect::<Vec<_>>())
            .execute(&mut *db)
            .await?;
        }
        self.write_contacts(db, &touched).await
    }

    async fn write_contacts(
        &self,
        db: &mut PgConnection,
        contacts: &[(Key, Contact)],
    ) -> Result<(), ProjectError> {
        if contacts.is_empty() {
            return Ok(());
        }
        let Standings { table, owner_id, .. } = self;
        sqlx::query(&format!(
            "update {table} set contact_date = new.date, contact_note = new.note
             from unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[]) as new (owner, lp, date, note)
             where {owner_id} = new.owner and lp_id = new.lp"
        ))
        .bind(contacts.iter().map(|((owner, _), _)| *owner).collect::<Vec<_>>())
        .bind(contacts.iter().map(|((_, lp), _)| *lp).collect::<Vec<_>>())
        .bind(contacts.iter().map(|(_, c)| c.date.map(|date| date.to_string())).collect::<Vec<_>>())
        .bind(contacts.iter().map(|(_, c)| c.note.map(|note| note.0)).collect::<Vec<_>>())
        .execute(db)
        .await?;
        Ok(())
    }

    /// Every LP with its standing and its newest note in common with the owner, in the order of their ids.
    pub(super) async fn board(
        &self,
        db: &mut PgConnection,
        owner: i64,
    ) -> Result<Vec<String>, sqlx::Error> {
        let Standings { table, owner: kind, owner_id, word, .. } = self;
        // The LP and its record, its standing, date and id of the newest note.
        type Row = (i64, String, Option<String>, Option<String>, Option<i64>);
        let rows: Vec<Row> =
            sqlx::query_as(&format!(
                "with owner as (select id from {kind} where id = $1 and not archived),
                 latest as (
                     select distinct on (about.to_id) about.to_id as lp_id, note.id as note_id, note.date_key
                     from owner join link of_owner on of_owner.to_kind = '{kind}' and of_owner.to_id = owner.id
                         and of_owner.from_kind = 'note'
                     join note on note.id = of_owner.from_id and not note.archived
                     join link about on about.from_kind = 'note' and about.from_id = note.id
                         and about.to_kind = 'lp'
                     order by about.to_id, note.date_key desc nulls last, note.id)
                 select lp.id, lp.record::text, standing.{word}, latest.date_key, latest.note_id
                 from lp
                 left join latest on latest.lp_id = lp.id
                 left join {table} standing on standing.lp_id = lp.id
                     and standing.{owner_id} = (select id from owner)
                 where not lp.archived order by lp.id"
            ))
            .bind(owner)
            .fetch_all(db)
            .await?;
        Ok(rows
            .iter()
            .filter_map(|(lp, record, standing, date, note)| {
                let facts: LpFacts = serde_json::from_str(record).ok()?;
                let item = Item {
                    lp_id: *lp,
                    latest_note_id: *note,
                    last_contact_date: date.as_deref().and_then(|date| Moment::parse(date).ok()),
                    facts,
                };
                let item = serde_json::to_string(&item).ok()?;
                let standing =
                    serde_json::to_string(standing.as_deref().unwrap_or("inactive")).ok()?;
                // The two keys that have different names in the two answers.
                Some(format!("{{\"{owner_id}\":{owner},\"{word}\":{standing},{}", &item[1..]))
            })
            .collect())
    }

    /// The standing of one LP, with the contact that was remembered when it was recorded.
    pub(super) async fn one(
        &self,
        pool: &PgPool,
        owner: i64,
        lp: i64,
    ) -> Result<Option<Value>, sqlx::Error> {
        let Standings { table, owner_id, word, .. } = self;
        let row: Option<(String, Option<String>, Option<i64>)> = sqlx::query_as(&format!(
            "select {word}, contact_date, contact_note from {table} where {owner_id} = $1 and lp_id = $2"
        ))
        .bind(owner)
        .bind(lp)
        .fetch_optional(pool)
        .await?;
        Ok(row.map(|(standing, date, note)| {
            json!({
                *owner_id: owner, "lp_id": lp, *word: standing,
                "last_contact_date": date, "latest_note_id": note,
            })
        }))
    }
}

/// The newest note about an LP and what it stands to; notes without a date count as oldest.
pub(super) async fn newest_common_note(
    pool: &PgPool,
    owner: RecordRef,
    lp: LpId,
) -> Result<Option<Contact>, sqlx::Error> {
    let row: Option<(i64, Option<String>)> = sqlx::query_as(
        "select note.id, note.date_key from note
         join link of_owner on of_owner.from_kind = 'note' and of_owner.from_id = note.id
             and of_owner.to_kind = $1 and of_owner.to_id = $2
         join link about on about.from_kind = 'note' and about.from_id = note.id
             and about.to_kind = 'lp' and about.to_id = $3
         where not note.archived
         order by note.date_key desc nulls last, note.id limit 1",
    )
    .bind(owner.kind().as_str())
    .bind(owner.id())
    .bind(lp.0)
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|(note, date)| Contact {
        date: date.and_then(|date| Moment::parse(&date).ok()),
        note: Some(NoteId(note)),
    }))
}

#[derive(Serialize)]
struct Item<'a> {
    lp_id: i64,
    last_contact_date: Option<Moment>,
    latest_note_id: Option<i64>,
    #[serde(flatten)]
    facts: LpFacts<'a>,
}

/// What the board shows of an LP, passed on as it stands.
#[derive(Serialize, Deserialize)]
struct LpFacts<'a> {
    #[serde(borrow, rename(deserialize = "name", serialize = "lp_name"))]
    name: &'a RawValue,
    #[serde(borrow)]
    aum_billions: &'a RawValue,
    #[serde(borrow)]
    location: &'a RawValue,
    #[serde(borrow)]
    priority: &'a RawValue,
    #[serde(borrow)]
    advisor: &'a RawValue,
    #[serde(borrow)]
    type_of_group: &'a RawValue,
    #[serde(borrow)]
    investment_low: &'a RawValue,
    #[serde(borrow)]
    investment_high: &'a RawValue,
}
