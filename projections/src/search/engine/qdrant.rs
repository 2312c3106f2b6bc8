//! A Qdrant server as the engine: a collection for each set, and an alias for each model that names the collection that answers.
//!
//! Several installations may share a server: each has names of its own. What goes there are vectors and what they are
//! filtered by, never a text.

mod failure;
mod payload;

use std::collections::HashSet;
use std::time::Duration;

use ::qdrant_client::qdrant::points_update_operation::{Operation, PointStructList};
use ::qdrant_client::qdrant::{
    CollectionInfo, Condition, CountPointsBuilder, CreateAlias, CreateCollectionBuilder,
    CreateFieldIndexCollectionBuilder, DeletePointsBuilder, Distance, Filter as Conditions,
    PointsUpdateOperation, QueryPointsBuilder, ScrollPointsBuilder, UpdateBatchPointsBuilder,
    UpdateResult, UpdateStatus, VectorParamsBuilder, WriteOrdering, WriteOrderingType,
};
use ::qdrant_client::{Qdrant as Client, QdrantError};
use domain::RecordRef;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Engine, EngineError, Held, Near, Point, Set};
use crate::search::Filter;
use crate::search::passage::named;

/// How long a search waits for what is nearest.
const NEAREST: Duration = Duration::from_secs(1);

/// How long another question may take, at most twice: the client tries again on a new connection.
const QUESTION: Duration = Duration::from_secs(2);

/// Likewise, for a page of a list: the server may have to read it from its disk.
const PAGE: Duration = Duration::from_secs(5);

/// How long the server may take to finish a write, in seconds, and how long we wait to hear of it.
const WRITE: u64 = 20;
const WRITE_ANSWER: Duration = Duration::from_secs(WRITE + 5);

/// How many points one request writes or lists: about 1 MB of vectors.
const BATCH: usize = 500;

/// How many records one request deletes points of.
const DELETIONS: usize = 200;

/// Where the server is, and how it lets us in.
#[derive(Clone)]
pub struct Address {
    /// Of its gRPC port: `http://host:6334`, or `https://` for TLS.
    pub url: String,
    /// The API key, if it asks for one.
    pub key: Option<String>,
}

/// The engine.
pub struct Qdrant {
    questions: Client,
    lists: Client,
    writes: Client,
    namespace: String,
}

impl Qdrant {
    /// Prepares to ask the server; nothing is sent yet. All its collections and aliases will be called `crm_<namespace>_…`.
    ///
    /// # Errors
    /// When the URL or the key cannot be used.
    pub fn new(address: &Address, namespace: &str) -> Result<Self, EngineError> {
        // Else the client would quote it in an error.
        if address
            .key
            .as_deref()
            .is_some_and(|key| !key.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(EngineError::Refused);
        }
        let client = |timeout: Duration, connections: usize| {
            let mut config = Client::from_url(&address.url)
                .api_key(address.key.clone())
                .timeout(timeout)
                .connect_timeout(QUESTION)
                // It would ask at once, and print what it thinks of the answer.
                .skip_compatibility_check();
            config.set_pool_size(connections);
            config.build().map_err(|error| failure::told(error, "the server"))
        };
        Ok(Self {
            questions: client(QUESTION, 3)?,
            lists: client(PAGE, 1)?,
            writes: client(WRITE_ANSWER, 1)?,
            namespace: namespace.to_owned(),
        })
    }

    fn collection(&self, set: &Set) -> String {
        format!("crm_{}_m{}_s{}", self.namespace, set.model, set.id)
    }

    fn alias(&self, model: i32) -> String {
        format!("crm_{}_m{model}", self.namespace)
    }

