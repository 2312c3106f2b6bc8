//! Files that the log names: whether they are there, and are what was stored.

use futures::TryStreamExt as _;
use replay::ImportOptions;
use replay::stored::{self, Fault, Stored};
use serde_json::{Value, json};

use crate::contract::{Api, request};
use crate::files::noise;
use crate::harness::Database;
use crate::import::{execute, legacy};
use crate::jobs::address;
use crate::server::Home;
use crate::uploads::wav;

/// Uploads a recording and tells what file storage calls it, and its id.
async fn uploaded(api: &Api, note: i64, length: usize) -> (String, Value) {
    let uri = format!("/notes/{note}/recordings");
    let sending = request(axum::http::Method::POST, &uri).body(wav(length).into()).unwrap();
    let row = crate::contract::ask(&api.router, sending).await.expect(201, "upload");
    let key = "select 'recordings/' || id from upload where recording_id = $1";
    let key = sqlx::query_scalar(key).bind(row["id"].as_i64()).fetch_one(&api.db.pool);
    (key.await.unwrap(), row["id"].clone())
}

async fn look(api: &Api) -> Stored {
    stored::check(&api.db.connections, &api.db.files(), true, |_| ()).await.unwrap()
}

/// The keys of the files that are not what was stored, each with what is wrong.
fn faults(found: &Stored) -> Vec<(&str, &str)> {
    found.faults.iter().map(|fault| (fault.key.as_str(), fault.what.as_str())).collect()
}

#[tokio::test]
async fn files_that_are_lost_or_damaged_are_found_and_what_was_removed_is_not_missed() {
    let api = Api::new().await;
    let files = api.db.files();
    let note =
        api.made("notes", json!({"name": "Call", "image_paths": "images/a.png, b.png"})).await;
    let (first, id) = uploaded(&api, note, 1_000).await;
    let (second, _) = uploaded(&api, note, 2_000).await;
    let (third, _) = uploaded(&api, note, 3_000).await;
    let (removed, id_of_removed) = uploaded(&api, note, 4_000).await;
    let erased = api.made("notes", json!({"name": "Call", "image_paths": "c.png"})).await;
    let (of_erased, _) = uploaded(&api, erased, 5_000).await;
    let fund = api.made("funds", json!({"fund_name": "F"})).await;
    let images = format!("[\"{}\"]", "data:image/png;base64,AAAA".repeat(100));
    let of_roadshow = json!({"name": "Lima", "fund_id": fund, "flight_images": images});
    let roadshow = api.made("roadshows", of_roadshow.clone()).await;
    let another = api.made("roadshows", of_roadshow).await;
    api.delete(&format!("/recordings/{id_of_removed}")).await.expect(200, "removed");
    let reason = json!({"reason": "case 7"});
    api.post(&format!("/notes/{erased}/erase"), reason).await.expect(200, "erased");
    for key in [&removed, &of_erased] {
        files.store().remove(key).await.unwrap();
    }
    for image in ["images/a.png", "images/b.png"] {
        files.store().put(image, noise(10, 1).into()).await.unwrap();
    }
    let found = look(&api).await;
    assert!(found.is_whole(), "{found:?}");
    assert_eq!((found.files, found.of), (6, 6), "three recordings, a document and two images");

    let check = async |json: bool| {
        let args: &[&str] = if json { &["files", "check", "--json"] } else { &["files", "check"] };
        let home = Home::new();
        let mut command = home.crm(args);
        command.env("DATABASE_URL", address(&api.db)).env("CRM_DATA_DIR", api.db.dir.path());
        let done = command.output().await.unwrap();
        (done.status.code(), String::from_utf8(done.stdout).unwrap())
    };
    let (code, said) = check(false).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("6 files") && said.contains("all there and whole"), "{said}");

    let other = |length: usize| noise(length, 9).into();
    files.store().remove(&first).await.unwrap();
    files.store().put(&second, other(1_999)).await.unwrap();
    files.store().put(&third, other(3_000)).await.unwrap();
    files.store().remove("images/b.png").await.unwrap();
    let mut documents = files.store().list("files/").await.unwrap();
    let document = documents.try_next().await.unwrap().unwrap().key;
    files.store().put(&document, other(10)).await.unwrap();
    let (code, said) = check(true).await;
    assert_eq!(code, Some(1), "{said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["passed"], &said["files"]), (&json!(false), &json!(6)));
    let found = look(&api).await;
    assert_eq!(said["faults"], serde_json::to_value(&found.faults).unwrap());
    let faults = faults(&found);
    assert_eq!(
        faults[..2],
        [(first.as_str(), "it is missing"), (second.as_str(), "it has 1999 bytes and not 2000"),]
    );
    assert!(faults[2].0 == third && faults[2].1.starts_with("its SHA-256 is "), "{faults:?}");
    assert!(faults[3].0 == document && faults[3].1.starts_with("it has 10 bytes"), "{faults:?}");
    assert_eq!(
        found.faults[3].of,
        format!("a document of roadshow {roadshow}, roadshow {another}")
    );
    assert_eq!(faults[4..], [("images/b.png", "it is missing")]);
    assert_eq!(found.faults[0].of, format!("recording {id} of note {note}"));
    let (code, said) = check(false).await;
    assert_eq!(code, Some(1));
    assert!(
        said.contains(&format!("{first} (recording {id} of note {note}): it is missing")),
        "{said}"
    );
    assert!(said.contains("5 NOT what was stored"), "{said}");

    files.store().remove("images/a.png").await.unwrap();
    let found = look(&api).await;
    assert_eq!((found.faults.len(), found.no_images), (4, 2), "{found:?}");
    let (code, said) = check(false).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("none of the 2 images that notes name is there"), "{said}");
    let found = stored::check(&api.db.connections, &api.db.files(), false, |_| ()).await.unwrap();
    assert_eq!((found.of, found.faults.len(), found.no_images), (4, 4, 0), "{found:?}");
}

