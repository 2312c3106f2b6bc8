//! Whether Postgres still refuses to change what only grows: the log, its seals and their keys.
//!
//! Whoever owns the database can switch that refusal off. What was changed meanwhile the seals tell; that anything can be
//! changed unnoticed until the next seal, nobody tells but this check.

use sqlx::PgConnection;

use super::log::LogReport;
use super::{Finding, VerifyError};

/// The tables that only grow.
const TABLES: [&str; 3] = ["events", "seal", "seal_key"];

/// Where what refuses is defined.
const MIGRATION: &str = include_str!("../../../migrations/0007_seals.sql");

/// What the function does that the triggers call.
fn body() -> &'static str {
    let function = MIGRATION.split_once("function refuse_change()").map_or("", |(_, it)| it);
    function.split("$$").nth(1).unwrap_or_default()
}

/// Looks at the trigger of each.
pub(super) async fn check(
    connection: &mut PgConnection,
    report: &mut LogReport,
) -> Result<(), VerifyError> {
    // 58: before, for each statement, on DELETE, UPDATE and TRUNCATE. `A`: in sessions that replay what others did as well.
    let states: Vec<(String, Option<String>)> = sqlx::query_as(
        "select guarded.name, trigger.state from unnest($1::text[]) with ordinality as guarded (name, place)
         left join lateral (
             select case when tgfoid <> 'refuse_change'::regproc or tgtype <> 58 or tgqual is not null or tgattr::text <> ''
                             then 'is another than crm''s, and lets changes through'
                         when (select prosrc from pg_proc where oid = tgfoid) <> $2
                             then 'calls another function than crm''s'
                         when tgenabled = 'A' then 'is there'
                         when tgenabled = 'O' then 'does not fire in sessions that replicate'
                         else 'is disabled' end as state
             from pg_trigger where tgrelid = guarded.name::regclass and tgname = 'only_grows'
         ) trigger on true
         order by guarded.place",
    )
    .bind(TABLES)
    .bind(body())
    .fetch_all(connection)
    .await?;
    for (table, state) in states {
        let state = state.as_deref().unwrap_or("is missing");
        if state != "is there" {
            report.error(Finding::new("protection", None, told(&table, state)));
        }
    }
    Ok(())
}

/// States of a trigger of which nothing is wrong but when it fires.
const RESTING: [&str; 2] = ["is disabled", "does not fire in sessions that replicate"];

fn told(table: &str, state: &str) -> String {
    let before = match state {
        "is missing" => String::new(),
        "calls another function than crm's" => format!(
            "create or replace function refuse_change() returns trigger language plpgsql as $${}$$; drop trigger only_grows \
             on {table}; ",
            body()
        ),
        _ => format!("drop trigger only_grows on {table}; "),
    };
    let anew = match RESTING.contains(&state) {
        true => String::new(),
        false => format!(
            "{before}create trigger only_grows before update or delete or truncate on {table} for each statement execute function \
             refuse_change(); "
        ),
    };
    let again = format!("{anew}alter table {table} enable always trigger only_grows");
    format!(
        "the trigger only_grows, by which Postgres refuses to change or delete what stands in the table {table}, {state}: ask \
         who did that and what else, and put it back by: {again}"
    )
}
