//! Words that all events have but the newest, such as those of a large import of something else.

use std::collections::BTreeSet;

use super::{
    Dice, FILTERS, Filter, arrivals, called, filter, fund_of, log, passing, positions, random_log,
};
use crate::contract::Api;
use crate::harness::looking_at_read_models;

/// The filter by a word is the last.
const WORD: usize = FILTERS - 1;

/// As if so many todos had been imported after all else.
pub async fn bury(api: &Api, below: i64) {
    sqlx::query(
        "insert into audit (position, kind, id, event, actor, source, command_id, correlation_id, event_id, recorded_at,
                            fields, about, words)
         select last + number, 'todo', number, 'Registered', 'importer', 'import:todos.db', gen_random_uuid(),
                gen_random_uuid(), gen_random_uuid(), now(), '{title}', '{}', '''call'''
         from generate_series(1, $1) as number, (select max(position) as last from audit) as log",
    )
    .bind(below)
    .execute(&looking_at_read_models(&api.db.pool).await)
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn words_with_any_filters_are_found_below_many_events_without_them() {
    let api = Api::new().await;
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    random_log(&api, &mut dice).await;
    let entries = log(&api).await;
    let (names, brought) = (called(&entries), arrivals::brought(&entries));
    let mut found = 0;
    // So few that they are a narrow range, and so many that they are not.
    for below in [3_000, 60_000] {
        bury(&api, below).await;
        for _ in 0..100 {
            let like = &entries[dice.below(entries.len())];
            let wanted: BTreeSet<usize> = (0..2).map(|_| dice.below(WORD)).collect();
            if wanted.is_superset(&[2, 3].into()) {
                continue;
            }
            let others: Vec<Filter> =
                wanted.into_iter().map(|which| filter(which, like, &mut dice, &names)).collect();
            let words: Vec<Filter> =
                (0..=dice.below(2)).map(|_| filter(WORD, like, &mut dice, &names)).collect();
            let text: Vec<&str> = words.iter().map(|(query, _)| &query["q=".len()..]).collect();
            let mut query = format!("q={}", text.join("+"));
            others.iter().for_each(|(other, _)| query.extend(["&", other.as_str()]));
            let all: Vec<&Filter> = others.iter().chain(&words).collect();
            let expected = passing(&entries, &brought, &all, fund_of(&query));
            found += expected.len();
            let all = api.read(&format!("/audit?limit=500&{query}")).await;
            assert_eq!(positions(&all), expected, "{query}");
            let newest = api.read(&format!("/audit?limit=3&{query}")).await;
            assert_eq!(positions(&newest), expected[..expected.len().min(3)], "{query}");
            if let Some(next) = newest["next"].as_i64() {
                let more = api.read(&format!("/audit?limit=500&{query}&cursor={next}")).await;
                assert_eq!(positions(&more), expected[3..], "{query} after {next}");
            }
        }
    }
    assert!(found > 500, "{found}");
    api.backend.stop().await;
}
