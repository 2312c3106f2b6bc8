//! Nothing that anybody sends breaks anything: it is taken and given back, or refused with a reason.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;

use super::{Answer, Api, ORIGIN, app, json_request, raw_request, request, send};
use crate::harness::Database;

#[tokio::test]
async fn nothing_that_is_sent_breaks_anything() {
    let api = Api::new().await;
    bodies_that_are_hard_to_read_are_refused_and_record_nothing(&api).await;
    addresses_that_are_hard_to_read_are_answered(&api).await;
    a_body_that_is_compressed_is_not_taken(&api).await;
    odd_values_are_refused_by_name_or_kept(&api).await;
}

async fn a_body_that_is_compressed_is_not_taken(api: &Api) {
    let encoded = |uri: &str, encoding: &str, body: &'static [u8]| {
        let request = request(Method::POST, uri).header("content-type", "application/json");
        request.header("content-encoding", encoding).body(Body::from(body)).unwrap()
    };
    let before = api.events().await;
    for (uri, encoding) in [("/lps", "gzip"), ("/notes/1/recordings", "br"), ("/lps", "gzip, gzip")]
    {
        let answer = api.send(encoded(uri, encoding, b"\x1f\x8b\x08")).await;
        assert_eq!(answer.status, 415, "{uri} {encoding}: {}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains("Content-Encoding"));
        assert_eq!(answer.headers["access-control-allow-origin"], ORIGIN);
    }
    assert_eq!(api.events().await, before);
    let plain = api.send(encoded("/lps", "Identity", b"[]")).await;
    assert_eq!(plain.status, 422, "{}", plain.body);
}

async fn bodies_that_are_hard_to_read_are_refused_and_record_nothing(api: &Api) {
    let check = async |body: Vec<u8>, status: u16| {
        let what = String::from_utf8_lossy(&body).chars().take(40).collect::<String>();
        for (method, uri) in [
            (Method::POST, "/lps"),
            (Method::POST, "/roadshows"),
            (Method::POST, "/notes/1/relationships"),
        ] {
            let answer: Answer = api.send(raw_request(method, uri, body.clone())).await;
            assert_eq!(answer.status, status, "{uri} {what}: {}", answer.body);
        }
    };
    let deep = |open: &str, close: &str| {
        format!("{{\"name\": {}{}}}", open.repeat(100_000), close.repeat(100_000)).into_bytes()
    };
    check(deep("[", "]"), 400).await;
    check(deep("{\"a\":", "}"), 400).await;
    check("[".repeat(1_000_000).into_bytes(), 400).await;
    check(b"{\"name\": \"\xff\"}".to_vec(), 400).await;
    check(b"\xff\xfe{\0}\0".to_vec(), 400).await;
    check(b"{\"name\": \"\\ud8g0\"}".to_vec(), 422).await;
    check(b"{\"name\": \"a\tb\"}".to_vec(), 422).await;
    check(b"{\"name\": \"\\x\"}".to_vec(), 422).await;
    check(b"{\"name\": \"\\u00".to_vec(), 422).await;
    check(b"{\"name\": \"\\".to_vec(), 422).await;
    check("{\"name\": \"\\ud83d\\u😀\"}".as_bytes().to_vec(), 422).await;
    check(b"{\"name".to_vec(), 422).await;
    check(b"{'name': 'x'}".to_vec(), 422).await;
    check(b"name=x".to_vec(), 422).await;
    check(b"\0".to_vec(), 422).await;
    assert_eq!(api.events().await, 0);
}

async fn odd_values_are_refused_by_name_or_kept(api: &Api) {
    let digits = "9".repeat(5_000);
    let post = async |body: String| api.send(raw_request(Method::POST, "/lps", body)).await;
    for (value, fault) in [
        ("1e400", "finite_number"),
        ("-1e400", "finite_number"),
        (digits.as_str(), "finite_number"),
        ("[[[[]]]]", "float_type"),
    ] {
        let answer = post(format!("{{\"name\": \"x\", \"aum_billions\": {value}}}")).await;
        assert_eq!(answer.faults(), [format!("{fault} at body.aum_billions")], "{value:.20}");
        assert!(answer.bytes.len() < 2_000, "the input is shown, but not all of it");
    }
    let whole = json_request(Method::POST, "/people", &json!({"name": "x"}));
    api.send(whole).await.expect(200, "person");
    for (value, fault) in [
        (digits.as_str(), "int_parsing_size"),
        ("1e400", "finite_number"),
        ("1e30", "int_parsing_size"),
    ] {
        let answer = api
            .send(raw_request(Method::PUT, "/people/1", format!("{{\"org_id\": {value}}}")))
            .await;
        assert_eq!(answer.faults(), [format!("{fault} at body.org_id")], "{value:.20}");
    }
    // Of keys that are there twice the last counts; a mark at the beginning is none.
    let twice = post("\u{feff}{\"name\": 5, \"name\": \"last\"}".into()).await.expect(200, "twice");
    assert_eq!(twice["name"], "last");
    let many: String = (0..50_000).map(|at| format!("\"k{at}\": {at}, ")).collect();
    post(format!("{{{many}\"name\": \"many\"}}")).await.expect(200, "many unknown keys");
    let lists: Vec<i64> = (0..300_000).collect();
    let note = api.made("notes", json!({"name": "x"})).await;
    let answer = api.post(&format!("/notes/{note}/relationships"), json!({"lp_ids": lists})).await;
    let faults = answer.faults();
    // Three of them exist.
    assert_eq!((faults.len(), faults[100].as_str()), (101, "more at body"));
    assert_eq!(answer.body["detail"][100]["msg"], "299897 more faults are not listed");
    assert_eq!(api.ids("/lps").await.len(), 3);
}

