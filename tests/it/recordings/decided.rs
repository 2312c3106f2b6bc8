//! What may be said when a suggestion is accepted, and what became of it later.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_asks_for_is_refused_by_its_name() {
    let api = Api::new().await;
    let (note, id) = summarised(&api).await;
    let fund = api.made("funds", json!({"fund_name": "III"})).await;
    let lp = api.made("lps", json!({"name": "Profuturo"})).await;
    for link in [format!("funds/{fund}"), format!("lps/{lp}")] {
        api.post(&format!("/notes/{note}/{link}"), json!({})).await.expect(200, "link");
    }
    let events = api.events().await;
    let item = format!("/recordings/{id}/action-items/1/accept");
    let interest = format!("/recordings/{id}/interest/accept");
    let dues = api.post(&item, json!({"title": "Call", "due": "2025-02-07"})).await;
    assert_eq!(dues.faults(), ["extra_forbidden at body.due"]);
    assert!(dues.body["detail"][0]["msg"].as_str().unwrap().contains("due_date"));
    let stage = api.post(&interest, json!({"lp_id": lp, "stage": "meeting", "fund": 1})).await;
    assert_eq!(stage.faults(), ["extra_forbidden at body.fund", "extra_forbidden at body.stage"]);
    assert!(stage.body["detail"][0]["msg"].as_str().unwrap().contains("fund_id, lp_id, interest"));
    assert_eq!(api.events().await, events);
    api.post(&item, json!({"title": "Call", "due_date": null})).await.expect(200, "accept");
    api.post(&interest, json!({"lp_id": lp, "fund_id": fund})).await.expect(200, "accept");
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_interest_in_what_is_asked_for_at_once() {
    let api = Api::new().await;
    let (note, id) = summarised(&api).await;
    let path = format!("/recordings/{id}/interest/accept");
    let told = |answer: &Answer| -> Vec<String> {
        let faults = answer.body["detail"].as_array().unwrap();
        faults.iter().map(|fault| fault["msg"].as_str().unwrap().to_owned()).collect()
    };
    let both = api.post(&path, json!({})).await;
    assert_eq!(both.faults(), ["missing at body.fund_id", "missing at body.lp_id"]);
    let no_fund = "The note is linked to no fund: say which one it is (fund_id)";
    let no_lp = "The note is linked to no LP: say which one it is (lp_id)";
    assert_eq!(told(&both), [no_fund, no_lp]);
    let fund = api.made("funds", json!({"fund_name": "III"})).await;
    let one = api.post(&path, json!({"fund_id": fund})).await;
    assert_eq!((one.faults().len(), told(&one)), (1, vec![no_lp.to_owned()]));
    for name in ["Profuturo", "Afore XXI"] {
        let lp = api.made("lps", json!({"name": name})).await;
        api.post(&format!("/notes/{note}/lps/{lp}"), json!({})).await.expect(200, "link");
    }
    let several = api.post(&path, json!({"fund_id": fund})).await;
    assert_eq!(told(&several), ["The note is linked to several LPs: say which one it is (lp_id)"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_interest_says_that_its_fund_or_lp_was_deleted() {
    let api = Api::new().await;
    let (_, id) = summarised(&api).await;
    let fund = api.made("funds", json!({"fund_name": "III"})).await;
    let lp = api.made("lps", json!({"name": "Profuturo"})).await;
    let path = format!("/recordings/{id}/interest/accept");
    let it = api.post(&path, json!({"fund_id": fund, "lp_id": lp})).await.expect(200, "accept");
    let deleted = |it: &Value| {
        [&it["interest"]["fund_deleted"], &it["interest"]["lp_deleted"]]
            .map(|it| it.as_bool().unwrap())
    };
    assert_eq!(deleted(&it), [false, false]);
    api.delete(&format!("/funds/{fund}")).await.expect(200, "delete");
    assert_eq!(deleted(&shown(&api, id).await), [true, false]);
    api.delete(&format!("/lps/{lp}")).await.expect(200, "delete");
    assert_eq!(deleted(&shown(&api, id).await), [true, true]);
}
