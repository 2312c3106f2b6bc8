//! Every attribute of every kind takes what SQLite took and gives back what SQLite gave back; what crashed the legacy
//! server, or poisoned it, is refused by name.

use axum::http::Method;
use serde_json::{Value, json};

use super::legacy::{Legacy, table};
use super::{Api, kinds, raw_request};
use crate::harness::demo_file;

/// What becomes of a value that is sent: it is read back as this, or refused with a fault of this type.
type Outcome = Result<&'static str, &'static str>;

/// By declared type: JSON that is sent, and what becomes of it.
fn outcomes(declared: &str) -> &'static [(&'static str, Outcome)] {
    match declared {
        "VARCHAR" => &[
            ("\"\"", Ok("\"\"")),
            (
                "\"  a\\r\\n<b>%_' ñ😀e\\u0301 \\ud83d\\ude00\"",
                Ok("\"  a\\r\\n<b>%_' ñ😀e\u{301} 😀\""),
            ),
            ("2", Ok("\"2\"")),
            ("-7", Ok("\"-7\"")),
            ("1.5", Ok("\"1.5\"")),
            ("true", Ok("\"1\"")),
            ("false", Ok("\"0\"")),
            ("[]", Err("string_type")),
            ("{\"a\": 1}", Err("string_type")),
            ("\"a\\u0000b\"", Err("string_null_character")),
            ("9223372036854775808", Err("int_parsing_size")),
            ("1e400", Err("finite_number")),
        ],
        "FLOAT" => &[
            ("1", Ok("1.0")),
            ("12.5", Ok("12.5")),
            ("\"12.5\"", Ok("12.5")),
            ("\" 1e3 \"", Ok("1000.0")),
            ("-0.0", Ok("0.0")),
            ("0.30000000000000004", Ok("0.30000000000000004")),
            ("1e21", Ok("1e21")),
            ("1e-320", Ok("1e-320")),
            ("true", Ok("1.0")),
            ("NaN", Ok("null")),
            ("\"abc\"", Err("float_parsing")),
            ("\"\"", Err("float_parsing")),
            ("\"12,5\"", Err("float_parsing")),
            ("1e400", Err("finite_number")),
            ("-Infinity", Err("finite_number")),
            ("\"inf\"", Err("finite_number")),
            ("[1]", Err("float_type")),
        ],
        "INTEGER" => &[
            ("7", Ok("7")),
            ("\"7\"", Ok("7")),
            ("7.0", Ok("7")),
            ("true", Ok("1")),
            ("-3000000000", Ok("-3000000000")),
            ("9223372036854775807", Ok("9223372036854775807")),
            ("987654", Ok("987654")),
            ("\"abc\"", Err("int_parsing")),
            ("1.5", Err("int_from_float")),
            ("9223372036854775808", Err("int_parsing_size")),
            ("1e400", Err("finite_number")),
            ("{}", Err("int_type")),
        ],
        "BOOLEAN" => &[
            ("true", Ok("true")),
            ("false", Ok("false")),
            ("1", Ok("true")),
            ("0", Ok("false")),
            ("2", Err("bool_type")),
            ("\"yes\"", Err("bool_type")),
            ("\"true\"", Err("bool_type")),
            ("[]", Err("bool_type")),
        ],
        "DATETIME" => &[
            ("\"2025-01-31T10:00:00Z\"", Ok("\"2025-01-31T10:00:00\"")),
            ("\"2025-01-31T10:00:00-06:00\"", Ok("\"2025-01-31T10:00:00\"")),
            ("\"2025-01-31 10:00:00+00:00\"", Ok("\"2025-01-31T10:00:00\"")),
            ("\"2025-01-31\"", Ok("\"2025-01-31T00:00:00\"")),
            ("\"2025-01-31T15:04:05.5\"", Ok("\"2025-01-31T15:04:05.500000\"")),
            ("\"2025-01-31T15:04:05.123456\"", Ok("\"2025-01-31T15:04:05.123456\"")),
            ("\"2025-01-31T15:04:05.000Z\"", Ok("\"2025-01-31T15:04:05\"")),
            ("\"1900-01-01\"", Ok("\"1900-01-01T00:00:00\"")),
            ("\"9999-12-31T23:59:59.999999\"", Ok("\"9999-12-31T23:59:59.999999\"")),
            ("1738281600", Err("datetime_type")),
            ("true", Err("datetime_type")),
            ("[]", Err("datetime_type")),
        ],
        other => panic!("{other}"),
    }
}

