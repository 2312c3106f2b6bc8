//! How an import runs: killed, on trial, one at a time, with images.

use replay::{ImportError, ImportOptions, Notice, Report};

use super::{assert_lossless, events, execute, imported, legacy, run, run_until, run_with};
use crate::harness::Database;

/// Type, id, sequence, name and content of every event but for what differs from run to run.
async fn log(db: &Database) -> Vec<(String, String, i64, String, String)> {
    let mut log: Vec<_> = crate::check::whole_log(&db.pool)
        .await
        .into_iter()
        .map(|it| {
            let (stream, name) = (it.stream(), it.event.name().to_owned());
            (stream.kind, stream.id, it.sequence, name, format!("{:?}", it.event))
        })
        .collect();
    log.sort();
    log
}

#[tokio::test]
async fn an_import_that_is_killed_again_and_again_ends_like_one_that_was_not() {
    for flags in ["--dirty", "--generation 3 --hybrid"] {
        let (whole, file) = imported(flags).await;
        let db = Database::new().await;
        let options = ImportOptions { events_per_chunk: 60, ..ImportOptions::new(&file) };
        let trial = ImportOptions { dry_run: true, ..options.clone() };
        let at_once = run_with(&db, &trial).await.unwrap();
        let (mut kills, mut writes) = (0, 1);
        while run_until(&db, &options, writes).await.is_none() {
            kills += 1;
            writes = writes % 3 + 1;
        }
        assert!(kills > 3, "{flags}: {kills}");
        // The order of rows that belong to no record may differ: their stream is one for all tables.
        let records = |log: Vec<(String, String, i64, String, String)>| {
            log.into_iter().filter(|event| event.0 != "import").collect::<Vec<_>>()
        };
        assert_eq!(records(log(&db).await), records(log(&whole).await), "{flags}");
        assert_eq!(events(&db).await, events(&whole).await, "{flags}");
        let again = run(&db, &file).await.unwrap();
        assert_eq!(again.notices, run(&whole, &file).await.unwrap().notices, "{flags}");
        let told = again.notices.iter().map(|notice| Notice { unchanged: false, ..notice.clone() });
        assert_eq!(told.collect::<Vec<_>>(), at_once.notices, "{flags}");
        assert_lossless(&db, &file, flags).await;
    }
}

#[tokio::test]
async fn a_dry_run_tells_the_same_and_writes_nothing() {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), "--dirty");
    let options = ImportOptions { dry_run: true, ..ImportOptions::new(&file) };
    let dry = run_with(&db, &options).await.unwrap();
    assert_eq!(events(&db).await, 0);
    assert!(!db.dir.path().join("files").exists());
    let real = run(&db, &file).await.unwrap();
    let told = |report: &Report| {
        (report.events, report.new, report.rows, report.notices.clone(), report.tables.clone())
    };
    assert_eq!(told(&dry), told(&real));
    assert_eq!(run_with(&db, &options).await.unwrap().events, 0);
}

#[tokio::test]
async fn only_one_import_runs_at_a_time() {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), "");
    let mut other = db.pool.acquire().await.unwrap().detach();
    let lock = "select pg_advisory_lock(x'63726d5f696d7001'::bigint)";
    sqlx::query(lock).execute(&mut other).await.unwrap();
    assert!(matches!(run(&db, &file).await, Err(ImportError::AlreadyRunning)));
    assert_eq!(events(&db).await, 0);
    drop(other);
    assert!(run(&db, &file).await.unwrap().events > 0);
}

#[tokio::test]
async fn images_are_copied_once_and_missing_ones_reported() {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), "");
    execute(
        &file,
        "update note set image_paths = null;
        update note set image_paths = 'notion_images/a.png,notion_images/none.png' where id = 1;
        update note set image_paths = '../../etc/passwd' where id = 2",
    );
    let images = db.dir.path().join("notion_images");
    std::fs::create_dir(&images).unwrap();
    for (name, content) in [("a.png", "A"), ("other.jpg", "BB"), ("notes.txt", "no image")] {
        std::fs::write(images.join(name), content).unwrap();
    }
    let options = ImportOptions { images: Some(images), ..ImportOptions::new(&file) };
    let report = run_with(&db, &options).await.unwrap();
    assert_eq!(report.images, 2);
    let told: Vec<_> =
        report.notices.iter().filter_map(|n| Some((n.id.as_i64()?, n.value.as_deref()?))).collect();
    assert!(told.contains(&(1, "notion_images/none.png")), "{told:?}");
    assert!(told.contains(&(2, "../../etc/passwd")), "{told:?}");
    let mut names: Vec<_> = std::fs::read_dir(db.dir.path().join("images"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["a.png", "crm-folder-id.txt", "other.jpg"]);
    assert_eq!(run_with(&db, &options).await.unwrap().images, 0);
}
