//! Reading what has happened: the history of a record that much happened to, and every filter over a log of a million
//! events.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use domain::Kind;
use projections::history::{History, Network, Of, Selection};
use projections::read;
use replay::Rebuild;
use tokio_util::sync::CancellationToken;

use crate::table::{Table, Target};
use crate::workbench::Workbench;

/// How many records there are, and how many events each has.
const RECORDS: i64 = 100_000;
const EVENTS_EACH: i64 = 10;

/// The events of the one record that much happened to; its id is the next.
const LONG: i64 = 1_000;

/// How often each thing is measured.
const TIMES: usize = 200;

/// The entries of a page, as the API gives them.
const PAGE: usize = 50;

/// What a first page may take, in ms.
const OF_RECORD: f64 = 20.0;
const ACROSS: f64 = 100.0;

pub async fn run() -> anyhow::Result<()> {
    let bench = Workbench::open().await?;
    fill(&bench).await?;
    let mut table = Table::new("first page of 50 in a log of 1,001,000 events, p95 in ms");
    for (name, names) in [
        ("rebuild of all read models, s", vec![]),
        ("rebuild of audit, s", vec!["audit".to_owned()]),
        ("rebuild of lp alone, s", vec!["lp".to_owned()]),
    ] {
        let projectors = replay::find(read::projectors(), &names)?;
        let start = Instant::now();
        let stop = CancellationToken::new();
        Rebuild::admit(&bench.database, projectors, "bench", stop).await?.run(|_| ()).await?;
        table.figure(name, format!("{:.1}", start.elapsed().as_secs_f64()));
    }
    let backend = bench.backend(&bench.database).await?;
    while backend.settle().await.is_err() {}
    let history = backend.reader.history();
    let record = Kind::Lp.record(RECORDS + 1);
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let start = Instant::now();
        let page = history.of_record(record, &Selection::default(), None, PAGE).await?;
        history.names(&page.entries).await?;
        anyhow::ensure!(page.entries.len() == PAGE, "{} entries", page.entries.len());
        times.push(start.elapsed().as_secs_f64() * 1_000.0);
    }
    row(&mut table, "history of a record with 1,000 events", times, OF_RECORD);
    let span: (DateTime<Utc>, DateTime<Utc>) =
        sqlx::query_as("select min(recorded_at), max(recorded_at) from events")
            .fetch_one(&bench.database.pool)
            .await?;
    for (name, selection) in filters(span) {
        let times = measure(&history, &selection).await?;
        row(&mut table, name, times, ACROSS);
    }
    table.note(format!("{TIMES} times each, with another value each time where there are others."));
    table.print();
    backend.stop().await;
    bench.close().await
}

fn row(table: &mut Table, name: &str, mut times: Vec<f64>, most: f64) {
    times.sort_by(f64::total_cmp);
    let p95 = times[times.len() * 95 / 100];
    table.row(name, format!("{p95:.1}"), format!("{most}"), p95 / most, Target::AtMost(1.0));
}

async fn measure(
    history: &History,
    selection: &dyn Fn(usize) -> Selection,
) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::new();
    for at in 0..TIMES {
        let selection = selection(at);
        let start = Instant::now();
        let page = history.across(&selection, None, PAGE).await?;
        history.names(&page.entries).await?;
        times.push(start.elapsed().as_secs_f64() * 1_000.0);
        anyhow::ensure!(!page.entries.is_empty(), "{selection:?} finds nothing");
    }
    Ok(times)
}

