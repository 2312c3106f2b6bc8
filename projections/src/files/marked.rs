//! A folder that is known by a mark in it, so that the empty place where a disk should be mounted, or another disk, is not
//! taken for it: files that are merely away would else count as lost, and new ones would come to lie where nobody finds them.
//!
//! Documents, images and recordings are in a folder each, which may be on a disk of its own, so each has its own mark: a
//! small file with an id, which the database has as well. Both are made when the first file is stored. The mark of a folder
//! that an earlier release filled, or that was brought back without it, is made as soon as its files are seen.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use super::folder::sync_folder;
use super::{Content, Facts, FileError, Folder, Growth, PLACES, RECORDINGS, Shown, Store};
use crate::database::{Database, DatabaseError};
use crate::uploads;

/// What the mark is called. It is no hidden file: who copies a folder by hand should copy it as well.
const MARK: &str = "crm-folder-id.txt";

/// What follows the id in a mark, for people.
const EXPLANATION: &str =
    "crm knows by this file that the files of its database are here. Keep it with them.";

/// A folder of files by key that is known to be the one in which the database's files were put.
#[derive(Clone, Debug)]
pub struct MarkedFolder {
    folder: Folder,
    root: PathBuf,
    database: Database,
    /// How long the mark and what is looked up are waited for: a folder of another machine may be silent.
    patience: Option<Duration>,
    /// The ids of the database as this process has seen them last.
    known: Arc<Mutex<HashMap<&'static str, Uuid>>>,
}

/// What somebody wants of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// What is there: of a folder that nothing was ever put into, nothing.
    Look,
    /// To put something into it.
    Fill,
}

/// What speaks for a folder without a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evidence {
    /// Most of the files that the database names are there.
    Found,
    /// They are not.
    Missing,
    /// The folder is empty, and the database names no files that could be looked for.
    None,
}

impl MarkedFolder {
    /// Keeps the files of this database in this folder, which is made when the first file comes.
    pub fn new(folder: impl Into<PathBuf>, database: Database) -> Self {
        let root = folder.into();
        let folder = Folder::new(root.clone());
        Self { folder, root, database, patience: None, known: Arc::default() }
    }

    /// Takes the folders for those of the database's files as they are, where they are not known to be, and tells which these
    /// are. What is not in them is lost from then on.
    ///
    /// # Errors
    /// When folders or database cannot be read or written.
    pub async fn adopt(&self) -> Result<Vec<PathBuf>, FileError> {
        let mut adopted = Vec::new();
        for place in PLACES {
            match self.recognise_place(place, Want::Look).await {
                Err(FileError::OtherFolder(_)) => {}
                recognised => {
                    recognised?;
                    continue;
                }
            }
            // With an id of its own: the disk that is given up is another one from then on, should it come back.
            let id = match self.mark(place).await? {
                Some(mark) => mark,
                None => self.set_mark(place, Uuid::new_v4()).await?,
            };
            self.record(place, id, true).await?;
            adopted.push(self.root.join(place));
        }
        Ok(adopted)
    }

    /// Refuses what is to be done with a key, or with those that begin so, in a folder that is not the one that is meant.
    async fn admit(&self, key: &str, want: Want) -> Result<(), FileError> {
        if is_mark(key) {
            return Err(FileError::NoKey(key.to_owned()));
        }
        let recognising = async {
            for place in PLACES {
                if key.starts_with(place) || place.starts_with(key) {
                    self.recognise_place(place, want).await?;
                }
            }
            Ok(())
        };
        self.in_time(key, recognising).await
    }

    /// What the folder answers, unless that takes too long.
    async fn in_time<T>(
        &self,
        key: &str,
        asking: impl Future<Output = Result<T, FileError>>,
    ) -> Result<T, FileError> {
        let Some(patience) = self.patience else { return asking.await };
        let answered = tokio::time::timeout(patience, asking).await;
        answered.unwrap_or_else(|_| Err(FileError::silent(key, patience)))
    }

