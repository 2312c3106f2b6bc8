//! Points.

use ::qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use ::qdrant_client::qdrant::points_server::Points;
use ::qdrant_client::qdrant::points_update_operation::{Operation, PointStructList};
use ::qdrant_client::qdrant::*;
use tonic::{Request, Response, Status};

use super::matching::passes;
use super::{Collection, Service, State, Step, Stored, unknown};

fn id_of(id: Option<&PointId>) -> Result<String, Status> {
    match id.and_then(|id| id.point_id_options.as_ref()) {
        Some(point_id::PointIdOptions::Uuid(id)) => Ok(id.clone()),
        other => Err(Status::invalid_argument(format!("{other:?} is no UUID"))),
    }
}

fn vector_of(point: &PointStruct) -> Option<Vec<f32>> {
    match point.vectors.as_ref()?.vectors_options.as_ref()? {
        vectors::VectorsOptions::Vector(vector) => match vector.vector.as_ref()? {
            vector::Vector::Dense(dense) => Some(normal(&dense.data)),
            _ => None,
        },
        vectors::VectorsOptions::Vectors(_) => None,
    }
}

/// Qdrant keeps vectors that are compared by their angles at length 1.
fn normal(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter().map(|x| x / length).collect()
}

fn upsert(collection: &mut Collection, list: &PointStructList) -> Result<usize, Status> {
    let mut written = 0;
    for point in &list.points {
        let id = id_of(point.id.as_ref())?;
        let vector = vector_of(point).ok_or_else(|| Status::invalid_argument("no vector"))?;
        if vector.len() as u64 != collection.dimensions {
            return Err(Status::invalid_argument(format!(
                "Wrong input: Vector dimension error: expected dim: {}, got {}",
                collection.dimensions,
                vector.len()
            )));
        }
        if let Some(filter) = &list.update_filter {
            collection.check(filter)?;
            // What is there and does not pass stays; what is not there is written whatever the filter says.
            if collection.points.get(&id).is_some_and(|there| !passes(&there.payload, filter)) {
                continue;
            }
        }
        collection.points.insert(id, Stored { payload: point.payload.clone(), vector });
        written += 1;
    }
    Ok(written)
}

fn update(state: &mut State, name: &str, operation: Operation) -> Result<(), Status> {
    let Operation::Upsert(list) = operation else {
        return Err(Status::unimplemented("the test server does not know this"));
    };
    state.written += upsert(state.collection(name)?, &list)?;
    Ok(())
}

fn delete(collection: &mut Collection, points: Option<PointsSelector>) -> Result<(), Status> {
    match points.and_then(|points| points.points_selector_one_of) {
        Some(PointsSelectorOneOf::Filter(filter)) => {
            collection.check(&filter)?;
            collection.points.retain(|_, point| !passes(&point.payload, &filter));
            Ok(())
        }
        _ => Err(Status::unimplemented("the test server does not know this")),
    }
}

fn question(request: &QueryPoints) -> Option<&[f32]> {
    match request.query.as_ref()?.variant.as_ref()? {
        query::Variant::Nearest(input) => match input.variant.as_ref()? {
            vector_input::Variant::Dense(dense) => Some(&dense.data),
            _ => None,
        },
        _ => None,
    }
}

fn answer(collection: &Collection, request: &QueryPoints) -> Result<Vec<ScoredPoint>, Status> {
    let asked = question(request).ok_or_else(|| Status::invalid_argument("no vector"))?;
    if asked.len() as u64 != collection.dimensions {
        return Err(Status::invalid_argument("Wrong input: Vector dimension error"));
    }
    let (asked, filter) = (normal(asked), request.filter.clone().unwrap_or_default());
    collection.check(&filter)?;
    let scored = |(id, point): (&String, &Stored)| ScoredPoint {
        id: Some(id.clone().into()),
        payload: point.payload.clone(),
        score: point.vector.iter().zip(&asked).map(|(x, y)| x * y).sum(),
        ..ScoredPoint::default()
    };
    let fitting = collection.points.iter().filter(|(_, point)| passes(&point.payload, &filter));
    let mut found: Vec<ScoredPoint> = fitting.map(scored).collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(request.limit.unwrap_or(10) as usize);
    Ok(found)
}

fn response(result: UpdateResult) -> Result<Response<PointsOperationResponse>, Status> {
    Ok(Response::new(PointsOperationResponse { result: Some(result), ..Default::default() }))
}

#[tonic::async_trait]
impl Points for Service {
    async fn update_batch(
        &self,
        request: Request<UpdateBatchPoints>,
    ) -> Result<Response<UpdateBatchResponse>, Status> {
        let request = self.admit(request).await?;
        self.pass(Step::Write, false).await;
        let mut result = Vec::new();
        for operation in request.operations.into_iter().filter_map(|it| it.operation) {
            let name = &request.collection_name;
            result.push(self.state().write(|state| update(state, name, operation))?);
        }
        self.pass(Step::Write, true).await;
        Ok(Response::new(UpdateBatchResponse { result, ..Default::default() }))
    }

    async fn delete(
        &self,
        request: Request<DeletePoints>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        let request = self.admit(request).await?;
        let name = request.collection_name;
        response(self.state().write(|state| delete(state.collection(&name)?, request.points))?)
    }

