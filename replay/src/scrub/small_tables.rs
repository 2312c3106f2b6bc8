//! Small tables that may quote a record, and are written anew.

use domain::RecordRef;
use projections::history::History;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::is_no_right;

/// The tables that may quote a record, or that held what was destroyed.
const SMALL_TABLES: [&str; 17] = [
    "stream_key",
    "notion_claim",
    "idempotency_key",
    "dead_letter",
    "skipped_event",
    "verification",
    "rebuild",
    "import_unit",
    "import_image",
    "vector_point",
    "embedding",
    "upload",
    "job",
    "transcript_chunk",
    "transcription",
    "recording_length",
    "refusal",
];

/// Takes out of small tables what may say something of the records.
pub(super) async fn clean_tables(
    control: &mut PgConnection,
    records: &[RecordRef],
) -> Result<(), sqlx::Error> {
    let kinds: Vec<&str> = records.iter().map(|record| record.kind().as_str()).collect();
    let ids: Vec<String> = records.iter().map(|record| record.id().to_string()).collect();
    for statement in [
        // Hashes of a name are as good as the name to whoever has a list of names.
        "update import_unit set hash = null, identity = '\\x00000000000000000000000000000000'
         from unnest($1::text[], $2::text[]) as gone (kind, id)
         where import_unit.kind = gone.kind and key = gone.id",
        "update dead_letter set error = 'the record was erased'
         from unnest($1::text[], $2::text[]) as gone (kind, id)
         where aggregate_type = gone.kind and aggregate_id = gone.id",
        // A vector tells about what its text said; where nobody embeds at present, nobody else deletes it.
        "delete from vector_point using unnest($1::text[], $2::text[]) as gone (kind, id)
         where vector_point.kind = gone.kind and vector_point.id::text = gone.id",
        "update stream_key set leftovers = null from unnest($1::text[], $2::text[]) as gone (kind, id)
         where aggregate_type = gone.kind and aggregate_id = gone.id",
    ] {
        sqlx::query(statement).bind(&kinds).bind(&ids).execute(&mut *control).await?;
    }
    // Of all that were ever erased: a server of an earlier release may have kept some in full since.
    History::cut_refusals(control).await?;
    sqlx::query(
        "delete from embedding where not exists (
             select from vector_point p where p.model = embedding.model and p.embedding = embedding.digest)",
    )
    .execute(&mut *control)
    .await?;
    sqlx::query("update rebuild set error = 'not kept after an erasure' where error is not null")
        .execute(&mut *control)
        .await?;
    sqlx::query(
        "update verification set error = 'not kept after an erasure' where error is not null",
    )
    .execute(&mut *control)
    .await?;
    let reports: Vec<(i64, Value)> =
        sqlx::query_as("select id, report from verification where not passed")
            .fetch_all(&mut *control)
            .await?;
    for (id, mut report) in reports {
        forget_values(&mut report);
        sqlx::query("update verification set report = $2 where id = $1")
            .bind(id)
            .bind(sqlx::types::Json(report))
            .execute(&mut *control)
            .await?;
    }
    Ok(())
}

/// Takes the values out of a report on a check, which says what was wrong by quoting it.
fn forget_values(report: &mut Value) {
    match report {
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "what" => *value = json!("not kept after an erasure"),
                    "live" | "log" if !value.is_object() => *value = Value::Null,
                    _ => forget_values(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(forget_values),
        _ => {}
    }
}

/// Writes small tables anew without what was deleted from them, and forgets what the planner remembered of values. Tells
/// what of that crm has no right to.
pub(super) async fn rewrite_tables(
    control: &mut PgConnection,
) -> Result<Option<String>, sqlx::Error> {
    const FILE: &str = "select pg_relation_filenode('pg_catalog.pg_statistic')::bigint";
    for table in SMALL_TABLES {
        sqlx::query(&format!("vacuum (full, analyze) {table}")).execute(&mut *control).await?;
    }
    let before: Option<i64> = sqlx::query_scalar(FILE).fetch_one(&mut *control).await?;
    let rewritten = sqlx::query("vacuum full pg_catalog.pg_statistic").execute(&mut *control).await;
    let why = match rewritten {
        Err(error) if is_no_right(&error) => error.to_string(),
        Err(error) => return Err(error),
        // Whose table it is not is only warned, and nothing is done.
        Ok(_) if before == sqlx::query_scalar(FILE).fetch_one(control).await? => {
            "they are another role's".to_owned()
        }
        Ok(_) => return Ok(None),
    };
    Ok(Some(format!(
        "the planner's statistics, which crm may not rewrite here ({why}): they may quote names that read models had"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_values_still_says_where_something_was_wrong() {
        let mut report = json!({"passed": false, "log": {"errors": 1, "findings":
                [{"check": "payload", "position": 7, "what": "invalid type: string \"Ana\""}]},
            "projections": [{"name": "person", "different": 1, "differences":
                [{"table": "person", "key": ["7"], "columns": [{"column": "record.name", "live": "Ana", "log": "Eva"}]}]}]});
        forget_values(&mut report);
        let text = report.to_string();
        assert!(!text.contains("Ana") && !text.contains("Eva"), "{text}");
        assert_eq!(report["log"]["findings"][0]["position"], 7);
        assert_eq!(report["projections"][0]["differences"][0]["key"], json!(["7"]));
    }
}
