//! What is wrong with a request is said in the legacy server's words: 404, 405, 422, and the trailing slash.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use super::{Answer, Api, kinds, raw_request, request};

impl Api {
    async fn raw(&self, method: Method, uri: &str, body: &'static str) -> Answer {
        self.send(raw_request(method, uri, body)).await
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_in_the_words_that_its_client_knows() {
    let api = Api::new().await;
    what_does_not_exist_is_not_found_by_its_name(&api).await;
    a_method_that_a_path_does_not_have_is_answered_with_those_that_it_has(&api).await;
    one_slash_too_many_at_the_end_sends_the_client_on(&api).await;
    a_body_that_is_no_object_is_refused_as_it_always_was(&api).await;
    an_id_in_a_path_is_an_integer_however_it_is_spelled(&api).await;
    a_list_of_ids_must_be_one(&api).await;
    what_a_query_must_have_is_asked_for(&api).await;
}

async fn what_does_not_exist_is_not_found_by_its_name(api: &Api) {
    let names = ["LP", "GP", "Distributor", "Person", "Fund", "Note", "Todo", "Roadshow"];
    for ((path, _), name) in kinds().into_iter().zip(names) {
        let gone = json!({"detail": format!("{name} not found")});
        let uri = format!("/{path}/987654");
        assert_eq!(api.get(&uri).await.expect(404, &uri), gone);
        assert_eq!(api.delete(&uri).await.expect(404, &uri), gone);
        assert_eq!(api.put(&uri, json!({"x": 1})).await.expect(404, &uri), gone);
        // What is wrong with the body is said first.
        let faults = api.raw(Method::PUT, &uri, "[]").await.faults();
        let kind = if path == "roadshows" { "dict_type" } else { "model_attributes_type" };
        assert_eq!(faults, [format!("{kind} at body")]);
    }
    let gone = |name: &str| json!({"detail": format!("{name} not found")});
    let todo = api.post("/todos/9/relationships", json!({})).await;
    assert_eq!(todo.expect(404, "todo"), gone("Todo"));
    let status = api.get("/roadshows/9/lp-status").await;
    assert_eq!(status.expect(404, "lp-status"), gone("Roadshow"));
    for uri in [
        "/",
        "/nothing",
        "/lps/1/nothing",
        "/lp",
        "/LPS",
        "/images/none.png",
        "/images/..%2Fcrm.db",
    ] {
        let answer = api.get(uri).await;
        assert_eq!(answer.expect(404, uri), json!({"detail": "Not Found"}));
    }
    for uri in ["/lps/search", "/health", "/notes/1/relationships"] {
        api.send(request(Method::from_bytes(b"BREW").unwrap(), uri).body(Body::empty()).unwrap())
            .await
            .expect(405, uri);
    }
}

async fn a_method_that_a_path_does_not_have_is_answered_with_those_that_it_has(api: &Api) {
    let check = async |method: Method, uri: &str, allowed: &str| {
        let answer = api.send(request(method.clone(), uri).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 405, "{method} {uri}");
        if method != Method::HEAD {
            assert_eq!(answer.body, json!({"detail": "Method Not Allowed"}), "{method} {uri}");
        }
        let mut methods: Vec<_> =
            answer.header("allow").unwrap().split(',').map(str::trim).collect();
        methods.sort_unstable();
        assert_eq!(methods.join(" "), allowed, "{method} {uri}");
    };
    check(Method::PUT, "/lps", "GET POST").await;
    check(Method::DELETE, "/todos", "GET POST").await;
    check(Method::POST, "/lps/1", "DELETE GET PUT").await;
    check(Method::PATCH, "/funds/1", "DELETE GET PUT").await;
    check(Method::GET, "/funds/1/lps/1/interest", "PUT").await;
    check(Method::GET, "/roadshows/1/lps/1/status", "PUT").await;
    check(Method::GET, "/notes/1/relationships", "POST").await;
    check(Method::PUT, "/notes/1/funds/1", "DELETE POST").await;
    check(Method::POST, "/lps/1/people", "GET").await;
    check(Method::POST, "/lps/search", "GET").await;
    check(Method::POST, "/funds/1/sales-funnel", "GET").await;
    check(Method::TRACE, "/lps", "GET POST").await;
    check(Method::OPTIONS, "/lps", "GET POST").await;
    for uri in ["/lps", "/notes", "/roadshows", "/lps/search"] {
        let allowed = if uri == "/lps/search" { "GET" } else { "GET POST" };
        check(Method::HEAD, uri, allowed).await;
    }
    check(Method::HEAD, "/lps/1", "DELETE GET PUT").await;
}

async fn one_slash_too_many_at_the_end_sends_the_client_on(api: &Api) {
    let check = async |method: Method, uri: &str, location: &str| {
        let builder = request(method, uri).header("host", "localhost:8000");
        let answer = api.send(builder.body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, answer.bytes.len()), (307, 0), "{uri}");
        assert_eq!(answer.header("location"), Some(location));
    };
    check(Method::GET, "/lps/", "http://localhost:8000/lps").await;
    check(Method::POST, "/lps/", "http://localhost:8000/lps").await;
    check(Method::PUT, "/lps/7/", "http://localhost:8000/lps/7").await;
    check(Method::GET, "/todos/?status=a%20b", "http://localhost:8000/todos?status=a%20b").await;
    check(Method::GET, "/funds/1/sales-funnel/", "http://localhost:8000/funds/1/sales-funnel")
        .await;
    api.get("/nothing/").await.expect(404, "/nothing/");
    assert_eq!(api.events().await, 0);
}

async fn an_id_in_a_path_is_an_integer_however_it_is_spelled(api: &Api) {
    let id = api.made("lps", json!({"name": "x"})).await;
    for spelling in
        [format!("{id}"), format!("{id}.0"), format!("%20{id}"), format!("0{id}"), format!("+{id}")]
    {
        let row = api.put(&format!("/lps/{spelling}"), json!({})).await.expect(200, &spelling);
        assert_eq!(row["id"], id);
    }
    for (spelling, kind) in [
        ("x", "int_parsing"),
        ("1.5", "int_parsing"),
        ("1e3", "int_parsing"),
        ("%00", "int_parsing"),
        ("null", "int_parsing"),
        ("99999999999999999999", "int_parsing_size"),
    ] {
        for (uri, name) in [
            (format!("/lps/{spelling}/people"), "lp_id"),
            (format!("/notes/{spelling}"), "note_id"),
            (format!("/funds/{spelling}/sales-funnel"), "fund_id"),
        ] {
            assert_eq!(api.get(&uri).await.faults(), [format!("{kind} at path.{name}")], "{uri}");
        }
    }
    let both = api.put("/funds/a/lps/b/interest?interest=meeting", json!(null)).await;
    assert_eq!(both.faults(), ["int_parsing at path.fund_id", "int_parsing at path.lp_id"]);
    assert_eq!(
        both.body["detail"][0],
        json!({"type": "int_parsing", "loc": ["path", "fund_id"],
        "msg": "Input should be a valid integer, unable to parse string as an integer", "input": "a",
        "url": both.body["detail"][0]["url"]})
    );
    for id in ["-1", "0", "9223372036854775807"] {
        api.get(&format!("/lps/{id}")).await.expect(404, id);
        assert_eq!(api.read(&format!("/lps/{id}/notes")).await, json!([]));
    }
}

async fn a_body_that_is_no_object_is_refused_as_it_always_was(api: &Api) {
    for (path, _) in kinds() {
        let uri = format!("/{path}");
        let shape = if path == "roadshows" { "dict_type" } else { "model_attributes_type" };
        let check = async |body: &'static str, expected: String| {
            assert_eq!(
                api.raw(Method::POST, &uri, body).await.faults(),
                [expected],
                "{uri} {body}"
            );
        };
        check("", "missing at body".into()).await;
        check("null", "missing at body".into()).await;
        check("[]", format!("{shape} at body")).await;
        check("\"text\"", format!("{shape} at body")).await;
        check("5", format!("{shape} at body")).await;
        check("true", format!("{shape} at body")).await;
        check("{\"name\": }", "json_invalid at body.9".into()).await;
        check("{\"é\": 1, }", "json_invalid at body.9".into()).await;
        check("{\"a\": 1} x", "json_invalid at body.9".into()).await;
        let text = request(Method::POST, &uri).header("content-type", "text/plain");
        let answer = api.send(text.body(Body::from("{\"name\": \"x\"}")).unwrap()).await;
        assert_eq!(answer.faults(), [format!("{shape} at body")]);
        assert_eq!(answer.body["detail"][0]["input"], "{\"name\": \"x\"}");
    }
    let answer = api.raw(Method::POST, "/lps", "{\"name\": tru}").await;
    assert_eq!(
        answer.expect(422, "bad JSON"),
        json!({"detail": [{"type": "json_invalid", "loc": ["body", 9], "msg": "JSON decode error",
            "input": {}, "ctx": {"error": "Expecting value"}}]})
    );
    let missing = api.raw(Method::POST, "/lps", "{}").await;
    assert_eq!(missing.faults(), ["missing at body.name"]);
    assert_eq!(missing.body["detail"][0]["msg"], "Field required");
    let roadshow = api.raw(Method::POST, "/roadshows", "{}").await;
    assert_eq!(roadshow.faults(), ["missing at body.name", "missing at body.fund_id"]);
    assert_eq!(api.events().await, 0);
}