/// Dates where a text that is none counts as null.
const LENIENT: &[(&str, &str)] = &[
    ("fund", "launch"),
    ("fund", "final_close"),
    ("fund", "roadshow_date"),
    ("note", "date"),
    ("todo", "due_date"),
];

/// Columns that are never null.
const REQUIRED: &[(&str, &str)] = &[
    ("lp", "name"),
    ("gp", "name"),
    ("distributor", "name"),
    ("person", "name"),
    ("fund", "fund_name"),
    ("note", "name"),
    ("todo", "title"),
    ("todo", "status"),
    ("todo", "created_at"),
    ("roadshow", "name"),
    ("roadshow", "fund_id"),
    ("roadshow", "lv_flight"),
    ("roadshow", "lv_hotel"),
    ("roadshow", "mty_driver"),
    ("roadshow", "cdmx_driver"),
];

async fn check(api: &Api, uri: &str, name: &str, sent: &str, outcome: Outcome) {
    let before = api.read(uri).await;
    let body = format!("{{\"{name}\": {sent}}}");
    let answer = api.send(raw_request(Method::PUT, uri, body)).await;
    let mut expected = before;
    match outcome {
        Ok(value) => {
            expected[name] = serde_json::from_str(value).unwrap();
            assert_eq!(answer.expect(200, uri), expected, "{uri} {name} {sent}");
        }
        Err(fault) => {
            assert_eq!(answer.faults(), [format!("{fault} at body.{name}")], "{uri} {sent}");
        }
    }
    assert_eq!(api.read(uri).await, expected, "{uri} {name} {sent}");
}

#[tokio::test]
async fn every_attribute_of_every_kind_takes_what_sqlite_took() {
    let (api, legacy) = (Api::new().await, Legacy::open(&demo_file()));
    for (path, smallest) in kinds() {
        let table = table(path);
        let id = api.made(path, smallest).await;
        let uri = format!("/{path}/{id}");
        let columns = legacy.columns(table);
        let row = api.read(&uri).await;
        let mut names: Vec<&String> = columns.iter().map(|(name, _)| name).collect();
        names.sort();
        let mut sent: Vec<&String> = row.as_object().unwrap().keys().collect();
        sent.sort();
        assert_eq!(sent, names, "{path} has every column, null or not, and nothing else");
        for (name, declared) in columns.iter().filter(|(name, _)| name != "id") {
            let name = name.as_str();
            for (sent, outcome) in outcomes(declared) {
                check(&api, &uri, name, sent, *outcome).await;
            }
            if declared == "DATETIME" {
                for text in
                    ["\"\"", "\"soon\"", "\"31/01/2025\"", "\"2025-02-30\"", "\"0000-01-01\""]
                {
                    let outcome = match LENIENT.contains(&(table, name)) {
                        true => Ok("null"),
                        false => Err("datetime_parsing"),
                    };
                    check(&api, &uri, name, text, outcome).await;
                }
            }
            let kind = match declared.as_str() {
                "VARCHAR" => "string_type",
                "INTEGER" => "int_type",
                _ => "datetime_type",
            };
            let outcome = match REQUIRED.contains(&(table, name)) {
                true => Err(kind),
                false => Ok("null"),
            };
            check(&api, &uri, name, "null", outcome).await;
        }
        // Neither the id nor what is no column counts.
        let row = api.read(&uri).await;
        let ignored = json!({"id": 777, "phone": "1", "lp_id": 1, "metadata": {}, "links": [1]});
        assert_eq!(api.put(&uri, ignored).await.expect(200, path), row);
        assert_eq!(api.put(&uri, json!({})).await.expect(200, path), row);
        api.get(&format!("/{path}/777")).await.expect(404, path);
    }
}

#[tokio::test]
async fn a_new_record_is_taken_whole_or_not_at_all() {
    let api = Api::new().await;
    all_faults_of_a_body_are_told_at_once_and_nothing_of_it_is_taken(&api).await;
    a_new_record_has_its_defaults_where_nothing_or_null_was_sent(&api).await;
}

async fn all_faults_of_a_body_are_told_at_once_and_nothing_of_it_is_taken(api: &Api) {
    let id = api.made("lps", json!({"name": "x"})).await;
    let body = json!({"name": null, "aum_billions": "a", "location": [], "priority": "1"});
    let faults = api.put(&format!("/lps/{id}"), body.clone()).await.faults();
    let expected = [
        "string_type at body.name",
        "float_parsing at body.aum_billions",
        "string_type at body.location",
    ];
    assert_eq!(faults, expected);
    assert_eq!(api.post("/lps", body).await.faults(), expected);
    assert_eq!(api.read(&format!("/lps/{id}")).await["priority"], Value::Null);
    assert_eq!(api.ids("/lps").await, [id]);
}

