//! Files in a folder of this machine.

use std::io::{SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use super::{CHUNK, Content, Facts, FileError, Growth, PLACES, Shown, Store, check_key};

/// How much is read at a time, in bytes.
const PIECE: usize = 64 << 10;

/// What a growing file is called until it is whole.
const PART: &str = ".part";

/// A folder of files by key.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Keeps files in this folder, which is made when the first file comes.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    fn path(&self, key: &str) -> Result<PathBuf, FileError> {
        check_key(key)?;
        Ok(self.0.join(key))
    }

    fn part(&self, key: &str) -> Result<PathBuf, FileError> {
        self.path(&format!("{key}{PART}"))
    }
}

#[async_trait]
impl Store for Folder {
    /// A disk answers or fails.
    fn with_patience(&self, _: Duration) -> Arc<dyn Store> {
        Arc::new(self.clone())
    }

    async fn put(&self, key: &str, content: Bytes) -> Result<(), FileError> {
        let path = self.path(key)?;
        write_whole(&path, &content).await.map_err(|error| FileError::of_system(&error, key))
    }

    async fn facts(&self, key: &str) -> Result<Option<Facts>, FileError> {
        match fs::metadata(self.path(key)?).await {
            Ok(found) if found.is_file() => Ok(Some(facts(key.to_owned(), &found))),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::of_system(&error, key)),
        }
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<Content, FileError> {
        let failed = |error| FileError::of_system(&error, key);
        let path = self.path(key)?;
        let mut file = File::open(&path).await.map_err(failed)?;
        if !file.metadata().await.map_err(failed)?.is_file() {
            return Err(FileError::Missing(key.to_owned()));
        }
        file.seek(SeekFrom::Start(range.start)).await.map_err(failed)?;
        let rest = file.take(range.end.saturating_sub(range.start));
        let key = key.to_owned();
        let pieces = stream::try_unfold((rest, key), async |(mut rest, key)| {
            let mut piece = BytesMut::with_capacity(PIECE);
            match rest.read_buf(&mut piece).await {
                Ok(0) => Ok(None),
                Ok(_) => Ok(Some((piece.freeze(), (rest, key)))),
                Err(error) => Err(FileError::of_system(&error, &key)),
            }
        });
        Ok(pieces.boxed())
    }

    async fn remove(&self, key: &str) -> Result<(), FileError> {
        for path in [self.part(key)?, self.path(key)?] {
            match fs::remove_file(path).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(FileError::of_system(&error, key));
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn list(
        &self,
        prefix: &str,
    ) -> Result<BoxStream<'_, Result<Facts, FileError>>, FileError> {
        let (root, prefix) = (self.0.clone(), prefix.to_owned());
        let walk = tokio::task::spawn_blocking(move || walk(&root, &prefix));
        let found = walk.await.map_err(|error| FileError::Failed(error.to_string()))?;
        let found = found.map_err(|error| FileError::of_system(&error, "the folder of files"))?;
        Ok(stream::iter(found).map(Ok).into_stream().boxed())
    }

    async fn grow(&self, key: &str, growth: &Growth, chunk: Bytes) -> Result<Growth, FileError> {
        let failed = |error| FileError::of_system(&error, key);
        let path = self.part(key)?;
        let mut file = open_part(&path).await.map_err(failed)?;
        let found = file.metadata().await.map_err(failed)?.len();
        if found < growth.size {
            let what = format!("{found} bytes are left of the {} that were stored", growth.size);
            return Err(FileError::Damaged { key: key.to_owned(), what });
        }
        let write = async {
            file.seek(SeekFrom::Start(growth.size)).await?;
            file.write_all(&chunk).await?;
            file.flush().await?;
            file.sync_data().await
        };
        write.await.map_err(failed)?;
        Ok(Growth { size: growth.size + chunk.len() as u64, ..growth.clone() })
    }

    async fn complete(&self, key: &str, growth: &Growth) -> Result<(), FileError> {
        if self.facts(key).await?.is_some_and(|there| there.size == growth.size) {
            return Ok(());
        }
        let (part, path) = (self.part(key)?, self.path(key)?);
        let complete = async {
            let file = OpenOptions::new().write(true).open(&part).await?;
            file.set_len(growth.size).await?;
            file.sync_all().await?;
            fs::rename(&part, &path).await?;
            sync_folder(&path).await
        };
        complete.await.map_err(|error| FileError::of_system(&error, key))
    }

    async fn link(&self, _: &str, _: &Shown, _: Duration) -> Result<Option<String>, FileError> {
        Ok(None)
    }

    fn places(&self) -> &'static [&'static str] {
        &PLACES
    }

