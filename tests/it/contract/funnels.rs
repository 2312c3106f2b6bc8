//! How LPs stand to funds and roadshows.

use serde_json::{Value, json};

use super::Api;
use super::imported::imported;
use crate::harness::demo_file;

/// A fund, a roadshow of it, and three LPs; ids from 1.
async fn with_three_lps() -> Api {
    let api = Api::new().await;
    api.made("funds", json!({"fund_name": "IV"})).await;
    api.made("roadshows", json!({"name": "MTY", "fund_id": 1})).await;
    for name in ["a", "b", "c"] {
        api.made("lps", json!({"name": name, "aum_billions": 2, "priority": "1"})).await;
    }
    api
}

/// The two kinds of boards: path, list, id, word and link of a note.
const BOARDS: [(&str, &str, &str, &str); 2] = [
    ("funds", "sales-funnel", "fund_id", "interest"),
    ("roadshows", "lp-status", "roadshow_id", "status"),
];

#[tokio::test]
async fn boards_show_how_every_lp_stands() {
    let api = with_three_lps().await;
    every_lp_stands_on_the_board_and_is_inactive_until_somebody_says_otherwise(&api).await;
    the_last_contact_is_the_newest_note_about_both(&api).await;
    the_board_follows_its_lps_and_forgets_those_that_are_gone(&api).await;
}

async fn every_lp_stands_on_the_board_and_is_inactive_until_somebody_says_otherwise(api: &Api) {
    for (path, list, owner_id, word) in BOARDS {
        let board = format!("/{path}/1/{list}");
        let item = |lp: i64, name: &str, standing: &str| {
            let mut item = json!({"lp_id": lp, "lp_name": name, "last_contact_date": null,
                "latest_note_id": null, "aum_billions": 2.0, "location": null, "priority": "1", "advisor": null,
                "type_of_group": null, "investment_low": null, "investment_high": null});
            item[owner_id] = 1.into();
            item[word] = standing.into();
            item
        };
        let inactive = "inactive";
        let expected =
            json!([item(1, "a", inactive), item(2, "b", inactive), item(3, "c", inactive)]);
        assert_eq!(api.read(&board).await, expected);
        for standing in ["meeting", "Hot & cold", "ñ", "", "inactive"] {
            let mut query = url_encoded(standing);
            query.insert_str(0, &format!("/{path}/1/lps/2/{word}?{word}="));
            let answer = api.put(&query, json!({"ignored": true})).await.expect(200, &query);
            assert_eq!(
                answer,
                json!({owner_id: 1, "lp_id": 2, word: standing, "last_contact_date": null,
                "latest_note_id": null})
            );
            let expected =
                json!([item(1, "a", inactive), item(2, "b", standing), item(3, "c", inactive)]);
            assert_eq!(api.read(&board).await, expected, "{standing}");
        }
        for (uri, missing) in [
            (
                format!("/{path}/77/lps/1/{word}?{word}=x"),
                if path == "funds" { "Fund" } else { "Roadshow" },
            ),
            (format!("/{path}/1/lps/77/{word}?{word}=x"), "LP"),
        ] {
            let events = api.events().await;
            let gone = json!({"detail": format!("{missing} not found")});
            assert_eq!(api.put(&uri, json!(null)).await.expect(404, &uri), gone);
            assert_eq!(api.events().await, events);
        }
    }
    // A fund that does not exist has a funnel, a roadshow has none.
    let funnel = api.read("/funds/77/sales-funnel").await;
    let standings: Vec<&Value> =
        funnel.as_array().unwrap().iter().map(|item| &item["interest"]).collect();
    assert_eq!(standings, ["inactive"; 3]);
    assert_eq!(funnel[0]["fund_id"], 77);
    api.get("/roadshows/77/lp-status").await.expect(404, "lp-status");
}

