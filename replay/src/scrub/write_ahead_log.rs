//! The write-ahead log, which holds for a while what was written to tables.

use sqlx::PgConnection;

/// The most segments of the write-ahead log that are written over: 4 GiB of the usual ones.
const MOST_SEGMENTS: usize = 256;

/// Moves the write-ahead log on until every segment on the disk was begun after now. Segments that Postgres keeps to be
/// used again hold what they held before: they are gone through, since what is left of a segment is written over when it
/// is left.
pub(super) async fn move_log_on(control: &mut PgConnection) -> Result<(), sqlx::Error> {
    leave_segment(control).await?;
    sqlx::query("checkpoint").execute(&mut *control).await?;
    let highest: Option<String> =
        sqlx::query_scalar("select max(name) from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$'")
            .fetch_one(&mut *control)
            .await?;
    for _ in 0..MOST_SEGMENTS {
        let current = leave_segment(control).await?;
        if highest.as_ref().is_none_or(|highest| current >= *highest) {
            break;
        }
    }
    sqlx::query("checkpoint").execute(control).await?;
    Ok(())
}

/// Goes on to the next segment of the write-ahead log. Tells which was left.
async fn leave_segment(control: &mut PgConnection) -> Result<String, sqlx::Error> {
    // A segment is only left if there is something in it.
    let left: String = sqlx::query_scalar(
        "select pg_walfile_name(pg_logical_emit_message(false, 'crm', 'an erased record is scrubbed'))",
    )
    .fetch_one(&mut *control)
    .await?;
    sqlx::query("select pg_switch_wal()").execute(control).await?;
    Ok(left)
}
