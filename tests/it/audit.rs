//! What happened across all records is found by every filter, page by page, and sent whole as CSV and NDJSON.

mod arrivals;
mod imports;
mod many;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use chrono::{DateTime, Utc};
use domain::Event;
use domain::note::RecordingCommand;
use domain::telling::known;
use projections::log::{Entry, LogReader, PageLimit, Selection};
use serde_json::{Value, json};

use crate::contract::Api;
use crate::harness::{keys, looking_at_read_models};
use crate::recordings::{attach, keep, process};

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

const WORDS: [&str; 6] = ["alba", "bruno", "cobre", "dorado", "escala", "faro"];

/// What changes come from besides, and networks with those of the addresses that are of them.
const ADDRESSES: [&str; 7] = [
    "10.1.2.3",
    "10.1.9.9",
    "10.200.0.1",
    "::ffff:10.1.2.3",
    "2001:db8::1",
    "2001:db8:0:1::5",
    "not an address",
];
const NETWORKS: [(&str, &[usize]); 12] = [
    ("10.1.2.3", &[0, 3]),
    ("::ffff:10.1.9.9", &[1]),
    ("10.1.2.0/24", &[0, 3]),
    ("10.1.0.0/20", &[0, 1, 3]),
    ("10.1.2.3/30", &[0, 3]),
    ("10.0.0.0/8", &[0, 1, 2, 3]),
    ("0.0.0.0/0", &[0, 1, 2, 3]),
    ("192.0.2.0/24", &[]),
    ("2001:DB8::1", &[4]),
    ("2001:db8::/32", &[4, 5]),
    ("2001:db8:0:1::/64", &[5]),
    ("2001:db8::/96", &[4]),
];
const PROGRAMS: [&str; 2] = ["curl/8.5.0", "Firefox/132.0 (X11)"];

/// A log of all sorts of events.
async fn random_log(api: &Api, dice: &mut Dice) {
    let (mut lps, mut funds, mut notes, mut people) = (vec![], vec![], vec![], vec![]);
    let mut trips = vec![];
    for at in 0..220 {
        let word = format!("{} {}", dice.one_of(&WORDS), dice.one_of(&WORDS));
        let day = format!("2025-03-0{}", dice.below(3) + 1);
        match if at < 10 { at % 5 } else { dice.below(14) } {
            0 => lps.push(api.made("lps", json!({"name": word})).await),
            1 => funds.push(api.made("funds", json!({"fund_name": word})).await),
            2 => notes.push(api.made("notes", json!({"name": word, "raw_notes": word})).await),
            3 => people.push(api.made("people", json!({"name": word})).await),
            4 => {
                let body = json!({"name": word, "fund_id": dice.one_of(&funds), "arrival": day});
                trips.push(api.made("roadshows", body).await);
            }
            5 => {
                let uri = format!("/roadshows/{}", dice.one_of(&trips));
                let body = match dice.below(4) {
                    0 => json!({"fund_id": dice.one_of(&funds)}),
                    1 => json!({"name": word}),
                    _ => json!({"arrival": day}),
                };
                api.put(&uri, body).await.expect(200, "put");
            }
            6 => {
                let uri = format!("/funds/{}", dice.one_of(&funds));
                api.put(&uri, json!({"roadshow_date": day})).await.expect(200, "put");
            }
            7 => {
                let uri = format!("/lps/{}", dice.one_of(&lps));
                api.put(&uri, json!({"priority": dice.one_of(&WORDS)})).await.expect(200, "put");
            }
            8 => {
                let uri = format!("/notes/{}/lps/{}", dice.one_of(&notes), dice.one_of(&lps));
                api.post(&uri, json!({})).await.expect(200, "link");
            }
            9 => {
                let (fund, lp) = (dice.one_of(&funds), dice.one_of(&lps));
                let uri =
                    format!("/funds/{fund}/lps/{lp}/interest?interest={}", dice.one_of(&WORDS));
                api.put(&uri, json!({})).await.expect(200, "interest");
            }
            10 => {
                let uri = format!("/people/{}", dice.one_of(&people));
                api.put(&uri, json!({"name": word, "role": word})).await.expect(200, "put");
            }
            _ => {
                let uri = format!("/funds/{}", dice.one_of(&funds));
                api.put(&uri, json!({"strategy": word})).await.expect(200, "put");
            }
        }
    }
    // Other actors and sources than the API has yet.
    let origins = format!(
        "update events set metadata = json_build_object('source', 'api', 'client', ('{{{}}}'::text[])[1 + position % 7],
                                                        'user_agent', ('{{{}}}'::text[])[1 + position % 2])
         where position % 4 <> 0",
        ADDRESSES.join(","),
        PROGRAMS.join(",")
    );
    for statement in [
        "update events set actor = 'ana' where position % 3 = 0",
        &origins,
        "update events set metadata = '{\"source\": \"import:x.db\"}' where position % 5 = 0",
    ] {
        crate::harness::tamper(&api.db.pool, statement).await;
    }
    crate::rebuild::rebuild(&api.db, &["audit"]).await.unwrap();
    let mut checkpoints = api.backend.runner().checkpoints().clone();
    checkpoints.wait_for(|all| all["audit"].revision > 0).await.unwrap();
    api.backend.settle().await.unwrap();
}

