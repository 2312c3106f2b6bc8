//! What travels in headers: positions, tags, conditions, and keys that make a repetition harmless.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use super::{Answer, Api, json_request, kinds, request, send};

impl Api {
    async fn get_with(&self, uri: &str, headers: &[(&str, &str)]) -> Answer {
        let mut builder = request(Method::GET, uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        self.send(builder.body(Body::empty()).unwrap()).await
    }

    pub async fn write_with(
        &self,
        method: Method,
        uri: &str,
        body: Value,
        header: (&'static str, &str),
    ) -> Answer {
        let mut request = json_request(method, uri, &body);
        request.headers_mut().insert(header.0, header.1.parse().unwrap());
        self.send(request).await
    }
}

#[tokio::test]
async fn every_write_tells_its_position_and_whoever_reads_after_it_sees_it() {
    let api = Api::new().await;
    let mut last = 0;
    for (path, smallest) in kinds() {
        let made = api.post(&format!("/{path}"), smallest).await;
        let position = made.position();
        assert!(position > last, "{path}");
        let uri = format!("/{path}/{}", made.body["id"]);
        let nothing = api.put(&uri, json!({})).await;
        assert_eq!(nothing.position(), position, "{path}: nothing recorded, nothing moved");
        let deleted = api.delete(&uri).await;
        last = deleted.position();
        assert!(last > position, "{path}");
    }
    let head: i64 = sqlx::query_scalar("select max(position) from events")
        .fetch_one(&api.db.pool)
        .await
        .unwrap();
    assert_eq!(last, head);
    for (uri, header) in [
        (format!("/lps?min_position={head}"), None),
        ("/lps".to_owned(), Some(head.to_string())),
        ("/lps?min_position=-5".to_owned(), None),
    ] {
        let headers: Vec<(&str, &str)> =
            header.iter().map(|text| ("x-min-position", text.as_str())).collect();
        let answer = api.get_with(&uri, &headers).await;
        assert_eq!((answer.status, answer.header("x-read-model")), (200, None), "{uri}");
    }
    let ahead = api.get_with("/lps", &[("x-min-position", "999999999")]).await;
    assert_eq!((ahead.status, ahead.header("x-read-model")), (200, Some("behind")));
    assert_eq!(
        api.get("/lps?min_position=x").await.faults(),
        ["int_parsing at query.min_position"]
    );
    let header = api.get_with("/lps", &[("x-min-position", "x")]).await;
    assert_eq!(header.faults(), ["int_parsing at header.x-min-position"]);
    // Somebody who asks for a position that is still to be written gets it as soon as it is there.
    let next = (head + 1).to_string();
    let headers = [("x-min-position", next.as_str())];
    let (answer, _) =
        futures::join!(api.get_with("/lps", &headers), api.made("lps", json!({"name": "x"})),);
    assert_eq!((answer.header("x-read-model"), answer.body.as_array().unwrap().len()), (None, 1));
}

#[tokio::test]
async fn a_reader_who_has_the_answer_already_is_told_so_until_it_changes() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "x"})).await;
    let fund = api.made("funds", json!({"fund_name": "x"})).await;
    let note = api.made("notes", json!({"name": "x"})).await;
    let changes: [(&str, &str, Value); 6] = [
        ("/lps", "/lps/1", json!({"priority": "A"})),
        ("/lps/1", "/lps/1", json!({"priority": "B"})),
        ("/funds/1/sales-funnel", "/lps/1", json!({"priority": "C"})),
        ("/lps/1/notes", "/notes/1", json!({"name": "y"})),
        ("/lps/search?q=x", "/lps/1", json!({"name": "xx"})),
        ("/funds/1/sales-funnel", "/funds/1/lps/1/interest?interest=meeting", Value::Null),
    ];
    assert_eq!((lp, fund, note), (1, 1, 1));
    api.post("/notes/1/lps/1", Value::Null).await.expect(200, "link");
    for (uri, change, body) in changes {
        let first = api.get(uri).await;
        let tag = first.header("etag").unwrap().to_owned();
        assert_eq!(
            tag.starts_with("W/"),
            !uri.ends_with("/1"),
            "{uri}: lists have weak tags, records strong ones"
        );
        assert_eq!(first.header("cache-control"), Some("no-cache"));
        for known in [tag.as_str(), "*", &format!("\"other\", {tag}")] {
            let again = api.get_with(uri, &[("if-none-match", known)]).await;
            assert_eq!((again.status, again.bytes.len()), (304, 0), "{uri} {known}");
            assert_eq!(again.header("etag"), Some(tag.as_str()), "{uri}");
        }
        let other = api.get_with(uri, &[("if-none-match", "\"other\"")]).await;
        assert_eq!(other.body, first.body);
        api.put(change, body).await.expect(200, change);
        let changed = api.get_with(uri, &[("if-none-match", &tag)]).await;
        assert_eq!(changed.status, 200, "{uri} after {change}");
        assert_ne!(changed.header("etag"), Some(tag.as_str()));
        assert_ne!(changed.body, first.body, "{uri} after {change}");
    }
    api.get_with("/lps/987", &[("if-none-match", "*")]).await.expect(404, "no such record");
    // What is written is answered with the tag that reading it has.
    let written = api.put("/lps/1", json!({"priority": "D"})).await;
    assert_eq!(written.header("etag"), api.get("/lps/1").await.header("etag"));
}

