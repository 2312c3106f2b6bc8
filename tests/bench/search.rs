//! `GET /search` from end to end with 20,000 chunks, the question's embedding included, and how soon what was written is found.
//!
//! The notes are those of the evaluation, mixed, so that words are as common as in texts of people. Their vectors are
//! directions at random, since embedding all of them would take an hour: what is found by meaning is of no use, but costs
//! the same. Questions and the notes that are written in the end are truly embedded.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use projections::generation::{self, Generation, State};
use projections::search::sets;
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, PgConnection};

use crate::http::{Body, Client, Request};
use crate::table::{Table, Target};
use crate::vectors::{DIMENSIONS, direction, models_folder, show, source_in};
use crate::workbench::{Served, Workbench};

/// How many chunks there are at least, and how many notes of the evaluation make a note: some four chunks.
const CHUNKS: i64 = 20_000;
const PARTS: usize = 6;

/// How many vectors are written at a time.
const BATCH: i64 = 1_000;

/// How many notes are written to see when they are found.
const WRITES: usize = 20;

/// What a search may take, in milliseconds.
const P50: f64 = 40.0;
const P99: f64 = 100.0;
const LEXICAL: f64 = 5.0;

/// When what was written should be found by meaning, in milliseconds.
const MEANT: f64 = 2_000.0;

/// After how long something must be wrong.
const PATIENCE: Duration = Duration::from_secs(120);

pub async fn run() -> anyhow::Result<()> {
    let mut table = Table::new("GET /search with 20,000 chunks, ms");
    let Some(models) = models_folder() else {
        table.note(
            "nothing was measured: the model is not on this machine (`crm models get embed`)",
        );
        table.print();
        return Ok(());
    };
    let bench = Workbench::open().await?;
    let server = bench.serve().await?;
    let chunks = write_notes(&bench, &server).await?;
    server.stop().await?;
    invent_vectors(&bench, &models).await?;
    std::os::unix::fs::symlink(&models, bench.folder.path().join("models"))?;
    let server = bench.serve().await?;
    let mut client = Client::connect(server.address).await?;
    until_meant(&mut client).await?;
    table.figure("chunks", chunks.to_string());
    let questions = questions()?;
    // A question that was asked before would not be embedded again, so each mode asks with a word more that says nothing.
    for (mode, more, p50, p99) in
        [("hybrid", "", P50, P99), ("semantic", " the", P50, P99), ("lexical", " of", LEXICAL, P99)]
    {
        let mut times = Vec::with_capacity(questions.len());
        for question in &questions {
            let path = format!("/search?q={}&mode={mode}", encoded(&format!("{question}{more}")));
            let started = Instant::now();
            let page = search(&mut client, &path).await?;
            times.push(started.elapsed());
            ensure!(page["mode"] == mode && page["missing"].is_null(), "{path} answers {page}");
        }
        show(&mut table, &format!("{mode}, p50"), &mut times, 50, p50, Target::AtMost(1.0));
        show(&mut table, &format!("{mode}, p99"), &mut times, 99, p99, Target::AtMost(1.0));
    }
    written(&mut table, &mut client).await?;
    table.figure(
        "memory of `crm serve`, MB",
        format!("{:.0}", crate::usage::memory(server.pid, "VmRSS")?),
    );
    server.stop().await?;
    bench.close().await?;
    table.print();
    Ok(())
}

/// Lines of JSON of the evaluation, and what each has in a field.
fn texts(lines: &str, field: &str) -> anyhow::Result<Vec<String>> {
    let text = |line: &str| {
        let line: Value = serde_json::from_str(line)?;
        Ok(line[field].as_str().context("a line without a text")?.to_owned())
    };
    lines.lines().map(text).collect()
}

fn questions() -> anyhow::Result<Vec<String>> {
    texts(include_str!("../eval/queries.jsonl"), "text")
}

/// Registers notes through the API until there are enough chunks; tells how many there are. Nothing is embedded yet.
async fn write_notes(bench: &Workbench, server: &Served) -> anyhow::Result<i64> {
    let texts = texts(include_str!("../eval/notes.jsonl"), "text")?;
    let mut client = Client::connect(server.address).await?;
    let mut number = 0;
    loop {
        for _ in 0..200 {
            let parts =
                (0..PARTS).map(|part| texts[(number * 31 + part * 17) % texts.len()].as_str());
            let text = parts.collect::<Vec<_>>().join("\n\n");
            note(&mut client, &format!("Call {number}"), &text).await?;
            number += 1;
        }
        let mut db = reading(bench).await?;
        let chunks: i64 = sqlx::query_scalar("select count(*) from passage where part = 'text'")
            .fetch_one(&mut db)
            .await?;
        if chunks >= CHUNKS {
            sqlx::query("analyze passage").execute(&mut db).await?;
            return Ok(chunks);
        }
    }
}

/// A connection that finds the passages.
async fn reading(bench: &Workbench) -> anyhow::Result<PgConnection> {
    let mut db = bench.database.options_for(&[]).connect().await?;
    let all = generation::all(&mut db).await?;
    let live = |it: &&Generation| it.projector == "passage" && it.state == State::Live;
    let live = all.iter().find(live).context("there are no passages")?;
    Ok(bench.database.options_for(&[live.schema()]).connect().await?)
}

