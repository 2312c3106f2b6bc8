//! Questions that say of which time or kind the records are, or in which role somebody is somewhere.

use serde_json::{Value, json};

use super::{found, made_many, named, note, search, until, with_meaning};
use crate::contract::Api;

async fn dated(api: &Api, name: &str, date: &str, text: &str) -> String {
    let body = json!({"name": name, "date": date, "raw_notes": text});
    format!("note:{}", api.made("notes", body).await)
}

async fn link(api: &Api, to: &str) {
    api.post(to, json!({})).await.expect(200, to);
}

async fn check(api: &Api, question: &str, expected: &str) {
    for mode in ["", "&mode=lexical"] {
        let found = found(api, question, mode).await;
        let first = found.first().map(String::as_str);
        assert_eq!(first, Some(expected), "{question}{mode}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_or_a_month_beside_a_name_is_that_of_the_record() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Muguerza Family Office"})).await;
    for day in 1..=9 {
        let text = "Muguerza Family Office spoke of fees. They want little else.";
        dated(&api, "Muguerza Family Office", &format!("2025-11-0{day}"), text).await;
    }
    let meant = dated(&api, "Call", "2025-10-31", "They spoke of fees.").await;
    link(&api, &format!("/notes/{}/lps/{lp}", &meant[5..])).await;
    dated(&api, "Call", "2025-10-31", "Others spoke of fees.").await;
    for question in [
        "Muguerza Family Office 31 October 2025",
        "Muguerza 31/10/2025",
        "the fees of Muguerza Family Office in October 2025",
        "Muguerza Family Office, el 31 de octubre de 2025",
    ] {
        check(&api, question, &meant).await;
    }
    // Nothing of another time is lost.
    let all = found(&api, "Muguerza Family Office October 2025", "&mode=lexical").await;
    assert!(all.len() >= 11, "{all:?}");
    let of_the_month = found(&api, "meetings in October 2025", "").await;
    assert_eq!(of_the_month.len(), 2, "{of_the_month:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kind_that_a_question_names_goes_first_and_nobody_else_is_lost() {
    let api = Api::new().await;
    let fund = api.made("funds", json!({"fund_name": "Ridgeline Credit VI"})).await;
    let lp = api.made("lps", json!({"name": "Seguros Cantú"})).await;
    for n in 0..5 {
        let id = note(
            &api,
            &format!("Ridgeline Credit VI {n}"),
            "Seguros Cantú on the roadshow of Ridgeline Credit VI.",
        )
        .await;
        link(&api, &format!("/notes/{id}/funds/{fund}")).await;
        link(&api, &format!("/notes/{id}/lps/{lp}")).await;
    }
    let trip = json!({"name": "Q3 Monterrey", "fund_id": fund});
    let roadshow = format!("roadshow:{}", api.made("roadshows", trip).await);
    let person = api.made("people", json!({"name": "David Milmo"})).await;
    link(&api, &format!("/people/{person}/lps/{lp}")).await;
    let of_fund = found(&api, "roadshow Ridgeline Credit VI", "").await;
    assert!(of_fund[..3].contains(&roadshow), "{of_fund:?}");
    let there = found(&api, "people at Seguros Cantú", "").await;
    assert!(there[..3].contains(&format!("person:{person}")), "{there:?}");
    assert!(there.contains(&format!("lp:{lp}")), "{there:?}");
    let filtered = found(&api, "roadshow Ridgeline Credit VI", "&kinds=note").await;
    assert_eq!(filtered.len(), 5, "a filter holds whatever the question says: {filtered:?}");
}

/// The words of roles are in hundreds of cards, and those of the organisation in hundreds of texts.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_role_somewhere_is_found_by_both() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Seguros Cantú"})).await;
    let others = |n| json!({"name": format!("Ana Ruiz {n}"), "position": "Managing Partner"});
    made_many(&api, "people", (0..300).map(others).collect()).await;
    let texts = |n| json!({"name": format!("2023 Seguros Cantú {n}"), "date": "2025-01-31", "raw_notes": "Seguros Cantú asked who the managing partners are."});
    made_many(&api, "notes", (0..200).map(texts).collect::<Vec<Value>>()).await;
    let meant = json!({"name": "David Milmo", "position": "Managing Partner"});
    let meant = api.made("people", meant).await;
    let colleague = api.made("people", json!({"name": "Eva Sol", "position": "Analyst"})).await;
    for person in [meant, colleague] {
        link(&api, &format!("/people/{person}/lps/{lp}")).await;
    }
    check(&api, "managing partner seguros cantú", &format!("person:{meant}")).await;
    check(&api, "analyst of Seguros Cantú", &format!("person:{colleague}")).await;
}

/// More notes are nearer to the question than are looked at, all of them of other months.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_of_the_time_is_found_by_meaning_however_much_else_is_nearer() {
    let (api, _embeddings, vectors) = with_meaning().await;
    let others = |n| json!({"name": format!("Call {n}"), "date": "2025-03-31", "raw_notes": "Currency hedging."});
    made_many(&api, "notes", (0..320).map(others).collect()).await;
    let text =
        "Somebody wondered at length how hedging works and what it may cost a small investor.";
    let meant = dated(&api, "Lunch", "2025-10-31", text).await;
    until("the note is found by meaning", async || {
        let page = search(&api, "currency hedging in October 2025", "").await;
        let hits = page["hits"].as_array().unwrap();
        let hit = hits.iter().find(|hit| format!("note:{}", hit["id"]) == meant);
        hit.is_some_and(|hit| hit["why"].as_array().unwrap().contains(&json!("meaning")))
    })
    .await;
    let first = found(&api, "currency hedging in October 2025", "").await.into_iter().next();
    assert_eq!(first.as_ref(), Some(&meant));
    // What it said before is not what it says.
    let edit = json!({"raw_notes": "They ate."});
    api.put(&format!("/notes/{}", &meant[5..]), edit).await.expect(200, "edit");
    let october = "&from=2025-10-01&to=2025-10-31";
    let page = search(&api, "currency hedging in October 2025", october).await;
    assert_eq!(named(&page), [meant], "it is still of that month");
    assert_ne!(page["hits"][0]["passage"]["text"], text);
    vectors.stop().await;
}
