//! Read models as people watch and steer them: the command line and `/projections`, on the real executable.

use futures::StreamExt as _;
use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::server::{Home, Server};

async fn server() -> (Home, Server) {
    let home = Home::new();
    let server = Server::start(&home, &["--demo"]).await;
    (home, server)
}

/// Standard output of a command, and its exit code.
async fn crm(home: &Home, args: &[&str]) -> (String, i32) {
    let output = home.crm(args).output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8(said).unwrap(), output.status.code().unwrap())
}

async fn json(home: &Home, args: &[&str]) -> Value {
    let (said, code) = crm(home, args).await;
    assert_eq!(code, 0, "{said}");
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

async fn get(server: &Server, path: &str) -> Value {
    reqwest::get(format!("{}{path}", server.url)).await.unwrap().json().await.unwrap()
}

async fn post(server: &Server, path: &str) -> Response {
    Client::new().post(format!("{}{path}", server.url)).send().await.unwrap()
}

/// What a stream of events says of a projection, until its rebuild is over.
async fn watch_until_over(answer: Response) -> Vec<Value> {
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let (mut pieces, mut text, mut seen) = (answer.bytes_stream(), String::new(), Vec::new());
    while let Some(piece) = pieces.next().await {
        text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            if let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) {
                seen.push(serde_json::from_str::<Value>(data).unwrap());
            }
            text = rest.to_owned();
        }
        if seen.last().is_some_and(|last| !last["rebuild"]["finished_at"].is_null()) {
            break;
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_a_server_is_asked_for_can_be_watched() {
    let (home, server) = server().await;
    let all = loop {
        let all = get(&server, "/projections").await;
        // No write waits for the read model of histories.
        if all["projections"].as_array().unwrap().iter().all(|one| one["lag"] == json!(0)) {
            break all;
        }
    };
    let models = projections::read::projectors().len();
    assert_eq!(all["projections"].as_array().unwrap().len(), models);
    assert_eq!(all["reactors"][0]["name"], json!("recordings"));
    let before = get(&server, "/notes").await;
    let accepted = post(&server, "/projections/note/rebuild").await;
    assert_eq!(accepted.status(), 202);
    assert_eq!(accepted.headers()["location"], "/projections/note");
    let watching = Client::new().get(format!("{}/projections/note", server.url));
    let watching = watching.header("accept", "text/event-stream").send().await.unwrap();
    let seen = watch_until_over(watching).await;
    let last = seen.last().unwrap();
    assert_eq!((&last["generation"], &last["previous"]), (&json!(2), &json!(1)));
    assert_eq!(
        (&last["rebuild"]["phase"], &last["rebuild"]["error"]),
        (&json!("done"), &Value::Null)
    );
    assert_eq!(get(&server, "/notes").await, before);
    let metrics = reqwest::get(format!("{}/metrics", server.url)).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    for sample in [
        "crm_projection_generation{projection=\"note\"} 2",
        "crm_projection_lag_events{projection=\"lp\"} 0",
        "crm_projection_parked_streams{projection=\"lp\"} 0",
        "crm_projection_skipped_events{projection=\"lp\"} 0",
        "crm_rebuild_running{projection=\"note\"} 0",
        "crm_rebuild_failed{projection=\"note\"} 0",
        "crm_rebuild_finished_timestamp_seconds{projection=\"note\"} ",
        "crm_reactor_lag_seconds{reactor=\"recordings\"} ",
        "crm_webhooks_lag_seconds 0",
        "crm_webhooks_disabled 0",
        "crm_verification_unfinished 0",
    ] {
        assert!(metrics.contains(sample), "{sample}");
    }
    // Where the answer to a rebuild of the vectors leads.
    let vectors = get(&server, "/projections/vectors").await;
    assert_eq!(vectors["name"], json!("vectors"));
    assert!(vectors["vectors"].is_array(), "{vectors}");
    // What is not there, or not under way, is said so.
    assert_eq!(post(&server, "/projections/nothing/rebuild").await.status(), 404);
    let cancel = Client::new().delete(format!("{}/projections/note/rebuild", server.url));
    assert_eq!(cancel.send().await.unwrap().status(), 409);
    assert_eq!(post(&server, "/projections/lp/rollback").await.status(), 409);
    assert_eq!(post(&server, "/projections/note/rollback").await.status(), 200);
    assert_eq!(get(&server, "/projections/note").await["generation"], json!(1));
    assert_eq!(get(&server, "/notes").await, before);
    assert!(server.stop().await);
    crate::crash::assert_everything_is_right(&home).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_works_beside_a_running_server() {
    let (home, server) = server().await;
    let status = json(&home, &["status", "--json"]).await;
    assert_eq!(status["projections"][0]["name"], json!("audit"));
    assert_eq!(status["verification"], Value::Null);
    let report = json(&home, &["verify", "--json"]).await;
    assert_eq!(report["passed"], json!(true));
    let (said, code) = crm(&home, &["rebuild", "lp", "todo", "--json"]).await;
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, before) = lines.split_last().unwrap();
    assert_eq!((code, &last["outcome"], &last["phase"]), (0, &json!("done"), &json!("done")));
    assert_eq!((&last["rebuilt"], &last["parked"]), (&json!(["lp", "todo"]), &json!([])));
    assert!(before.iter().all(|line| line["phase"] != "done" && line["outcome"].is_null()));
    for (args, outcome, says) in [
        (&["rebuild", "--json", "nothing"][..], "refused", "there is no read model \"nothing\""),
        (&["rebuild", "--json", "--rollback", "note"], "refused", "note has no previous"),
        (&["rebuild", "--json", "--cancel", "lp"], "failed", "no such rebuild is running"),
    ] {
        let output = home.crm(args).output().await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let last: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        assert_eq!((output.status.code(), &last["outcome"]), (Some(1), &json!(outcome)), "{said}");
        assert!(last["error"].as_str().unwrap().starts_with(says), "{said}");
    }
    let back = json(&home, &["rebuild", "--rollback", "lp", "--json"]).await;
    assert_eq!(back, json!({"projection": "lp", "live": 1}));
    let status = json(&home, &["status", "--json"]).await;
    let of = |name: &str| {
        let all = status["projections"].as_array().unwrap();
        all.iter().find(|one| one["name"] == name).unwrap().clone()
    };
    assert_eq!((&of("lp")["generation"], &of("lp")["previous"]), (&json!(1), &json!(2)));
    assert_eq!((&of("todo")["generation"], &of("todo")["previous"]), (&json!(2), &json!(1)));
    assert_eq!(status["verification"]["passed"], json!(true));
    let dropped = json(&home, &["rebuild", "--drop-old", "todo", "--json"]).await;
    assert_eq!(dropped, json!({"projection": "todo", "dropped": [1]}));
    for (args, says) in [
        (&["rebuild", "nothing"][..], "there is no read model \"nothing\"; there are lp, gp"),
        (&["rebuild", "--rollback", "todo"], "todo has no previous generation"),
        (&["rebuild", "--cancel", "--all"], "no such rebuild is running"),
        (&["projections", "retry", "lp", "lp", "7"], "lp 7 is not parked in lp"),
        (&["projections", "skip", "lp", "lp", "7", "--reason", " "], "--reason must say why"),
    ] {
        let (said, code) = crm(&home, args).await;
        assert!(code == 1 && said.contains(says), "{args:?}: {said}");
    }
    let (said, code) = crm(&home, &["projections", "parked"]).await;
    assert_eq!(
        (said.trim(), code),
        ("nothing is parked: every read model follows every stream", 0)
    );
    let (said, code) = crm(&home, &["projections", "skipped"]).await;
    assert_eq!((said.trim(), code), ("nothing is skipped", 0));
    assert_eq!(json(&home, &["projections", "skipped", "--json"]).await, json!([]));
    assert!(server.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_finds_something_says_what_and_exits_with_one() {
    let (home, server) = server().await;
    assert!(server.stop().await);
    let cluster = api::embedded::Cluster::open(home.path()).await.unwrap();
    let database = crate::harness::connect(cluster.options("crm"), 2);
    let forge = "update read_lp_1.lp set record = jsonb_set(record::jsonb, '{name}', '\"Forged\"')::json where id = 3";
    sqlx::query(forge).execute(&database.pool).await.unwrap();
    database.pool.close().await;
    cluster.close().await.unwrap();
    let (said, code) = crm(&home, &["verify"]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("record.name: readers get \"Forged\", the log says "), "{said}");
    let (said, _) = crm(&home, &["status"]).await;
    assert!(said.contains("DIFFERENCES"), "{said}");
}
