//! A fund is found with what roadshows brought to it, by whichever filter, and whoever follows it hears of that.

use std::collections::{BTreeMap, BTreeSet};

use api::live::Look;
use projections::log::{Entry, Selection, Stream};
use serde_json::{Value, json};

use super::{event, positions};
use crate::contract::Api;

/// Events of a roadshow that put its arrival at its fund.
const ANNOUNCING: [&str; 6] =
    ["Registered", "Renamed", "FundAssigned", "Rescheduled", "ArrivalReaffirmed", "DetailsAmended"];

/// Which events of roadshows changed the date of which fund, by its id.
pub(super) fn brought(entries: &[Entry]) -> BTreeMap<String, BTreeSet<i64>> {
    let mut dates = BTreeMap::<String, Value>::new();
    let mut trips = BTreeMap::<String, (Value, Value)>::new();
    let mut brought = BTreeMap::<String, BTreeSet<i64>>::new();
    for entry in entries {
        let (id, said) = (entry.stream.id.clone(), event(entry).content().unwrap());
        let kind = entry.stream.kind.as_str();
        let of = |name: &str| said.get(name).or_else(|| said.get("details")?.get(name)).cloned();
        match (kind, entry.event_type.as_str()) {
            ("fund", "Registered" | "RoadshowDateSet") => {
                dates.insert(id, of("roadshow_date").unwrap_or_default());
            }
            ("roadshow", name) => {
                let (fund, arrival) = trips.entry(id).or_default();
                *fund = of("fund_id").unwrap_or_else(|| fund.take());
                *arrival = of("arrival").unwrap_or_else(|| arrival.take());
                let (fund, is_set) = (fund.to_string(), !arrival.is_null());
                let Some(date) = dates.get_mut(&fund) else { continue };
                if ANNOUNCING.contains(&name) && is_set && date != arrival {
                    *date = arrival.clone();
                    brought.entry(fund).or_default().insert(entry.position);
                }
            }
            _ => {}
        }
    }
    brought
}