async fn log(api: &Api) -> Vec<Entry> {
    let mut connection = api.db.pool.acquire().await.unwrap();
    let (reader, everything) = (LogReader::new(keys()), Selection::default());
    let limit = PageLimit { events: 10_000 };
    reader.entries_after(&mut connection, 0, limit, &everything).await.unwrap().entries
}

/// One filter: as it stands in an address, and which entries pass it; or, of roadshows, as something that they did to a fund.
type Filter = (String, Box<dyn Fn(&Entry, Option<&str>) -> bool>);

/// The fund that only entries of it are wanted of.
fn fund_of(query: &str) -> Option<&str> {
    query.split('&').find_map(|part| part.strip_prefix("record=fund/"))
}

fn event(entry: &Entry) -> &Event {
    entry.event.as_ref().unwrap()
}

fn said(value: &Value, words: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => words.extend(text.split(' ').map(str::to_owned)),
        Value::Array(values) => values.iter().for_each(|value| said(value, words)),
        Value::Object(members) => members.values().for_each(|value| said(value, words)),
        _ => {}
    }
}

/// What those that sentences call by a name alone are called in the end.
type Called = Rc<BTreeMap<(String, String), String>>;

fn called(entries: &[Entry]) -> Called {
    let mut names = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.stream.kind != "note") {
        let content = event(entry).content().unwrap();
        let name = content.get("name").or_else(|| content.get("fund_name"));
        if let (Some(name), "Registered" | "Renamed") = (name, entry.event_type.as_str()) {
            let stream = (entry.stream.kind.clone(), entry.stream.id.clone());
            names.insert(stream, name.as_str().unwrap().to_owned());
        }
    }
    Rc::new(names)
}

/// Whether it happened to, or is about, what has this word in its name.
fn speaks_of(entry: &Entry, fund: Option<&str>, word: &str, names: &Called) -> bool {
    let about = event(entry).references().into_iter();
    let about = about.map(|record| (record.kind().to_string(), record.id().to_string()));
    let own = (entry.stream.kind.clone(), entry.stream.id.clone());
    let fund = fund.map(|id| ("fund".to_owned(), id.to_owned()));
    let mut all = about.chain([own]).chain(fund);
    all.any(|of| names.get(&of).is_some_and(|name| name.split(' ').any(|part| part == word)))
}

