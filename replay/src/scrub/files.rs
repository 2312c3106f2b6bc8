//! The files of erased notes.

use std::path::Path;

use domain::Kind;
use projections::database::Database;
use projections::files::{Files, IMAGES, Store};
use projections::{generation, uploads};

use super::{ScrubError, Waiting};
use crate::named::image_name;

/// Removes the recordings of erased notes, and the images that no other note shows.
pub(super) async fn remove_files(
    database: &Database,
    waiting: &[Waiting],
    files: &Files,
) -> Result<u64, ScrubError> {
    let store = files.store();
    let mut removed = remove_recordings(database, waiting, store).await?;
    for (record, paths) in waiting.iter().filter(|(record, _)| record.kind() == Kind::Note) {
        for path in paths {
            let Some(name) = image_name(path) else { continue };
            if is_shared(database, record.id(), name).await? {
                continue;
            }
            sqlx::query("delete from import_image where name = $1")
                .bind(name)
                .execute(&database.pool)
                .await?;
            let key = format!("{IMAGES}{name}");
            if store.facts(&key).await?.is_some() {
                store.remove(&key).await?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

/// Removes the recordings of erased notes, and what was still on its way to become one.
async fn remove_recordings(
    database: &Database,
    waiting: &[Waiting],
    store: &dyn Store,
) -> Result<u64, ScrubError> {
    let of_notes = || waiting.iter().filter(|(record, _)| record.kind() == Kind::Note);
    let notes: Vec<i64> = of_notes().map(|(record, _)| record.id()).collect();
    let mut connection = database.pool.acquire().await?;
    let mut ids = uploads::of_notes(&mut connection, &notes).await?;
    ids.extend(of_notes().flat_map(|(_, names)| names).filter_map(|name| uploads::upload_of(name)));
    ids.sort();
    ids.dedup();
    let mut removed = 0;
    for id in ids {
        let key = uploads::key(id);
        removed += u64::from(store.facts(&key).await?.is_some());
        store.remove(&key).await?;
        uploads::forget(&mut connection, id).await?;
    }
    Ok(removed)
}

/// Whether another note names the file too. In doubt it stays.
async fn is_shared(database: &Database, note: i64, name: &str) -> Result<bool, sqlx::Error> {
    let mut connection = database.pool.acquire().await?;
    let live: Vec<String> = generation::all(&mut connection)
        .await?
        .into_iter()
        .filter(|it| it.projector == "note" && it.state == generation::State::Live)
        .map(|it| it.schema())
        .collect();
    let Some(schema) = live.first() else { return Ok(true) };
    let others: Vec<String> = sqlx::query_scalar(&format!(
        "select record->>'image_paths' from {schema}.note where id <> $1 and strpos(record->>'image_paths', $2) > 0"
    ))
    .bind(note)
    .bind(name)
    .fetch_all(&mut *connection)
    .await?;
    Ok(others.iter().any(|paths| names(paths, name)))
}

/// Whether one of these paths, between commas, leads to a file of this name.
fn names(paths: &str, name: &str) -> bool {
    let mut files = paths.split(',').map(|path| Path::new(path.trim()).file_name());
    files.any(|file| file.is_some_and(|file| file == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_the_whole_name_between_commas() {
        let check = |paths: &str, expected: bool| assert_eq!(names(paths, "1.png"), expected);
        check("1.png", true);
        check("2.png, 1.png", true);
        check("folder/1.png,2.png", true);
        check("11.png", false);
        check("1.png.jpg,a1.png", false);
        check("", false);
    }
}