    /// What there is of a collection; `None` if there is no such.
    async fn info(&self, collection: &str) -> Result<Option<CollectionInfo>, EngineError> {
        match twice(QUESTION, collection, self.questions.collection_info(collection)).await {
            Ok(info) => Ok(Some(info.result.unwrap_or_default())),
            Err(EngineError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create(&self, set: &Set, collection: &str) -> Result<(), EngineError> {
        let vectors = VectorParamsBuilder::new(set.dimensions as u64, Distance::Cosine);
        let request = CreateCollectionBuilder::new(collection).vectors_config(vectors);
        twice(WRITE_ANSWER, collection, self.writes.create_collection(request)).await?;
        Ok(())
    }

    /// Gives a collection those indexes that it lacks: whoever made it may not have come to its end.
    async fn index(&self, collection: &str, there: &CollectionInfo) -> Result<(), EngineError> {
        let lacks = |field: &str| !there.payload_schema.contains_key(field);
        for (field, kind) in payload::INDEXED.iter().filter(|(field, _)| lacks(field)) {
            let request =
                CreateFieldIndexCollectionBuilder::new(collection, *field, *kind).wait(true);
            let making = self.writes.create_field_index(request);
            finished(twice(WRITE_ANSWER, collection, making).await?.result)?;
        }
        Ok(())
    }

    async fn prepare_set(&self, set: &Set) -> Result<bool, EngineError> {
        let collection = self.collection(set);
        let ours = set.dimensions as u64;
        let Some(info) = self.info(&collection).await? else {
            self.create(set, &collection).await?;
            self.index(&collection, &CollectionInfo::default()).await?;
            return Ok(false);
        };
        let theirs = payload::dimensions_of(&info).unwrap_or(0);
        if theirs != ours {
            return Err(EngineError::Dimensions { collection, theirs, ours });
        }
        self.index(&collection, &info).await?;
        Ok(true)
    }

    async fn upsert_points(&self, set: &Set, points: &[Point]) -> Result<(), EngineError> {
        let collection = self.collection(set);
        for batch in points.chunks(BATCH) {
            let operations: Vec<PointsUpdateOperation> = batch
                .chunk_by(|a, b| a.version == b.version)
                .filter_map(|points| Some(replacement(points.first()?.version, points)))
                .collect();
            let request = UpdateBatchPointsBuilder::new(&collection, operations)
                .wait(true)
                .ordering(in_order())
                .timeout(WRITE);
            let writing = self.writes.update_points_batch(request);
            twice(WRITE_ANSWER, &collection, writing)
                .await?
                .result
                .into_iter()
                .try_for_each(|result| finished(Some(result)))?;
        }
        Ok(())
    }

    async fn delete_points(
        &self,
        set: &Set,
        records: &[(RecordRef, i64)],
    ) -> Result<(), EngineError> {
        let collection = self.collection(set);
        for batch in records.chunks(DELETIONS) {
            let older = batch.iter().map(|(record, version)| {
                let older = payload::below(*version);
                let of_record = Condition::matches(payload::RECORD, named(*record));
                Condition::from(Conditions::must([of_record, older]))
            });
            let request = DeletePointsBuilder::new(&collection)
                .points(Conditions::should(older))
                .wait(true)
                .ordering(in_order())
                .timeout(WRITE);
            let deleting = self.writes.delete_points(request);
            finished(twice(WRITE_ANSWER, &collection, deleting).await?.result)?;
        }
        Ok(())
    }

    async fn publish_set(&self, set: &Set) -> Result<(), EngineError> {
        let collection = self.collection(set);
        // An alias that is there already is moved, in one step.
        let alias =
            CreateAlias { alias_name: self.alias(set.model), collection_name: collection.clone() };
        twice(WRITE_ANSWER, &collection, self.writes.create_alias(alias)).await?;
        Ok(())
    }

    async fn nearest_points(
        &self,
        model: i32,
        vector: &[f32],
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<Near>, EngineError> {
        let alias = self.alias(model);
        let request = QueryPointsBuilder::new(&alias)
            .query(vector.to_vec())
            .filter(payload::conditions(filter))
            .limit(limit as u64)
            .with_payload(true)
            .timeout(NEAREST.as_secs());
        let found = within(NEAREST, &alias, self.questions.query(request)).await?;
        Ok(found.result.iter().filter_map(payload::near_of).collect())
    }

    async fn list_points(&self, set: &Set) -> Result<Vec<Held>, EngineError> {
        let collection = self.collection(set);
        let mut list = Vec::new();
        let mut offset = None;
        // A page begins where the one before has ended; a server that goes round in circles would never let us go.
        let mut seen = HashSet::new();
        loop {
            let mut request = ScrollPointsBuilder::new(&collection)
                .limit(2 * BATCH as u32)
                .with_payload(true)
                .with_vectors(false);
            if let Some(offset) = offset.take() {
                request = request.offset(offset);
            }
            let page = twice(PAGE, &collection, self.lists.scroll(request)).await?;
            for point in &page.result {
                list.push(payload::held_of(point).ok_or_else(|| foreign(&collection))?);
            }
            match page.next_page_offset {
                Some(next) if seen.insert(format!("{next:?}")) => offset = Some(next),
                _ => break,
            }
        }
        list.sort_unstable();
        Ok(list)
    }

    async fn count_points(&self, set: &Set) -> Result<u64, EngineError> {
        let collection = self.collection(set);
        let request = CountPointsBuilder::new(&collection).exact(true);
        let counted = twice(QUESTION, &collection, self.questions.count(request)).await?;
        Ok(counted.result.map_or(0, |result| result.count))
    }

    async fn forget_set(&self, set: &Set) -> Result<(), EngineError> {
        let collection = self.collection(set);
        let deleting = self.writes.delete_collection(&collection);
        match twice(WRITE_ANSWER, &collection, deleting).await {
            Ok(_) | Err(EngineError::Missing(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Points of one version, which take the place of what is not newer.
fn replacement(version: i64, points: &[Point]) -> PointsUpdateOperation {
    let list = PointStructList {
        points: points.iter().map(payload::point).collect(),
        update_filter: Some(Conditions::must([payload::below(version.saturating_add(1))])),
        ..PointStructList::default()
    };
    PointsUpdateOperation { operation: Some(Operation::Upsert(list)) }
}

/// Writes are applied in the order in which they were sent, on clusters too.
fn in_order() -> WriteOrdering {
    WriteOrdering { r#type: WriteOrderingType::Strong.into() }
}

/// That a write was taken is not enough: it must be done.
fn finished(result: Option<UpdateResult>) -> Result<(), EngineError> {
    match result.map(|result| result.status()) {
        Some(UpdateStatus::Completed) => Ok(()),
        _ => Err(EngineError::Unfinished),
    }
}

fn foreign(collection: &str) -> EngineError {
    EngineError::Rejected(format!(
        "{collection} holds points that crm has not written: delete the collection, and crm fills it again"
    ))
}

/// Asks for as long as the client may take that tries again.
async fn twice<T>(
    limit: Duration,
    what: &str,
    asking: impl Future<Output = Result<T, QdrantError>>,
) -> Result<T, EngineError> {
    within(2 * limit, what, asking).await
}

/// Asks for this long at most. The client has limits for reaching the server and for what it is sent on a connection, but none
/// for what is between: a server that never finishes the handshake of TLS would be waited for without end.
async fn within<T>(
    limit: Duration,
    what: &str,
    asking: impl Future<Output = Result<T, QdrantError>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(limit, asking).await {
        Ok(answer) => answer.map_err(|error| failure::told(error, what)),
        Err(_) => Err(EngineError::Unavailable(format!("nothing came within {limit:?}"))),
    }
}

impl Engine for Qdrant {
    fn name(&self) -> &'static str {
        "qdrant"
    }

    fn is_of_this_process(&self) -> bool {
        false
    }

    fn prepare<'a>(&'a self, set: &'a Set) -> BoxFuture<'a, Result<bool, EngineError>> {
        self.prepare_set(set).boxed()
    }

    fn upsert<'a>(
        &'a self,
        set: &'a Set,
        points: &'a [Point],
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        self.upsert_points(set, points).boxed()
    }

    fn delete_older<'a>(
        &'a self,
        set: &'a Set,
        records: &'a [(RecordRef, i64)],
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        self.delete_points(set, records).boxed()
    }

    fn publish<'a>(&'a self, set: &'a Set) -> BoxFuture<'a, Result<(), EngineError>> {
        self.publish_set(set).boxed()
    }

    fn nearest<'a>(
        &'a self,
        model: i32,
        vector: &'a [f32],
        filter: &'a Filter,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Near>, EngineError>> {
        self.nearest_points(model, vector, filter, limit).boxed()
    }

    fn count<'a>(&'a self, set: &'a Set) -> BoxFuture<'a, Result<u64, EngineError>> {
        self.count_points(set).boxed()
    }

    fn list<'a>(&'a self, set: &'a Set) -> BoxFuture<'a, Result<Vec<Held>, EngineError>> {
        self.list_points(set).boxed()
    }

    fn forget<'a>(&'a self, set: &'a Set) -> BoxFuture<'a, Result<(), EngineError>> {
        self.forget_set(set).boxed()
    }
}
