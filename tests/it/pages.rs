//! The pages of the audit history, in a real browser, as people use them.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use fantoccini::Locator;
use fantoccini::key::Key;
use reqwest::Client;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::browser::{Browser, LOOKS};
use crate::contract::{self, Api};
use crate::live::Served;

/// Some weeks of work on a fund, and the server that has them.
struct Office {
    api: Api,
    served: Served,
    lp: i64,
    fund: i64,
}

impl Office {
    async fn new() -> Self {
        let api = Api::new().await;
        let fund = api.made("funds", json!({"fund_name": "Fund III"})).await;
        let lp = api
            .made("lps", json!({"name": "Afore XXI", "priority": "B", "location": "Mexico City"}))
            .await;
        for (number, name) in ["Profuturo", "Sura", "Banorte Pensions"].into_iter().enumerate() {
            let other = api.made("lps", json!({"name": name, "aum_billions": number + 1})).await;
            api.put(&format!("/funds/{fund}/lps/{other}/interest?interest=meeting"), Value::Null)
                .await;
        }
        let office = Self { served: Self::serve(&api).await, api, lp, fund };
        for interest in ["meeting", "due_diligence"] {
            office.set_interest(interest).await;
        }
        office.revise(json!({"priority": "A"})).await;
        office
            .revise(json!({"location": "Monterrey", "aum_billions": 12.5, "advisor": "Mercer"}))
            .await;
        let note = office.api.made("notes", json!({"name": "Lunch", "raw_notes": "They like the strategy.\nFees are too high."})).await;
        office
            .api
            .put(
                &format!("/notes/{note}"),
                json!({"raw_notes": "They like the strategy a lot.\nFees are fine."}),
            )
            .await
            .expect(200, "note");
        office.api.post(&format!("/notes/{note}/lps/{lp}"), json!({})).await.expect(200, "link");
        assert_eq!(office.api.put("/lps/4711", json!({"priority": "A"})).await.status, 404);
        office
    }

    async fn serve(api: &Api) -> Served {
        Served::start(contract::app(&api.db, &api.backend, 64 << 20), Duration::from_secs(15)).await
    }

    async fn revise(&self, body: Value) -> i64 {
        let answer = self.api.put(&format!("/lps/{}", self.lp), body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.position()
    }

    async fn set_interest(&self, interest: &str) {
        let uri = format!("/funds/{}/lps/{}/interest?interest={interest}", self.fund, self.lp);
        let answer = self.api.put(&uri, Value::Null).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.served.url)
    }

    fn record(&self) -> String {
        self.url(&format!("/audit/lp/{}", self.lp))
    }
}