#[tokio::test]
async fn writers_at_the_same_time_do_not_undo_each_other() {
    let api = Api::new().await;
    a_condition_keeps_a_write_from_undoing_somebody_elses(&api).await;
    writers_of_different_attributes_all_succeed(&api).await;
}

async fn a_condition_keeps_a_write_from_undoing_somebody_elses(api: &Api) {
    for (path, smallest) in kinds() {
        let id = api.made(path, smallest).await;
        let uri = format!("/{path}/{id}");
        let text = match path {
            "funds" => "fund_name",
            "todos" => "title",
            _ => "name",
        };
        let old = api.get(&uri).await.header("etag").unwrap().to_owned();
        let body = json!({text: "mine"});
        let mine = api.write_with(Method::PUT, &uri, body, ("if-match", &old)).await;
        assert_eq!(mine.status, 200, "{uri}");
        let new = mine.header("etag").unwrap().to_owned();
        let events = api.events().await;
        for stale in [old.as_str(), "\"x\"", &format!("W/{new}")] {
            let late =
                api.write_with(Method::PUT, &uri, json!({text: "late"}), ("if-match", stale)).await;
            let detail = late.expect(412, stale)["detail"].take();
            assert_eq!(detail, "The record has changed since you read it");
            let late = api.write_with(Method::DELETE, &uri, Value::Null, ("if-match", stale)).await;
            late.expect(412, stale);
        }
        for known in ["*", &new, &format!("\"x\", W/{new}")] {
            let condition = ("if-none-match", known);
            let body = json!({text: "unwanted"});
            api.write_with(Method::PUT, &uri, body, condition).await.expect(412, known);
            api.write_with(Method::DELETE, &uri, Value::Null, condition).await.expect(412, known);
        }
        assert_eq!((api.events().await, &api.read(&uri).await[text]), (events, &json!("mine")));
        let unless = ("if-none-match", "\"x\"");
        api.write_with(Method::PUT, &uri, json!({text: "other"}), unless).await.expect(200, &uri);
        let any = api.write_with(Method::PUT, &uri, json!({text: "any"}), ("if-match", "*")).await;
        let tag = any.header("etag").unwrap().to_owned();
        let gone = api.write_with(Method::DELETE, &uri, Value::Null, ("if-match", &tag)).await;
        assert_eq!(gone.status, 200);
        api.write_with(Method::PUT, &uri, json!({}), ("if-match", "*")).await.expect(404, &uri);
    }
    // Of many who read the same, one writes.
    let id = api.made("lps", json!({"name": "x"})).await;
    let uri = format!("/lps/{id}");
    let tag = api.get(&uri).await.header("etag").unwrap().to_owned();
    let writers = (0..8).map(|at| {
        api.write_with(
            Method::PUT,
            &uri,
            json!({"priority": at.to_string()}),
            ("if-match", tag.as_str()),
        )
    });
    let mut statuses: Vec<u16> =
        futures::future::join_all(writers).await.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
}

async fn writers_of_different_attributes_all_succeed(api: &Api) {
    let id = api.made("lps", json!({"name": "x"})).await;
    let uri = format!("/lps/{id}");
    let fields = [
        "advisor",
        "intl_alts",
        "intl_mf",
        "local_alts",
        "local_mf",
        "location",
        "priority",
        "text",
    ];
    let writers = fields.map(|field| api.put(&uri, json!({field: field})));
    for answer in futures::future::join_all(writers).await {
        answer.expect(200, "one of many");
    }
    let row = api.read(&uri).await;
    for field in fields {
        assert_eq!(row[field], field);
    }
}

#[tokio::test]
async fn a_condition_counts_on_every_write_to_a_record() {
    let api = Api::new().await;
    for path in ["lps", "gps", "people", "notes"] {
        api.made(path, json!({"name": "x"})).await;
    }
    api.made("todos", json!({"title": "x"})).await;
    let recording = crate::recordings::attach(&api.backend.log, 1, "recordings/x").await.0;
    api.backend.settle().await.unwrap();
    let writes = [
        (Method::POST, "/notes/1/relationships".to_owned(), "/notes/1"),
        (Method::POST, "/notes/1/lps/1".to_owned(), "/notes/1"),
        (Method::POST, "/notes/1/recordings".to_owned(), "/notes/1"),
        (Method::PUT, "/notes/1/hold".to_owned(), "/notes/1"),
        (Method::DELETE, "/notes/1/hold".to_owned(), "/notes/1"),
        (Method::POST, "/gps/1/lps/1".to_owned(), "/gps/1"),
        (Method::POST, "/people/1/lps/1".to_owned(), "/people/1"),
        (Method::POST, "/todos/1/relationships".to_owned(), "/todos/1"),
        (Method::POST, format!("/recordings/{recording}/cancel"), "/notes/1"),
        (Method::DELETE, format!("/recordings/{recording}"), "/notes/1"),
    ];
    for (method, path, record) in writes {
        let body = || json!({"lp_ids": [], "reason": "case 3"});
        let events = api.events().await;
        let stale = api.write_with(method.clone(), &path, body(), ("if-match", "\"bogus\"")).await;
        let detail = stale.expect(412, &path)["detail"].take();
        assert_eq!(detail, "The record has changed since you read it");
        assert_eq!(api.events().await, events, "{path}");
        let tag = api.get(record).await.header("etag").unwrap().to_owned();
        let known = match path.ends_with("/recordings") {
            true => {
                let sent = request(method, &path).header("if-match", &tag);
                api.send(sent.body(Body::from(crate::uploads::wav(1_000))).unwrap()).await
            }
            false => api.write_with(method, &path, body(), ("if-match", &tag)).await,
        };
        assert!((200..300).contains(&known.status), "{path}: {}", known.body);
    }
}

