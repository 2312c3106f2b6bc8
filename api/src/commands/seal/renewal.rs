//! `crm seal export --latest` into a file that is there: a newer checkpoint takes the place of the one before, and only if the
//! log continues that. Of a log that was rewritten the older one is the proof.

use std::path::Path;

use anyhow::{Context as _, ensure};
use projections::seal::{PublicKey, store};
use sqlx::PgConnection;

use super::check::Audit;
use super::{PAGE, Pages, export, last_note, read};

/// Whether the log continues the checkpoint in a file, by the keys that it names itself.
///
/// # Errors
/// When it does not, or the file holds none; the text says what to do.
pub(super) async fn check(db: &mut PgConnection, path: &Path) -> anyhow::Result<()> {
    continues(db, path).await.with_context(|| {
        format!(
            "{} stays as it is, and nothing is exported. Keep it, look into this by `crm verify --log --checkpoint`, and \
             export to another file",
            path.display()
        )
    })
}

async fn continues(db: &mut PgConnection, path: &Path) -> anyhow::Result<()> {
    let note = last_note(&read(path)?)?;
    let keys: Vec<PublicKey> = store::keys(db).await?.into_iter().map(|(key, _)| key).collect();
    let (old, _) = note.open(&keys)?;
    let (mut audit, mut after) = (Audit::begin(old, &keys), old.number - 1);
    loop {
        let links = store::links(db, after, PAGE).await?;
        let Some(last) = links.last() else { break };
        ensure!(last.number > after, "the seals are not in order");
        after = last.number;
        links.iter().try_for_each(|link| audit.take(link))?;
    }
    audit.finish().map(drop)
}

/// Writes the seals into a new file, which takes the place of the one of this name when it is whole.
///
/// # Errors
/// When it cannot be written; the file stays as it is then.
pub(super) async fn replace(pages: &mut Pages, path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let failed = || format!("{} cannot be replaced, and stays as it is", path.display());
    let new = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")));
    let mut new = new.with_context(failed)?;
    let mode = std::fs::metadata(path).with_context(failed)?.permissions();
    export(pages, new.as_file_mut()).await?;
    new.as_file().set_permissions(mode).with_context(failed)?;
    new.as_file().sync_all().with_context(failed)?;
    new.persist(path).with_context(failed)?;
    Ok(())
}
