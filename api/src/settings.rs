//! The settings, read once at the start from the environment and a `.env` file; the environment wins.
//!
//! Everything about a setting stands in one table, [`KNOWN`]: which names exist, what they mean, which hold secrets. It
//! drives the reading, `crm config`, and the tests that hold `.env.example` against it. Reading is a pure function of a
//! map and reports every wrong value at once, so that nobody repairs a file by starting the server ten times.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use axum::http::Uri;
use chrono::NaiveTime;
use projections::llm::{Llm, LlmConfig};
use projections::log::MasterKey;
use projections::seal::SealKey;
use sqlx::postgres::PgConnectOptions;
use tracing_subscriber::EnvFilter;

/// One setting as the user sees it.
#[derive(Debug)]
pub struct Setting {
    /// Name of the environment variable.
    pub name: &'static str,
    /// What holds when it is not set; empty if nothing does.
    pub default: &'static str,
    /// What it is for, in one sentence, with the unit.
    pub meaning: &'static str,
    /// Whether its value must never be shown.
    pub secret: bool,
}

const fn setting(name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { name, default, meaning, secret: false }
}

const fn secret(name: &'static str, meaning: &'static str) -> Setting {
    Setting { name, default: "", meaning, secret: true }
}

/// All settings, in the order in which they are shown.
pub const KNOWN: &[Setting] = &[
    // Not marked as secret: of this URL only the password is hidden.
    setting(
        "DATABASE_URL",
        "",
        "Postgres server to use (postgres://user:password@host/database); not set: an embedded one.",
    ),
    setting(
        "QDRANT_URL",
        "",
        "gRPC address of the Qdrant server that holds the vectors (http://localhost:6334; https for TLS); not set: they are searched in memory.",
    ),
    secret("QDRANT_API_KEY", "Key for the Qdrant server."),
    setting(
        "EMBED_URL",
        "",
        "OpenAI-compatible embeddings server for search by meaning (http://localhost:11434/v1); not set: the model on this machine.",
    ),
    setting(
        "EMBED_NAME",
        "multilingual-e5-small",
        "Model that the server of EMBED_URL is asked for; of E5 and Nomic models crm knows the prefixes.",
    ),
    secret("EMBED_API_KEY", "Key for the server of EMBED_URL."),
    setting("S3_BUCKET", "", "Bucket for recordings, images and documents; not set: CRM_DATA_DIR."),
    setting("AWS_REGION", "", "Region of the bucket; not set: as AWS's own tools find it."),
    secret(
        "AWS_ACCESS_KEY_ID",
        "Access key for the bucket, together with AWS_SECRET_ACCESS_KEY; not set: as AWS's own tools find it.",
    ),
    secret("AWS_SECRET_ACCESS_KEY", "Secret key for the bucket, together with AWS_ACCESS_KEY_ID."),
    setting(
        "AWS_ENDPOINT_URL",
        "",
        "Address of an S3-compatible server, such as MinIO; buckets are then parts of its paths.",
    ),
    setting(
        "EMBED_MODEL",
        "",
        "File with the weights of multilingual-e5-small; not set: the one that crm models get embed brings.",
    ),
    setting(
        "EMBED_TOKENIZER",
        "",
        "File with the tokenizer of that model; not set: tokenizer.json beside the weights.",
    ),
    setting(
        "FRONTEND_URL",
        "",
        "Origins of the web front end that may call the API, comma separated.",
    ),
    setting(
        "API_HOST",
        "127.0.0.1",
        "Address to listen on; 0.0.0.0 is every network of the machine.",
    ),
    setting("API_PORT", "8000", "TCP port to listen on; 0 takes any free one."),
    setting(
        "CRM_DATA_DIR",
        "~/.local/share/crm",
        "Folder for everything that crm keeps itself; for root /var/lib/crm.",
    ),
    setting(
        "CRM_POSTGRES_BIN",
        "",
        "Folder with initdb and postgres for the embedded server; not set: the usual places.",
    ),
    setting(
        "CRM_LOG",
        "info",
        "What to log: error, warn, info, debug, trace, or a filter such as info,sqlx=debug.",
    ),
    setting("CRM_BODY_LIMIT_MB", "64", "Largest request body, in MiB (1 to 4096)."),
    setting("CRM_UPLOAD_LIMIT_MB", "4096", "Largest recording, in MiB (1 to 40960)."),
    setting("CRM_REQUEST_TIMEOUT_S", "30", "Longest time for one request, in seconds (1 to 3600)."),
    secret(
        "CRM_SEAL_KEY",
        "Key that the log is sealed with, 32 random bytes in base64; not set: one in CRM_DATA_DIR/keys, made at the first start.",
    ),
    setting(
        "CRM_VERIFY_AT",
        "03:00",
        "When crm serve checks the log and the read models every day, as HH:MM; off: never.",
    ),
    setting(
        "CRM_REFUSALS_DAYS",
        "2192",
        "For how many days refused requests to change something are kept (0 to 36500); 0: for good.",
    ),
    secret(
        "CRM_MASTER_KEY",
        "Master key of the encrypted events, 32 bytes in base64; not set: the file keys/master.key in CRM_DATA_DIR.",
    ),
    secret(
        "CRM_NEW_MASTER_KEY",
        "Only for crm keys rotate where CRM_MASTER_KEY is set: the master key that is to take its place.",
    ),
    setting(
        "CRM_WEBHOOK_PRIVATE",
        "off",
        "on: webhooks may go to private addresses and by http; off: only to the public internet, by https.",
    ),
    setting(
        "CRM_WORKERS",
        "1",
        "Recordings that crm serve works on at a time (0 to 64); 0: none, crm work does it elsewhere.",
    ),
    setting(
        "CRM_TRANSCRIPT_CHUNK_S",
        "300",
        "Length of the pieces that recordings are transcribed in, in seconds (10 to 600): a killed worker loses one.",
    ),
    setting(
        "WHISPER_MODEL",
        "",
        "File of the speech model, in ggml's format; not set: one in the folder models of CRM_DATA_DIR.",
    ),
    setting("CRM_DB_CONNECTIONS", "10", "Most connections to Postgres at a time (4 to 100)."),
    setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "OpenTelemetry collector to send traces to, by OTLP over HTTP (http://localhost:4318); not set: none are made.",
    ),
    setting("OTEL_SERVICE_NAME", "crm", "What crm is called in traces."),
    setting(
        "LLM_URL",
        "",
        "Language model for summaries and answers: base URL of Ollama or of any OpenAI-compatible server; not set: highlights in place of summaries, and no answers.",
    ),
    setting("LLM_MODEL", "", "Name of the model there; goes with LLM_URL."),
    secret("LLM_API_KEY", "Key for that server, if it wants one."),
    setting(
        "LLM_CONTEXT_TOKENS",
        "8192",
        "How many tokens the model takes, question and answer together (2048 to 2000000).",
    ),
    setting(
        "LLM_TIMEOUT_S",
        "300",
        "Longest time for an answer of the model, in seconds (1 to 3600).",
    ),
];