    async fn recognise_place(&self, place: &'static str, want: Want) -> Result<(), FileError> {
        let mark = self.mark(place).await?;
        if mark.is_some() && mark == self.known().get(place).copied() {
            return Ok(());
        }
        let recorded = self.recorded(place).await?;
        let id = match (recorded, mark) {
            (Some(id), Some(mark)) if id == mark => id,
            (Some(_), Some(_)) => return Err(self.other(place, "has the mark of another one")),
            _ => match (self.evidence(place).await?, recorded) {
                (Evidence::Found, _) => self.introduce(place, recorded, mark).await?,
                (Evidence::None, None) if want == Want::Fill => {
                    self.introduce(place, None, mark).await?
                }
                (Evidence::None, None) => return Ok(()),
                _ => return Err(self.other(place, "has neither their mark nor these files")),
            },
        };
        self.known().insert(place, id);
        Ok(())
    }

    /// Makes the folder and the database know each other.
    async fn introduce(
        &self,
        place: &'static str,
        recorded: Option<Uuid>,
        mark: Option<Uuid>,
    ) -> Result<Uuid, FileError> {
        // The mark first: an id in the database without one would keep crm from a folder that is still empty.
        let id = match mark {
            Some(mark) => mark,
            None => self.set_mark(place, recorded.unwrap_or_else(Uuid::new_v4)).await?,
        };
        match self.record(place, id, false).await? == id {
            true => Ok(id),
            // Another server was faster, with another folder.
            false => Err(self.other(place, "has the mark of another one")),
        }
    }

    /// What speaks for a folder without a mark, or with one that the database does not have.
    async fn evidence(&self, place: &str) -> Result<Evidence, FileError> {
        let named = match place {
            RECORDINGS => self.ask(uploads::some_attached(&self.database.pool)).await?,
            // No table tells of these, and of images not all that are named need ever have been there.
            _ => Vec::new(),
        };
        if named.is_empty() {
            let mut files = self.folder.list(place).await?;
            while let Some(file) = files.next().await {
                if !is_mark(&file?.key) {
                    return Ok(Evidence::Found);
                }
            }
            return Ok(Evidence::None);
        }
        let mut found = 0;
        for key in &named {
            found += usize::from(self.folder.facts(key).await?.is_some());
        }
        Ok(if 2 * found > named.len() { Evidence::Found } else { Evidence::Missing })
    }

    /// The id that the mark of a folder has.
    async fn mark(&self, place: &str) -> Result<Option<Uuid>, FileError> {
        use std::io::ErrorKind::{NotADirectory, NotFound};
        let path = self.mark_path(place);
        match fs::read_to_string(&path).await {
            Ok(text) => Ok(text.lines().next().and_then(|id| Uuid::try_parse(id.trim()).ok())),
            Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(None),
            // A disk or a server that is going, and not this file alone.
            Err(error) => Err(FileError::Unavailable(format!("{}: {error}", path.display()))),
        }
    }

    /// Puts a mark with this id into a folder, unless somebody is faster; tells the id that it has then.
    async fn set_mark(&self, place: &str, id: Uuid) -> Result<Uuid, FileError> {
        let path = self.mark_path(place);
        let set = set_mark(&path, &format!("{id}\n{EXPLANATION}\n")).await;
        set.map_err(|error| FileError::of_system(&error, &path.display().to_string()))?;
        let unreadable = || FileError::Failed(format!("{} cannot be read", path.display()));
        self.mark(place).await?.ok_or_else(unreadable)
    }

    fn mark_path(&self, place: &str) -> PathBuf {
        self.root.join(place).join(MARK)
    }

    /// The id that the database has.
    async fn recorded(&self, place: &str) -> Result<Option<Uuid>, FileError> {
        let statement = "select id from file_folder where place = $1";
        let asking = sqlx::query_scalar(statement).bind(place).fetch_optional(&self.database.pool);
        self.ask(asking).await
    }

    /// Gives the database an id, in place of another one or only if it has none; tells which it has then.
    async fn record(&self, place: &str, id: Uuid, replace: bool) -> Result<Uuid, FileError> {
        let statement = "insert into file_folder (place, id) values ($1, $2)
            on conflict (place) do update set id = case when $3 then $2 else file_folder.id end
            returning id";
        let done = sqlx::query_scalar(statement).bind(place).bind(id).bind(replace);
        self.ask(done.fetch_one(&self.database.pool)).await
    }

