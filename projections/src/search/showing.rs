//! What is shown of hits: titles and passages as they stand.

use std::collections::{HashMap, HashSet};

use domain::RecordRef;
use sqlx::{FromRow as _, PgConnection, QueryBuilder, Row as _};

use super::Filter;
use super::answer::Hit;
use super::asked::Asked;
use super::engine::Near;
use super::found::Found;
use super::fuse::{Fused, Reason};
use super::highlight::highlights;
use super::lexical::{PASSAGE, Passage, record_of, restrict_about};

/// The passages that an engine found, as far as they stand there and pass the filter, the nearest of each record. What an engine
/// knows of links and dates may be of a moment ago.
pub(super) async fn standing(
    db: &mut PgConnection,
    near: Vec<Near>,
    filter: &Filter,
) -> Result<Vec<Passage>, sqlx::Error> {
    if near.is_empty() {
        return Ok(vec![]);
    }
    let columns: Vec<String> =
        PASSAGE.split(", ").map(|column| format!("passage.{column}")).collect();
    let mut statement = QueryBuilder::new(format!("select {} from unnest(", columns.join(", ")));
    let column = |value: fn(&Near) -> &str| near.iter().map(value).collect::<Vec<_>>();
    statement
        .push_bind(column(|near| near.place.record.kind().as_str()))
        .push("::text[], ")
        .push_bind(near.iter().map(|near| near.place.record.id()).collect::<Vec<_>>())
        .push("::bigint[], ")
        .push_bind(column(|near| near.place.part.as_str()))
        .push("::text[], ")
        .push_bind(near.iter().map(|near| near.place.ordinal).collect::<Vec<_>>())
        .push("::integer[], ")
        .push_bind(near.iter().map(|near| near.digest.0.as_slice()).collect::<Vec<_>>())
        .push(
            "::bytea[]) with ordinality as near (kind, id, part, ordinal, digest, rank)
                 join passage using (kind, id, part, ordinal)
             where passage.digest = near.digest",
        );
    restrict_about(&mut statement, filter);
    let rows = statement.push(" order by rank").build().fetch_all(db).await?;
    let passages: Vec<Passage> = rows.iter().map(Passage::from_row).collect::<Result<_, _>>()?;
    let mut seen = HashSet::new();
    Ok(passages.into_iter().filter(|passage| seen.insert(passage.record)).collect())
}

/// Hits with all that is shown of them. A record that was found by name alone shows how its first text begins.
pub(super) async fn shown(
    db: &mut PgConnection,
    found: &mut Found,
    hits: Vec<Fused<RecordRef>>,
    asked: &Asked,
) -> Result<Vec<Hit>, sqlx::Error> {
    let records: Vec<RecordRef> = hits.iter().map(|hit| hit.item).collect();
    let bare = records.iter().filter(|record| !found.passages.contains_key(record));
    let bare = first_passages(db, &bare.copied().collect::<Vec<_>>()).await?;
    found.passages.extend(bare.into_iter().map(|passage| (passage.record, passage)));
    let mut titles = titles(db, &records).await?;
    let mut shown = Vec::with_capacity(hits.len());
    for hit in hits {
        let Some(title) = titles.remove(&hit.item) else { continue };
        let passage = found.passages.remove(&hit.item);
        let text = passage.as_ref().map(|passage| passage.text.as_str()).unwrap_or_default();
        shown.push(Hit {
            record: hit.item,
            highlights: highlights(text, &found.wanted, &asked.quoted),
            passage,
            score: hit.score,
            parts: hit.parts,
            ..title
        });
    }
    Ok(shown)
}

async fn first_passages(
    db: &mut PgConnection,
    records: &[RecordRef],
) -> Result<Vec<Passage>, sqlx::Error> {
    if records.is_empty() {
        return Ok(vec![]);
    }
    sqlx::query_as(&format!(
        "select {PASSAGE} from unnest($1::text[], $2::bigint[]) as wanted (of_kind, of_id), lateral (
             select * from passage where kind = of_kind and id = of_id
             order by part = 'card', part desc, ordinal limit 1) as first"
    ))
    .bind(records.iter().map(|record| record.kind().as_str()).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.id()).collect::<Vec<_>>())
    .fetch_all(db)
    .await
}

/// What is shown of records beside their passages, if they are in use.
pub(super) async fn titles(
    db: &mut PgConnection,
    records: &[RecordRef],
) -> Result<HashMap<RecordRef, Hit>, sqlx::Error> {
    let rows = sqlx::query(
        "select kind, id, title, detail, on_date from findable
             join unnest($1::text[], $2::bigint[]) as wanted (kind, id) using (kind, id)
         where not archived",
    )
    .bind(records.iter().map(|record| record.kind().as_str()).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.id()).collect::<Vec<_>>())
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| {
            let record = record_of(row)?;
            let hit = Hit {
                record,
                title: row.try_get("title")?,
                detail: row.try_get("detail")?,
                date: row.try_get("on_date")?,
                passage: None,
                highlights: vec![],
                score: 0.0,
                parts: Reason::ALL.map(|reason| (reason, 0.0)),
            };
            Ok((record, hit))
        })
        .collect()
}