    /// Room is asked for as a whole chunk takes it, which costs nothing.
    async fn probe(&self, place: &'static str, _: bool) -> Result<(), FileError> {
        self.check().await?;
        let (root, folder) = (self.0.clone(), self.0.join(place));
        let probing = tokio::task::spawn_blocking(move || {
            // A place is made with its first file.
            let folder = if folder.is_dir() { folder } else { root };
            probe(&folder)
                .map_err(|error| FileError::of_system(&error, &folder.display().to_string()))
        });
        probing.await.map_err(|error| FileError::Failed(error.to_string()))?
    }

    async fn check(&self) -> Result<(), FileError> {
        let made = fs::create_dir_all(&self.0).await;
        made.map_err(|error| FileError::of_system(&error, &self.0.display().to_string()))
    }
}

fn facts(key: String, found: &std::fs::Metadata) -> Facts {
    let modified = found.modified().unwrap_or(std::time::SystemTime::UNIX_EPOCH);
    Facts { key, size: found.len(), modified: modified.into() }
}

/// Opens what is there of a growing file, or begins it.
async fn open_part(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true);
    match options.open(path).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).await?;
            }
            let file = options.create(true).truncate(false).open(path).await?;
            sync_folder(path).await?;
            Ok(file)
        }
        opened => opened,
    }
}

/// Writes beside the target and renames, so that a file with this name is always whole.
async fn write_whole(path: &Path, content: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).await?;
    }
    // A name of its own length: that of the file may be as long as names can be.
    let part = path.with_file_name(format!(".{}{PART}", uuid::Uuid::new_v4().simple()));
    let written = async {
        let mut file = File::create(&part).await?;
        file.write_all(content).await?;
        file.sync_all().await?;
        fs::rename(&part, path).await?;
        sync_folder(path).await
    }
    .await;
    if written.is_err() {
        // The original error is what matters; a left-over part file harms nothing.
        let _ = fs::remove_file(&part).await;
    }
    written
}

/// Stores a little in a folder, and has room kept for a chunk. The file has no name, so nothing is left of it in any case.
fn probe(folder: &Path) -> std::io::Result<()> {
    const LITTLE: [u8; 4096] = [0; 4096];
    let mut file = tempfile::tempfile_in(folder)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, CHUNK as u64) {
        // Not every file system keeps room.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
        kept => kept?,
    }
    file.write_all(&LITTLE)?;
    file.sync_all()
}

/// Makes the name of a file survive a crash.
pub(super) async fn sync_folder(path: &Path) -> std::io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("."))).await?.sync_all().await
}

/// All regular files below `root` whose path from there begins with `prefix`.
fn walk(root: &Path, prefix: &str) -> std::io::Result<Vec<Facts>> {
    let mut found = Vec::new();
    let mut folders = vec![root.join(prefix.rsplit_once('/').map_or("", |(folder, _)| folder))];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            }
            let path = entry.path();
            let key = path.strip_prefix(root).ok().and_then(Path::to_str);
            let Some(key) = key.filter(|key| kind.is_file() && key.starts_with(prefix)) else {
                continue;
            };
            match entry.metadata() {
                // Removed since the folder was read.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                metadata => found.push(facts(key.to_owned(), &metadata?)),
            }
        }
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}