fn url_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn the_last_contact_is_the_newest_note_about_both(api: &Api) {
    let mut notes = Vec::new();
    for date in
        [json!("2025-01-31"), json!("2025-03-01T10:00:00.5"), json!(null), json!("2025-02-01")]
    {
        notes.push(api.made("notes", json!({"name": "x", "date": date})).await);
    }
    for (path, list, _, word) in BOARDS {
        let link = async |note: usize, lps: Value| {
            let mut body = json!({"lp_ids": lps, "fund_ids": [], "roadshow_ids": []});
            body[if path == "funds" { "fund_ids" } else { "roadshow_ids" }] = json!([1]);
            let uri = format!("/notes/{}/relationships", notes[note]);
            api.post(&uri, body).await.expect(200, &uri);
        };
        let check = async |lp: usize, date: Value, note: Option<usize>| {
            let item = api.read(&format!("/{path}/1/{list}")).await[lp - 1].take();
            let note = note.map(|note| notes[note]);
            assert_eq!(
                (&item["last_contact_date"], item["latest_note_id"].as_i64()),
                (&date, note),
                "{path} {lp}"
            );
            let uri = format!("/{path}/1/lps/{lp}/{word}?{word}=meeting");
            let answer = api.put(&uri, json!(null)).await.expect(200, &uri);
            assert_eq!(
                (&answer["last_contact_date"], answer["latest_note_id"].as_i64()),
                (&date, note),
                "{uri}"
            );
        };
        link(2, json!([1, 2])).await;
        check(1, json!(null), Some(2)).await;
        link(0, json!([1])).await;
        check(1, json!("2025-01-31T00:00:00"), Some(0)).await;
        link(1, json!([1, 3])).await;
        link(3, json!([1])).await;
        check(1, json!("2025-03-01T10:00:00.500000"), Some(1)).await;
        check(2, json!(null), Some(2)).await;
        check(3, json!("2025-03-01T10:00:00.500000"), Some(1)).await;
        // It follows the notes as they change.
        api.put(&format!("/notes/{}", notes[3]), json!({"date": "2026-01-01"}))
            .await
            .expect(200, "note");
        check(1, json!("2026-01-01T00:00:00"), Some(3)).await;
        api.put(&format!("/notes/{}", notes[3]), json!({"date": "2025-02-01"}))
            .await
            .expect(200, "note");
        check(1, json!("2025-03-01T10:00:00.500000"), Some(1)).await;
        for note in &notes {
            api.post(&format!("/notes/{note}/relationships"), json!({"roadshow_ids": []}))
                .await
                .expect(200, "clear");
        }
        let board = api.read(&format!("/{path}/1/{list}")).await;
        for item in board.as_array().unwrap() {
            assert_eq!(
                (&item["last_contact_date"], &item["latest_note_id"]),
                (&json!(null), &json!(null))
            );
        }
    }
}

#[tokio::test]
async fn the_contact_that_a_legacy_row_remembers_stays_when_there_is_no_note_in_common() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("remembers.db");
    std::fs::copy(demo_file(), &file).unwrap();
    let sqlite = rusqlite::Connection::open(&file).unwrap();
    let forget = "pragma foreign_keys = off; delete from notelplink where lp_id = 1;
        insert or replace into fundlpinterest values (1, 1, 'meeting', '2025-01-31 10:00:00.000000', 7);
        insert or replace into roadshowlpstatus values (1, 1, 'offered', '2025-01-31 10:00:00.000000', 7);";
    sqlite.execute_batch(forget).unwrap();
    drop(sqlite);
    let (api, _) = imported(&file).await;
    for (path, list, owner_id, word) in BOARDS {
        let item = api.read(&format!("/{path}/1/{list}")).await[0].take();
        assert_eq!(
            (&item["latest_note_id"], &item["last_contact_date"]),
            (&json!(null), &json!(null))
        );
        let uri = format!("/{path}/1/lps/1/{word}?{word}=interested");
        let answer = api.put(&uri, json!(null)).await.expect(200, &uri);
        let expected = json!({owner_id: 1, "lp_id": 1, word: "interested",
            "last_contact_date": "2025-01-31T10:00:00", "latest_note_id": 7});
        assert_eq!(answer, expected);
        // A note in common is newer than any memory.
        let note = api.made("notes", json!({"name": "x", "date": "2001-01-01"})).await;
        let lists = json!({"lp_ids": [1], "fund_ids": [1], "roadshow_ids": [1]});
        api.post(&format!("/notes/{note}/relationships"), lists).await.expect(200, "link");
        let answer = api.put(&uri, json!(null)).await.expect(200, &uri);
        assert_eq!(answer["latest_note_id"], note, "{path}");
        api.delete(&format!("/notes/{note}")).await.expect(200, "note");
    }
}

