//! People by what stands on their cards: telephone numbers however they are written, and roles in either language.

use serde_json::json;

use super::{found, highlighted, note, search};
use crate::contract::Api;

async fn person(api: &Api, name: &str, field: &str, value: &str) -> String {
    format!("person:{}", api.made("people", json!({"name": name, field: value})).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_telephone_number_is_found_however_it_is_written() {
    let api = Api::new().await;
    let ana = person(&api, "Ana Ruiz", "cell_phone", "+52 (55) 1234-5678").await;
    let eva = person(&api, "Eva Sol", "office_phone", "8187654321").await;
    let call = note(&api, "Call", "She can be reached at 55.1234.5678, ext. 9.").await;
    for question in ["5512345678", "+52 55 1234 5678", "55-1234-5678", "who has 1234 5678"] {
        let mut all = found(&api, question, "&mode=lexical").await;
        all.sort_unstable();
        assert_eq!(all, [format!("note:{call}"), ana.clone()], "{question}");
    }
    assert_eq!(found(&api, "81 8765-4321", "").await, [eva]);
    assert_eq!(found(&api, "5512345679", "").await, Vec::<String>::new());
    // Numbers that are none are words, as are those that only look like one.
    for (text, question) in [
        ("The room is https://zoom.us/j/98765432101.", "98765432101"),
        ("They have tickets of 1000-1500 million.", "1500 million"),
        ("Net (12.5 13.7 15.3), they said.", "13.7"),
    ] {
        let meant = note(&api, "b", text).await;
        assert_eq!(found(&api, question, "").await, [format!("note:{meant}")], "{question}");
    }
    let page = search(&api, "5512345678", "&kinds=person").await;
    assert_eq!(highlighted(&page["hits"][0]), ["+52 (55) 1234-5678"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_found_by_what_either_language_and_its_initials_call_it() {
    let api = Api::new().await;
    let afore = api.made("lps", json!({"name": "Afore Coppel"})).await;
    let mut roles = Vec::new();
    for (name, position) in
        [("Ana Ruiz", "Director de Inversiones"), ("Eva Sol", "Analyst"), ("Leo Paz", "CFO")]
    {
        let person = person(&api, name, "position", position).await;
        api.post(&format!("/people/{}/lps/{afore}", &person[7..]), json!({}))
            .await
            .expect(200, "link");
        roles.push(person);
    }
    person(&api, "Max Rey", "position", "Director de Operaciones").await;
    for (question, expected) in [
        ("CIO", 0),
        ("chief investment officer", 0),
        ("CIO of Afore Coppel", 0),
        ("director de inversiones Afore Coppel", 0),
        ("analista de Afore Coppel", 1),
        ("director financiero Afore Coppel", 2),
    ] {
        let found = found(&api, question, "").await;
        assert_eq!(found.first(), Some(&roles[expected]), "{question}: {found:?}");
    }
    // Its words count as well: not everybody calls a role so.
    let other = person(&api, "Pia Gil", "position", "Directora Ejecutiva de Inversiones").await;
    let both = found(&api, "director de inversiones", "").await;
    assert_eq!(both[..2], [roles[0].clone(), other], "{both:?}");
    let page = search(&api, "chief investment officer", "").await;
    assert_eq!(highlighted(&page["hits"][0]), ["Director de Inversiones"]);
}