#[tokio::test]
async fn a_write_that_is_sent_again_with_its_key_happens_once() {
    let api = Api::new().await;
    let post = async |key: &str, body: Value| {
        api.write_with(Method::POST, "/lps", body, ("idempotency-key", key)).await
    };
    let first = post("one", json!({"name": "x"})).await;
    let events = api.events().await;
    for _ in 0..2 {
        let again = post("one", json!({"name": "x"})).await;
        assert_eq!((again.status, &again.body), (200, &first.body));
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.position(), first.position());
    }
    assert_eq!(first.header("idempotency-replayed"), None);
    let reused = post("one", json!({"name": "y"})).await;
    assert_eq!(reused.faults(), ["idempotency_key_reused at header.idempotency-key"]);
    let elsewhere = api
        .write_with(Method::POST, "/gps", json!({"name": "x"}), ("idempotency-key", "one"))
        .await;
    assert_eq!(elsewhere.faults(), ["idempotency_key_reused at header.idempotency-key"]);
    assert_eq!(api.events().await, events);
    for key in ["", &"k".repeat(256)] {
        let answer = post(key, json!({"name": "x"})).await;
        assert_eq!(answer.faults(), ["idempotency_key at header.idempotency-key"]);
    }
    // A refusal is not kept: the same request may succeed later.
    let uri = format!("/notes/{}/lps/7", api.made("notes", json!({"name": "x"})).await);
    let link = async || {
        api.write_with(Method::POST, &uri, Value::Null, ("idempotency-key", "later")).await
    };
    link().await.expect(404, "no LP 7 yet");
    while api.made("lps", json!({"name": "x"})).await < 7 {}
    assert_eq!(link().await.expect(200, "now")["message"], "LP linked to note");
    assert_eq!(link().await.expect(200, "again")["message"], "LP linked to note");
    // Twins that are under way at the same time are one as well, whatever they do.
    let twins = (0..8).map(|_| post("twin", json!({"name": "twin", "notion_id": "twin"})));
    let answers = futures::future::join_all(twins).await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (200, &answers[0].body));
    }
    assert_eq!(api.ids("/lps/search?q=twin").await.len(), 1);
    let todo = json!({"title": "x", "due_date": "2025-01-31", "recurrence_pattern": "{\"type\": \"daily\"}"});
    let todo = format!("/todos/{}", api.made("todos", todo).await);
    let done = json!({"status": "completed"});
    let twins = (0..4)
        .map(|_| api.write_with(Method::PUT, &todo, done.clone(), ("idempotency-key", "done")));
    for answer in futures::future::join_all(twins).await {
        answer.expect(200, "completed");
    }
    assert_eq!(api.ids("/todos").await.len(), 2, "one copy");
    let gone = async || {
        api.write_with(Method::DELETE, &todo, Value::Null, ("idempotency-key", "gone")).await
    };
    gone().await.expect(200, "deleted");
    assert_eq!(gone().await.expect(200, "deleted once")["message"], "Todo deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_changes_nothing_is_shown_what_others_have_just_changed() {
    let api = Api::new().await;
    let uri = format!("/lps/{}", api.made("lps", json!({"name": "Profuturo"})).await);
    for round in 0..5 {
        let priority = format!("P{round}");
        let writers = (0..12).map(|_| api.put(&uri, json!({"priority": priority})));
        for answer in futures::future::join_all(writers).await {
            let row = answer.expect(200, "put");
            assert_eq!(row["priority"], json!(priority));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_changes_nothing_is_shown_what_another_server_has_just_changed() {
    let api = Api::new().await;
    let (other, backend) = api.second().await;
    let uri = format!("/lps/{}", api.made("lps", json!({"name": "Profuturo"})).await);
    for round in 0..10 {
        let body = json!({"priority": format!("P{round}")});
        let there = send(&other, json_request(Method::PUT, &uri, &body));
        let (here, there) = tokio::join!(api.put(&uri, body.clone()), there);
        for answer in [here, there] {
            assert_eq!(answer.expect(200, "put")["priority"], body["priority"]);
        }
    }
    backend.stop().await;
}
