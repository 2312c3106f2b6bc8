//! Who has which Notion id, against the records that have them.

use domain::Kind;
use projections::generation::Generation;
use sqlx::PgConnection;

use super::{Finding, LISTED};

/// What is claimed and not had, or had and not claimed, where the live read model of a kind stands at the log's end: what it
/// has yet to fold may have changed claims already. Records of which a person has skipped an event may differ for good.
///
/// # Errors
/// When the database fails.
pub(super) async fn check(
    snapshot: &mut PgConnection,
    live: &Generation,
) -> Result<Vec<Finding>, sqlx::Error> {
    let kind = match Kind::parse(&live.projector) {
        None | Some(Kind::Todo | Kind::Roadshow) => return Ok(Vec::new()),
        Some(kind) => kind,
    };
    let differing = format!(
        "select coalesce(held.id, record.id), held.id is not null
         from (select id, digest from notion_claim where kind = $1) as held
         full join (select id, sha256(convert_to(notion_id, 'UTF8')) as digest from {}.{kind}
                    where notion_id is not null and not archived) as record using (id, digest)
         where (held.id is null or record.id is null)
           and not exists (select from events where aggregate_type = $1 and position > $2)
           and not exists (select from skipped_event where projector = $1 and aggregate_type = $1
                           and aggregate_id = coalesce(held.id, record.id)::text)
         order by 1, 2 limit $3",
        live.schema()
    );
    let rows: Vec<(i64, bool)> = sqlx::query_as(&differing)
        .bind(kind.as_str())
        .bind(live.checkpoint.position)
        .bind(i64::try_from(LISTED).unwrap_or(i64::MAX))
        .fetch_all(snapshot)
        .await?;
    let finding = |(id, is_claimed)| {
        let what = match is_claimed {
            true => format!("{kind} {id} claims a Notion id that it does not have"),
            false => format!("{kind} {id} has a Notion id that it does not claim"),
        };
        Finding::new("claim", None, what)
    };
    Ok(rows.into_iter().map(finding).collect())
}