fn encoded(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

/// A filter that at least this entry passes, or nearly.
fn filter(which: usize, like: &Entry, dice: &mut Dice, names: &Called) -> Filter {
    let (kind, id) = (like.stream.kind.clone(), like.stream.id.clone());
    let time = like.envelope.recorded_at;
    match which {
        0 => {
            let actor = like.envelope.actor.clone();
            (format!("actor={actor}"), Box::new(move |entry, _| entry.envelope.actor == actor))
        }
        1 => (format!("kind={kind}"), Box::new(move |entry, _| entry.stream.kind == kind)),
        2 => {
            let is_own = move |entry: &Entry, fund: Option<&str>| {
                fund.is_some() || entry.stream.kind == kind && entry.stream.id == id
            };
            (format!("record={}/{}", like.stream.kind, like.stream.id), Box::new(is_own))
        }
        3 => {
            let record = domain::Kind::parse(&kind).unwrap().record(id.parse().unwrap());
            let about = move |entry: &Entry, fund: Option<&str>| {
                let is_own = fund.is_some() || entry.stream.kind == kind && entry.stream.id == id;
                is_own || event(entry).references().contains(&record)
            };
            (format!("record={}/{}&related=true", record.kind(), record.id()), Box::new(about))
        }
        4 => {
            let name = like.event_type.clone();
            (format!("event={name}"), Box::new(move |entry, _| entry.event_type == name))
        }
        5 => {
            let touched = event(like).touched();
            let field = if touched.is_empty() { "name" } else { *dice.one_of(&touched) };
            (
                format!("field={field}"),
                Box::new(move |entry, fund| match fund {
                    Some(_) => field == "roadshow_date",
                    None => event(entry).touched().contains(&field),
                }),
            )
        }
        6 => {
            let passes = move |entry: &Entry, _: Option<&str>| entry.envelope.recorded_at >= time;
            (format!("from={}", encoded(time)), Box::new(passes))
        }
        7 => {
            let passes = move |entry: &Entry, _: Option<&str>| entry.envelope.recorded_at < time;
            (format!("to={}", encoded(time)), Box::new(passes))
        }
        8 => {
            let source = like.envelope.source.clone();
            let named = source.clone().unwrap();
            (format!("source={named}"), Box::new(move |entry, _| entry.envelope.source == source))
        }
        9 => {
            let id = like.envelope.correlation_id;
            (
                format!("correlation={id}"),
                Box::new(move |entry, _| entry.envelope.correlation_id == id),
            )
        }
        10 => {
            let (network, addresses) = *dice.one_of(&NETWORKS);
            let passes = move |entry: &Entry, _: Option<&str>| {
                let client = entry.envelope.client.as_deref();
                addresses.iter().any(|at| client == Some(ADDRESSES[*at]))
            };
            (format!("address={network}"), Box::new(passes))
        }
        11 => {
            let program = *dice.one_of(&PROGRAMS);
            let passes = move |entry: &Entry, _: Option<&str>| {
                entry.envelope.user_agent.as_deref() == Some(program)
            };
            (format!("program={}", program.replace(' ', "%20")), Box::new(passes))
        }
        _ => {
            let (word, names) = (*dice.one_of(&WORDS), names.clone());
            let passes = move |entry: &Entry, fund: Option<&str>| {
                let mut words = BTreeSet::new();
                said(&event(entry).content().unwrap(), &mut words);
                words.contains(word) || speaks_of(entry, fund, word, &names)
            };
            (format!("q={}", word.to_uppercase()), Box::new(passes))
        }
    }
}

const FILTERS: usize = 13;

/// Where what passes all of these filters stands, newest first; of a fund also what a roadshow did to it, as that.
fn passing(
    entries: &[Entry],
    brought: &BTreeMap<String, BTreeSet<i64>>,
    filters: &[&Filter],
    fund: Option<&str>,
) -> Vec<i64> {
    let pass =
        |entry: &Entry, fund: Option<&str>| filters.iter().all(|(_, passes)| passes(entry, fund));
    let was_brought = |entry: &Entry, fund: &str| {
        brought.get(fund).is_some_and(|brought| brought.contains(&entry.position))
    };
    let passes = |entry: &&Entry| {
        pass(entry, None)
            || fund.is_some_and(|fund| was_brought(entry, fund) && pass(entry, Some(fund)))
    };
    entries.iter().rev().filter(passes).map(|entry| entry.position).collect()
}

fn positions(page: &Value) -> Vec<i64> {
    let entries = page["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["position"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_combination_of_filters_finds_what_passes_all_of_them() {
    let api = Api::new().await;
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    random_log(&api, &mut dice).await;
    let entries = log(&api).await;
    assert!(entries.len() > 100, "{}", entries.len());
    let brought = arrivals::brought(&entries);
    assert!(brought.values().flatten().count() > 20, "{brought:?}");
    let (mut found, mut found_brought, names) = (0, 0, called(&entries));
    for round in 0..300 {
        // Each alone, then up to three at once; `record` and `related` speak of the same.
        let like = &entries[dice.below(entries.len())];
        let wanted: BTreeSet<usize> = match round < 4 * FILTERS {
            true => [round % FILTERS].into(),
            false => (0..3).map(|_| dice.below(FILTERS)).collect(),
        };
        if wanted.contains(&2) && wanted.contains(&3) {
            continue;
        }
        let filters: Vec<Filter> =
            wanted.into_iter().map(|which| filter(which, like, &mut dice, &names)).collect();
        let query: Vec<&str> = filters.iter().map(|(query, _)| query.as_str()).collect();
        let query = query.join("&");
        let was_brought = |entry: &Entry, fund: &str| {
            brought.get(fund).is_some_and(|brought| brought.contains(&entry.position))
        };
        let all: Vec<&Filter> = filters.iter().collect();
        let expected = passing(&entries, &brought, &all, fund_of(&query));
        found_brought += expected.len() - passing(&entries, &brought, &all, None).len();
        found += expected.len();
        let answer = api.read(&format!("/audit?limit=500&{query}")).await;
        assert_eq!(positions(&answer), expected, "{query}");
        // The history of a record takes the same filters, but for those that its address stands for.
        let own: Vec<&Filter> = filters
            .iter()
            .filter(|(part, _)| !part.starts_with("record=") && !part.starts_with("kind="))
            .collect();
        let own_query: Vec<&str> = own.iter().map(|(part, _)| part.as_str()).collect();
        let (kind, id) = (like.stream.kind.as_str(), like.stream.id.as_str());
        let plural = api::history::plural(domain::Kind::parse(kind).unwrap());
        let uri = format!("/{plural}/{id}/history?limit=500&{}", own_query.join("&"));
        if !query.contains("related") {
            let fund = (kind == "fund").then_some(id);
            let passes = |entry: &&Entry| {
                let is_brought = fund.is_some_and(|fund| was_brought(entry, fund));
                (entry.stream == like.stream || is_brought)
                    && own.iter().all(|(_, passes)| passes(entry, fund.filter(|_| is_brought)))
            };
            let expected: Vec<i64> =
                entries.iter().rev().filter(passes).map(|entry| entry.position).collect();
            assert_eq!(positions(&api.read(&uri).await), expected, "{uri}");
        }
    }
    assert!(found > 1_000 && found_brought > 10, "{found}, {found_brought}");
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_neither_gap_nor_repetition_while_others_write() {
    let api = Api::new().await;
    for at in 0..40 {
        api.made("lps", json!({"name": format!("LP {at}")})).await;
    }
    let (mut uri, mut seen) = ("/audit?limit=3".to_owned(), Vec::new());
    loop {
        let (answer, _) =
            tokio::join!(api.get(&uri), api.made("gps", json!({"name": "meanwhile"})));
        let link = answer.header("link").map(str::to_owned);
        let page = answer.expect(200, &uri);
        seen.extend(positions(&page));
        let Some(next) = page["next"].as_i64() else {
            assert_eq!(link, None);
            break;
        };
        assert_eq!(link, Some(format!("</audit?limit=3&cursor={next}>; rel=\"next\"")));
        uri = format!("/audit?limit=3&cursor={next}");
    }
    let first = seen[0];
    let mut all: Vec<i64> = log(&api).await.iter().map(|entry| entry.position).collect();
    all.retain(|position| *position <= first);
    all.reverse();
    assert_eq!(seen, all);
    api.backend.stop().await;
}

/// The cells of CSV, line by line.
pub fn cells(text: &str) -> Vec<Vec<String>> {
    let (mut lines, mut line, mut cell) = (vec![], vec![], String::new());
    let mut letters = text.chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => cell.extend(letters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => line.push(std::mem::take(&mut cell)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                line.push(std::mem::take(&mut cell));
                lines.push(std::mem::take(&mut line));
            }
            letter => cell.push(letter),
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_says_what_the_pages_say() {
    let api = Api::new().await;
    let evil = api.made("lps", json!({"name": "=HYPERLINK(\"x\"),\n1"})).await;
    // More than one page of what is read at once.
    for at in 0..230 {
        let body = json!({"priority": format!("P{at}")});
        api.put(&format!("/lps/{evil}"), body).await.expect(200, "put");
    }
    api.made("gps", json!({"name": "other"})).await;
    for path in ["/audit?kind=lp".to_owned(), format!("/lps/{evil}/history?source=api")] {
        let (mut pages, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = api.read(&format!("{path}&limit=100{cursor}")).await;
            pages.extend(page["entries"].as_array().unwrap().clone());
            let Some(next) = page["next"].as_i64() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(pages.len(), 231, "{path}");
        let answer = api.get(&format!("{path}&format=ndjson")).await;
        assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
        let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines, pages, "{path}");

        let accept = crate::contract::request(axum::http::Method::GET, &path)
            .header("accept", "text/csv")
            .body(axum::body::Body::empty());
        let answer = api.send(accept.unwrap()).await;
        assert!(answer.header("content-type").unwrap().starts_with("text/csv"));
        let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
        let file = api.get(&format!("{path}&format=csv")).await;
        assert_eq!(file.bytes, [b"\xef\xbb\xbf", text.as_bytes()].concat(), "for spreadsheets");
        let lines = cells(&text);
        assert_eq!(lines[0], api::history::export::COLUMNS);
        assert_eq!(lines.len(), 1 + pages.len());
        let column = |name: &str| lines[0].iter().position(|column| column == name).unwrap();
        for (line, entry) in lines[1..].iter().zip(&pages) {
            assert_eq!(line[column("position")], entry["position"].to_string());
            for name in ["event", "event_id", "command_id", "recorded_at", "actor", "source"] {
                assert_eq!(line[column(name)], entry[name].as_str().unwrap(), "{name}");
            }
            // What begins like a formula must not be one.
            assert_eq!(line[column("name")], "'=HYPERLINK(\"x\"),\n1");
            assert!(!line[column("changes")].is_empty());
        }
    }
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_misspelt_is_refused_and_never_ignored() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "x"})).await;
    let own = format!("/lps/{lp}/history");
    for (path, query) in [
        ("/audit", "actr=ana"),
        ("/audit", "kind=company"),
        ("/audit", "from=yesterday"),
        ("/audit", "limit=501"),
        ("/audit", "format=csv&limit=3"),
        ("/audit", "related=true"),
        ("/audit", "field=nonexist"),
        ("/audit", "event=NoSuch&format=csv"),
        ("/audit", "actor=a&actor=b"),
        ("/audit/refusals", "q=x"),
        (own.as_str(), "kind=lp"),
        (own.as_str(), "field=Priority"),
        (own.as_str(), "refused=1"),
        (own.as_str(), "refused=true&format=csv"),
    ] {
        let detail = api.get(&format!("{path}?{query}")).await.expect(400, query)["detail"].take();
        assert!(detail.is_string(), "{query}: {detail}");
    }
    let detail = api.get("/audit?actr=ana").await.expect(400, "unknown")["detail"].take();
    assert!(detail.as_str().unwrap().contains("there are actor, kind, record"), "{detail}");
    let detail = api.get("/audit?event=prioritised").await.expect(400, "unknown")["detail"].take();
    assert!(detail.as_str().unwrap().ends_with("similar are Prioritised"), "{detail}");
    for name in known::all_fields() {
        api.get(&format!("/audit?field={name}&limit=1")).await.expect(200, name);
    }
    for name in known::all_events() {
        api.get(&format!("/audit?event={name}&limit=1")).await.expect(200, name);
    }
    // What no row can hold is simply not there.
    assert_eq!(api.read("/audit?actor=%00").await["entries"], json!([]));
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_searched_is_the_same_after_a_rebuild() {
    let api = Api::new().await;
    let mut dice = Dice(7);
    random_log(&api, &mut dice).await;
    let person = api.made("people", json!({"name": "Quetzalli", "email": "q@x.example"})).await;
    let note = api.made("notes", json!({"name": "Lunch", "raw_notes": "alba"})).await;
    let link = format!("/notes/{note}/participants/{person}");
    api.post(&link, json!({})).await.expect(200, "link");
    let uri = format!("/people/{person}");
    let reason = || json!({"reason": "case 4"});
    api.put(&format!("{uri}/hold"), reason()).await.expect(200, "held");
    let lift = crate::contract::json_request(
        axum::http::Method::DELETE,
        &format!("{uri}/hold"),
        &reason(),
    );
    api.send(lift).await.expect(200, "lifted");
    // Part of it is in the table, part comes in the page that brings the erasure.
    api.backend.settle().await.unwrap();
    api.put(&uri, json!({"name": "Quetzalli X"})).await.expect(200, "renamed");
    api.post(&format!("{uri}/erase"), reason()).await.expect(200, "erased");
    api.backend.settle().await.unwrap();
    let dump = || async {
        let pool = looking_at_read_models(&api.db.pool).await;
        let rows: Vec<String> =
            sqlx::query_scalar("select audit::text from audit order by position")
                .fetch_all(&pool)
                .await
                .unwrap();
        rows
    };
    let live = dump().await;
    assert!(live.len() > 100, "{}", live.len());
    assert!(!live.iter().any(|row| row.contains("quetzalli")));
    crate::rebuild::rebuild(&api.db, &["audit"]).await.unwrap();
    assert_eq!(dump().await, live);
    let report = crate::verify::verify(&api.db).await;
    assert!(report.passed, "{report:?}");
    api.backend.stop().await;
}

#[tokio::test]
async fn a_part_of_what_is_known_finds_only_what_changed_just_that() {
    let api = Api::new().await;
    let note = api.made("notes", json!({"name": "Meeting"})).await;
    let [first, second] =
        [attach(&api.backend.log, note, "a").await, attach(&api.backend.log, note, "b").await];
    process(&api.backend.log, note, second, keep(1, &["We like it."])).await;
    process(&api.backend.log, note, first, RecordingCommand::Cancel).await;
    api.backend.settle().await.unwrap();
    let found = async |uri: String| -> Vec<String> {
        let page = api.read(&uri).await;
        assert_eq!(page["next"], Value::Null, "{uri}");
        let entries = page["entries"].as_array().unwrap().iter();
        entries.map(|entry| entry["event"].as_str().unwrap().to_owned()).collect()
    };
    for history in ["/audit".to_owned(), format!("/notes/{note}/history")] {
        for (field, expected) in [
            (
                format!("recordings.{first}.state"),
                vec!["TranscriptionCancelled", "RecordingAttached"],
            ),
            (format!("recordings.{second}.state"), vec!["Transcribed", "RecordingAttached"]),
            (format!("recordings.{second}.name"), vec!["RecordingAttached"]),
            ("legacy.name".to_owned(), vec![]),
        ] {
            let uri = format!("{history}?limit=2&field={field}");
            assert_eq!(found(uri).await, expected, "{history} {field}");
        }
        let page = api.read(&format!("{history}?limit=1&field=recordings.{first}.state")).await;
        let next = page["next"].as_i64().unwrap();
        let uri = format!("{history}?limit=1&field=recordings.{first}.state&cursor={next}");
        assert_eq!(found(uri).await, ["RecordingAttached"]);
    }
    api.backend.stop().await;
}

#[tokio::test]
async fn a_filter_of_the_live_feed_that_names_nothing_is_no_wish_for_everything() {
    let api = Api::new().await;
    for (query, fault) in [
        ("kind=", "filter at query.kind"),
        ("kind=,", "filter at query.kind"),
        ("record=", "filter at query.record"),
        ("record=&kind=lp", "filter at query.record"),
    ] {
        assert_eq!(api.get(&format!("/events?{query}")).await.faults(), [fault], "{query}");
    }
    api.backend.stop().await;
}

#[tokio::test]
async fn what_the_timeline_says_is_found_by_its_words_names_included() {
    let api = Api::new().await;
    let fund = api.made("funds", json!({"fund_name": "Fondo Núñez III"})).await;
    let lp = api.made("lps", json!({"name": "Afore XXI", "location": "Lima"})).await;
    let other = api.made("lps", json!({"name": "Aforesaid"})).await;
    for (lp, stage) in [(lp, "meeting"), (other, "meeting"), (lp, "commitment")] {
        let uri = format!("/funds/{fund}/lps/{lp}/interest?interest={stage}");
        api.put(&uri, json!({})).await.expect(200, stage);
    }
    api.put(&format!("/lps/{lp}"), json!({"priority": "A"})).await.expect(200, "priority");
    let found = async |query: &str| -> Vec<String> {
        let page = api.read(&format!("/audit?q={query}")).await;
        let entries = page["entries"].as_array().unwrap().iter();
        entries.map(|entry| entry["sentence"].as_str().unwrap().to_owned()).collect()
    };
    let moved = "Interest of Afore XXI moved from meeting to commitment for Fondo Núñez III";
    let first = "Interest of Afore XXI was recorded as meeting for Fondo Núñez III";
    let priority = "Priority of Afore XXI was set to A";
    assert_eq!(found("afore").await, [priority, moved, first, "Afore XXI was added"]);
    assert_eq!(found("nunez+afore").await, [moved, first]);
    assert_eq!(found("n%C3%BA%C3%B1ez+afore+meeting").await, [first]);
    assert_eq!(found("afore+lima").await, ["Afore XXI was added"]);
    // By what it is called now, and by what was said then.
    api.put(&format!("/lps/{lp}"), json!({"name": "Siglo"})).await.expect(200, "renamed");
    assert_eq!(found("siglo+commitment").await.len(), 1);
    assert_eq!(found("afore").await, ["Siglo was added"]);
    let history = api.read(&format!("/lps/{lp}/history?related=true&q=siglo")).await;
    assert_eq!(history["entries"].as_array().unwrap().len(), 5, "{history}");
    assert_eq!(found("%E2%80%93").await, [""; 0], "no words");
    api.backend.stop().await;
}