#[tokio::test]
async fn the_contact_that_a_put_remembers_outlives_the_note() {
    let api = with_three_lps().await;
    for (path, list, owner_id, word) in BOARDS {
        let put = async |standing: &str, date: Value, note: Value| {
            let uri = format!("/{path}/1/lps/2/{word}?{word}={standing}");
            let expected = json!({owner_id: 1, "lp_id": 2, word: standing,
                "last_contact_date": date, "latest_note_id": note});
            assert_eq!(api.put(&uri, json!(null)).await.expect(200, &uri), expected);
        };
        let date = json!("2025-01-31T00:00:00");
        let undated = api.made("notes", json!({"name": "undated"})).await;
        let note = api.made("notes", json!({"name": "dated", "date": "2025-01-31"})).await;
        let link = async |note: i64, lps: Value| {
            let lists = json!({"lp_ids": lps, "fund_ids": [1], "roadshow_ids": [1]});
            let uri = format!("/notes/{note}/relationships");
            api.post(&uri, lists).await.expect(200, &uri);
        };
        put("meeting", json!(null), json!(null)).await;
        link(undated, json!([2])).await;
        put("meeting", json!(null), json!(undated)).await;
        link(note, json!([2])).await;
        put("meeting", date.clone(), json!(note)).await;
        // Notes about others do not count, nor does a PUT that changes nothing.
        link(undated, json!([3])).await;
        let events = api.events().await;
        put("meeting", date.clone(), json!(note)).await;
        assert_eq!(api.events().await, events, "{path}");
        link(note, json!([])).await;
        put("meeting", date.clone(), json!(note)).await;
        put("interested", date, json!(note)).await;
        let item = api.read(&format!("/{path}/1/{list}")).await[1].take();
        assert_eq!(item["latest_note_id"], json!(null), "the board shows what is linked now");
    }
}

async fn the_board_follows_its_lps_and_forgets_those_that_are_gone(api: &Api) {
    for (path, list, _, word) in BOARDS {
        for lp in 1..=3 {
            let uri = format!("/{path}/1/lps/{lp}/{word}?{word}=meeting");
            api.put(&uri, json!(null)).await.expect(200, &uri);
        }
        // Edited inline.
        let priority = format!("{word} A");
        api.put("/lps/1", json!({"priority": priority})).await.expect(200, "lp");
        let board = api.read(&format!("/{path}/1/{list}")).await;
        assert_eq!(board[0]["priority"], priority.as_str());
    }
    api.delete("/lps/2").await.expect(200, "lp");
    let new = api.made("lps", json!({"name": "new"})).await;
    for (path, list, _, word) in BOARDS {
        let board = api.read(&format!("/{path}/1/{list}")).await;
        let standings: Vec<(i64, &str)> = board
            .as_array()
            .unwrap()
            .iter()
            .map(|item| (item["lp_id"].as_i64().unwrap(), item[word].as_str().unwrap()))
            .collect();
        assert_eq!(standings, [(1, "meeting"), (3, "meeting"), (new, "inactive")]);
        let uri = format!("/{path}/1/lps/2/{word}?{word}=meeting");
        assert_eq!(
            api.put(&uri, json!(null)).await.expect(404, &uri),
            json!({"detail": "LP not found"})
        );
    }
}
