//! The settings, read once at the start from the environment and a `.env` file; the environment wins.
//!
//! Everything about a setting stands in one table, [`KNOWN`]: which names exist, what they mean, which hold secrets. It
//! drives the reading, `crm config`, and the tests that hold `.env.example` against it. Reading is a pure function of a
//! map and reports every wrong value at once, so that nobody repairs a file by starting the server ten times.

mod file;
mod forms;
mod known;
mod masked;
mod reader;
mod warning;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::NaiveTime;
use projections::llm::{Llm, LlmConfig};
use projections::seal::PublicKey;

use file::{read_env_file, text_only};
use reader::Reader;
use warning::warnings;

pub use forms::is_bucket;
pub use known::{KNOWN, Setting};
pub use masked::Secret;
pub use warning::Warning;

/// Where the value of a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A variable of the process's environment.
    Environment,
    /// The `.env` file.
    File,
    /// Not set, and a default holds.
    Default,
    /// Not set, and nothing holds in its place.
    Unset,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Environment => "environment",
            Source::File => ".env",
            Source::Default => "default",
            Source::Unset => "not set",
        })
    }
}

/// A value that cannot be used. Its text names the variable, the value (secrets masked) and what is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} {problem}: {expected}")]
pub struct SettingError {
    /// Name of the variable, or `.env` for the file itself.
    pub name: String,
    /// What is wrong, with the value unless it is a secret.
    pub problem: String,
    /// What would be right.
    pub expected: String,
}

/// The two halves of an AWS access key, and what belongs to a temporary one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsKeys {
    /// `AWS_ACCESS_KEY_ID`.
    pub id: Secret,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret: Secret,
    /// `AWS_SESSION_TOKEN`.
    pub session: Option<Secret>,
}

/// Which language model to ask, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LlmSettings {
    /// Base URL of its server.
    pub url: String,
    /// Its name there.
    pub model: String,
    /// Key for the server.
    pub key: Option<Secret>,
    /// How many tokens question and answer may have together.
    pub context: usize,
    /// Longest time for an answer.
    pub timeout: Duration,
}

impl LlmSettings {
    /// The model.
    ///
    /// # Errors
    /// When the key cannot be a key; the text says so.
    pub fn open(&self) -> anyhow::Result<Llm> {
        Llm::new(&LlmConfig {
            url: self.url.clone(),
            model: self.model.clone(),
            key: self.key.as_ref().map(|key| key.expose().to_owned()),
            context: self.context,
            patience: self.timeout,
        })
    }
}

/// What the environment and `.env` say, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The Postgres server; `None` runs the embedded one.
    pub database_url: Option<Secret>,
    /// The Qdrant server that holds the vectors; `None` searches them in memory.
    pub qdrant_url: Option<String>,
    /// Key for the Qdrant server.
    pub qdrant_api_key: Option<Secret>,
    /// The embeddings server; `None` uses the model on this machine.
    pub embed_url: Option<String>,
    /// The model that the embeddings server is asked for.
    pub embed_name: String,
    /// Key for the embeddings server.
    pub embed_api_key: Option<Secret>,
    /// Bucket for files; `None`: they are in the data folder.
    pub s3_bucket: Option<String>,
    /// Region of the bucket; `None`: as AWS's tools find it.
    pub aws_region: Option<String>,
    /// Keys for the bucket; `None`: as AWS's tools find them.
    pub aws_keys: Option<AwsKeys>,
    /// Address of an S3-compatible server; `None`: Amazon's.
    pub aws_endpoint_url: Option<String>,
    /// Weights of the embedding model; `None`: those in the data folder.
    pub embed_model: Option<PathBuf>,
    /// Tokenizer of the embedding model; `None`: `tokenizer.json` beside the weights.
    pub embed_tokenizer: Option<PathBuf>,
    /// Origins (`scheme://host[:port]`) that may call the API from a browser.
    pub frontend_origins: Vec<String>,
    /// Address or host name to listen on; an IPv6 address stands without brackets.
    pub api_host: String,
    /// TCP port to listen on; 0 takes any free one.
    pub api_port: u16,
    /// Folder for everything that crm keeps itself.
    pub data_dir: PathBuf,
    /// Folder of Postgres binaries for the embedded server; `None` searches the usual places.
    pub postgres_bin: Option<PathBuf>,
    /// Filter for the log, in `tracing`'s syntax.
    pub log: String,
    /// Largest request body, in bytes.
    pub body_limit: usize,
    /// Largest recording, in bytes.
    pub upload_limit: u64,
    /// Longest time for one request.
    pub request_timeout: Duration,
    /// Key that the log is sealed with, in base64; `None`: one that is kept in the data folder.
    pub seal_key: Option<Secret>,
    /// Public keys of others that seal the log, and of those that sealed it before.
    pub seal_known_keys: Vec<PublicKey>,
    /// When the log and the read models are checked every day, by the machine's clock; `None`: never.
    pub verify_at: Option<NaiveTime>,
    /// For how many days refusals are kept; `None`: for good.
    pub refusals_days: Option<u32>,
    /// The master key of the encrypted events; `None`: it is in the data folder.
    pub master_key: Option<Secret>,
    /// The master key that `crm keys rotate` puts in its place.
    pub new_master_key: Option<Secret>,
    /// Whether webhooks may go to private addresses and by http.
    pub webhook_private: bool,
    /// Whether recordings are stored encrypted under the keys of their notes.
    pub seal_recordings: bool,
    /// How many recordings a server works on at a time.
    pub workers: usize,
    /// Length of the pieces that recordings are transcribed in.
    pub transcript_chunk: Duration,
    /// File of the speech model; `None`: one in the data folder.
    pub whisper_model: Option<PathBuf>,
    /// Most connections to Postgres at a time.
    pub db_connections: u32,
    /// Base URL of the OpenTelemetry collector; `None` makes no traces.
    pub otlp_endpoint: Option<String>,
    /// What crm is called in traces.
    pub service_name: String,
    /// The language model; `None`: there is none.
    pub llm: Option<LlmSettings>,
    /// What was set, in the form in which it may be shown, with its source; for [`Settings::describe`].
    given: BTreeMap<&'static str, (String, Source)>,
}

