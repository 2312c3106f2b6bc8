//! From texts to values, with everything that is wrong with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use projections::log::MasterKey;
use projections::seal::{PublicKey, SealKey};

use super::forms::{
    bare_host, is_bucket, is_host, is_log_filter, is_origin, is_plain_url, is_postgres_url,
    is_region, origin_form, postgres_url_form, time_of_day,
};
use super::known::{KNOWN, Setting, known};
use super::masked::shown;
use super::{AwsKeys, LlmSettings, Secret, SettingError, Settings, Source};

/// Reads one value after the other and collects what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) map: &'a BTreeMap<String, String>,
    pub(super) errors: Vec<SettingError>,
}

impl Reader<'_> {
    /// `None` only if there is an error.
    pub(super) fn settings(&mut self) -> Option<Settings> {
        const MIB: usize = 1024 * 1024;
        // Every value is read before the first `?`, so that one error does not hide another.
        let database_url = self.checked(
            "DATABASE_URL",
            postgres_url_form(self.text("DATABASE_URL").unwrap_or_default()),
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
        let aws_region =
            self.checked("AWS_REGION", "the name of a region, such as eu-west-1", is_region);
        let aws_keys = self.aws_keys();
        let aws_endpoint_url = self.checked(
            "AWS_ENDPOINT_URL",
            "a URL like http://localhost:9000, without a user or a query",
            is_plain_url,
        );
        let frontend_origins = self.origins();
        let api_host = self.checked("API_HOST", "an IP address or a host name", is_host);
        let api_port = self.number("API_PORT", 0, 65535);
        let data_dir = self.data_dir();
        let log = self.checked("CRM_LOG", "a filter like info or info,sqlx=debug", is_log_filter);
        let body_limit = self.number("CRM_BODY_LIMIT_MB", 1, 4096);
        let upload_limit = self.number("CRM_UPLOAD_LIMIT_MB", 1, 40960);
        let request_timeout = self.number("CRM_REQUEST_TIMEOUT_S", 1, 3600);
        let seal_key = self.checked(
            "CRM_SEAL_KEY",
            "32 random bytes in base64, as `openssl rand -base64 32` prints them",
            |text| text.parse::<SealKey>().is_ok(),
        );
        let seal_known_keys = self.checked(
            "CRM_SEAL_KNOWN_KEYS",
            "public keys as `crm seal status` prints them, comma separated",
            |text| public_keys(text).is_some(),
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
        let seal_recordings =
            self.checked("CRM_SEAL_RECORDINGS", "on or off", |text| ["on", "off"].contains(&text));
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
            database_url: database_url.map(Secret::new),
            qdrant_url,
            qdrant_api_key: self.text("QDRANT_API_KEY").map(Secret::new),
            embed_url,
            embed_name: embed_name?,
            embed_api_key: self.text("EMBED_API_KEY").map(Secret::new),
            s3_bucket,
            aws_region,
            aws_keys,
            aws_endpoint_url,
            embed_model: self.path("EMBED_MODEL"),
            embed_tokenizer: self.path("EMBED_TOKENIZER"),
            frontend_origins,
            api_host: bare_host(&api_host?).to_owned(),
            api_port: u16::try_from(api_port?).ok()?,
            data_dir: data_dir?,
            postgres_bin: self.path("CRM_POSTGRES_BIN"),
            log: log?,
            body_limit: usize::try_from(body_limit?).ok()? * MIB,
            upload_limit: u64::from(upload_limit?) * MIB as u64,
            request_timeout: Duration::from_secs(u64::from(request_timeout?)),
            seal_key: seal_key.map(Secret::new),
            seal_known_keys: seal_known_keys
                .and_then(|text| public_keys(&text))
                .unwrap_or_default(),
            verify_at: time_of_day(&verify_at?),
            refusals_days: Some(refusals_days?).filter(|days| *days > 0),
            master_key: master_key.map(Secret::new),
            new_master_key: new_master_key.map(Secret::new),
            webhook_private: webhook_private? == "on",
            seal_recordings: seal_recordings? == "on",
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
                return Some(AwsKeys {
                    id: Secret::new(id),
                    secret: Secret::new(secret),
                    session: self.text("AWS_SESSION_TOKEN").map(Secret::new),
                });
            }
            [None, None] => {
                if self.text("AWS_SESSION_TOKEN").is_some() {
                    self.errors.push(SettingError {
                        name: "AWS_SESSION_TOKEN".to_owned(),
                        problem: "is set, but AWS_ACCESS_KEY_ID is not".to_owned(),
                        expected: "set the key that it belongs to, or take it away".to_owned(),
                    });
                }
                return None;
            }
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
            is_plain_url,
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

    fn given(&self) -> BTreeMap<&'static str, (String, Source)> {
        let given = |setting: &'static Setting| {
            let value = shown(setting, self.text(setting.name)?);
            Some((setting.name, (value, Source::Environment)))
        };
        KNOWN.iter().filter_map(given).collect()
    }
}

/// The public keys in a list.
fn public_keys(text: &str) -> Option<Vec<PublicKey>> {
    text.split(',').map(|key| key.parse().ok()).collect()
}