async fn a_new_record_has_its_defaults_where_nothing_or_null_was_sent(api: &Api) {
    let check = async |path: &str, body: Value, expected: Value| {
        let answer = api.post(&format!("/{path}"), body.clone()).await.expect(200, path);
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&answer[name], value, "{path} {body} {name}");
        }
        assert_eq!(api.read(&format!("/{path}/{}", answer["id"])).await, answer);
        answer
    };
    let empty = json!({"raw_notes": "", "summary": "", "date": null, "useful": null});
    check("notes", json!({"name": "x"}), empty.clone()).await;
    check("notes", json!({"name": "x", "raw_notes": null, "summary": null}), empty).await;
    let todo =
        json!({"status": "pending", "priority": "medium", "due_date": null, "completed_at": null});
    let before = chrono::Utc::now().naive_utc();
    for body in [
        json!({"title": "x"}),
        json!({"title": "x", "status": null, "priority": null, "created_at": null, "due_date": ""}),
    ] {
        let made = check("todos", body, todo.clone()).await;
        let created: chrono::NaiveDateTime = made["created_at"].as_str().unwrap().parse().unwrap();
        let age = created - before;
        assert!(age.num_seconds().abs() < 60, "{made}");
    }
    let none = json!({"lv_flight": "None", "lv_hotel": "None", "mty_driver": "None", "cdmx_driver": "None",
        "flight_images": null, "arrival": null});
    check("roadshows", json!({"name": "x", "fund_id": 1}), none.clone()).await;
    check(
        "roadshows",
        json!({"name": "x", "fund_id": "1", "lv_flight": null, "lv_hotel": null}),
        none,
    )
    .await;
    check("lps", json!({"name": 12, "phone": "1", "id": 4711}), json!({"name": "12", "id": 2}))
        .await;
    check("people", json!({"name": "x", "org_id": "7"}), json!({"org_id": 7})).await;
    // A date that crashed the legacy server is taken, or refused by name.
    let dated = json!({"title": "x", "created_at": "2025-01-31T10:00:00-06:00"});
    check("todos", dated, json!({"created_at": "2025-01-31T10:00:00"})).await;
    let refused = api.post("/todos", json!({"title": "x", "created_at": "soon"})).await;
    assert_eq!(refused.faults(), ["datetime_parsing at body.created_at"]);
    for date in [json!(""), json!("soon"), json!(5)] {
        let refused =
            api.post("/roadshows", json!({"name": "x", "fund_id": 1, "departure": date})).await;
        let faults = refused.faults();
        assert!(faults[0].ends_with("at body.departure"), "{faults:?}");
    }
    // On a change null stays null.
    let uri = format!("/todos/{}", api.ids("/todos").await[0]);
    let cleared = api.put(&uri, json!({"priority": null, "description": null})).await;
    assert_eq!(cleared.expect(200, "null")["priority"], Value::Null);
}

#[tokio::test]
async fn long_values_are_taken_and_given_back() {
    let api = Api::new().await;
    // No two pieces alike, so that nothing can be compressed into an index.
    let long: String = (0..4_000).map(|_| uuid::Uuid::new_v4().simple().to_string()).collect();
    for (path, smallest) in kinds() {
        let id = api.made(path, smallest).await;
        let uri = format!("/{path}/{id}");
        let row = api.read(&uri).await;
        let legacy = Legacy::open(&demo_file());
        let texts: Vec<_> =
            legacy.columns(table(path)).into_iter().filter(|(_, kind)| kind == "VARCHAR").collect();
        let body: Value =
            texts.iter().map(|(name, _)| (name.clone(), Value::from(long.as_str()))).collect();
        let mut expected = row;
        for (name, _) in &texts {
            expected[name] = long.as_str().into();
        }
        let answer = api.put(&uri, body).await.expect(200, path);
        assert_eq!(answer, expected, "{path}");
        assert_eq!(api.read(&format!("/{path}")).await, json!([expected]));
    }
    let images = format!("[{{\"dataUrl\": \"data:image/png;base64,{}\"}}]", "A".repeat(4 << 20));
    let roadshow = json!({"name": "x", "fund_id": 1, "flight_images": images});
    let id = api.made("roadshows", roadshow).await;
    let row = api.read(&format!("/roadshows/{id}")).await;
    assert_eq!(row["flight_images"].as_str().unwrap().len(), images.len());
    assert_eq!(
        api.put(&format!("/roadshows/{id}"), row.clone()).await.expect(200, "whole row"),
        row
    );
    assert_eq!(api.read("/roadshows").await[1], row);
}
