//! A copy of a file that is older than the one imported last.

use replay::{ImportError, ImportOptions};

use super::{events, execute, imported, run, run_with};

#[tokio::test]
async fn an_older_copy_is_refused_with_what_it_would_take_back_unless_it_is_meant() {
    let (db, file) = imported("").await;
    let older = file.with_file_name("older.db");
    std::fs::copy(&file, &older).unwrap();
    let copy = ImportOptions::new(&older);
    // The same as the last one, and then older but with nothing to take back.
    assert_eq!(run(&db, &older).await.unwrap().events, 0);
    execute(&file, "pragma user_version = 1");
    assert_eq!(run(&db, &file).await.unwrap().events, 0);
    assert_eq!(run(&db, &older).await.unwrap().events, 0);

    execute(
        &file,
        "update lp set priority = 'Z' where id in (1, 2); insert into gp (id, name) values (500, 'New')",
    );
    run(&db, &file).await.unwrap();
    let before = events(&db).await;
    for dry_run in [true, false] {
        let options = ImportOptions { dry_run, ..copy.clone() };
        let refused = run_with(&db, &options).await.unwrap_err();
        assert!(matches!(refused, ImportError::Older { .. }));
        let told = refused.to_string();
        assert!(told.contains("in so many records: gp 1, lp 2."), "{told}");
        assert!(told.contains("`--older`") && told.contains("imported last ("), "{told}");
    }
    assert_eq!(events(&db).await, before, "nothing is appended");
    assert_eq!(run(&db, &file).await.unwrap().events, 0);

    let taken_back = run_with(&db, &ImportOptions { older: true, ..copy.clone() }).await.unwrap();
    assert_eq!((taken_back.changed, taken_back.deleted), (2, 1));
    // From then on it is the last one.
    assert_eq!(run(&db, &older).await.unwrap().events, 0);
    let again = run(&db, &file).await.unwrap();
    assert_eq!((again.changed, again.new, again.conflicts), (3, 0, 0));
}

#[tokio::test]
async fn a_file_from_which_rows_were_deleted_or_that_was_made_anew_is_not_older() {
    let (db, file) = imported("").await;
    execute(&file, "insert into gp (id, name) values (500, 'New')");
    run(&db, &file).await.unwrap();
    let before = file.with_file_name("before.db");
    std::fs::copy(&file, &before).unwrap();
    execute(&file, "delete from gp where id = 500");
    assert_eq!(run(&db, &file).await.unwrap().deleted, 1);
    // A copy from before has an id that is higher than those of the last one.
    let refused = run(&db, &before).await.unwrap_err();
    assert!(matches!(refused, ImportError::Older { .. }), "{refused}");

    execute(&file, "update lp set priority = 'Z' where id = 1");
    let anew = file.with_file_name("anew.db");
    execute(&file, &format!("vacuum into '{}'", anew.display()));
    let changes =
        |file| u32::from_be_bytes(std::fs::read(file).unwrap()[24..28].try_into().unwrap());
    assert!(changes(&anew) < changes(&file), "it counts from the beginning");
    assert_eq!(run(&db, &anew).await.unwrap().changed, 1);
}
