//! Searching by name finds what SQLite found.

use rusqlite::Connection;
use serde_json::json;

use super::{Api, kinds};

const NAMES: &[&str] = &[
    "Ñandú Capital",
    "ñandú capital",
    "NANDU",
    "Jose\u{301} decomposed",
    "José composed",
    "100% real",
    "100 real",
    "a_b",
    "axb",
    "back\\slash",
    " padded ",
    "double  space",
    "",
    "   ",
    "ÉTER éter",
    "O'Brien \"quoted\"",
    "emoji 😀",
    "straße STRASSE",
    "İstanbul",
    "K\u{212a}elvin",
    "Capital 1",
    "Capital 2",
    "Capital 3",
    "Capital 4",
    "Capital 5",
    "Capital 6",
    "Capital 7",
    "Capital 8",
    "Capital 9",
    "Capital 10",
    "Capital 11",
];

const ASKED: &[&str] = &[
    "capital",
    "CAPITAL",
    "Ñ",
    "ñ",
    "ñandú",
    "ÑANDÚ",
    "nandu",
    "e\u{301}",
    "é",
    "É",
    "100%",
    "0% r",
    "a_b",
    "_",
    "%",
    "__",
    "\\",
    "k\\s",
    "%real",
    "%a%l%",
    " ",
    "   ",
    "",
    "\t",
    " p",
    "d ",
    "  ",
    "e  s",
    "o'b",
    "\"",
    "😀",
    "ß",
    "STRASSE",
    "i\u{307}",
    "İ",
    "k",
    "\u{212a}",
    "10",
    "capital 1",
    "nothing",
    "'; drop table lp; --",
];

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[tokio::test]
async fn a_search_finds_the_first_ten_that_sqlite_would_find() {
    let api = Api::new().await;
    let sqlite = Connection::open_in_memory().unwrap();
    sqlite.execute_batch("create table named (id integer primary key, name text)").unwrap();
    for name in NAMES {
        sqlite.execute("insert into named (name) values (?1)", [name]).unwrap();
    }
    let searchable = ["lps", "gps", "distributors", "people", "funds"];
    for (path, smallest) in kinds().into_iter().filter(|(path, _)| searchable.contains(path)) {
        let field = smallest.as_object().unwrap().keys().next().unwrap().clone();
        for name in NAMES {
            api.made(path, json!({field.as_str(): name})).await;
        }
        let mut found = 0;
        for text in ASKED {
            let mut statement = sqlite
                .prepare("select id from named where lower(name) like lower('%' || ?1 || '%') order by id limit 10")
                .unwrap();
            let expected: Vec<i64> = match text.trim() {
                "" => vec![],
                _ => statement
                    .query_map([text], |row| row.get(0))
                    .unwrap()
                    .map(Result::unwrap)
                    .collect(),
            };
            found += expected.len();
            let answer = api.ids(&format!("/{path}/search?q={}", encoded(text))).await;
            assert_eq!(answer, expected, "{path} {text:?}");
        }
        assert!(found > 80, "{found}");
        for uri in [
            "search",
            "search?q=",
            "search?x=capital",
            "search?q=%00",
            "search?q=a%00b",
            "search?q",
        ] {
            assert_eq!(api.read(&format!("/{path}/{uri}")).await, json!([]), "{path} {uri}");
        }
        let rows = api.read(&format!("/{path}/search?q=quoted")).await;
        assert_eq!(rows, json!([api.read(&format!("/{path}/16")).await]), "whole rows");
        let capital = api.ids(&format!("/{path}/search?q=a&q=capital+1")).await;
        assert_eq!(capital, [21, 30, 31], "{path}: a plus is a space, and of two the last counts");
        // Renamed and deleted records are found as they are now.
        api.put(&format!("/{path}/21"), json!({field.as_str(): "moved"})).await.expect(200, path);
        assert_eq!(api.ids(&format!("/{path}/search?q=MOVED")).await, [21]);
        api.delete(&format!("/{path}/30")).await.expect(200, path);
        assert_eq!(api.ids(&format!("/{path}/search?q=capital%201")).await, [31]);
    }
}
