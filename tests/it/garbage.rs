//! Only one database removes from a store what it does not name.

use std::time::Duration;

use projections::files::Files;
use projections::seal::Trust;
use replay::garbage::{self, Garbage, GarbageError};
use serde_json::json;

use crate::contract::Api;

async fn collect(api: &Api, files: &Files, dry_run: bool) -> Result<Garbage, GarbageError> {
    garbage::collect(&api.db.connections, files, &Trust::default(), Duration::ZERO, dry_run).await
}

async fn claim(api: &Api, files: &Files, trust: &Trust) -> Result<bool, GarbageError> {
    garbage::claim(&api.db.connections, files, trust).await
}

/// Makes roadshows with pictures that are too large for the log, and so are files.
async fn named_files(api: &Api, of: u32) {
    for number in 0..of {
        let images =
            format!("[\"data:image/png;base64,{}\"]", format!("AAA{number}").repeat(1_000));
        let fund = api.made("funds", json!({"fund_name": format!("Fund {number}")})).await;
        let roadshow = json!({"name": "Lima", "fund_id": fund, "flight_images": images});
        api.made("roadshows", roadshow).await;
    }
}

#[tokio::test]
async fn a_database_owns_its_files_before_there_is_a_copy_of_it() {
    let (original, copy) = (Api::new().await, Api::new().await);
    let (files, trust) = (original.db.files(), Trust::default());
    let claim = async |api: &Api| claim(api, &files, &trust).await;
    assert!(!claim(&original).await.unwrap(), "there are no files");
    named_files(&original, 1).await;
    assert!(matches!(claim(&copy).await, Err(GarbageError::Ownerless { .. })));
    for _ in 0..2 {
        assert!(claim(&original).await.unwrap());
    }
    assert!(matches!(claim(&copy).await, Err(GarbageError::Others { .. })));
    // What a person has decided is not taken back.
    garbage::own(&copy.db.connections, &files).await.unwrap();
    assert!(claim(&copy).await.unwrap());
    assert!(matches!(claim(&original).await, Err(GarbageError::Others { .. })));
}

#[tokio::test]
async fn nothing_is_removed_while_nobody_knows_whether_it_is_the_log_that_was_sealed() {
    let api = Api::new().await;
    let files = api.db.files();
    named_files(&api, 2).await;
    files.put(b"named by nothing", "text/plain").await.unwrap();
    crate::seals::seal(&api.db).await;
    // As after a log was put back that is not the one that was sealed here.
    let trust = Trust { keys: vec![[7; 32]], kept: None };
    let collect = async |trust: &Trust| {
        garbage::collect(&api.db.connections, &files, trust, Duration::ZERO, false).await
    };
    for done in [collect(&trust).await.map(|_| ()), claim(&api, &files, &trust).await.map(|_| ())] {
        let told = done.unwrap_err().to_string();
        assert!(told.contains("nothing is removed: an older log"), "{told}");
    }
    let trust = Trust::default();
    assert_eq!(collect(&trust).await.unwrap().documents, 1);
}

#[tokio::test]
async fn files_of_another_database_stay_until_somebody_makes_this_one_their_owner() {
    let (original, copy) = (Api::new().await, Api::new().await);
    let files = original.db.files();
    files.put(b"named by nothing yet", "text/plain").await.unwrap();
    let ownerless = |done| matches!(done, Err(GarbageError::Ownerless { .. }));
    assert!(ownerless(collect(&original, &files, false).await));
    named_files(&original, 1).await;
    assert!(ownerless(collect(&original, &files, false).await), "half of them is not most");
    // Files that are too young to be removed tell whose they are all the same.
    let (trust, copied) = (Trust::default(), &copy.db.connections);
    let young = garbage::collect(copied, &files, &trust, garbage::GRACE, false).await;
    assert!(ownerless(young));
    named_files(&original, 2).await;
    let one = Garbage { documents: 1, bytes: 20, ..Garbage::default() };
    assert_eq!(collect(&original, &files, true).await.unwrap(), one);
    // Telling what would be removed makes nobody the owner.
    let nobody = collect(&copy, &files, true).await.unwrap_err().to_string();
    assert!(nobody.starts_with("3 of 3 files are named by no event"), "{nobody}");
    assert_eq!(collect(&original, &files, false).await.unwrap(), one);

    for dry_run in [true, false] {
        let told = collect(&copy, &files, dry_run).await.unwrap_err().to_string();
        let (theirs, ours) = (original.db.connections.address(), copy.db.connections.address());
        assert!(told.contains(&theirs) && told.contains(&ours), "{told}");
        assert!(told.contains("`crm files adopt`"), "{told}");
    }
    assert_eq!(collect(&original, &files, true).await.unwrap(), Garbage::default());

    let (this, before) = garbage::own(&copy.db.connections, &files).await.unwrap();
    assert!(before.is_some_and(|owner| owner.contains(&original.db.connections.address())));
    assert_eq!(garbage::own(&copy.db.connections, &files).await.unwrap(), (this, None));
    assert!(matches!(collect(&original, &files, false).await, Err(GarbageError::Others { .. })));
    assert_eq!(collect(&copy, &files, false).await.unwrap().documents, 2);
}
