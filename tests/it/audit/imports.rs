//! What an import has kept beside the records is found like what happened to records.

use serde_json::Value;

use super::positions;
use crate::contract::Api;
use crate::harness::Database;
use crate::import::{legacy, run};

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_legacy_file_that_belong_to_no_record_are_found_by_their_kind() {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), "--lps 20 --notes 20 --todos 10 --dirty");
    run(&db, &file).await.unwrap();
    let api = Api::on(db).await;
    api.backend.settle().await.unwrap();
    let kept: Vec<i64> = sqlx::query_scalar(
        "select position from events where aggregate_type = 'import' order by position desc limit 500",
    )
    .fetch_all(&api.db.pool)
    .await
    .unwrap();
    assert!(!kept.is_empty(), "a dirty file has such rows");
    let found = api.read("/audit?kind=import&limit=500").await;
    assert_eq!(positions(&found), kept);
    let entry = &found["entries"][0];
    assert_eq!((&entry["event"], &entry["record"]), (&Value::from("RowKept"), &Value::Null));
    let narrowed = api.read("/audit?kind=import&event=RowReleased").await;
    assert_eq!(positions(&narrowed), [0; 0]);
    api.backend.stop().await;
}
