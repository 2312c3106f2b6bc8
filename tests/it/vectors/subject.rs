//! The product with search by meaning, an embeddings server and a vector engine, all in this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::{Kind, RecordRef};
use projections::search::asked::Asked;
use projections::search::check;
use projections::search::engine::Engine;
use projections::search::engine::qdrant::Address;
use projections::search::meaning::Unready;
use projections::search::vector_status::{self, VectorStatus};
use projections::search::vectors::{VectorOptions, Vectors, engine};
use projections::search::{Filter, Meaning};
use serde_json::json;
use sqlx::PgPool;

use crate::contract::Api;
use crate::embeddings::Embeddings;
use crate::qdrant::Server as Qdrant;

/// How long something may take that takes a second on a quiet machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The product with search by meaning.
pub(super) struct Subject {
    pub(super) api: Api,
    pub(super) embeddings: Embeddings,
    pub(super) qdrant: Option<Qdrant>,
    pub(super) vectors: Option<Vectors>,
}

impl Subject {
    pub(super) async fn in_memory() -> Self {
        Self::new(None).await
    }

    pub(super) async fn in_qdrant() -> Self {
        Self::new(Some(Qdrant::start().await)).await
    }

    pub(super) async fn new(qdrant: Option<Qdrant>) -> Self {
        let (api, embeddings) = (Api::new().await, Embeddings::start().await);
        embeddings.state().key = Some("sesame".to_owned());
        let mut subject = Self { api, embeddings, qdrant, vectors: None };
        subject.start();
        subject
    }

    pub(super) fn address(&self) -> Option<Address> {
        self.qdrant.as_ref().map(Qdrant::address)
    }

    pub(super) fn options(&self) -> VectorOptions {
        let source = self.embeddings.source("words");
        VectorOptions { qdrant: self.address(), ..VectorOptions::of(source) }
    }

    pub(super) fn start(&mut self) {
        self.vectors = Some(self.another());
    }

    /// The same again, as another server on the same database has it.
    pub(super) fn another(&self) -> Vectors {
        self.another_with(self.options())
    }

    /// Likewise, with other settings.
    pub(super) fn another_with(&self, options: VectorOptions) -> Vectors {
        let heads = self.api.backend.live.heads();
        Vectors::start(self.api.db.connections.clone(), options, heads)
    }

    pub(super) async fn stop(&mut self) {
        if let Some(vectors) = self.vectors.take() {
            vectors.stop().await;
        }
    }

    pub(super) fn meaning(&self) -> &Meaning {
        self.vectors.as_ref().unwrap().meaning()
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.api.db.pool
    }

    pub(super) async fn note(&self, name: &str, text: &str) -> i64 {
        self.api.made("notes", json!({"name": name, "date": "2025-01-31", "raw_notes": text})).await
    }

    pub(super) async fn status(&self) -> Vec<VectorStatus> {
        vector_status::status(&mut self.pool().acquire().await.unwrap()).await.unwrap()
    }

    /// Waits until the vectors have everything that the log has, the engine has been told, and they answer.
    pub(super) async fn settle(&self) {
        self.api.backend.settle().await.unwrap();
        let head: i64 = sqlx::query_scalar("select coalesce(max(position), 0) from events")
            .fetch_one(self.pool())
            .await
            .unwrap();
        self.until("the vectors are level", async |subject| {
            let status = subject.status().await;
            let is_level =
                |set: &VectorStatus| set.position >= head && set.untold == 0 && set.state == "live";
            let engine = if subject.qdrant.is_some() { "qdrant" } else { "memory" };
            !status.is_empty() && status.iter().all(|set| is_level(set) && set.engine == engine)
        })
        .await;
    }

    pub(super) async fn until(&self, what: &str, is_so: impl AsyncFn(&Self) -> bool) {
        let started = Instant::now();
        while !is_so(self).await {
            let status = self.status().await;
            assert!(started.elapsed() < PATIENCE, "not in time: {what}; {status:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Which records are found, best first, once the question can be answered at all.
    pub(super) async fn found(&self, question: &str) -> Vec<RecordRef> {
        found(self.meaning(), question).await.unwrap_or_default()
    }

    /// Waits until a note is the nearest.
    pub(super) async fn finds(&self, question: &str, note: i64) {
        let note = Kind::Note.record(note);
        self.until(&format!("{question:?} finds {note}"), async |subject| {
            subject.found(question).await.first() == Some(&note)
        })
        .await;
    }

    /// The vectors are those of the texts, none missing, stale or twice, and the engine holds just these.
    pub(super) async fn assert_right(&self) {
        self.settle().await;
        let engine = self.engine().await;
        let reports = check::check(&self.api.db.connections, &engine).await.unwrap();
        assert!(!reports.is_empty());
        for report in reports {
            assert!(report.passed(), "{report:#?}");
        }
        let unused: i64 = sqlx::query_scalar(
            "select count(*) from embedding e where not exists (
                 select from vector_point p where p.model = e.model and p.embedding = e.digest)",
        )
        .fetch_one(self.pool())
        .await
        .unwrap();
        assert_eq!(unused, 0, "vectors of texts that are no more");
    }

    pub(super) async fn engine(&self) -> Arc<dyn Engine> {
        self.engine_at(self.address()).await
    }

    pub(super) async fn engine_at(&self, address: Option<Address>) -> Arc<dyn Engine> {
        let mut db = self.pool().acquire().await.unwrap();
        let log = projections::seal::store::log_id(&mut db).await.unwrap();
        engine(address.as_ref(), log).unwrap()
    }
}

pub(super) async fn found(meaning: &Meaning, question: &str) -> Result<Vec<RecordRef>, Unready> {
    let found = meaning.nearest(&Asked::of(question), &Filter::default(), 10).await?;
    let mut records: Vec<RecordRef> =
        found.near.into_iter().map(|near| near.place.record).collect();
    // A note has a card beside its text.
    records.dedup();
    Ok(records)
}