async fn addresses_that_are_hard_to_read_are_answered(api: &Api) {
    api.made("lps", json!({"name": "100%"})).await;
    let check = async |uri: &str, status: u16| {
        let answer = api.send(request(Method::GET, uri).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, status, "{uri:.80}: {}", answer.body);
        answer.body
    };
    for uri in ["/lps/%FF", "/lps/%zz", "/lps/%", "/lps/1%2F2", "/lps/1%00", "/lps/%F0%9F%98%80"] {
        let status = api.get(uri).await.status;
        assert!(status == 422 || status == 404 || status == 400, "{uri} {status}");
    }
    check("/%FF", 404).await;
    check("/lps%2F1", 404).await;
    check("//lps", 404).await;
    check("/images/%FF", 404).await;
    check("/images/%2e%2e%2fcrm.db", 404).await;
    check("/images/..", 404).await;
    for query in ["q=%FF", "q=%zz%", "q=%", "&&&=&q", "q[]=1", "=%00"] {
        assert!(check(&format!("/lps/search?{query}"), 200).await.is_array(), "{query}");
    }
    assert_eq!(check("/lps/search?q=100%", 200).await[0]["name"], "100%");
    let long = "a".repeat(60_000);
    assert_eq!(check(&format!("/lps/search?q={long}"), 200).await, json!([]));
    assert_eq!(check(&format!("/lps/search?q={}", "%25".repeat(20_000)), 200).await[0]["id"], 1);
    assert_eq!(check(&format!("/lps/search?q={}1", "%25_".repeat(10)), 200).await, json!([]));
    let half = &long[..30_000];
    check(&format!("/todos?tag={half}&due_before={half}"), 200).await;
    check(&format!("/lps/{}", "9".repeat(60_000)), 422).await;
    check(&format!("/{long}"), 404).await;
}

#[tokio::test]
async fn a_body_may_be_as_large_as_the_limit_and_no_larger() {
    let db = Database::new().await;
    let backend = db.backend().await;
    let limit = 12 << 20;
    let router = api::server::router(app(&db, &backend, limit));
    let post = async |uri: &str, body: String| {
        let answer = send(&router, raw_request(Method::POST, uri, body)).await;
        backend.settle().await.unwrap();
        answer
    };
    let filled = |name: &str, size: usize| {
        let frame = format!("{{\"name\": \"x\", \"{name}\": \"\"}}").len();
        format!("{{\"name\": \"x\", \"{name}\": \"{}\"}}", "y".repeat(size - frame))
    };
    let note = post("/notes", filled("raw_notes", limit)).await.expect(200, "a large note");
    assert!(note["raw_notes"].as_str().unwrap().len() > limit - 100);
    let list = send(&router, Request::get("/notes").body(Body::empty()).unwrap()).await;
    assert_eq!(list.body, json!([note]));
    for (method, uri) in
        [(Method::POST, "/notes"), (Method::PUT, "/notes/1"), (Method::POST, "/nothing")]
    {
        let request = raw_request(method, uri, filled("raw_notes", limit + 1));
        let answer = send(&router, request).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
        assert_eq!(
            answer.expect(413, uri)["detail"],
            format!("The body is larger than {limit} bytes")
        );
    }
    let named = post("/lps", filled("text", 10 << 20)).await.expect(200, "a large text");
    assert_eq!(named["name"], "x");
    let long_name = json!({"name": "n".repeat(1 << 20)}).to_string();
    let id = post("/lps", long_name).await.expect(200, "a large name")["id"].clone();
    let search =
        send(&router, Request::get("/lps/search?q=nnnn").body(Body::empty()).unwrap()).await;
    assert_eq!(search.body[0]["id"], id);
    let list = send(&router, Request::get("/lps").body(Body::empty()).unwrap()).await;
    assert_eq!(list.body.as_array().unwrap().len(), 2);
}
