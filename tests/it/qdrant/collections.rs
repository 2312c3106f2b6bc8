//! Collections and aliases.

use ::qdrant_client::qdrant::alias_operations::Action;
use ::qdrant_client::qdrant::collections_server::Collections;
use ::qdrant_client::qdrant::vectors_config::Config;
use ::qdrant_client::qdrant::*;
use tonic::{Request, Response, Status};

use super::{Collection, Service, State, Step, unknown};

fn done() -> Result<Response<CollectionOperationResponse>, Status> {
    Ok(Response::new(CollectionOperationResponse { result: true, time: 0.0 }))
}

fn change(state: &mut State, action: Action) -> Result<(), Status> {
    match action {
        Action::CreateAlias(CreateAlias { collection_name, alias_name }) => {
            state.collection(&collection_name)?;
            state.aliases.insert(alias_name, collection_name);
        }
        Action::DeleteAlias(DeleteAlias { alias_name }) => {
            state.aliases.remove(&alias_name);
        }
        Action::RenameAlias(_) => return Err(Status::unimplemented("rename")),
    }
    Ok(())
}

fn create(state: &mut State, request: CreateCollection) -> Result<(), Status> {
    let name = request.collection_name;
    if state.collections.contains_key(&name) {
        return Err(Status::already_exists(format!("Collection `{name}` already exists!")));
    }
    let Some(VectorsConfig { config: Some(Config::Params(vectors)) }) = request.vectors_config
    else {
        return Err(Status::invalid_argument("no vectors"));
    };
    let collection = Collection { dimensions: vectors.size, ..Collection::default() };
    state.collections.insert(name, collection);
    Ok(())
}

/// Tells whether it was there.
fn delete(state: &mut State, name: &str) -> bool {
    state.aliases.retain(|_, collection| collection != name);
    state.collections.remove(name).is_some()
}

fn config(dimensions: u64) -> CollectionConfig {
    let vectors = VectorParams {
        size: dimensions,
        distance: Distance::Cosine.into(),
        ..VectorParams::default()
    };
    let vectors_config = Some(VectorsConfig { config: Some(Config::Params(vectors)) });
    let params = Some(CollectionParams { vectors_config, ..CollectionParams::default() });
    CollectionConfig { params, ..CollectionConfig::default() }
}

#[tonic::async_trait]
impl Collections for Service {
    async fn get(
        &self,
        request: Request<GetCollectionInfoRequest>,
    ) -> Result<Response<GetCollectionInfoResponse>, Status> {
        let request = self.admit(request).await?;
        let mut state = self.state();
        let collection = state.collection(&request.collection_name)?;
        let info = CollectionInfo {
            config: Some(config(collection.dimensions)),
            points_count: Some(collection.points.len() as u64),
            payload_schema: collection
                .indexed
                .iter()
                .map(|field| (field.clone(), PayloadSchemaInfo::default()))
                .collect(),
            ..CollectionInfo::default()
        };
        Ok(Response::new(GetCollectionInfoResponse { result: Some(info), time: 0.0 }))
    }

    async fn create(
        &self,
        request: Request<CreateCollection>,
    ) -> Result<Response<CollectionOperationResponse>, Status> {
        let request = self.admit(request).await?;
        self.pass(Step::Create, false).await;
        create(&mut self.state(), request)?;
        self.pass(Step::Create, true).await;
        done()
    }

    async fn delete(
        &self,
        request: Request<DeleteCollection>,
    ) -> Result<Response<CollectionOperationResponse>, Status> {
        let request = self.admit(request).await?;
        self.pass(Step::Delete, false).await;
        let result = delete(&mut self.state(), &request.collection_name);
        self.pass(Step::Delete, true).await;
        Ok(Response::new(CollectionOperationResponse { result, time: 0.0 }))
    }

    async fn update_aliases(
        &self,
        request: Request<ChangeAliases>,
    ) -> Result<Response<CollectionOperationResponse>, Status> {
        let request = self.admit(request).await?;
        self.pass(Step::Publish, false).await;
        let mut actions = request.actions.into_iter().filter_map(|operation| operation.action);
        actions.try_for_each(|action| change(&mut self.state(), action))?;
        self.pass(Step::Publish, true).await;
        done()
    }

    async fn list(
        &self,
        _: Request<ListCollectionsRequest>,
    ) -> Result<Response<ListCollectionsResponse>, Status> {
        unknown()
    }

    async fn update(
        &self,
        _: Request<UpdateCollection>,
    ) -> Result<Response<CollectionOperationResponse>, Status> {
        unknown()
    }

    async fn list_collection_aliases(
        &self,
        _: Request<ListCollectionAliasesRequest>,
    ) -> Result<Response<ListAliasesResponse>, Status> {
        unknown()
    }

    async fn list_aliases(
        &self,
        _: Request<ListAliasesRequest>,
    ) -> Result<Response<ListAliasesResponse>, Status> {
        unknown()
    }

    async fn collection_cluster_info(
        &self,
        _: Request<CollectionClusterInfoRequest>,
    ) -> Result<Response<CollectionClusterInfoResponse>, Status> {
        unknown()
    }

    async fn collection_exists(
        &self,
        _: Request<CollectionExistsRequest>,
    ) -> Result<Response<CollectionExistsResponse>, Status> {
        unknown()
    }

    async fn update_collection_cluster_setup(
        &self,
        _: Request<UpdateCollectionClusterSetupRequest>,
    ) -> Result<Response<UpdateCollectionClusterSetupResponse>, Status> {
        unknown()
    }

    async fn create_shard_key(
        &self,
        _: Request<CreateShardKeyRequest>,
    ) -> Result<Response<CreateShardKeyResponse>, Status> {
        unknown()
    }

    async fn delete_shard_key(
        &self,
        _: Request<DeleteShardKeyRequest>,
    ) -> Result<Response<DeleteShardKeyResponse>, Status> {
        unknown()
    }

    async fn list_shard_keys(
        &self,
        _: Request<ListShardKeysRequest>,
    ) -> Result<Response<ListShardKeysResponse>, Status> {
        unknown()
    }
}