    async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, FileError> {
        let unknown = |error: DatabaseError| {
            FileError::Unavailable(format!(
                "the database does not say which folder is meant: {error}"
            ))
        };
        self.database.check().map_err(unknown)?;
        self.database.ask(question).await.map_err(unknown)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<&'static str, Uuid>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn other(&self, place: &str, why: &str) -> FileError {
        FileError::OtherFolder(format!(
            "the folder {} is not the one that holds this database's files: it {why}. Is its disk mounted? If files were \
             moved there by hand, or are lost for good, `crm files adopt` takes the folder as it is",
            self.root.join(place).display()
        ))
    }
}

/// Whether this is the key of a mark, which is no file of the store.
fn is_mark(key: &str) -> bool {
    key.rsplit_once('/').is_some_and(|(_, name)| name == MARK)
}

/// Writes a mark, whole or not at all, unless there is one that says something.
async fn set_mark(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).await?;
    }
    let beside = path.with_file_name(format!(".{}.part", Uuid::new_v4().simple()));
    let written = async {
        let mut file = File::create(&beside).await?;
        file.write_all(text.as_bytes()).await?;
        file.sync_all().await?;
        match fs::hard_link(&beside, path).await {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            // Some file systems have no links; two servers that begin at once are as rare as these.
            Err(_) => return fs::rename(&beside, path).await,
            Ok(()) => {}
        }
        fs::remove_file(&beside).await
    }
    .await;
    if written.is_err() {
        // The original error is what matters.
        let _ = fs::remove_file(&beside).await;
    }
    written?;
    sync_folder(path).await
}

#[async_trait]
impl Store for MarkedFolder {
    fn with_patience(&self, patience: Duration) -> Arc<dyn Store> {
        Arc::new(Self { patience: Some(patience), ..self.clone() })
    }

    async fn put(&self, key: &str, content: Bytes) -> Result<(), FileError> {
        self.admit(key, Want::Fill).await?;
        self.folder.put(key, content).await
    }

    async fn facts(&self, key: &str) -> Result<Option<Facts>, FileError> {
        self.admit(key, Want::Look).await?;
        self.in_time(key, self.folder.facts(key)).await
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<Content, FileError> {
        self.admit(key, Want::Look).await?;
        self.in_time(key, self.folder.read(key, range)).await
    }

    async fn remove(&self, key: &str) -> Result<(), FileError> {
        self.admit(key, Want::Look).await?;
        self.folder.remove(key).await
    }

    async fn list(
        &self,
        prefix: &str,
    ) -> Result<BoxStream<'_, Result<Facts, FileError>>, FileError> {
        self.admit(prefix, Want::Look).await?;
        let files = self.folder.list(prefix).await?;
        let is_file =
            |file: &Result<Facts, FileError>| !file.as_ref().is_ok_and(|file| is_mark(&file.key));
        Ok(files.filter(move |file| std::future::ready(is_file(file))).boxed())
    }

    async fn grow(&self, key: &str, growth: &Growth, chunk: Bytes) -> Result<Growth, FileError> {
        self.admit(key, Want::Fill).await?;
        self.folder.grow(key, growth, chunk).await
    }

    async fn complete(&self, key: &str, growth: &Growth) -> Result<(), FileError> {
        self.admit(key, Want::Fill).await?;
        self.folder.complete(key, growth).await
    }

    async fn link(
        &self,
        key: &str,
        shown: &Shown,
        lifetime: Duration,
    ) -> Result<Option<String>, FileError> {
        self.folder.link(key, shown, lifetime).await
    }

    async fn check(&self) -> Result<(), FileError> {
        self.folder.check().await?;
        self.recognise().await
    }

    fn places(&self) -> &'static [&'static str] {
        self.folder.places()
    }

    async fn probe(&self, place: &'static str, whole: bool) -> Result<(), FileError> {
        self.admit(place, Want::Look).await?;
        self.in_time(place, self.folder.probe(place, whole)).await
    }

    async fn recognise(&self) -> Result<(), FileError> {
        self.admit("", Want::Look).await
    }

    fn is_known(&self, key: &str) -> bool {
        self.known().keys().any(|place| key.starts_with(place))
    }
}