/// A value that is never shown: `Debug` and `Display` print `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Secret {
        Secret(value.into())
    }

    /// The value itself, for the one place that needs it. Not for logs, errors or answers.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

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

/// A variable that looks like a setting and is none; most likely a slip of the pen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The unknown name.
    pub name: String,
    /// The known name nearest to it.
    pub nearest: &'static str,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no setting of crm and is ignored: is {} meant?", self.name, self.nearest)
    }
}

/// The two halves of an AWS access key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsKeys {
    /// `AWS_ACCESS_KEY_ID`.
    pub id: Secret,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret: Secret,
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
    /// What was set, with its source; for [`Settings::describe`].
    given: BTreeMap<&'static str, (Shown, Source)>,
}

/// The settings, or all that is wrong with them; and, whichever it is, what is merely odd.
pub type Loaded = (Result<Settings, Vec<SettingError>>, Vec<Warning>);

/// A value in the form in which it may be shown.
type Shown = String;

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

/// Reads one value after the other and collects what is wrong with them.
struct Reader<'a> {
    map: &'a BTreeMap<String, String>,
    errors: Vec<SettingError>,
}

impl Reader<'_> {
    /// `None` only if there is an error.
    fn settings(&mut self) -> Option<Settings> {
        const MIB: usize = 1024 * 1024;
        // Every value is read before the first `?`, so that one error does not hide another.
        let database_url = self.checked(
            "DATABASE_URL",
            "a URL like postgres://user:password@host:5432/database",
            is_postgres_url,
        );
        let qdrant_url = self.checked(
            "QDRANT_URL",
            "a URL like http://localhost:6334, without a user",
            is_plain_url,
        );
        let embed_url = self.checked(
            "EMBED_URL",
            "a URL like http://localhost:11434/v1, without a user or a query",
            is_plain_url,
        );
        let embed_name = self.checked("EMBED_NAME", "the name of a model", |_| true);
        let bucket_form =
            "the name of a bucket: 3 to 63 lower-case letters, digits, dots and hyphens";
        let s3_bucket = self.checked("S3_BUCKET", bucket_form, is_bucket);
        let aws_keys = self.aws_keys();
        let aws_endpoint_url =
            self.checked("AWS_ENDPOINT_URL", "a URL like http://localhost:9000", is_web_url);
        let frontend_origins = self.origins();
        let api_host = self.checked("API_HOST", "an IP address or a host name", is_host);
        let api_port = self.number("API_PORT", 0, 65535);
        let data_dir = self.data_dir();
        let log = self.checked("CRM_LOG", "a filter like info or info,sqlx=debug", |text| {
            EnvFilter::try_new(text).is_ok()
        });
        let body_limit = self.number("CRM_BODY_LIMIT_MB", 1, 4096);
        let upload_limit = self.number("CRM_UPLOAD_LIMIT_MB", 1, 40960);
        let request_timeout = self.number("CRM_REQUEST_TIMEOUT_S", 1, 3600);
        let seal_key = self.checked(
            "CRM_SEAL_KEY",
            "32 random bytes in base64, as `openssl rand -base64 32` prints them",
            |text| text.parse::<SealKey>().is_ok(),
        );
        let verify_at = self.checked("CRM_VERIFY_AT", "a time like 03:00, or off", |text| {
            text == "off" || time_of_day(text).is_some()
        });
        let refusals_days = self.number("CRM_REFUSALS_DAYS", 0, 36_500);
        let key_form = "32 bytes in base64, as `openssl rand -base64 32` prints them";
        let is_key = |text: &str| MasterKey::parse(text).is_some();
        let master_key = self.checked("CRM_MASTER_KEY", key_form, is_key);
        let new_master_key = self.checked("CRM_NEW_MASTER_KEY", key_form, is_key);
        let webhook_private =
            self.checked("CRM_WEBHOOK_PRIVATE", "on or off", |text| ["on", "off"].contains(&text));
        let workers = self.number("CRM_WORKERS", 0, 64);
        let transcript_chunk = self.number("CRM_TRANSCRIPT_CHUNK_S", 10, 600);
        let db_connections = self.number("CRM_DB_CONNECTIONS", 4, 100);
        let otlp_endpoint = self.checked(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "a URL like http://localhost:4318, without a user or a query",
            is_plain_url,
        );
        let service_name = self.checked("OTEL_SERVICE_NAME", "a name", |_| true);
        let llm = self.llm();
        Some(Settings {
            database_url: database_url.map(Secret),
            qdrant_url,
            qdrant_api_key: self.text("QDRANT_API_KEY").map(Secret::new),
            embed_url,
            embed_name: embed_name?,
            embed_api_key: self.text("EMBED_API_KEY").map(Secret::new),
            s3_bucket,
            aws_region: self.text("AWS_REGION").map(str::to_owned),
            aws_keys,
            aws_endpoint_url,
            embed_model: self.path("EMBED_MODEL"),
            embed_tokenizer: self.path("EMBED_TOKENIZER"),
            frontend_origins,
            api_host: api_host?,
            api_port: u16::try_from(api_port?).ok()?,
            data_dir: data_dir?,
            postgres_bin: self.path("CRM_POSTGRES_BIN"),
            log: log?,
            body_limit: usize::try_from(body_limit?).ok()? * MIB,
            upload_limit: u64::from(upload_limit?) * MIB as u64,
            request_timeout: Duration::from_secs(u64::from(request_timeout?)),
            seal_key: seal_key.map(Secret),
            verify_at: time_of_day(&verify_at?),
            refusals_days: Some(refusals_days?).filter(|days| *days > 0),
            master_key: master_key.map(Secret),
            new_master_key: new_master_key.map(Secret),
            webhook_private: webhook_private? == "on",
            workers: usize::try_from(workers?).ok()?,
            transcript_chunk: Duration::from_secs(u64::from(transcript_chunk?)),
            whisper_model: self.path("WHISPER_MODEL"),
            db_connections: db_connections?,
            otlp_endpoint,
            service_name: service_name?,
            llm,
            given: self.given(),
        })
    }

    /// The value of `name`; `None` if it is not set or empty.
    fn text(&self, name: &str) -> Option<&str> {
        self.map.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The value of `name`, or its default, if `fits` agrees.
    fn checked(
        &mut self,
        name: &str,
        expected: &str,
        fits: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let value = self.text(name).unwrap_or(known(name).default).to_owned();
        if value.is_empty() {
            return None;
        }
        if fits(&value) {
            return Some(value);
        }
        self.reject(name, &value, expected);
        None
    }

    fn number(&mut self, name: &str, least: u32, most: u32) -> Option<u32> {
        let fits =
            |text: &str| u32::from_str(text).is_ok_and(|number| (least..=most).contains(&number));
        self.checked(name, &format!("a whole number from {least} to {most}"), fits)?.parse().ok()
    }

    fn reject(&mut self, name: &str, value: &str, expected: &str) {
        self.errors.push(SettingError {
            name: name.to_owned(),
            problem: format!("is `{}`", shown(known(name), value)),
            expected: format!("expected is {expected}"),
        });
    }

    fn aws_keys(&mut self) -> Option<AwsKeys> {
        let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        let missing = match names.map(|name| self.text(name)) {
            [Some(id), Some(secret)] => {
                return Some(AwsKeys { id: Secret::new(id), secret: Secret::new(secret) });
            }
            [None, None] => return None,
            [None, Some(_)] => 0,
            [Some(_), None] => 1,
        };
        self.errors.push(SettingError {
            name: names[missing].to_owned(),
            problem: format!("is not set, but {} is", names[1 - missing]),
            expected: "set both or neither".to_owned(),
        });
        None
    }

    /// `None` if there is no model, or an error.
    fn llm(&mut self) -> Option<LlmSettings> {
        let url = self.checked(
            "LLM_URL",
            "a URL like http://localhost:11434, without a user or a query",
            |text| is_web_url(text) && !text.contains(['@', '?', '#']),
        );
        let context = self.number("LLM_CONTEXT_TOKENS", 2048, 2_000_000);
        let timeout = self.number("LLM_TIMEOUT_S", 1, 3600);
        let is_named = [self.text("LLM_URL"), self.text("LLM_MODEL")].map(|text| text.is_some());
        let missing = match is_named {
            [true, false] => {
                ("LLM_MODEL", "is not set, but LLM_URL is", "name the model, such as llama3.1")
            }
            [false, true] => (
                "LLM_URL",
                "is not set, but LLM_MODEL is",
                "name its server, such as http://localhost:11434",
            ),
            _ => {
                return Some(LlmSettings {
                    url: url?,
                    model: self.text("LLM_MODEL")?.to_owned(),
                    key: self.text("LLM_API_KEY").map(Secret::new),
                    context: usize::try_from(context?).ok()?,
                    timeout: Duration::from_secs(u64::from(timeout?)),
                });
            }
        };
        let (name, problem, expected) = missing;
        self.errors.push(SettingError {
            name: name.to_owned(),
            problem: problem.to_owned(),
            expected: expected.to_owned(),
        });
        None
    }

    fn origins(&mut self) -> Vec<String> {
        let origins: Vec<String> =
            self.text("FRONTEND_URL").unwrap_or_default().split(',').map(origin_form).collect();
        let origins: Vec<String> =
            origins.into_iter().filter(|origin| !origin.is_empty()).collect();
        for wrong in origins.iter().filter(|origin| !is_origin(origin)) {
            self.reject("FRONTEND_URL", wrong, "origins like https://crm.example.com or http://localhost:5173, without a path, comma separated");
        }
        origins
    }

    fn data_dir(&mut self) -> Option<PathBuf> {
        if let Some(folder) = self.text("CRM_DATA_DIR") {
            return Some(self.expanded(folder));
        }
        if rustix::process::geteuid().is_root() {
            return Some(PathBuf::from("/var/lib/crm"));
        }
        let absolute = |name| self.text(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let share =
            absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
        if share.is_none() {
            self.errors.push(SettingError {
                name: "CRM_DATA_DIR".to_owned(),
                problem: "is not set, and there is no HOME to put the data under".to_owned(),
                expected: "expected is a folder".to_owned(),
            });
        }
        Some(share?.join("crm"))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(|path| self.expanded(path))
    }

    /// A path with a leading `~/` replaced: no shell does it for the lines of a `.env`.
    fn expanded(&self, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), self.text("HOME")) {
            (Some(rest), Some(home)) => Path::new(home).join(rest),
            _ => PathBuf::from(path),
        }
    }

    fn given(&self) -> BTreeMap<&'static str, (Shown, Source)> {
        let given = |setting: &'static Setting| {
            let value = shown(setting, self.text(setting.name)?);
            Some((setting.name, (value, Source::Environment)))
        };
        KNOWN.iter().filter_map(given).collect()
    }
}

