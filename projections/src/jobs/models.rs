//! Where speech models are, and the one that is in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use speech::transcribe::{Model, ModelError};

/// What files of speech models are called in the folder of models: `ggml-base.bin`.
const PREFIX: &str = "ggml-";
const SUFFIX: &str = ".bin";

/// The models that `crm models get` knows.
pub const OBTAINABLE: [&str; 2] = ["base", "tiny.en"];

/// The speech models of an installation. Clones share the one that is in memory.
#[derive(Clone, Debug)]
pub struct SpeechModels {
    configured: Option<PathBuf>,
    folder: PathBuf,
    loaded: Arc<Mutex<Option<Loaded>>>,
}

/// A model in memory, and the file it is from.
#[derive(Debug)]
struct Loaded {
    path: PathBuf,
    model: Arc<Model>,
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoModel {
    #[error("{0}")]
    Missing(String),
    #[error(transparent)]
    Unusable(#[from] ModelError),
}

impl SpeechModels {
    /// What to do about a model that is not there.
    pub const ADVICE: &str = "there is no speech model: run `crm models get speech`, or set WHISPER_MODEL to the path of one";

    /// The model in this file if one is named, else those in the folder.
    pub fn new(configured: Option<PathBuf>, folder: PathBuf) -> Self {
        Self { configured, folder, loaded: Arc::default() }
    }

    /// The file of a model, if it is there: the one that is asked for, else the one that is set, else the first in the
    /// folder, `base` before all others.
    pub fn find(&self, name: Option<&str>) -> Option<PathBuf> {
        match (name, &self.configured) {
            (None, Some(path)) => path.is_file().then(|| path.clone()),
            (None, None) => self.there().into_values().next(),
            (Some(name), _) => {
                let mut there = self.there();
                let mut named = |name: &str| there.remove(&(name != "base", name.to_owned()));
                named(name).or_else(|| named(short(name)))
            }
        }
    }

    /// The models in the folder by name, `base` before all others.
    fn there(&self) -> BTreeMap<(bool, String), PathBuf> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let models = entries.map(|entry| entry.path()).filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
            Some(((name != "base", name.to_owned()), path))
        });
        models.filter(|(_, path)| path.is_file()).collect()
    }

    /// The file of a model, or what to do about that there is none.
    pub(super) fn path(&self, name: Option<&str>) -> Result<PathBuf, NoModel> {
        let missing = || match name.map(short) {
            Some(name) if OBTAINABLE.contains(&name) => format!(
                "there is no speech model {name}: run `crm models get whisper-{name}`, or ask for another"
            ),
            Some(name) => format!(
                "there is no speech model {name}: `crm models get` obtains {}; put any other as {PREFIX}{name}{SUFFIX} into {}, or ask for another",
                OBTAINABLE.map(|name| format!("whisper-{name}")).join(" and "),
                self.folder.display()
            ),
            None => Self::ADVICE.to_owned(),
        };
        self.find(name).ok_or_else(|| NoModel::Missing(missing()))
    }

    /// A model in memory. Loading one takes a second or so, and forgets the one before.
    pub(super) fn load(&self, name: Option<&str>) -> Result<Arc<Model>, NoModel> {
        let path = self.path(name)?;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        match &*loaded {
            Some(known) if known.path == path => Ok(known.model.clone()),
            _ => {
                *loaded = None;
                let model = Arc::new(open(&path)?);
                *loaded = Some(Loaded { path, model: model.clone() });
                Ok(model)
            }
        }
    }
}

/// The name of a model in the folder, also where it is called as in `crm models` (`whisper-base`), or as a transcript tells
/// what it was made with (`whisper-base-ba8ad06f2b54`).
fn short(name: &str) -> &str {
    let Some(rest) = name.strip_prefix("whisper-") else { return name };
    match rest.rsplit_once('-') {
        Some((model, digest)) if is_digest(digest) => model,
        _ => rest,
    }
}

/// Whether these are the first digits of a model's SHA-256, as a transcript has them.
fn is_digest(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn open(path: &Path) -> Result<Model, ModelError> {
    tracing::info!(path = %path.display(), "loading the speech model");
    Model::open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_that_is_set_comes_before_those_in_the_folder_and_base_before_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let models = |configured| SpeechModels::new(configured, folder.path().to_owned());
        assert_eq!(models(None).find(None), None);
        for name in ["ggml-tiny.en.bin", "notes.txt", "ggml-base.bin", "ggml-small.bin.part"] {
            std::fs::write(path(name), "").unwrap();
        }
        let base = path("ggml-base.bin");
        assert_eq!(models(None).find(None), Some(base.clone()));
        assert_eq!(models(None).find(Some("tiny.en")), Some(path("ggml-tiny.en.bin")));
        for name in ["whisper-tiny.en", "whisper-tiny.en-921e4cf8686f"] {
            assert_eq!(models(None).find(Some(name)), Some(path("ggml-tiny.en.bin")), "{name}");
        }
        for name in ["small", "whisper-small", "whisper-", "tiny.en-921e4cf8686f"] {
            assert_eq!(models(None).find(Some(name)), None, "{name}");
        }
        assert_eq!(models(None).find(Some("../ggml-base")), None);
        let set = models(Some(path("ggml-tiny.en.bin")));
        assert_eq!(set.find(None), Some(path("ggml-tiny.en.bin")));
        assert_eq!(set.find(Some("base")), Some(base));
        assert_eq!(models(Some(path("gone.bin"))).find(None), None);
    }

    #[test]
    fn only_models_that_can_be_got_are_advised_to_be_got() {
        let models = SpeechModels::new(None, PathBuf::from("/data/models"));
        let check = |name: Option<&str>, advice: &str| {
            let said = models.path(name).unwrap_err().to_string();
            assert!(said.contains(advice), "{said}");
        };
        check(None, "crm models get speech");
        check(Some("tiny.en"), "crm models get whisper-tiny.en");
        check(Some("whisper-tiny.en"), "crm models get whisper-tiny.en");
        check(Some("large-v3"), "`crm models get` obtains whisper-base and whisper-tiny.en");
        check(Some("large-v3"), "put any other as ggml-large-v3.bin into /data/models");
    }
}