/// A fund with three dates: its own, and two that a roadshow brought. Their positions, and the fund and the roadshow.
async fn visited(api: &Api) -> ([i64; 3], i64, i64) {
    let body = json!({"fund_name": "Alpine IV", "roadshow_date": "2025-02-01"});
    let fund = api.made("funds", body).await;
    let made = api.backend.live.head().await.unwrap();
    let body = json!({"name": "Lima", "fund_id": fund, "arrival": "2025-03-01"});
    let trip = api.made("roadshows", body).await;
    let brought = api.backend.live.head().await.unwrap();
    let status = format!("/roadshows/{trip}");
    api.put(&status, json!({"arrival": "2025-03-01"})).await.expect(200, "as it is");
    let moved = api.put(&status, json!({"arrival": "2025-04-01"})).await.position();
    ([made, brought, moved], fund, trip)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_roadshow_brought_is_told_of_its_fund_in_the_words_of_its_history() {
    let api = Api::new().await;
    let ([made, brought, moved], fund, trip) = visited(&api).await;
    let other = api.made("funds", json!({"fund_name": "Borea"})).await;
    let history = api.read(&format!("/funds/{fund}/history")).await;
    let of_fund = format!("/audit?record=fund/{fund}");
    assert_eq!(api.read(&of_fund).await, history);
    assert_eq!(positions(&history), [moved, brought, made]);
    let found = async |query: &str| positions(&api.read(&format!("{of_fund}&{query}")).await);
    for (query, expected) in [
        ("field=roadshow_date", vec![moved, brought, made]),
        ("field=arrival", vec![]),
        ("event=Rescheduled", vec![moved]),
        ("kind=roadshow", vec![moved, brought]),
        ("kind=fund", vec![made]),
        ("q=alpine", vec![moved, brought, made]),
        ("q=alpine+lima", vec![moved, brought]),
        ("q=%E2%80%93", vec![]),
        ("related=true", vec![moved, brought, made]),
        ("source=nowhere", vec![]),
    ] {
        assert_eq!(found(query).await, expected, "{query}");
    }
    // Of what speaks of the fund in its own words these are told.
    let related = api.read(&format!("{of_fund}&related=true")).await;
    assert_eq!(related["entries"][1]["sentence"], "Lima was added for Alpine IV");
    assert_eq!(related["entries"][0], history["entries"][0]);
    // Page by page, and all at once.
    let mut cursor = String::new();
    for (entry, is_last) in history["entries"].as_array().unwrap().iter().zip([false, false, true])
    {
        let page = api.read(&format!("{of_fund}&limit=1{cursor}")).await;
        assert_eq!((&page["entries"], page["next"].is_null()), (&json!([entry]), is_last));
        cursor = format!("&cursor={}", page["next"]);
    }
    for (format, lines) in [("ndjson", 3), ("csv", 4)] {
        let file = api.get(&format!("{of_fund}&format={format}")).await;
        let text = String::from_utf8(file.bytes.to_vec()).unwrap();
        assert_eq!(text.lines().count(), lines, "{text}");
        assert_eq!(text.matches(", the arrival of Lima").count(), 2, "{text}");
    }
    assert_eq!(positions(&api.read(&format!("/audit?record=fund/{other}")).await).len(), 1);
    let of_trip = api.read(&format!("/audit?record=roadshow/{trip}")).await;
    assert_eq!(of_trip["entries"][1]["sentence"], "Lima was added for Alpine IV");
    api.backend.stop().await;
}

/// What a feed from the beginning brings.
async fn heard(api: &Api, wanted: &Selection, after: i64) -> Vec<i64> {
    let mut feed = api.backend.live.feed(wanted.clone(), after);
    let mut heard = Vec::new();
    loop {
        match feed.look().await.unwrap() {
            Look::Entry(entry) => heard.push(entry.position),
            Look::Further => {}
            Look::Level => return heard,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_a_fund_hears_what_roadshows_bring_to_it_from_wherever_they_go_on() {
    let api = Api::new().await;
    let ([made, brought, moved], fund, trip) = visited(&api).await;
    let status =
        format!("/roadshows/{trip}/lps/{}/status", api.made("lps", json!({"name": "x"})).await);
    api.put(&format!("{status}?status=confirmed"), json!({})).await.expect(200, "no arrival");
    let stream = |kind: &str, id: i64| Stream { kind: kind.to_owned(), id: id.to_string() };
    let of_fund = Selection { kinds: vec![], streams: vec![stream("fund", fund)] };
    let all = [made, brought, moved];
    for after in 0..=moved {
        let rest: Vec<i64> = all.iter().copied().filter(|position| *position > after).collect();
        assert_eq!(heard(&api, &of_fund, after).await, rest, "after {after}");
    }
    let mut both = of_fund.clone();
    both.streams.push(stream("roadshow", trip));
    assert_eq!(heard(&api, &both, moved).await.len(), 1, "the status");
    let mut all = of_fund.clone();
    all.kinds.push("roadshow".to_owned());
    assert_eq!(heard(&api, &all, 0).await, heard(&api, &both, 0).await);
    let other = api.made("funds", json!({"fund_name": "Borea"})).await;
    let of_other = Selection { kinds: vec![], streams: vec![stream("fund", other)] };
    let begun = api.backend.live.head().await.unwrap();
    assert_eq!(heard(&api, &of_other, 0).await, [begun]);
    let mut feed = api.backend.live.feed(of_other, begun);
    let given = api.put(&format!("/roadshows/{trip}"), json!({"fund_id": other})).await.position();
    feed.grown().await;
    let heard = feed.look().await.unwrap();
    assert!(matches!(heard, Look::Further), "{heard:?}");
    let Look::Entry(entry) = feed.look().await.unwrap() else { panic!("not heard") };
    assert_eq!((entry.position, entry.stream.kind.as_str()), (given, "roadshow"));
    api.backend.stop().await;
}
