//! What can be found, in which order and why, and what never is.

mod names;
mod parked;
mod people;
mod scope;
mod typing;
mod unembedded;

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Method, StatusCode};
use projections::search::Search;
use projections::search::vectors::{VectorOptions, Vectors};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::contract::{Api, app, ask, request};
use crate::embeddings::Embeddings;
use crate::verify::verify;

/// How long something may take that takes a second on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A text as it stands in an address.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn search(api: &Api, question: &str, rest: &str) -> Value {
    api.read(&format!("/search?q={}{rest}", encoded(question))).await
}

/// The records that are found, the best first, as `note:7`.
async fn found(api: &Api, question: &str, rest: &str) -> Vec<String> {
    named(&search(api, question, rest).await)
}

fn named(page: &Value) -> Vec<String> {
    let hits = page["hits"].as_array().unwrap().iter();
    hits.map(|hit| format!("{}:{}", hit["kind"].as_str().unwrap(), hit["id"])).collect()
}

async fn note(api: &Api, name: &str, text: &str) -> i64 {
    api.made("notes", json!({"name": name, "date": "2025-01-31", "raw_notes": text})).await
}

/// What is highlighted of a hit's passage.
fn highlighted(hit: &Value) -> Vec<String> {
    let text: Vec<char> = hit["passage"]["text"].as_str().unwrap().chars().collect();
    let range = |range: &Value| {
        let [from, to] = [0, 1].map(|at| usize::try_from(range[at].as_u64().unwrap()).unwrap());
        text[from..to].iter().collect()
    };
    hit["passage"]["highlights"].as_array().unwrap().iter().map(range).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_found_with_the_answer_and_what_was_replaced_or_removed_never_is() {
    let api = Api::new().await;
    for round in 0..10 {
        let id = note(&api, "Call", &format!("They asked about hedging{round} and fees.")).await;
        assert_eq!(found(&api, &format!("hedging{round}"), "").await, [format!("note:{id}")]);
        let text = json!({"raw_notes": format!("They asked about leverage{round}.")});
        api.put(&format!("/notes/{id}"), text).await.expect(200, "edit");
        assert_eq!(found(&api, &format!("hedging{round}"), "").await, Vec::<String>::new());
        assert_eq!(found(&api, &format!("leverage{round}"), "").await, [format!("note:{id}")]);
        api.delete(&format!("/notes/{id}")).await.expect(200, "delete");
        assert_eq!(found(&api, &format!("leverage{round}"), "").await, Vec::<String>::new());
    }
    let id = note(&api, "Secret", "They whispered zyxwv.").await;
    assert_eq!(found(&api, "zyxwv", "").await, [format!("note:{id}")]);
    api.post(&format!("/notes/{id}/erase"), json!({"reason": "asked"})).await.expect(200, "erase");
    assert_eq!(found(&api, "zyxwv", "").await, Vec::<String>::new());
    assert_eq!(found(&api, "Secret", "").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_found_in_every_form_in_both_languages_and_without_accents() {
    let api = Api::new().await;
    let english =
        note(&api, "Call", "The pension funds asked about currency hedging and its costs.").await;
    let spanish = note(
        &api,
        "Llamada",
        "Las pensiones preguntaron por la cobertura cambiaria y la comisión de los fondos.",
    )
    .await;
    let check = async |question: &str, expected: &[i64]| {
        let expected: Vec<String> = expected.iter().map(|id| format!("note:{id}")).collect();
        assert_eq!(found(&api, question, "").await, expected, "{question}");
    };
    check("HEDGE", &[english]).await;
    check("hedged currencies", &[english]).await;
    check("comision", &[spanish]).await;
    check("comisiones", &[spanish]).await;
    check("¿Qué fondo preguntó por coberturas?", &[spanish]).await;
    check("Which fund asks about costs?", &[english]).await;
    let page = search(&api, "hedged currencies", "").await;
    assert_eq!(highlighted(&page["hits"][0]), ["currency", "hedging"]);
    assert_eq!(page["hits"][0]["why"], json!(["word"]));
    assert_eq!(page["hits"][0]["link"], format!("/notes/{english}"));
    assert_eq!((&page["mode"], &page["facets"]), (&json!("lexical"), &json!({"note": 1})));
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_found_whatever_signs_they_touch_and_each_hit_says_why() {
    let api = Api::new().await;
    let text = "¿Cobertura? “Zorbfee” of the peso—dollar; net IRR/TVPI at 12.75%, says jroe@zarza.example (USD/MXN). \
                «Gorbel fanzu», 🙂quib, Größenwahn, Q3-2031.";
    let named = format!("note:{}", note(&api, "Call", text).await);
    note(&api, "Other", "Something else was said of the net asset value.").await;
    for question in [
        "cobertura",
        "¿cobertura?",
        "zorbfee",
        "«zorbfee»",
        "zorbfee…",
        "peso",
        "dollar",
        "peso—dollar",
        "TVPI",
        "IRR/TVPI",
        "MXN",
        "12.75%",
        "zarza",
        "jroe@zarza.example",
        "quib",
        "größenwahn",
        "grossenwahn",
        "2031",
        "\"gorbel fanzu\"",
        "“Gorbel fanzu”",
        "\"jroe@zarza.example\"",
        "\"IRR/TVPI at 12.75%\"",
    ] {
        let page = search(&api, question, "").await;
        let first = &page["hits"][0];
        assert_eq!(format!("note:{}", first["id"]), named, "{question}: {page}");
        for hit in page["hits"].as_array().unwrap() {
            assert_ne!(hit["why"], json!([]), "{question}: {hit}");
        }
        assert!(!highlighted(first).is_empty(), "{question}: {first}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_quoted_goes_first_where_it_stands_as_it_is() {
    let api = Api::new().await;
    let scattered =
        note(&api, "a", "Hedging hedging hedging; the currency of hedging. Currency, hedging.")
            .await;
    let exact =
        note(&api, "b", "A long remark on many things and then on Currency\n Hedging, too.").await;
    let page = search(&api, "\"currency hedging\"", "").await;
    assert_eq!(named(&page), [format!("note:{exact}"), format!("note:{scattered}")]);
    assert_eq!(highlighted(&page["hits"][0]), ["Currency\n Hedging"]);
    // Where nothing has both, what has one of them goes first.
    let page = search(&api, "\"management fee\" \"currency hedging\"", "").await;
    assert_eq!(named(&page)[0], format!("note:{exact}"));
}

/// So many records of a kind, several at a time.
async fn made_many(api: &Api, path: &str, bodies: Vec<Value>) {
    for some in bodies.chunks(50) {
        futures::future::join_all(some.iter().map(|body| api.made(path, body.clone()))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_is_found_by_word_among_any_number_of_contacts() {
    let api = Api::new().await;
    let person = |n| json!({"name": format!("Ana {n}"), "position": "Treasury"});
    made_many(&api, "people", (0..650).map(person).collect()).await;
    for n in 0..30 {
        let text = format!("Of their treasury we heard in chapter{n} that it will be moved. ");
        note(&api, &format!("Call {n}"), &text.repeat(5)).await;
    }
    let page = search(&api, "treasury", "").await;
    assert_eq!(page["facets"], json!({"note": 30, "person": 100}));
    assert_eq!(page["cut"], json!(true));
    let page = search(&api, "treasury", "&kinds=note").await;
    assert_eq!((&page["facets"], &page["cut"]), (&json!({"note": 30}), &json!(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_quoted_is_found_however_usual_its_words_are() {
    let api = Api::new().await;
    let text = |n| format!("The currency of chapter{n} and the hedging, he said.");
    let body = |n| json!({"name": format!("Call {n}"), "raw_notes": text(n)});
    made_many(&api, "notes", (0..650).map(body).collect()).await;
    let exact = note(&api, "b", "A long remark. It is on Currency\n Hedging, they said too.").await;
    for quotation in ["\"currency hedging\"", "\"It is\"", "\"it is on\" \"currency hedging\""] {
        let page = search(&api, quotation, "").await;
        assert_eq!(named(&page).first(), Some(&format!("note:{exact}")), "{quotation}");
    }
    assert_eq!(found(&api, "\"is it\"", "").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_narrowed_by_kind_by_whom_it_is_about_by_day_and_by_language() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Afore", "text": "hedging"})).await;
    let person = api.made("people", json!({"name": "Ana"})).await;
    let about = note(&api, "a", "The team asked about hedging of the fund.").await;
    api.post(&format!("/notes/{about}/lps/{lp}"), json!({})).await.expect(200, "link");
    api.post(&format!("/notes/{about}/participants/{person}"), json!({})).await.expect(200, "link");
    let later = api
        .made("notes", json!({"name": "b", "date": "2025-06-01", "raw_notes": "Hedging en la cartera de la afore."}))
        .await;
    let (lp_hit, about_hit, later_hit) =
        (format!("lp:{lp}"), format!("note:{about}"), format!("note:{later}"));
    let check = async |rest: &str, expected: &[&String]| {
        let mut found = found(&api, "hedging", rest).await;
        found.sort();
        let mut expected: Vec<String> = expected.iter().map(|it| (*it).clone()).collect();
        expected.sort();
        assert_eq!(found, expected, "{rest}");
    };
    check("", &[&lp_hit, &about_hit, &later_hit]).await;
    check("&kinds=note", &[&about_hit, &later_hit]).await;
    check("&kinds=note,lp", &[&lp_hit, &about_hit, &later_hit]).await;
    check(&format!("&lp={lp}"), &[&lp_hit, &about_hit]).await;
    check(&format!("&lp={lp}&person={person}"), &[&about_hit]).await;
    check("&fund=99", &[]).await;
    check("&from=2025-02-01", &[&later_hit]).await;
    check("&to=2025-01-31", &[&about_hit]).await;
    check("&from=2025-01-31&to=2025-01-31", &[&about_hit]).await;
    check("&to=2025-01-30", &[]).await;
    check("&lang=en", &[&lp_hit, &about_hit]).await;
    check("&lang=es", &[&later_hit]).await;
    for rest in ["&kind=note", "&kinds=company", "&lang=fr", "&limit=0", "&cursor=7"] {
        let answer = api.get(&format!("/search?q=hedging{rest}")).await;
        assert!(answer.expect(400, rest)["detail"].as_str().unwrap().len() > 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_every_hit_once_and_in_order() {
    let api = Api::new().await;
    for n in 0..23 {
        note(&api, &format!("Call {n}"), &format!("Hedging {}", "and so on ".repeat(n))).await;
    }
    let whole = found(&api, "hedging", "&limit=100").await;
    assert_eq!(whole.len(), 23);
    let mut paged = Vec::new();
    let mut rest = "&limit=5".to_owned();
    loop {
        let page = search(&api, "hedging", &rest).await;
        assert_eq!(page["facets"], json!({"note": 23}));
        paged.extend(named(&page));
        let Some(next) = page["next"].as_str() else { break };
        rest = format!("&limit=5&cursor={next}");
    }
    assert_eq!(paged, whole);
}

/// What nobody should have to ask.
const HOSTILE: &[&str] = &[
    "",
    " ",
    "\0",
    "the of and a",
    "de la y el",
    "' or 1=1; drop table passage; --",
    "hedging & | ! <-> :*",
    "a:b c:* (",
    "\\",
    "\\'",
    "'",
    "\"",
    "\"\"",
    "\"the of\"",
    "\"' & (\"",
    "%",
    "_",
    "🙂🙂",
    "東京",
    "\u{202e}abc",
    "<script>alert(1)</script>",
    "lp:",
    "lp:99999999999999999999",
    "note:0",
    "a@b.mx",
    "https://x.y/z?a=b",
    "....",
    "--",
    "{\"a\":1}",
    "$1",
    "NULL",
    "e\u{301}",
    "x",
    "\u{feff}",
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_gets_an_answer() {
    let api = Api::new().await;
    let id = note(&api, "Call", "They asked about hedging. It's 50% (net) of the fee!").await;
    for question in HOSTILE {
        let page = search(&api, question, "").await;
        assert!(page["hits"].is_array(), "{question:?}");
    }
    for question in [
        "hedging".repeat(1_500),
        "hedging ".repeat(1_250),
        "é".repeat(10_000),
        "\"a b\" ".repeat(2_000),
    ] {
        let page = search(&api, &question, "").await;
        assert!(page["hits"].is_array());
    }
    for question in ["hedging", "' or hedging; --", "hedging & | !", "50% fee", "\"hedging. it's\""]
    {
        assert_eq!(found(&api, question, "").await, [format!("note:{id}")], "{question}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_of_notion_and_very_long_ones_are_read_like_others() {
    let api = Api::new().await;
    let blocks = json!([
        {"type": "paragraph", "paragraph": {"rich_text": [{"plain_text": "They asked about "}, {"plain_text": "hedging."}]}},
        {"type": "image", "local_image_path": "notion_images/a.png"}]);
    let notion = api.made("notes", json!({"name": "a", "raw_notes": blocks.to_string(), "content_json": blocks.to_string()})).await;
    let page = search(&api, "hedging", "").await;
    assert_eq!(named(&page), [format!("note:{notion}")]);
    assert_eq!(page["hits"][0]["passage"]["text"], "They asked about hedging.");
    assert_eq!(found(&api, "rich_text plain_text", "").await, Vec::<String>::new());
    let long = format!(
        "{} The needle is here. {}",
        "Word after word. ".repeat(15_000),
        "And so on. ".repeat(15_000)
    );
    let long = note(&api, "b", &long).await;
    let page = search(&api, "needle", "").await;
    assert_eq!(named(&page), [format!("note:{long}")]);
    assert!(page["hits"][0]["passage"]["text"].as_str().unwrap().len() < 2_500);
    assert_eq!(highlighted(&page["hits"][0]), ["needle"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_searched_is_what_the_log_says_after_all_that_can_happen_to_a_record() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Afore", "text": "hedging"})).await;
    let fund = api.made("funds", json!({"fund_name": "Fund II"})).await;
    let id = note(&api, "a", "Text\nwith lines. ".repeat(200).as_str()).await;
    api.post(&format!("/notes/{id}/lps/{lp}"), json!({})).await.expect(200, "link");
    api.put(&format!("/notes/{id}"), json!({"name": "b"})).await.expect(200, "rename");
    api.put(&format!("/notes/{id}"), json!({"summary": "Short."})).await.expect(200, "summary");
    api.put(&format!("/funds/{fund}/lps/{lp}/interest?interest=meeting"), json!({})).await;
    let gone = note(&api, "c", "Gone").await;
    api.delete(&format!("/notes/{gone}")).await.expect(200, "archive");
    let erased = note(&api, "d", "Erased").await;
    api.post(&format!("/notes/{erased}/erase"), json!({"reason": "asked"}))
        .await
        .expect(200, "erase");
    let person = api.made("people", json!({"name": "Ana", "org_type": "lp", "org_id": lp})).await;
    api.post(&format!("/people/{person}/lps/{lp}"), json!({})).await;
    api.backend.settle().await.unwrap();
    let report = verify(&api.db).await;
    let passages = report.projections.iter().find(|model| model.name == "passage").unwrap();
    assert!(passages.passed() && passages.rows > 8, "{passages:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_model_a_search_says_what_is_missing() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Afore"})).await;
    let id = note(&api, "a", "hedging").await;
    let page = search(&api, "hedging", "").await;
    assert_eq!(
        (&page["mode"], page["missing"].as_str().unwrap()),
        (&json!("lexical"), "there is no model in this test")
    );
    assert_eq!(search(&api, "hedging", "&mode=lexical").await["missing"], Value::Null);
    for uri in ["/search?q=hedging&mode=semantic".to_owned(), format!("/notes/{id}/similar")] {
        let request = request(Method::GET, &uri).body(Body::empty()).unwrap();
        let answer = ask(&api.router, request).await.expect(503, &uri);
        assert!(answer["detail"].as_str().unwrap().contains("there is no model"), "{answer}");
    }
    // Of an LP without notes nothing can be similar, model or not.
    assert_eq!(api.read(&format!("/lps/{lp}/similar")).await, json!({"hits": [], "missing": null}));
    api.get("/notes/99/similar").await.expect(404, "no such note");
    api.get("/lps/99/similar").await.expect(404, "no such LP");
}

/// The product with search by meaning, which answers: while the first texts are embedded it may refuse.
async fn with_meaning() -> (Api, Embeddings, Vectors) {
    let (mut api, embeddings) = (Api::new().await, Embeddings::start().await);
    let options = VectorOptions::of(embeddings.source("words"));
    let heads = api.backend.live.heads();
    let vectors = Vectors::start(api.db.connections.clone(), options, heads);
    let search = Search::new(api.db.connections.clone(), vectors.meaning().clone());
    let app = api::app::Parts { search, ..app(&api.db, &api.backend, 64 << 20) };
    api.router = api::server::router(app);
    until("search by meaning answers", async || {
        let asked = request(Method::GET, "/search?q=anything&mode=semantic");
        ask(&api.router, asked.body(Body::empty()).unwrap()).await.status == 200
    })
    .await;
    (api, embeddings, vectors)
}

/// Asks until the answer is as it should be.
pub async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_gets_an_answer_by_meaning_too() {
    let (api, _embeddings, vectors) = with_meaning().await;
    let id = note(&api, "Call", "They asked about currency hedging.").await;
    until("the note is found", async || {
        found(&api, "hedging", "&mode=hybrid").await == [format!("note:{id}")]
            && search(&api, "hedging", "").await["hits"][0]["why"] == json!(["word", "meaning"])
    })
    .await;
    let long = ["hedging".repeat(1_500), "é ".repeat(5_000), "\"a b\" ".repeat(2_000)];
    for mode in ["hybrid", "semantic"] {
        for question in HOSTILE.iter().copied().chain(long.iter().map(String::as_str)) {
            let page = search(&api, question, &format!("&mode={mode}")).await;
            assert!(page["hits"].is_array(), "{question:?}");
            assert_eq!((&page["mode"], &page["missing"]), (&json!(mode), &Value::Null));
        }
    }
    vectors.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_are_found_by_meaning_among_any_number_of_short_cards() {
    const PEOPLE: usize = 2_000;
    const NOTES: usize = 40;
    let (api, _embeddings, vectors) = with_meaning().await;
    let person = |n| json!({"name": format!("Wants Investment {n}")});
    made_many(&api, "people", (0..PEOPLE).map(person).collect()).await;
    for n in 0..NOTES {
        let text = format!("Their pension wants alternatives, chapter{n}, perhaps an investment.");
        note(&api, &format!("Call {n}"), &text).await;
    }
    until("the last note is found", async || {
        let last = format!("chapter{}", NOTES - 1);
        // While all is embedded for the first time it may be refused.
        let uri = format!("/search?q={last}&mode=semantic&kinds=note&limit=1");
        let page = ask(&api.router, request(Method::GET, &uri).body(Body::empty()).unwrap()).await;
        page.body["hits"][0]["passage"]["text"].as_str().is_some_and(|text| text.contains(&last))
    })
    .await;
    let page = search(&api, "who wants investment", "&mode=semantic").await;
    assert_eq!(page["facets"], json!({"note": NOTES}));
    let page = search(&api, "who wants investment", "&mode=semantic&kinds=person").await;
    assert_eq!(page["facets"], json!({"person": 100}));
    vectors.stop().await;
}

/// As a client that does not mind when readers see it.
pub async fn sent(api: &Api, method: Method, uri: &str, body: &str) -> Option<String> {
    let request = request(method, uri).header("content-type", "application/json");
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let answer = api.router.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{uri}");
    Some(answer.headers().get("x-read-model")?.to_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_texts_are_behind_nothing_is_shown_that_has_changed() {
    let (api, _embeddings, vectors) = with_meaning().await;
    let [kept, edited, deleted, erased] = ["kept", "edited", "deleted", "erased"];
    let mut ids = Vec::new();
    for name in [kept, edited, deleted, erased] {
        ids.push(note(&api, name, &format!("They asked about currency hedging, {name}.")).await);
    }
    until("all are found by meaning", async || {
        let page = search(&api, "currency hedging", "&mode=semantic").await;
        page["facets"] == json!({"note": 4})
    })
    .await;
    let mut holding = api.db.pool.begin().await.unwrap();
    sqlx::query("select from generation where projector = 'passage' for update")
        .execute(&mut *holding)
        .await
        .unwrap();
    let behind = Some("behind".to_owned());
    let path = |at: usize| format!("/notes/{}", ids[at]);
    let edit = json!({"raw_notes": "Nothing of it."}).to_string();
    assert_eq!(sent(&api, Method::PUT, &path(1), &edit).await, behind);
    assert_eq!(sent(&api, Method::DELETE, &path(2), "").await, behind);
    let reason = json!({"reason": "asked"}).to_string();
    assert_eq!(sent(&api, Method::POST, &format!("{}/erase", path(3)), &reason).await, behind);
    for mode in ["lexical", "semantic", "hybrid"] {
        let answer = api.get(&format!("/search?q=currency+hedging&mode={mode}")).await;
        assert_eq!(answer.header("x-read-model"), Some("behind"), "{mode}");
        let page = answer.expect(200, mode);
        assert_eq!(named(&page), [format!("note:{}", ids[0])], "{mode}");
        assert_eq!(page["facets"], json!({"note": 1}), "{mode}");
    }
    let answer = api.get(&format!("{}/similar", path(0))).await;
    assert_eq!(answer.header("x-read-model"), Some("behind"));
    assert_eq!(answer.expect(200, "similar")["hits"], json!([]));
    holding.rollback().await.unwrap();
    until("the texts have caught up", async || {
        let answer = api.get("/search?q=nothing&mode=lexical").await;
        answer.header("x-read-model").is_none()
            && named(&answer.body) == [format!("note:{}", ids[1])]
    })
    .await;
    vectors.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_word_and_by_meaning_is_one_list_and_says_why() {
    let (api, embeddings, vectors) = with_meaning().await;
    let lps = [
        api.made("lps", json!({"name": "One"})).await,
        api.made("lps", json!({"name": "Two"})).await,
    ];
    let hedging = note(&api, "a", "The team asked about currency hedging for the fund.").await;
    let other = note(&api, "b", "The hedge was about currency, they said of the fund.").await;
    note(&api, "c", "Lunch was pleasant; nobody spoke of business.").await;
    api.post(&format!("/notes/{hedging}/lps/{}", lps[0]), json!({})).await.expect(200, "link");
    api.post(&format!("/notes/{other}/lps/{}", lps[1]), json!({})).await.expect(200, "link");
    until("both reasons speak for the note", async || {
        let page = search(&api, "currency hedging", "").await;
        page["mode"] == "hybrid"
            && page["hits"][0]["id"] == hedging
            && page["hits"][0]["why"] == json!(["word", "meaning"])
    })
    .await;
    let page = search(&api, "currency hedging", "&mode=semantic&kinds=note").await;
    assert_eq!(
        (&page["hits"][0]["id"], &page["hits"][0]["why"]),
        (&json!(hedging), &json!(["meaning"]))
    );
    until("the other note is embedded as well", async || {
        let like = api.read(&format!("/notes/{hedging}/similar?limit=1")).await;
        named(&like) == [format!("note:{other}")]
    })
    .await;
    let like = api.read(&format!("/lps/{}/similar", lps[0])).await;
    assert_eq!(named(&like), [format!("lp:{}", lps[1])]);
    let passage = &like["hits"][0]["passage"];
    let (kind, link) = (json!("note"), json!(format!("/notes/{other}")));
    assert_eq!((&passage["kind"], &passage["id"], &passage["link"]), (&kind, &json!(other), &link));
    // What an engine still holds is not shown: the texts are gone with the answer.
    embeddings.state().fails = Some(StatusCode::SERVICE_UNAVAILABLE);
    let text = json!({"raw_notes": "Nothing of the kind."});
    api.put(&format!("/notes/{other}"), text).await.expect(200, "edit");
    api.delete(&format!("/notes/{hedging}")).await.expect(200, "delete");
    let page = search(&api, "currency hedging", "&kinds=note&mode=semantic").await;
    let texts: Vec<&str> = page["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["passage"]["text"].as_str().unwrap())
        .collect();
    assert!(texts.iter().all(|text| !text.contains("urrency")), "{texts:?}");
    vectors.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_meaning_nothing_is_about_a_record_once_it_was_unlinked() {
    let (api, _embeddings, vectors) = with_meaning().await;
    let lp = api.made("lps", json!({"name": "Afore XXI"})).await;
    let id = note(&api, "Call", "They asked about currency hedging.").await;
    let rest = format!("&mode=semantic&kinds=note&lp={lp}");
    for _ in 0..10 {
        api.post(&format!("/notes/{id}/lps/{lp}"), json!({})).await.expect(200, "link");
        until("the note is found as one about the LP", async || {
            found(&api, "hedging", &rest).await == [format!("note:{id}")]
        })
        .await;
        api.delete(&format!("/notes/{id}/lps/{lp}")).await.expect(200, "unlink");
        assert_eq!(found(&api, "hedging", &rest).await, Vec::<String>::new());
    }
    vectors.stop().await;
}