#[tokio::test]
async fn an_image_that_no_import_has_found_is_told_and_one_that_was_there_and_is_gone_is_a_fault() {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), "");
    execute(
        &file,
        "update note set image_paths = null;
         update note set image_paths = 'notion_images/a.png,notion_images/none.png' where id = 1;
         update note set image_paths = 'b.png' where id = 2",
    );
    let folder = db.dir.path().join("notion_images");
    std::fs::create_dir(&folder).unwrap();
    for name in ["a.png", "b.png"] {
        std::fs::write(folder.join(name), noise(10, 1)).unwrap();
    }
    let (files, connections) = (db.files(), &db.connections);
    let import = async || {
        let options = ImportOptions { images: Some(folder.clone()), ..ImportOptions::new(&file) };
        replay::import(connections, &files, &options, |_| ()).await.unwrap()
    };
    let images = async || {
        let found = stored::check(connections, &files, true, |_| ()).await.unwrap();
        let keys = |faults: &[Fault]| -> Vec<String> {
            let images = faults.iter().filter(|fault| fault.key.starts_with("images/"));
            images.map(|fault| fault.key.clone()).collect()
        };
        (keys(&found.never_there), keys(&found.faults), found.no_images, found.is_whole())
    };
    let none = vec!["images/none.png".to_owned()];
    import().await;
    assert_eq!(images().await, (none.clone(), vec![], 0, true));
    let home = Home::new();
    let mut checking = home.crm(&["files", "check"]);
    checking.env("DATABASE_URL", address(&db)).env("CRM_DATA_DIR", db.dir.path());
    let done = checking.output().await.unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{said}");
    let told = "images/none.png (an image of note 1): it was not there when it was imported either";
    assert!(said.contains(told) && said.contains("all others are there and whole"), "{said}");

    files.store().remove("images/a.png").await.unwrap();
    let lost = vec!["images/a.png".to_owned()];
    assert_eq!(images().await, (none.clone(), lost.clone(), 0, false));
    // Nor is it forgotten that it was there when the folder has lost it too.
    std::fs::remove_file(folder.join("a.png")).unwrap();
    import().await;
    assert_eq!(images().await, (none, lost.clone(), 0, false));
    std::fs::write(folder.join("none.png"), noise(10, 1)).unwrap();
    import().await;
    files.store().remove("images/none.png").await.unwrap();
    let lost = [lost, vec!["images/none.png".to_owned()]].concat();
    assert_eq!(images().await, (vec![], lost, 0, false));
}