/// The row of [`KNOWN`] for `name`.
fn known(name: &str) -> &'static Setting {
    KNOWN
        .iter()
        .find(|setting| setting.name == name)
        .expect("every name read here stands in KNOWN: a test reads them all")
}

fn text_only(variables: impl Iterator<Item = (OsString, OsString)>) -> BTreeMap<String, String> {
    variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The lines of `.env`; none if there is no such file.
fn read_env_file() -> Result<BTreeMap<String, String>, SettingError> {
    let mut values = BTreeMap::new();
    let mut last = None;
    match dotenvy::dotenv_iter() {
        Ok(lines) => {
            for line in lines {
                let (name, value) = line.map_err(|error| env_file_error(error, last.as_deref()))?;
                last = Some(name.clone());
                values.insert(name, value);
            }
            Ok(values)
        }
        Err(error) if error.not_found() => Ok(values),
        Err(error) => Err(env_file_error(error, None)),
    }
}

/// A line that cannot be understood is told by the setting before it: its own text may be a secret.
fn env_file_error(error: dotenvy::Error, last: Option<&str>) -> SettingError {
    let problem = match (error, last) {
        (dotenvy::Error::LineParse(..), Some(last)) => {
            format!("cannot be understood after the line of {last}")
        }
        (dotenvy::Error::LineParse(..), None) => {
            "cannot be understood from its first setting on".to_owned()
        }
        (other, _) => format!("cannot be read ({other})"),
    };
    let expected = "expected are lines NAME=value; a value with spaces or # stands in quotes";
    SettingError { name: ".env".to_owned(), problem, expected: expected.to_owned() }
}

/// A value as it may be shown.
fn shown(setting: &Setting, value: &str) -> Shown {
    match setting.name {
        _ if setting.secret => "***".to_owned(),
        "DATABASE_URL" | "OTEL_EXPORTER_OTLP_ENDPOINT" | "QDRANT_URL" | "EMBED_URL" => {
            without_password(value)
        }
        _ => value.to_owned(),
    }
}

/// Masks the password of a URL, wherever it stands: `user:password@host` and `?password=`. Works on text, since a URL that
/// is wrong must be shown as well; then it hides too much rather than too little.
fn without_password(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let mut masked = match url[start..].rfind('@') {
        Some(at) => {
            let user = url[start..start + at].split(':').next().unwrap_or_default();
            let password = if user.len() == at { "" } else { ":***" };
            format!("{}{user}{password}{}", &url[..start], &url[start + at..])
        }
        None => url.to_owned(),
    };
    if let Some(at) = masked.find("password=").map(|at| at + "password=".len()) {
        let end = masked[at..].find('&').map_or(masked.len(), |length| at + length);
        masked.replace_range(at..end, "***");
    }
    masked
}

fn is_postgres_url(text: &str) -> bool {
    let scheme = text.starts_with("postgres://") || text.starts_with("postgresql://");
    scheme && PgConnectOptions::from_str(text).is_ok()
}

fn is_web_url(text: &str) -> bool {
    let Ok(uri) = Uri::from_str(text) else { return false };
    matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.host().is_some_and(|host| !host.is_empty())
}

/// Without anything that may be secret: it is shown and logged.
fn is_plain_url(text: &str) -> bool {
    is_web_url(text) && !text.contains(['@', '?', '#'])
}

/// An origin in the form in which browsers send it: no slash at the end, scheme and host in lower case.
fn origin_form(text: &str) -> String {
    let text = text.trim();
    text.strip_suffix('/').unwrap_or(text).to_lowercase()
}

fn is_origin(text: &str) -> bool {
    let authority = text.split_once("://").map(|(_, rest)| rest);
    is_web_url(text) && authority.is_some_and(|authority| !authority.contains(['/', '?', '#', '@']))
}

/// Whether a bucket can be called so.
pub fn is_bucket(text: &str) -> bool {
    (3..=63).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'))
}

fn time_of_day(text: &str) -> Option<NaiveTime> {
    NaiveTime::parse_from_str(text, "%H:%M").ok()
}

fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // Digits and dots alone are a mistyped address: no host name ends in a number.
    let ends_in_number = text
        .rsplit('.')
        .next()
        .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    IpAddr::from_str(text).is_ok()
        || (text.len() <= 253 && text.split('.').all(is_label) && !ends_in_number)
}

/// A warning for each `CRM_` name that is no setting.
fn warnings(map: &BTreeMap<String, String>) -> Vec<Warning> {
    map.keys()
        .filter(|name| {
            name.starts_with("CRM_") && KNOWN.iter().all(|setting| setting.name != name.as_str())
        })
        .filter_map(|name| {
            let nearest = KNOWN
                .iter()
                .map(|setting| setting.name)
                .min_by_key(|known| distance(name, known))?;
            Some(Warning { name: name.clone(), nearest })
        })
        .collect()
}

/// How many letters must be added, removed or changed to turn `a` into `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