/// How far a page reaches beyond its window on the right, in pixels.
const OVERFLOW: &str =
    "return document.documentElement.scrollWidth - document.documentElement.clientWidth";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_readable_by_everyone_in_light_dark_narrow_and_in_print() {
    let office = Office::new().await;
    let browser = Browser::start(1200).await;
    let event: String = sqlx::query_scalar("select event_id::text from events where aggregate_type = 'lp' order by position desc limit 1")
        .fetch_one(&office.api.db.pool).await.unwrap();
    let position: i64 = sqlx::query_scalar("select max(position) - 4 from events")
        .fetch_one(&office.api.db.pool)
        .await
        .unwrap();
    let change: String = sqlx::query_scalar(
        "select format('note/%s/changes/%s', aggregate_id, position) from events
         where event_type = 'TextRevised' order by position desc limit 1",
    )
    .fetch_one(&office.api.db.pool)
    .await
    .unwrap();
    let gone = office.api.made("lps", json!({"name": "Gone", "location": "Lima"})).await;
    office.api.delete(&format!("/lps/{gone}")).await.expect(200, "deleted");
    let person = office.api.made("people", json!({"name": "Ana Ruiz"})).await;
    let reason = json!({"reason": "case 7"});
    office.api.post(&format!("/people/{person}/erase"), reason).await.expect(200, "erased");
    let deletion: String = sqlx::query_scalar("select event_id::text from events where aggregate_type = 'lp' order by position desc limit 1")
        .fetch_one(&office.api.db.pool).await.unwrap();
    let gone = office.url(&format!("/audit/lp/{gone}"));
    let record = office.record();
    let pages = [
        ("changes", office.url("/audit")),
        ("nothing", office.url("/audit?actor=nobody")),
        ("unknown-filter", office.url("/audit?colour=red&kind=lp")),
        ("search", office.url("/audit?q=fees&from=2025-01-01&source=api")),
        ("record", record.clone()),
        ("deleted", gone.clone()),
        ("restore", format!("{gone}/undo?event={deletion}")),
        ("erased", office.url(&format!("/audit/person/{person}"))),
        ("no-such-event", office.url("/audit/causation/00000000-0000-7000-8000-000000000000")),
        ("change", office.url(&format!("/audit/{change}"))),
        ("as-of", format!("{record}?as_of={position}")),
        ("before", format!("{record}?as_of=0")),
        ("compare", format!("{record}/compare")),
        ("undo", format!("{record}/undo?event={event}")),
        ("undo-to", format!("{record}/undo?to={position}")),
        ("causation", office.url(&format!("/audit/causation/{event}"))),
        ("refusals", office.url("/audit/refusals")),
        ("missing", office.url("/audit/lp/4711")),
    ];
    for (name, url) in pages {
        for (scheme, width) in LOOKS {
            browser.metrics(width).await;
            browser.media("screen", scheme).await;
            browser.open(&url).await;
            browser.until("times are local", "!document.querySelector('time[data-show]')").await;
            assert_eq!(browser.violations().await, Vec::<String>::new(), "{name} {scheme} {width}");
            assert_eq!(browser.ask(OVERFLOW).await, json!(0), "{name} is wider than {width}");
            browser.shoot(&format!("{name}-{scheme}-{width}")).await;
        }
    }
    browser.metrics(1200).await;
    browser.open(&office.url("/audit")).await;
    browser.media("screen", "light").await;
    let light = browser.computed("body", "background-color").await;
    browser.media("screen", "dark").await;
    assert_ne!(browser.computed("body", "background-color").await, light);
    browser.media("print", "light").await;
    assert_eq!(browser.computed(".filters", "display").await, "none");
    assert_eq!(browser.computed("nav ul", "display").await, "none");
    assert_ne!(browser.computed(".entry .said", "display").await, "none");
    browser.shoot("print").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_filters_opens_details_and_takes_filters_away_again() {
    let office = Office::new().await;
    let browser = Browser::start(1200).await;
    browser.open(&office.url("/audit")).await;
    let all = browser.count(".entry").await;
    assert!(
        browser
            .text("#timeline")
            .await
            .contains("Interest of Afore XXI moved from meeting to due_diligence for Fund III")
    );
    // Old and new are elements of their own, so that they are told apart by more than colour.
    let highlighted = "return [...document.querySelectorAll('.said')].find(said => said.innerText.includes('due_diligence')).querySelector('del').innerText";
    assert_eq!(browser.ask(highlighted).await, json!("meeting"));

    browser
        .client
        .find(Locator::Css("#f-kind"))
        .await
        .unwrap()
        .select_by_value("note")
        .await
        .unwrap();
    browser
        .until(
            "only notes are shown",
            "location.search === '?kind=note' && document.querySelector('.chips')",
        )
        .await;
    let notes = browser.count(".entry").await;
    assert!(0 < notes && notes < all, "{notes} of {all}");

    browser.press(".entry details summary").await;
    let details = browser.text(".entry details[open] .facts").await;
    for word in ["anonymous", "Recorded", "Position"] {
        assert!(details.contains(word), "{word}: {details}");
    }
    browser.press(".chips a").await;
    browser
        .until("the filter is gone", "location.search === '' && !document.querySelector('.chips')")
        .await;
    assert_eq!(browser.count(".entry").await, all);

    browser.open(&office.url("/audit?colour=red&kind=lp")).await;
    assert!(browser.text("[role=alert]").await.contains("There is no filter of this name"));
    assert_eq!(browser.count(".entry").await, 0, "an unknown filter must not show everything");
    browser.press("[role=alert] a").await;
    browser
        .until(
            "the known filter is kept",
            "location.search === '?kind=lp' && document.querySelector('.entry')",
        )
        .await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_changes_are_on_further_pages_each_once() {
    let office = Office::new().await;
    for number in 0..60 {
        office.revise(json!({"advisor": format!("Advisor {number}")})).await;
    }
    let browser = Browser::start(1000).await;
    browser.open(&office.record()).await;
    let ids = "return [...document.querySelectorAll('.entry')].map(entry => entry.id)";
    let first = browser.ask(ids).await;
    assert_eq!(first.as_array().unwrap().len(), 50);
    browser.press("a[rel=next]").await;
    browser
        .until(
            "older changes are shown",
            "location.search.includes('cursor=') && !document.querySelector('a[rel=next]')",
        )
        .await;
    let second = browser.ask(ids).await;
    let of_lp: i64 = sqlx::query_scalar(
        "select count(*) from events where aggregate_type = 'lp' and aggregate_id = $1",
    )
    .bind(office.lp.to_string())
    .fetch_one(&office.api.db.pool)
    .await
    .unwrap();
    let mut all: Vec<String> = [first, second]
        .iter()
        .flat_map(|ids| ids.as_array().unwrap().clone())
        .map(|id| id.as_str().unwrap().to_owned())
        .collect();
    all.sort();
    all.dedup();
    assert_eq!(i64::try_from(all.len()).unwrap(), of_lp);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_goes_back_in_time_compares_and_undoes_with_the_keyboard_alone() {
    let office = Office::new().await;
    let browser = Browser::start(1200).await;
    browser.open(&office.record()).await;
    let body = browser.client.find(Locator::Css("body")).await.unwrap();
    body.send_keys(&Key::Tab.to_string()).await.unwrap();
    assert_eq!(browser.ask("return document.activeElement.className").await, json!("skip"));
    let outline = browser.ask("return getComputedStyle(document.activeElement).outlineStyle").await;
    assert_ne!(outline, json!("none"), "focus is visible");
    // The slider, moved by keys, back to the first change.
    let slider = browser.client.find(Locator::Css("#change")).await.unwrap();
    slider.send_keys(&Key::Home.to_string()).await.unwrap();
    browser
        .until(
            "the record is shown as it was",
            "location.search === '?change=1' && document.querySelector('#then')",
        )
        .await;
    let differing =
        "return [...document.querySelectorAll('tr.differs')].map(row => row.innerText).join('|')";
    let told = browser.ask(differing).await.to_string();
    assert!(told.contains("Priority") && told.contains("differs"), "{told}");

    browser.open(&format!("{}/compare", office.record())).await;
    assert!(browser.text("table").await.contains("Monterrey"));
    let choice = browser.client.find(Locator::Css("#to")).await.unwrap();
    choice.select_by_index(1).await.unwrap();
    browser
        .client
        .find(Locator::Css("form .primary"))
        .await
        .unwrap()
        .send_keys(&Key::Enter.to_string())
        .await
        .unwrap();
    browser.until("two other points are compared", "location.search.includes('to=')").await;
    assert!(!browser.text("table").await.contains("Monterrey"), "the last change is not in it");

    // Undo the newest change: the preview shows it, nothing happens before it is confirmed.
    browser.open(&office.record()).await;
    let count = "select count(*) from events";
    let before: i64 = sqlx::query_scalar(count).fetch_one(&office.api.db.pool).await.unwrap();
    let link = "const link = document.querySelector('a[href*=\"/undo?event=\"]'); link.closest('details').open = true; link.focus()";
    browser.ask(link).await;
    let focused = browser.client.active_element().await.unwrap();
    focused.send_keys(&Key::Enter.to_string()).await.unwrap();
    browser.until("the preview is shown", "location.pathname.endsWith('/undo')").await;
    assert!(browser.text(".box").await.contains("Monterrey"));
    assert_eq!(
        sqlx::query_scalar::<_, i64>(count).fetch_one(&office.api.db.pool).await.unwrap(),
        before
    );
    browser
        .client
        .find(Locator::Css("form .primary"))
        .await
        .unwrap()
        .send_keys(&Key::Enter.to_string())
        .await
        .unwrap();
    browser.until("it is undone", "document.querySelector('.notice.good')").await;
    let lp = office.api.read(&format!("/lps/{}", office.lp)).await;
    assert_eq!((&lp["location"], &lp["priority"]), (&json!("Mexico City"), &json!("A")));
    assert!(
        sqlx::query_scalar::<_, i64>(count).fetch_one(&office.api.db.pool).await.unwrap() > before
    );
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_record_comes_back_from_its_own_page() {
    let office = Office::new().await;
    let lp = format!("/lps/{}", office.lp);
    office.api.delete(&lp).await.expect(200, "deleted");
    let browser = Browser::start(1200).await;
    browser.open(&office.record()).await;
    assert!(browser.text(".notice").await.contains("and can be restored"));
    browser.press(".notice a.button").await;
    browser.until("the preview is shown", "location.pathname.endsWith('/undo')").await;
    assert_eq!(office.api.get(&lp).await.status, 404, "nothing has happened yet");
    browser.press("form .primary").await;
    browser.until("it is restored", "document.querySelector('.notice.good')").await;
    assert_eq!(office.api.read(&lp).await["location"], "Monterrey");
    assert!(!browser.text("main").await.contains("can be restored"));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_changed_since_is_listed_before_it_is_undone_anyway() {
    let office = Office::new().await;
    let earlier = office.revise(json!({"location": "Puebla"})).await;
    office.revise(json!({"location": "Tijuana"})).await;
    let event: String = sqlx::query_scalar("select event_id::text from events where position = $1")
        .bind(earlier)
        .fetch_one(&office.api.db.pool)
        .await
        .unwrap();
    let browser = Browser::start(1200).await;
    browser.open(&format!("{}/undo?event={event}", office.record())).await;
    let notice = browser.text(".notice").await;
    assert!(notice.contains("Puebla") && notice.contains("Tijuana"), "{notice}");
    // Somebody else is quicker: what is confirmed is only what was shown.
    office.revise(json!({"location": "Cancún"})).await;
    browser.press("form .primary").await;
    browser.until("it is shown again", "document.querySelector('[role=alert]')").await;
    assert!(browser.text("[role=alert]").await.contains("has changed since you looked"));
    assert_eq!(office.api.read(&format!("/lps/{}", office.lp)).await["location"], "Cancún");
    assert_eq!(browser.text("form .primary").await, "Go on anyway");
    browser.press("form .primary").await;
    browser.until("it is undone", "document.querySelector('.notice.good')").await;
    assert_eq!(office.api.read(&format!("/lps/{}", office.lp)).await["location"], "Monterrey");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_live_timeline_shows_what_another_client_writes() {
    let office = Office::new().await;
    let browser = Browser::start(1200).await;
    browser.open(&office.url("/audit")).await;
    browser.press("#live").await;
    browser
        .until(
            "the page listens",
            "document.querySelector('#live-status').textContent === 'Waiting for changes'",
        )
        .await;
    browser.press(".entry details summary").await;
    let opened = browser.ask("return document.querySelector('.entry details[open]').id").await;
    let answer = Client::new()
        .post(office.url("/lps"))
        .json(&json!({"name": "Inbursa"}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    browser
        .until(
            "the new LP is shown",
            "document.querySelector('#timeline').innerText.includes('Inbursa')",
        )
        .await;
    browser
        .until(
            "the status says so",
            "document.querySelector('#live-status').textContent.includes('just now')",
        )
        .await;
    assert_eq!(
        browser.ask("return document.querySelector('#live').getAttribute('aria-pressed')").await,
        json!("true")
    );
    assert_eq!(
        browser.ask("return document.querySelector('.entry details[open]').id").await,
        opened,
        "what was opened stays open"
    );
    // Once more: the page goes on listening.
    let answer = Client::new()
        .post(office.url("/lps"))
        .json(&json!({"name": "Coppel"}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    browser
        .until(
            "the next one is shown",
            "document.querySelector('#timeline').innerText.includes('Coppel')",
        )
        .await;
    browser.close().await;
}

#[tokio::test]
async fn assets_may_be_kept_for_good_and_pages_run_nothing_inline() {
    let office = Office::new().await;
    let client = Client::new();
    let page = client.get(office.url("/audit")).header("accept", "text/html").send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    let text = page.text().await.unwrap();
    assert!(!text.contains("style=\"") && !text.contains("onclick"));
    let paths: Vec<&str> =
        text.split('"').filter(|part| part.starts_with("/audit/assets/")).collect();
    assert_eq!(paths.len(), 3);
    for path in paths {
        let asset = client.get(office.url(path)).send().await.unwrap();
        assert_eq!(asset.status(), 200);
        assert!(asset.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    }
    assert_eq!(
        client.get(office.url("/audit/assets/audit.css")).send().await.unwrap().status(),
        404
    );
}

/// What a browser gets for an address of this server: the status and the page.
pub async fn page(api: &Api, uri: &str) -> (u16, String) {
    let request = Request::get(uri).header("host", "localhost").header("accept", "text/html");
    let answer = api.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn a_huge_note_makes_no_huge_page_and_can_be_seen_whole() {
    let api = Api::new().await;
    let text = "They like the strategy a lot. ".repeat(200_000);
    let note = api.made("notes", json!({"name": "Lunch", "raw_notes": text})).await;
    let changed = text.replacen("strategy", "people", 1);
    let put = api.put(&format!("/notes/{note}"), json!({"raw_notes": changed})).await;
    let position = put.position();
    let record = format!("/audit/note/{note}");
    for uri in [
        "/audit".to_owned(),
        record.clone(),
        format!("{record}?as_of={}", position - 1),
        format!("{record}/compare"),
        format!("{record}/changes/{position}"),
        format!("{record}/changes/{}", position - 1),
        format!("{record}/undo?to={}", position - 1),
    ] {
        let (status, html) = page(&api, &uri).await;
        assert_eq!(status, 200, "{uri}");
        assert!(html.len() < 100_000, "{uri}: {} bytes", html.len());
    }
    let (_, html) = page(&api, "/audit").await;
    assert!(html.contains("… and 5,999,700 more characters"), "{html}");
    assert!(html.contains(&format!("{record}/changes/{position}")), "it leads to the change");
    let (_, html) = page(&api, &format!("{record}/changes/{position}")).await;
    assert!(html.contains("<del>strategy</del>") && html.contains("<ins>people</ins>"), "{html}");
    let links = html
        .split('"')
        .filter(|part| part.contains("/text?"))
        .map(|link| link.replace("&amp;", "&"));
    let links: Vec<String> = links.collect();
    assert_eq!(links.len(), 2, "{html}");
    for (link, whole) in links.iter().zip([&text, &changed]) {
        let (status, found) = page(&api, link).await;
        assert_eq!((status, found.len()), (200, whole.len()), "{link}");
        assert!(found == *whole, "{link}");
    }
    let history = api.read(&format!("/notes/{note}/history")).await;
    assert_eq!(history["entries"][0]["changes"][0]["to"], changed, "the API tells it whole");
}

#[tokio::test]
async fn many_versions_of_a_long_note_make_no_huge_page() {
    let api = Api::new().await;
    let words: Vec<String> = (0..3_000).map(|number| format!("word{number}")).collect();
    let note = api.made("notes", json!({"name": "Plan", "raw_notes": words.join(" ")})).await;
    for version in 0..50 {
        let mut words = words.clone();
        words[2_500] = format!("version{version}");
        let body = json!({"raw_notes": words.join(" ")});
        api.put(&format!("/notes/{note}"), body).await.expect(200, "revised");
    }
    let (_, html) = page(&api, &format!("/audit/note/{note}")).await;
    assert!(html.len() < 300_000, "{} bytes", html.len());
    assert!(html.contains("word2499 <del>version48</del><ins>version49</ins> word2501"), "{html}");
    assert!(html.contains("See all of it"), "{html}");
}

#[tokio::test]
async fn a_change_or_a_text_that_is_not_there_is_not_found() {
    let api = Api::new().await;
    let (lp, other) = (json!({"name": "Sura"}), json!({"name": "Coppel"}));
    let (lp, other) = (api.made("lps", lp).await, api.made("lps", other).await);
    for uri in [
        format!("/audit/lp/{lp}/changes/2"),
        format!("/audit/lp/{other}/changes/1"),
        format!("/audit/lp/{lp}/changes/x"),
        format!("/audit/lp/{lp}/text?field=location&at=1"),
        format!("/audit/lp/{lp}/text?field=name&at=0"),
        "/audit/lp/4711/changes/1".to_owned(),
    ] {
        assert_eq!(page(&api, &uri).await.0, 404, "{uri}");
    }
    assert_eq!(
        page(&api, &format!("/audit/lp/{lp}/text?field=name&at=1")).await,
        (200, "Sura".to_owned())
    );
}

#[tokio::test]
async fn names_and_values_begin_a_sentence_as_they_are_written() {
    let api = Api::new().await;
    let gp = api.made("gps", json!({"name": "iCapital de México"})).await;
    api.put(&format!("/gps/{gp}"), json!({"name": "eFront"})).await.expect(200, "renamed");
    api.delete(&format!("/gps/{gp}")).await.expect(200, "deleted");
    let history = api.read(&format!("/gps/{gp}/history")).await;
    let told: Vec<&str> = history["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["sentence"].as_str().unwrap())
        .collect();
    assert_eq!(
        told,
        ["eFront was deleted", "iCapital de México was renamed to eFront", "eFront was added"]
    );
    let (_, html) = page(&api, &format!("/audit/gp/{gp}")).await;
    assert!(html.contains("iCapital de México</del> was renamed to "), "{html}");
    assert!(html.contains(">eFront</a> was deleted") && !html.contains("EFront"), "{html}");
}

#[tokio::test]
async fn values_of_blanks_alone_can_be_seen() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Sura", "location": "", "advisor": "Mercer"})).await;
    let told = async |body: Value| {
        api.put(&format!("/lps/{lp}"), body).await.expect(200, "revised");
        page(&api, &format!("/audit/lp/{lp}")).await.1
    };
    let html = told(json!({"location": "  "})).await;
    assert!(
        html.contains("moved from <del>an empty text</del> to <ins>two spaces</ins>"),
        "{html}"
    );
    let html = told(json!({"location": "\n\n", "advisor": " "})).await;
    assert!(html.contains("two blank characters") && html.contains("one space"), "{html}");
}

#[tokio::test]
async fn links_that_come_and_go_are_told_in_words() {
    let api = Api::new().await;
    let note = api.made("notes", json!({"name": "Call"})).await;
    let lp = api.made("lps", json!({"name": "Sura"})).await;
    api.post(&format!("/notes/{note}/lps/{lp}"), json!({})).await.expect(200, "link");
    api.delete(&format!("/notes/{note}/lps/{lp}")).await.expect(200, "unlink");
    let change = async |event: &str| {
        let position = sqlx::query_scalar("select position from events where event_type = $1");
        let position: i64 = position.bind(event).fetch_one(&api.db.pool).await.unwrap();
        page(&api, &format!("/audit/note/{note}/changes/{position}")).await.1
    };
    for (event, word) in [("Linked", "added"), ("Unlinked", "removed")] {
        let html = change(event).await;
        assert!(html.contains(&format!("Sura</a></dt><dd>{word}</dd>")), "{html}");
        assert!(!html.contains("nothing"), "{html}");
    }
}

#[tokio::test]
async fn a_browser_that_opens_the_bare_address_comes_to_the_history() {
    let api = Api::new().await;
    let answer = async |method: Method, accept: &str| {
        let request = Request::builder().method(method).uri("/").header("host", "localhost");
        let request = request.header("accept", accept).body(Body::empty()).unwrap();
        let answer = api.router.clone().oneshot(request).await.unwrap();
        let to = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
        (answer.status().as_u16(), to)
    };
    let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
    assert_eq!(answer(Method::GET, browser).await, (303, Some("/audit".to_owned())));
    assert_eq!(answer(Method::GET, "application/json").await, (404, None));
    assert_eq!(answer(Method::GET, "*/*").await, (404, None));
    for method in [Method::HEAD, Method::POST] {
        assert_eq!(answer(method, browser).await, (404, None));
    }
}

#[tokio::test]
async fn whoever_misspells_a_field_or_an_event_is_told_beside_the_form() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Sura"})).await;
    for (uri, told) in [
        ("/audit?field=Priority".to_owned(), "There is no such field; similar are priority."),
        ("/audit?event=prioritised".to_owned(), "There is no such event; similar are Prioritised."),
        (format!("/audit/lp/{lp}?field=xyzzy"), "There is no such field; there are advisor, "),
    ] {
        let (status, html) = page(&api, &uri).await;
        assert_eq!(status, 400, "{uri}");
        assert!(html.contains(told) && html.contains("id=\"f-field\""), "{uri}: {html}");
    }
    let (_, html) = page(&api, &format!("/audit/lp/{lp}")).await;
    assert!(html.contains("<option value=\"aum_billions\">AUM in US$ billions</option>"), "{html}");
    assert!(
        html.contains("<option value=\"TicketResized\">") && !html.contains("Retitled"),
        "{html}"
    );
}

#[tokio::test]
async fn where_a_change_came_from_leads_to_all_else_from_there() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Sura"})).await;
    let uri = format!("/lps/{lp}");
    let mut revise = contract::json_request(Method::PUT, &uri, &json!({"priority": "A"}));
    revise.headers_mut().insert("user-agent", "loader/2 (a test)".parse().unwrap());
    let from: std::net::SocketAddr = "192.0.2.7:1234".parse().unwrap();
    revise.extensions_mut().insert(axum::extract::ConnectInfo(from));
    api.send(revise).await.expect(200, "revised");
    let (_, html) = page(&api, "/audit").await;
    for (filter, says) in [
        ("address=192.0.2.7", "Address: 192.0.2.7"),
        ("program=loader/2%20%28a%20test%29", "Program: loader/2 (a test)"),
        ("address=192.0.2.0/24", "Address: 192.0.2.0/24"),
    ] {
        let is_linked = html.contains(&format!("<a href=\"/audit?{filter}\">"));
        assert_eq!(is_linked, filter != "address=192.0.2.0/24", "{filter}: {html}");
        for of in ["/audit".to_owned(), format!("/audit/lp/{lp}")] {
            let (status, html) = page(&api, &format!("{of}?{filter}")).await;
            assert_eq!(status, 200, "{html}");
            assert_eq!(html.matches("class=\"entry\"").count(), 1, "{filter}: {html}");
            assert!(html.contains(says) && html.contains("<ins>A</ins>"), "{filter}: {html}");
        }
    }
    let (status, html) = page(&api, "/audit?address=192.0.2").await;
    let told = "An address is written like 10.1.2.3, a network like 10.1.0.0/16";
    assert!(status == 400 && html.contains(told), "{html}");
    assert!(html.contains("name=\"address\" type=\"text\" value=\"192.0.2\""), "{html}");
}

#[tokio::test]
async fn pages_take_the_filters_that_the_api_takes() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Sura"})).await;
    let note = api.made("notes", json!({"name": "Lunch"})).await;
    api.post(&format!("/notes/{note}/lps/{lp}"), json!({})).await.expect(200, "link");
    for number in 0..60 {
        let body = json!({"advisor": format!("Advisor {number}")});
        api.put(&format!("/lps/{lp}"), body).await.expect(200, "revised");
    }
    let entries = async |uri: String| {
        let (status, html) = page(&api, &uri).await;
        assert_eq!(status, 200, "{uri}: {html}");
        html.matches("class=\"entry\"").count()
    };
    assert_eq!(entries("/audit?limit=500".to_owned()).await, 63);
    assert_eq!(entries("/audit?limit=7".to_owned()).await, 7);
    assert_eq!(entries(format!("/audit/lp/{lp}?limit=500")).await, 61);
    assert_eq!(entries(format!("/audit/lp/{lp}?limit=500&related=true")).await, 62);
    // Where to ask for that, and how it is taken away again.
    let (_, html) = page(&api, &format!("/audit/lp/{lp}")).await;
    assert!(html.contains(r#"<input name="related" type="checkbox" value="true">"#), "{html}");
    let (_, html) = page(&api, &format!("/audit/lp/{lp}?related=true")).await;
    let ticked = r#"<input name="related" type="checkbox" value="true" checked>"#;
    assert!(html.contains(ticked), "{html}");
    assert!(html.contains(&format!("<a href=\"/audit/lp/{lp}\">Also what is about it ")), "{html}");
    assert_eq!(html.matches("name=\"related\"").count(), 1, "{html}");
    let (_, html) = page(&api, &format!("/audit?record=lp/{lp}&related=true")).await;
    assert!(html.contains(r#"<input type="hidden" name="related" value="true">"#), "{html}");
    assert_eq!(page(&api, "/audit?limit=501").await.0, 400);
    let (_, html) = page(&api, "/audit?limit=7").await;
    assert!(html.contains("/audit?limit=7&amp;cursor="), "{html}");

    api.put("/lps/4711", json!({"priority": "A"})).await.expect(404, "no such LP");
    api.post("/lps", json!({})).await.expect(422, "no name");
    let (status, html) = page(&api, "/audit/refusals?status=404").await;
    assert_eq!(status, 200, "{html}");
    assert!(html.contains("Answered with: 404") && html.contains("/lps/4711"), "{html}");
    assert_eq!(html.matches("<th scope=\"row\">").count(), 1, "{html}");
    let (status, html) = page(&api, "/audit/refusals?status=409").await;
    assert!(status == 200 && html.contains("No attempt matches these filters"), "{html}");
    assert_eq!(page(&api, "/audit/refusals?colour=red").await.0, 400);
}

/// How many pixels the text of a select, or of a date with its time, is wider than the room for it.
const TOO_NARROW: &str = "
    const field = document.querySelector(arguments[0]), style = getComputedStyle(field);
    const pen = document.createElement('canvas').getContext('2d');
    pen.font = style.font;
    const texts = field.options ? [...field.options].map(option => option.text) : ['00/00/0000, 00:00 AM'];
    const arrow = 24, room = field.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) - arrow;
    return Math.max(0, ...texts.map(text => Math.ceil(pen.measureText(text).width - room)));";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_are_as_wide_as_what_stands_in_them_and_folded_filters_tell_what_is_set() {
    let office = Office::new().await;
    let browser = Browser::start(1024).await;
    let too_narrow = async |field: &str| {
        let script = TOO_NARROW.replace("arguments[0]", &format!("'{field}'"));
        browser.ask(&script).await
    };
    for width in [1024, 768, 1200] {
        browser.metrics(width).await;
        browser.open(&office.record()).await;
        assert_eq!(too_narrow("#as_of").await, json!(0), "{width}");
        browser.shoot(&format!("record-{width}")).await;
        browser.open(&format!("{}/compare", office.record())).await;
        for field in ["#from", "#to"] {
            assert_eq!(too_narrow(field).await, json!(0), "{field} {width}");
        }
        browser.shoot(&format!("compare-{width}")).await;
    }
    browser.metrics(360).await;
    browser.open(&office.url("/audit?kind=lp&actor=anonymous")).await;
    browser.until("the filters are folded", "!document.querySelector('#filters').open").await;
    assert_eq!(browser.text("#filters summary").await, "Filter Kind: lp, Who: anonymous");
    browser.until("live is offered", "!document.querySelector('#live').hidden").await;
    let left = "const left = (field) => document.querySelector(field).getBoundingClientRect().left;
        return Math.round(left('#live') - left('.bar'))";
    assert_eq!(browser.ask(left).await, json!(0));
    browser.shoot("filtered-360").await;
    browser.metrics(1200).await;
    browser.open(&office.url("/audit?kind=lp")).await;
    browser
        .client
        .find(Locator::Css("#f-kind"))
        .await
        .unwrap()
        .select_by_value("fund")
        .await
        .unwrap();
    browser
        .until(
            "the line follows",
            "document.querySelector('#filters-told').textContent === 'Kind: fund'",
        )
        .await;
    browser.close().await;
}