    async fn create_field_index(
        &self,
        request: Request<CreateFieldIndexCollection>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        let request = self.admit(request).await?;
        response(self.state().write(|state| {
            let collection = state.collection(&request.collection_name)?;
            collection.indexed.insert(request.field_name);
            Ok(())
        })?)
    }

    async fn scroll(
        &self,
        request: Request<ScrollPoints>,
    ) -> Result<Response<ScrollResponse>, Status> {
        let request = self.admit(request).await?;
        let mut state = self.state();
        if let Some(refusal) = state.refusals.pop() {
            return Err(Status::internal(refusal));
        }
        let collection = state.collection(&request.collection_name)?;
        let start = request.offset.as_ref().map(|id| id_of(Some(id))).transpose()?;
        let limit = request.limit.unwrap_or(10) as usize;
        let mut rest = collection.points.range(start.unwrap_or_default()..);
        let listed = |(id, point): (&String, &Stored)| RetrievedPoint {
            id: Some(id.clone().into()),
            payload: point.payload.clone(),
            ..RetrievedPoint::default()
        };
        let result = rest.by_ref().take(limit).map(listed).collect();
        let next_page_offset = rest.next().map(|(id, _)| id.clone().into());
        Ok(Response::new(ScrollResponse { result, next_page_offset, ..Default::default() }))
    }

    async fn count(
        &self,
        request: Request<CountPoints>,
    ) -> Result<Response<CountResponse>, Status> {
        let request = self.admit(request).await?;
        let mut state = self.state();
        let count = state.collection(&request.collection_name)?.points.len() as u64;
        let result = Some(CountResult { count });
        Ok(Response::new(CountResponse { result, ..Default::default() }))
    }

    async fn query(
        &self,
        request: Request<QueryPoints>,
    ) -> Result<Response<QueryResponse>, Status> {
        let request = self.admit(request).await?;
        let mut state = self.state();
        let result = answer(state.collection(&request.collection_name)?, &request)?;
        Ok(Response::new(QueryResponse { result, ..Default::default() }))
    }

    async fn get(&self, _: Request<GetPoints>) -> Result<Response<GetResponse>, Status> {
        unknown()
    }

    async fn update_vectors(
        &self,
        _: Request<UpdatePointVectors>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        unknown()
    }

    async fn delete_vectors(
        &self,
        _: Request<DeletePointVectors>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        unknown()
    }

    async fn set_payload(
        &self,
        _: Request<SetPayloadPoints>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        unknown()
    }

    async fn overwrite_payload(
        &self,
        _: Request<SetPayloadPoints>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        unknown()
    }

    async fn delete_payload(
        &self,
        _: Request<DeletePayloadPoints>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        unknown()
    }

    async fn clear_payload(
        &self,
        _: Request<ClearPayloadPoints>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        unknown()
    }

    async fn delete_field_index(
        &self,
        _: Request<DeleteFieldIndexCollection>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        unknown()
    }

    async fn create_vector_name(
        &self,
        _: Request<CreateVectorNameRequest>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        unknown()
    }

    async fn delete_vector_name(
        &self,
        _: Request<DeleteVectorNameRequest>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        unknown()
    }

    async fn search(&self, _: Request<SearchPoints>) -> Result<Response<SearchResponse>, Status> {
        unknown()
    }

    async fn search_batch(
        &self,
        _: Request<SearchBatchPoints>,
    ) -> Result<Response<SearchBatchResponse>, Status> {
        unknown()
    }

    async fn search_groups(
        &self,
        _: Request<SearchPointGroups>,
    ) -> Result<Response<SearchGroupsResponse>, Status> {
        unknown()
    }

    async fn recommend(
        &self,
        _: Request<RecommendPoints>,
    ) -> Result<Response<RecommendResponse>, Status> {
        unknown()
    }

    async fn recommend_batch(
        &self,
        _: Request<RecommendBatchPoints>,
    ) -> Result<Response<RecommendBatchResponse>, Status> {
        unknown()
    }

    async fn recommend_groups(
        &self,
        _: Request<RecommendPointGroups>,
    ) -> Result<Response<RecommendGroupsResponse>, Status> {
        unknown()
    }

    async fn discover(
        &self,
        _: Request<DiscoverPoints>,
    ) -> Result<Response<DiscoverResponse>, Status> {
        unknown()
    }

    async fn discover_batch(
        &self,
        _: Request<DiscoverBatchPoints>,
    ) -> Result<Response<DiscoverBatchResponse>, Status> {
        unknown()
    }

    async fn upsert(
        &self,
        _: Request<UpsertPoints>,
    ) -> Result<Response<PointsOperationResponse>, Status> {
        unknown()
    }

    async fn query_batch(
        &self,
        _: Request<QueryBatchPoints>,
    ) -> Result<Response<QueryBatchResponse>, Status> {
        unknown()
    }

    async fn query_groups(
        &self,
        _: Request<QueryPointGroups>,
    ) -> Result<Response<QueryGroupsResponse>, Status> {
        unknown()
    }

    async fn facet(&self, _: Request<FacetCounts>) -> Result<Response<FacetResponse>, Status> {
        unknown()
    }

    async fn search_matrix_pairs(
        &self,
        _: Request<SearchMatrixPoints>,
    ) -> Result<Response<SearchMatrixPairsResponse>, Status> {
        unknown()
    }

    async fn search_matrix_offsets(
        &self,
        _: Request<SearchMatrixPoints>,
    ) -> Result<Response<SearchMatrixOffsetsResponse>, Status> {
        unknown()
    }
}
