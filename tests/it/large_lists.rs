//! Lists that are too large to be kept in memory, sent as they are read.

use std::time::Duration;

use api::app::Parts;
use api::backend::Backend;
use axum::body::{Body, BodyDataStream};
use axum::http::Method;
use domain::Kind;
use futures::{StreamExt as _, TryStreamExt as _};
use projections::files::{Bucket, BucketOptions, Files};
use projections::read::{Query, Reader};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::contract::{Api, app, ask, request};
use crate::harness::{Database, demo_file};

/// How long the images of each roadshow are: a piece of a list each, and little in the database.
const IMAGES: usize = 300_000;

/// Registers roadshows with images.
async fn add_roadshows(api: &Api, count: usize) {
    for number in 0..count {
        let images = format!("[\"{number}{}\"]", "A".repeat(IMAGES));
        let roadshow = json!({"name": "MTY", "fund_id": 1, "flight_images": images});
        api.made("roadshows", roadshow).await;
    }
}

/// The same product, keeping nothing in memory that is longer than this.
fn frugal(api: Api, bytes: u64) -> Api {
    let reader = api.backend.reader.clone().with_shelf_limit(bytes);
    let router = api::server::router(Parts { reader, ..app(&api.db, &api.backend, 64 << 20) });
    Api { router, ..api }
}

/// Somebody who asks for a list and takes its first piece only.
async fn slow_reader(api: &Api, uri: &str) -> BodyDataStream {
    let asked = request(Method::GET, uri).body(Body::empty()).unwrap();
    let answer = api.router.clone().oneshot(asked).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut pieces = answer.into_body().into_data_stream();
    pieces.next().await.unwrap().unwrap();
    pieces
}

#[tokio::test(flavor = "multi_thread")]
async fn images_count_as_part_of_the_list_that_shows_them() {
    let api = Api::new().await;
    add_roadshows(&api, 2).await;
    let reader = api.backend.reader.clone().with_shelf_limit(1_000_000);
    let query = Query::List(Kind::Roadshow);
    assert!(reader.large_list(&query).await.unwrap().is_none());
    add_roadshows(&api, 2).await;
    let (_, pieces) = reader.large_list(&query).await.unwrap().expect("a large list");
    let pieces: Vec<_> = pieces.try_collect().await.unwrap();
    let shown: Value = serde_json::from_slice(&pieces.concat()).unwrap();
    assert_eq!(shown.as_array().unwrap().len(), 4);
    assert_eq!(shown, api.read("/roadshows").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_images_slowly_takes_no_connection_from_others() {
    let db = Database::new().await;
    let connections = crate::harness::connect((*db.pool.connect_options()).clone(), 4);
    let backend = Backend::start(connections, db.files()).await.unwrap();
    let router = api::server::router(app(&db, &backend, 64 << 20));
    let api = frugal(Api { router, backend, db }, 0);
    add_roadshows(&api, 6).await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        slow.push(slow_reader(&api, "/roadshows").await);
    }
    assert_eq!(api.read("/roadshows/1/lp-status").await, json!([]));
    for pieces in slow {
        assert!(pieces.map_ok(|piece| piece.len()).try_collect::<Vec<_>>().await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_whose_first_file_cannot_be_had_is_refused_and_not_cut_off() {
    let api = Api::new().await;
    add_roadshows(&api, 1).await;
    let options = BucketOptions {
        keys: Some(("nobody".into(), "nothing".into())),
        endpoint: Some("http://127.0.0.1:9".into()),
        patience: Duration::from_millis(300),
        ..BucketOptions::new("gone")
    };
    let files = Files::bucket(Bucket::open(&options).await);
    let (database, runner) = (api.db.connections.clone(), api.backend.runner().clone());
    let reader = Reader::new(database, runner, files).await.unwrap().with_shelf_limit(0);
    let router = api::server::router(Parts { reader, ..app(&api.db, &api.backend, 64 << 20) });
    let answer =
        ask(&router, request(Method::GET, "/roadshows").body(Body::empty()).unwrap()).await;
    let told = answer.expect(503, "without its files");
    assert!(told["detail"].as_str().unwrap().contains("file storage"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_nobody_takes_holds_up_no_stop() {
    let db = Database::new().await;
    let options = replay::ImportOptions::new(demo_file());
    replay::import(&db.connections, &db.files(), &options, |_| ()).await.unwrap();
    let api = frugal(Api::on(db).await, 0);
    api.backend.settle().await.unwrap();
    let slow = slow_reader(&api, "/notes").await;
    let Api { backend, db, .. } = api;
    backend.stop().await;
    // Sooner than the list is given up for being taken too slowly.
    let closed = tokio::time::timeout(Duration::from_secs(15), db.connections.pool.close()).await;
    assert!(closed.is_ok(), "the list still has its connection");
    assert!(
        slow.try_collect::<Vec<_>>().await.is_err(),
        "what is missing is not taken for the end"
    );
}
