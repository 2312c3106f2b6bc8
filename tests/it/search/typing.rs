//! Typing errors in ordinary words: what was probably meant is looked for, and never what is no longer there.

use serde_json::json;

use super::{found, highlighted, named, note, search};
use crate::contract::Api;

#[tokio::test(flavor = "multi_thread")]
async fn mistyped_words_of_texts_are_found_and_the_answer_says_what_was_taken_for_them() {
    let api = Api::new().await;
    let english =
        note(&api, "Call", "The pension funds asked about currency hedging and its costs.").await;
    let spanish = note(&api, "Llamada", "El rendimiento de los fondos de pensiones es bajo.").await;
    note(&api, "Lunch", "They spoke about the weather and holidays.").await;
    let check = async |question: &str, expected: i64, corrected: serde_json::Value| {
        let page = search(&api, question, "").await;
        assert_eq!(named(&page).first(), Some(&format!("note:{expected}")), "{question}: {page}");
        assert_eq!(page["corrected"], corrected, "{question}");
    };
    let both = json!({"curency": "currency", "hedgng": "hedging"});
    check("curency hedgng", english, both).await;
    check("rendimeinto", spanish, json!({"rendimeinto": "rendimiento"})).await;
    check("Pensión fnuds", english, json!({"fnuds": "funds"})).await;
    check("currency hedged", english, json!({})).await;
    let page = search(&api, "curency", "").await;
    assert_eq!(highlighted(&page["hits"][0]), ["currency"]);
    // A word that some text has is no typing error.
    let exact = note(&api, "b", "They wrote wether, and nothing else of any use to anybody.").await;
    assert_eq!(found(&api, "wether", "").await, [format!("note:{exact}")]);
    // What is quoted is looked for as it stands, and a stop word says nothing.
    let page = search(&api, "\"curency\"", "").await;
    assert_eq!((named(&page), &page["corrected"]), (vec![], &json!({})));
    assert_eq!(found(&api, "aobut", "").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_of_either_language_is_none_that_texts_have_though_it_is_like_one() {
    let api = Api::new().await;
    note(&api, "Call", "They leave their files of the forest with us.").await;
    for question in ["lease", "fires"] {
        let page = search(&api, question, "").await;
        assert_eq!(page["corrected"], json!({}), "{question}");
    }
    let page = search(&api, "fiels", "").await;
    assert_eq!(page["corrected"], json!({"fiels": "files"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_corrected_by_words_of_what_was_edited_deleted_or_erased() {
    let api = Api::new().await;
    let check = async |what: &str, is_there: bool| {
        let page = search(&api, "zyxwvutx", "").await;
        let (hits, corrected) =
            if is_there { (1, json!({"zyxwvutx": "zyxwvuts"})) } else { (0, json!({})) };
        assert_eq!((named(&page).len(), &page["corrected"]), (hits, &corrected), "{what}");
    };
    let text = |text: &str| json!({"raw_notes": text});
    check("nobody wrote it", false).await;
    let id = note(&api, "Call", "They whispered zyxwvuts.").await;
    check("it was written", true).await;
    api.put(&format!("/notes/{id}"), text("They said nothing.")).await.expect(200, "edit");
    check("it was edited", false).await;
    api.put(&format!("/notes/{id}"), text("Zyxwvuts!")).await.expect(200, "edit");
    check("it was written again", true).await;
    api.delete(&format!("/notes/{id}")).await.expect(200, "delete");
    check("it was deleted", false).await;
    let id = note(&api, "Secret", "They whispered zyxwvuts.").await;
    check("another note has it", true).await;
    api.post(&format!("/notes/{id}/erase"), json!({"reason": "asked"})).await.expect(200, "erase");
    check("it was erased", false).await;
}