type Filter = (&'static str, Box<dyn Fn(usize) -> Selection>);

/// Every filter alone: common values, rare ones, and those that only old events have, which is the hardest; and those that are
/// hard together.
fn filters((first, last): (DateTime<Utc>, DateTime<Utc>)) -> Vec<Filter> {
    fn of(name: &'static str, change: impl Fn(&mut Selection, usize) + 'static) -> Filter {
        let selection = move |at| {
            let mut selection = Selection::default();
            change(&mut selection, at);
            selection
        };
        (name, Box::new(selection))
    }
    let id = |at: usize| i64::try_from(at).unwrap_or(0) * 487 + 1;
    let length = last - first;
    vec![
        of("no filter", |_, _| {}),
        of("actor, each of ten", |s, at| s.actor = Some(format!("actor {}", at % 10))),
        of("actor of old events only", |s, _| s.actor = Some("importer".into())),
        of("kind", |s, at| s.kind = Some(Of::Records([Kind::Lp, Kind::Fund][at % 2]))),
        of("record", move |s, at| s.record = Some(Kind::Lp.record(id(at)))),
        of("record and what is about it", move |s, at| {
            s.record = Some(Kind::Lp.record(id(at)));
            s.related = true;
        }),
        of("event, common", |s, _| s.event = Some("Prioritised".into())),
        of("event, old", |s, _| s.event = Some("Registered".into())),
        of("field, common", |s, _| s.field = Some("priority".into())),
        of("field, old", |s, _| s.field = Some("advisor".into())),
        of("field, rare", |s, _| s.field = Some("interest".into())),
        of("source, common", |s, _| s.source = Some("api".into())),
        of("source, old", |s, _| s.source = Some("import:old.db".into())),
        of("from", move |s, at| {
            s.from = Some(first + length * i32::try_from(at).unwrap_or(0) / 201)
        }),
        of("to", move |s, at| {
            s.to = Some(
                first + TimeDelta::milliseconds(50) + length * i32::try_from(at).unwrap_or(0) / 201,
            )
        }),
        of("words, common", |s, _| s.text = Some("urgent".into())),
        of("words, old", |s, _| s.text = Some("ciudad méxico".into())),
        of("word, one event", move |s, at| s.text = Some(format!("name{}", id(at)))),
        of("words, two that neither new events nor many names have", |s, _| {
            s.text = Some("credit office".into())
        }),
        of("the same, and kind", |s, _| {
            s.text = Some("credit office".into());
            s.kind = Some(Of::Records(Kind::Lp));
        }),
        of("word, and an event that has it once", |s, _| {
            s.text = Some("real".into());
            s.event = Some("Registered".into());
        }),
        of("words, three likewise", |s, _| s.text = Some("real credit office".into())),
        of("word that no new events have, and event", |s, _| {
            s.text = Some("credit".into());
            s.event = Some("Prioritised".into());
        }),
        of("likewise, and actor", |s, _| {
            s.text = Some("credit".into());
            s.actor = Some("actor 0".into());
        }),
        of("address, common", |s, _| s.address = Network::parse("127.0.0.1")),
        of("address, old", |s, at| s.address = Network::parse(&format!("192.0.2.{}", at % 200))),
        of("network, old", |s, _| s.address = Network::parse("192.0.2.0/24")),
        of("network of another length, old", |s, _| s.address = Network::parse("192.0.2.0/25")),
        of("program, common", |s, _| s.program = Some("curl/8.5.0".into())),
        of("program, old", |s, _| s.program = Some("loader/1.0".into())),
        of("address and word, old", |s, _| {
            s.address = Network::parse("192.0.2.0/24");
            s.text = Some("stratum".into());
        }),
        of("field and actor", |s, at| {
            s.field = Some("priority".into());
            s.actor = Some(format!("actor {}", at % 10));
        }),
    ]
}

/// Records are imported, then changed by ten people over time; at the end much happens to one of them, and some LPs are
/// interested in a fund. Some words are in names and, beside others, in what was said before the last two changes.
async fn fill(bench: &Workbench) -> anyhow::Result<()> {
    let insert = "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                                      metadata, command_id, correlation_id, actor)";
    let ids = "gen_random_uuid(), gen_random_uuid()";
    let names = "case when id % 1000 = 7 then ' Credit' when id % 1000 = 8 then ' Office' when id = 5 then ' Real' else '' end";
    let registered = format!(
        "{insert} select 'lp', id::text, 1, 'Registered', '1', ('{{\"Registered\":{{\"name\":\"Name' || id || {names} || '\",
                \"details\":{{\"location\":\"Ciudad de México\",\"advisor\":\"Stratum\"}}}}}}')::json,
                ('{{\"command\":\"Import\",\"source\":\"import:old.db\",\"client\":\"192.0.2.' || id % 200 || '\",\"user_agent\":\"loader/1.0\"}}')::json,
                {ids}, 'importer'
         from generate_series(1, {}) as id",
        RECORDS + 1
    );
    let funds = format!(
        "{insert} select 'fund', '1', 1, 'Registered', '1', '{{\"Registered\":{{\"fund_name\":\"Fund III\",\"details\":{{}}}}}}',
                '{{\"command\":\"Import\",\"source\":\"import:old.db\"}}', {ids}, 'importer'"
    );
    let mut statements = vec![registered, funds];
    let prioritised = |ids_of: &str, sequence: &str, value: &str| {
        format!(
            "{insert} select 'lp', id::text, {sequence}, 'Prioritised', '1',
                    ('{{\"Prioritised\":{{\"priority\":\"' || {value} || '\"}}}}')::json,
                    '{{\"command\":\"Revise\",\"source\":\"api\",\"client\":\"127.0.0.1\",\"user_agent\":\"curl/8.5.0\"}}', {ids}, 'actor ' || id % 10
             from {ids_of}"
        )
    };
    for sequence in 2..=EVENTS_EACH {
        let words = if sequence % 2 == 0 { "urgent" } else { "later" };
        let others = match sequence <= EVENTS_EACH - 2 {
            true => {
                "case when id % 20 = 0 then ' real credit office' when id % 10 = 0 then ' real credit' else '' end"
            }
            false => "''",
        };
        let value = format!("'{words} {sequence}' || {others}");
        let range = format!("generate_series(1, {RECORDS}) as id");
        statements.push(prioritised(&range, &sequence.to_string(), &value));
    }
    let long =
        format!("(select {} as id, at from generate_series(2, {LONG}) as at) as long", RECORDS + 1);
    statements.push(prioritised(&long, "at", "at"));
    // In an order of time that is that of positions, as it would be.
    statements.push(format!(
        "{insert} select 'fund', '1', id + 1, 'InterestRecorded', '1',
                ('{{\"InterestRecorded\":{{\"lp\":' || id || ',\"interest\":\"meeting\"}}}}')::json,
                '{{\"command\":\"RecordInterest\",\"source\":\"api\"}}', {ids}, 'actor 3'
         from generate_series(1, 200) as id"
    ));
    for statement in statements {
        sqlx::query(&statement).execute(&bench.database.pool).await?;
    }
    sqlx::query("vacuum analyze events").execute(&bench.database.pool).await?;
    Ok(())
}