async fn a_list_of_ids_must_be_one(api: &Api) {
    let note = api.made("notes", json!({"name": "x"})).await;
    let todo = api.made("todos", json!({"title": "x"})).await;
    let lp = api.made("lps", json!({"name": "x"})).await;
    let events = api.events().await;
    for uri in [format!("/notes/{note}/relationships"), format!("/todos/{todo}/relationships")] {
        let check = async |lists: Value, expected: &[&str]| {
            assert_eq!(api.post(&uri, lists.clone()).await.faults(), expected, "{uri} {lists}");
        };
        // The front end's "nothing selected" option.
        check(json!({"fund_ids": [""]}), &["int_parsing at body.fund_ids.0"]).await;
        check(json!({"lp_ids": [lp, "x"]}), &["int_parsing at body.lp_ids.1"]).await;
        check(json!({"lp_ids": [1.5]}), &["int_from_float at body.lp_ids.0"]).await;
        check(json!({"lp_ids": [null]}), &["int_type at body.lp_ids.0"]).await;
        check(
            json!({"lp_ids": 7, "gp_ids": "1"}),
            &["list_type at body.lp_ids", "list_type at body.gp_ids"],
        )
        .await;
        check(json!({"lp_ids": [lp, lp]}), &["duplicate at body.lp_ids.1"]).await;
        check(json!({"lp_ids": [lp, 987]}), &["not_found at body.lp_ids.1"]).await;
        let whole = api.post(&uri, json!([1])).await.faults();
        assert!(whole.contains(&"missing at body.lp_ids".to_owned()), "{whole:?}");
        assert!(whole.len() >= 4, "{whole:?}");
    }
    assert_eq!(api.events().await, events, "a refused request records nothing");
    api.post(&format!("/notes/{note}/relationships"), json!({"lp_ids": [lp.to_string()]}))
        .await
        .expect(200, "text");
    assert_eq!(api.ids(&format!("/notes/{note}/lps")).await, [lp]);
}

async fn what_a_query_must_have_is_asked_for(api: &Api) {
    let fund = api.made("funds", json!({"fund_name": "x"})).await;
    let roadshow = api.made("roadshows", json!({"name": "x", "fund_id": fund})).await;
    let lp = api.made("lps", json!({"name": "x"})).await;
    for (uri, name) in [
        (format!("/funds/{fund}/lps/{lp}/interest"), "interest"),
        (format!("/roadshows/{roadshow}/lps/{lp}/status"), "status"),
    ] {
        let answer = api.put(&uri, json!({name: "x"})).await;
        assert_eq!(answer.faults(), [format!("missing at query.{name}")]);
        let answer = api.put(&format!("{uri}?{name}=a%00b"), json!({})).await;
        assert_eq!(answer.faults(), [format!("string_null_character at query.{name}")]);
    }
}
