//! Servers that are killed while they embed, and while new vectors take the place of the old.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::subject::PATIENCE;
use crate::embeddings::Embeddings;
use crate::qdrant::{Gate, Server as Qdrant, Step};
use crate::server::{Home, Server};

/// Writes, edits and archives notes until the server is gone.
async fn write_until_killed(url: String, round: usize) {
    let client = reqwest::Client::new();
    for number in 0.. {
        let note = json!({"name": format!("Note {round}-{number}"),
            "raw_notes": format!("Matters of chapter{number} round{round} were discussed.\n\n").repeat(1 + number % 40)});
        let Ok(answer) = client.post(format!("{url}/notes")).json(&note).send().await else {
            return;
        };
        let Ok(row) = answer.json::<serde_json::Value>().await else { return };
        let path = format!("{url}/notes/{}", row["id"]);
        let sent = match number % 4 {
            0 => client.put(path).json(&json!({"raw_notes": "Shorter by now."})).send().await,
            1 => client.delete(path).send().await,
            _ => continue,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Waits until one set of vectors answers, which has all that the log has, and the engine has been told.
async fn until_level(server: &Server) {
    let started = Instant::now();
    loop {
        let answer = reqwest::get(format!("{}/projections", server.url)).await.unwrap();
        let all: Value = answer.json().await.unwrap();
        let sets = all["vectors"].as_array().unwrap();
        let is_level = |set: &Value| set["position"] == all["head"] && set["untold"] == 0;
        if sets.len() == 1 && is_level(&sets[0]) && sets[0]["state"] == "live" {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{all:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_leaves_no_stale_missing_or_double_vector() {
    let (home, embeddings, qdrant) =
        (Home::new(), Embeddings::start().await, Qdrant::start().await);
    let (embed_url, qdrant_url) = (embeddings.url(), qdrant.address().url);
    let settings = [("EMBED_URL", embed_url.as_str()), ("QDRANT_URL", qdrant_url.as_str())];
    for round in 0..6 {
        let server = Server::start_with(&home, &[], &settings).await;
        let writing = tokio::spawn(write_until_killed(server.url.clone(), round));
        // Once it has embedded something more, so that it is killed at some step of that.
        let written = qdrant.state().written;
        let started = Instant::now();
        while qdrant.state().written < written + 1 + 7 * round {
            assert!(started.elapsed() < PATIENCE, "nothing is embedded in round {round}");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        server.kill().await;
        writing.await.unwrap();
    }
    let server = Server::start_with(&home, &[], &settings).await;
    until_level(&server).await;
    let mut command = home.crm(&["verify", "vectors", "--json"]);
    let verified = command.envs(settings).output().await.unwrap();
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success(), "{said}{}", String::from_utf8_lossy(&verified.stderr));
    let report: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let points = report["vectors"][0]["points"].as_u64().unwrap();
    let held: usize = qdrant.state().collections.values().map(|it| it.points.len()).sum();
    assert!(points > 0 && held as u64 == points, "{held} {points}");
    let rebuilt = home.crm(&["rebuild", "vectors"]).envs(settings).output().await.unwrap();
    assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    let verified = home.crm(&["verify", "vectors"]).envs(settings).output().await.unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let started = Instant::now();
    while qdrant.state().collections.len() > 1 {
        assert!(started.elapsed() < PATIENCE, "the old collection is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What the command says must also be able to be bad.
    qdrant.state().collections.values_mut().next().unwrap().points.pop_first();
    let verified = home.crm(&["verify", "vectors"]).envs(settings).output().await.unwrap();
    assert_eq!(verified.status.code(), Some(1));
    assert!(server.stop().await);
}

/// Which notes are near to a question. An engine that does not answer in a second is asked again later.
async fn near(server: &Server, question: &str) -> Vec<Value> {
    let url = format!("{}/search?mode=semantic&kinds=note&q={question}", server.url);
    let started = Instant::now();
    loop {
        let answer: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
        if let Some(hits) = answer["hits"].as_array() {
            return hits.iter().map(|hit| hit["id"].clone()).collect();
        }
        assert!(started.elapsed() < PATIENCE, "{answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_at_any_step_of_a_rebuild_of_the_vectors_finishes_it_when_it_comes_back() {
    let (home, embeddings, qdrant) =
        (Home::new(), Embeddings::start().await, Qdrant::start().await);
    let (embed_url, qdrant_url) = (embeddings.url(), qdrant.address().url);
    let settings = [("EMBED_URL", embed_url.as_str()), ("QDRANT_URL", qdrant_url.as_str())];
    let mut server = Server::start_with(&home, &[], &settings).await;
    let client = reqwest::Client::new();
    for text in ["They asked about currency hedging.", "Management charges are their worry."] {
        let note = json!({"name": "Call", "raw_notes": text});
        client.post(format!("{}/notes", server.url)).json(&note).send().await.unwrap();
    }
    until_level(&server).await;
    let found = near(&server, "currency+hedging").await;
    assert_eq!(found.len(), 2);
    for step in [Step::Create, Step::Write, Step::Publish, Step::Delete] {
        for is_done in [false, true] {
            let gate = Gate { step, is_done };
            qdrant.close(gate);
            let mut command = home.crm(&["rebuild", "vectors"]);
            let command = command.envs(settings).stdout(Stdio::null()).stderr(Stdio::null());
            let mut rebuild = command.spawn().unwrap();
            let waiting = tokio::time::timeout(PATIENCE, qdrant.until_waited_for());
            waiting.await.unwrap_or_else(|_| panic!("it never comes to {gate:?}"));
            // First, else it would go on in the server's place.
            rebuild.kill().await.unwrap();
            server.kill().await;
            qdrant.open();
            server = Server::start_with(&home, &[], &settings).await;
            until_level(&server).await;
            assert_eq!(near(&server, "currency+hedging").await, found, "{gate:?}");
            let verified = home.crm(&["verify", "vectors"]).envs(settings).output().await.unwrap();
            let said = String::from_utf8_lossy(&verified.stdout);
            assert!(verified.status.success(), "{gate:?}: {said}");
            let started = Instant::now();
            while qdrant.state().collections.len() > 1 {
                assert!(
                    started.elapsed() < PATIENCE,
                    "{gate:?}: the old collection is still there"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let state = qdrant.state();
            let answering: Vec<&String> = state.aliases.values().collect();
            assert_eq!(answering, state.collections.keys().collect::<Vec<_>>(), "{gate:?}");
        }
    }
    assert!(server.stop().await);
}
