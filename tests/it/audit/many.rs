//! What thousands of events have in common, in several places of a log that is long.

use serde_json::{Value, json};

use super::positions;
use super::words::bury;
use crate::contract::Api;

/// Registers so many LPs as an import does, some of them called Granite, after a gap in the positions.
async fn import(api: &Api, first: i64, count: i64, gap: i64) {
    for statement in [
        format!(
            "select setval(pg_get_serial_sequence('events', 'position'), (select max(position) from events) + {gap})"
        ),
        format!(
            "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                                 command_id, correlation_id, actor)
             select 'lp', id::text, 1, 'Registered', '1',
                    json_build_object('Registered', json_build_object(
                        'name', case when id % 100 = 0 then 'Granite ' else 'Slate ' end || id,
                        'details', json_build_object('location', 'alba' || case when id % 2 = 0 then ' cobre' else '' end
                                                                        || case when id % 50 = 0 then ' dorado' else '' end))),
                    json_build_object('source', 'import:x.db', 'client', '10.1.' || id % 200 || '.7',
                                      'user_agent', 'loader/' || id % 3),
                    gen_random_uuid(), gen_random_uuid(), 'actor ' || id % 3
             from generate_series({first}, {}) as id",
            first + count - 1
        ),
    ] {
        sqlx::query(&statement).execute(&api.db.pool).await.unwrap();
    }
}

/// All that a filter finds, page by page.
async fn all(api: &Api, query: &str, limit: usize) -> Vec<i64> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.read(&format!("/audit?{query}&limit={limit}{cursor}")).await;
        found.extend(positions(&page));
        let Some(next) = page["next"].as_i64() else { return found };
        cursor = format!("&cursor={next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_thousands_of_old_events_have_is_found_page_by_page_the_newest_first() {
    let api = Api::new().await;
    api.made("lps", json!({"name": "First"})).await;
    let mut first = 1_000;
    for (count, gap) in [(700, 0), (1_500, 300_000), (2_000, 40_000), (100, 70_000)] {
        import(&api, first, count, gap).await;
        first += count;
    }
    api.backend.settle().await.unwrap();
    bury(&api, 3_000).await;
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "select position, aggregate_id::bigint from events where actor like 'actor %' order by position desc",
    )
    .fetch_all(&api.db.pool)
    .await
    .unwrap();
    let check = async |query: &str, passes: &dyn Fn(i64) -> bool| {
        let passing = rows.iter().filter(|(_, id)| passes(*id));
        let expected: Vec<i64> = passing.map(|(position, _)| *position).collect();
        assert!(!expected.is_empty(), "{query}");
        assert_eq!(all(&api, query, 500).await, expected, "{query}");
        let newest: Value = api.read(&format!("/audit?{query}&limit=20")).await;
        assert_eq!(positions(&newest), expected[..expected.len().min(20)], "{query}");
    };
    check("q=alba", &|_| true).await;
    check("q=alba+cobre", &|id| id % 2 == 0).await;
    check("q=alba+cobre+dorado", &|id| id % 50 == 0).await;
    check("q=alba+granite", &|id| id % 100 == 0).await;
    check("q=cobre&kind=lp", &|id| id % 2 == 0).await;
    check("q=cobre&event=Registered", &|id| id % 2 == 0).await;
    check("q=cobre&actor=actor+1", &|id| id % 2 == 0 && id % 3 == 1).await;
    check("field=location&event=Registered", &|_| true).await;
    check("event=Registered&source=import:x.db&actor=actor+2", &|id| id % 3 == 2).await;
    check("address=10.1.0.0/16", &|_| true).await;
    check("address=10.1.8.0/21&q=alba", &|id| (8..16).contains(&(id % 200))).await;
    check("program=loader/2", &|id| id % 3 == 2).await;
    check("program=loader/2&address=10.1.7.7", &|id| id % 3 == 2 && id % 200 == 7).await;
    api.backend.stop().await;
}