async fn note(client: &mut Client, name: &str, text: &str) -> anyhow::Result<i64> {
    let body = json!({"name": name, "date": "2025-01-31", "raw_notes": text}).to_string();
    let answer = client.send(&Request::with_body("POST", "/notes", body), Body::Kept).await?;
    ensure!(answer.status < 300, "POST /notes answers {}", answer.status);
    let row: Value = serde_json::from_slice(&answer.body)?;
    row["id"].as_i64().context("a note without an id")
}

/// A set of vectors of all texts, as if they had been embedded.
async fn invent_vectors(bench: &Workbench, models: &Path) -> anyhow::Result<()> {
    let encoder = source_in(models).open().await.context("the embedding model")?;
    let mut db = reading(bench).await?;
    let model = sets::model(&mut db, encoder.name(), DIMENSIONS).await?;
    let texts = sets::texts(&mut db).await?.context("there are no texts")?;
    sets::begin(&mut db, model, &texts.chunks()).await?;
    let begun = sets::of_model(&mut db, model).await?;
    let set = &begun.first().context("there is no set")?.set;
    let digests: BTreeSet<Vec<u8>> =
        sqlx::query_scalar("select digest from passage where part = 'text'")
            .fetch_all(&mut db)
            .await?
            .into_iter()
            .collect();
    let mut seed = 0;
    for some in digests.into_iter().collect::<Vec<_>>().chunks(BATCH as usize) {
        let vectors = some.iter().map(|_| {
            seed += 1;
            direction(seed).iter().flat_map(|number| number.to_le_bytes()).collect()
        });
        let vectors: Vec<Vec<u8>> = vectors.collect();
        sqlx::query(
            "insert into embedding (model, digest, vector) select $1, * from unnest($2::bytea[], $3::bytea[])",
        )
        .bind(model)
        .bind(some)
        .bind(vectors)
        .execute(&mut db)
        .await?;
    }
    note_all(&mut db, set.id, model, texts.position).await?;
    Ok(sets::swap(&mut db, set).await?)
}

/// Says that every record was taken in as it stands.
async fn note_all(
    db: &mut PgConnection,
    set: i32,
    model: i32,
    position: i64,
) -> anyhow::Result<()> {
    sqlx::query(
        "insert into vector_record (set_id, kind, id, position) select $1, kind, id, position from findable",
    )
    .bind(set)
    .execute(&mut *db)
    .await?;
    sqlx::query(
        "insert into vector_point (set_id, kind, id, part, ordinal, digest, model, embedding, on_date, lang, about)
         select $1, kind, id, part, ordinal, digest, $2, digest, on_date, p.lang, about
         from passage p join findable using (kind, id) where part = 'text'",
    )
    .bind(set)
    .bind(model)
    .execute(&mut *db)
    .await?;
    sqlx::query("update vector_set set position = $2 where id = $1")
        .bind(set)
        .bind(position)
        .execute(db)
        .await?;
    Ok(())
}

async fn search(client: &mut Client, path: &str) -> anyhow::Result<Value> {
    let answer = client.send(&Request::get(path), Body::Kept).await?;
    ensure!(matches!(answer.status, 200 | 503), "{path} answers {}", answer.status);
    Ok(serde_json::from_slice(&answer.body)?)
}

/// Waits until the model and the vectors are loaded.
async fn until_meant(client: &mut Client) -> anyhow::Result<()> {
    let began = Instant::now();
    while search(client, "/search?q=hedging&mode=semantic").await?["hits"].as_array().is_none() {
        ensure!(began.elapsed() < PATIENCE, "the vectors are not there after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// How soon a note is found after its writing began, by a word of its own and by what it means.
async fn written(table: &mut Table, client: &mut Client) -> anyhow::Result<()> {
    let (mut by_word, mut by_meaning) = (Vec::new(), Vec::new());
    for number in 0..WRITES {
        let word = format!("zyx{number}w");
        let text =
            format!("The pension fund of {word} wants to know what covering its dollars has cost.");
        let began = Instant::now();
        let id = note(client, "Call", &text).await?;
        let is_first = |page: &Value| page["hits"][0]["id"] == id;
        let page = search(client, &format!("/search?q={word}&mode=lexical")).await?;
        ensure!(is_first(&page), "what was written is not found by word: {page}");
        by_word.push(began.elapsed());
        let path = format!("/search?q={}&mode=semantic", encoded(&text));
        while !is_first(&search(client, &path).await?) {
            ensure!(began.elapsed() < PATIENCE, "what was written is not found by meaning");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        by_meaning.push(began.elapsed());
    }
    let none = Target::None;
    show(table, "written and found by word, p50", &mut by_word, 50, MEANT, none);
    show(table, "written and found by meaning, p50", &mut by_meaning, 50, MEANT, none);
    let at_most = Target::AtMost(1.0);
    show(table, "written and found by meaning, at most", &mut by_meaning, 100, MEANT, at_most);
    Ok(())
}

/// A text as it stands in an address.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
