//! Qdrant by TLS: whoever is vouched for by an authority that this machine trusts is believed, and nobody else.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::subject::PATIENCE;
use crate::embeddings::Embeddings;
use crate::qdrant::Server as Qdrant;
use crate::server::{Home, Server};

/// A committed certificate.
fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls").join(name)
}

/// A server that keeps its vectors in this Qdrant and trusts this authority alone, with a note.
async fn trusting(home: &Home, embeddings: &Embeddings, qdrant: &Qdrant, name: &str) -> Server {
    let (embed_url, qdrant_url) = (embeddings.url(), qdrant.address().url);
    let authority = certificate(name).display().to_string();
    let settings = [
        ("EMBED_URL", embed_url.as_str()),
        ("QDRANT_URL", qdrant_url.as_str()),
        ("SSL_CERT_FILE", authority.as_str()),
    ];
    let server = Server::start_with(home, &[], &settings).await;
    let note = json!({"name": "Call", "raw_notes": "They asked about currency hedging."});
    let made = reqwest::Client::new().post(format!("{}/notes", server.url)).json(&note);
    assert_eq!(made.send().await.unwrap().status(), 200);
    server
}

/// Waits until the server says so of its vectors.
async fn until(server: &Server, is_so: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let answer = reqwest::get(format!("{}/projections", server.url)).await.unwrap();
        let all: Value = answer.json().await.unwrap();
        if is_so(&all) {
            return all;
        }
        assert!(started.elapsed() < PATIENCE, "{all:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qdrant_that_is_vouched_for_answers_by_tls() {
    let (home, embeddings, qdrant) =
        (Home::new(), Embeddings::start().await, Qdrant::start_with_tls().await);
    assert!(qdrant.address().url.starts_with("https://localhost:"));
    let server = trusting(&home, &embeddings, &qdrant, "authority.pem").await;
    until(&server, |all| {
        let set = &all["vectors"][0];
        set["state"] == "live" && set["position"] == all["head"] && set["untold"] == 0
    })
    .await;
    assert!(qdrant.state().written > 0);
    let asking = format!("{}/search?q=currency+hedging", server.url);
    let found: Value = reqwest::get(asking).await.unwrap().json().await.unwrap();
    assert_eq!(found["hits"][0]["kind"], json!("note"), "{found:#}");
    assert!(server.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qdrant_that_nobody_vouches_for_is_told_nothing_and_the_status_says_why() {
    let (home, embeddings, qdrant) =
        (Home::new(), Embeddings::start().await, Qdrant::start_with_tls().await);
    let server = trusting(&home, &embeddings, &qdrant, "stranger.pem").await;
    let all = until(&server, |all| all["vectors"].to_string().contains("does not answer")).await;
    let said = all["vectors"].to_string();
    assert!(said.contains("certificate") && said.contains("SSL_CERT_FILE"), "{said}");
    assert_eq!(qdrant.state().written, 0);
    assert!(server.stop().await);
}