/// The settings, or all that is wrong with them; and, whichever it is, what is merely odd.
pub type Loaded = (Result<Settings, Vec<SettingError>>, Vec<Warning>);

impl Settings {
    /// Reads the environment and the nearest `.env` in the working folder or a folder above it. The errors are all values
    /// that cannot be used, or a `.env` that cannot be read.
    pub fn load() -> Loaded {
        // Without those that are no text: `std::env::vars` would panic on them, and none of ours can be meant.
        let environment = text_only(std::env::vars_os());
        let mut merged = match read_env_file() {
            Ok(lines) => lines,
            Err(error) => return (Err(vec![error]), warnings(&environment)),
        };
        // A variable set to nothing counts as not set, so it does not hide the one in the file.
        merged.extend(
            environment
                .iter()
                .filter(|(_, value)| !value.trim().is_empty())
                .map(|(k, v)| (k.clone(), v.clone())),
        );
        let (mut settings, warnings) = Settings::from_map(&merged);
        for (name, (_, source)) in settings.iter_mut().flat_map(|settings| &mut settings.given) {
            if environment.get(*name).is_none_or(|value| value.trim().is_empty()) {
                *source = Source::File;
            }
        }
        (settings, warnings)
    }

    /// Reads the settings from `map`. Besides the settings it uses `HOME` and `XDG_DATA_HOME`, for the default data folder.
    ///
    /// An empty value counts as not set. Names that begin with `CRM_` and are no setting give a warning. The errors are all
    /// values that cannot be used.
    pub fn from_map(map: &BTreeMap<String, String>) -> Loaded {
        let mut reader = Reader { map, errors: Vec::new() };
        let settings = match reader.settings() {
            Some(settings) if reader.errors.is_empty() => Ok(settings),
            _ => Err(reader.errors),
        };
        (settings, warnings(map))
    }

    /// The files that are named and are none, or cannot be read.
    pub fn wrong_files(&self) -> Vec<SettingError> {
        let named = [
            ("EMBED_MODEL", &self.embed_model),
            ("EMBED_TOKENIZER", &self.embed_tokenizer),
            ("WHISPER_MODEL", &self.whisper_model),
        ];
        let is_readable = |path: &Path| path.is_file() && std::fs::File::open(path).is_ok();
        let wrong = named.into_iter().filter_map(|(name, path)| {
            let path = path.as_ref().filter(|path| !is_readable(path))?;
            Some(SettingError {
                name: name.to_owned(),
                problem: format!("is `{}`", path.display()),
                expected: "expected is a file that crm can read".to_owned(),
            })
        });
        wrong.collect()
    }

    /// Every setting with its value, masked if secret, and where it comes from; in the order of [`KNOWN`].
    pub fn describe(&self) -> Vec<(&'static str, String, Source)> {
        KNOWN.iter().map(|setting| self.describe_one(setting)).collect()
    }

    fn describe_one(&self, setting: &Setting) -> (&'static str, String, Source) {
        let (value, source) = match self.given.get(setting.name) {
            Some((shown, source)) => (shown.clone(), *source),
            None if setting.name == "CRM_DATA_DIR" => {
                (self.data_dir.display().to_string(), Source::Default)
            }
            None if setting.default.is_empty() => (String::new(), Source::Unset),
            None => (setting.default.to_owned(), Source::Default),
        };
        (setting.name, value, source)
    }
}

#[cfg(test)]
mod tests;
