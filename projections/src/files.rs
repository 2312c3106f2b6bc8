//! File storage for blobs, which never enter the log: content-addressed by SHA-256, in a folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use domain::Document;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

/// A folder of files, each named by the SHA-256 of its content. Files are written once and never changed.
#[derive(Clone, Debug)]
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// Keeps files in this folder, which is made when the first file comes.
    pub fn folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Stores the content so that it survives a crash, and names it. Storing it again changes nothing.
    ///
    /// # Errors
    /// When the folder cannot be written, for instance because the disk is full.
    pub async fn put(&self, content: &[u8], media_type: &str) -> anyhow::Result<Document> {
        let sha256 = hex::encode(Sha256::digest(content));
        let path = self.path(&sha256)?;
        let size = content.len() as u64;
        let there = tokio::fs::metadata(&path).await.is_ok_and(|file| file.len() == size);
        if !there {
            write_whole(&path, content).await.with_context(|| {
                format!("cannot store a file of {size} bytes in {}", path.display())
            })?;
        }
        Ok(Document::Stored { sha256, size, media_type: media_type.to_owned() })
    }

    /// The content stored under this hash.
    ///
    /// # Errors
    /// When there is no such file, it cannot be read, or its content no longer has this hash.
    pub async fn get(&self, sha256: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.path(sha256)?;
        let content = tokio::fs::read(&path)
            .await
            .with_context(|| format!("cannot read stored file {}", path.display()))?;
        let found = hex::encode(Sha256::digest(&content));
        ensure!(found == sha256, "stored file {} is damaged: its hash is {found}", path.display());
        Ok(content)
    }

    fn path(&self, sha256: &str) -> anyhow::Result<PathBuf> {
        let well_formed = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        ensure!(well_formed, "{sha256:?} is not a SHA-256");
        Ok(self.folder.join(&sha256[..2]).join(sha256))
    }
}

/// Writes beside the target and renames, so that a file with this name is always whole.
async fn write_whole(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    tokio::fs::create_dir_all(folder).await?;
    let part = path.with_extension(format!("part-{}", uuid::Uuid::new_v4().simple()));
    let written = async {
        let mut file = tokio::fs::File::create(&part).await?;
        file.write_all(content).await?;
        file.sync_all().await?;
        tokio::fs::rename(&part, path).await?;
        tokio::fs::File::open(folder).await?.sync_all().await
    }
    .await;
    if written.is_err() {
        // The original error is what matters; a left-over part file harms nothing.
        let _ = tokio::fs::remove_file(&part).await;
    }
    written
}
