//! Only one database removes from a store what it does not name.

use std::time::Duration;

use projections::files::Files;
use replay::garbage::{self, Garbage, GarbageError};
use serde_json::json;

use crate::contract::Api;

async fn collect(api: &Api, files: &Files, dry_run: bool) -> Result<Garbage, GarbageError> {
    garbage::collect(&api.db.connections, files, Duration::ZERO, dry_run).await
}

/// Has a note that names a file, which is too long to be kept in the log.
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
async fn files_of_another_database_stay_until_somebody_makes_this_one_their_owner() {
    let (original, copy) = (Api::new().await, Api::new().await);
    let files = original.db.files();
    files.put(b"named by nothing yet", "text/plain").await.unwrap();
    assert!(matches!(collect(&original, &files, false).await, Err(GarbageError::Ownerless { .. })));
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
