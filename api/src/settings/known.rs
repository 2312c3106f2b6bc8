//! The table of all settings.

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
    secret(
        "AWS_SESSION_TOKEN",
        "What belongs to these two if they are temporary; crm needs a restart with new ones when they run out.",
    ),
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
    setting(
        "CRM_REQUEST_TIMEOUT_S",
        "30",
        "Longest time for one request once its body is there, and for a pause of the body, in seconds (1 to 3600).",
    ),
    secret(
        "CRM_SEAL_KEY",
        "Key that the log is sealed with, 32 random bytes in base64; not set: one in CRM_DATA_DIR/keys, made at the first start.",
    ),
    setting(
        "CRM_SEAL_KNOWN_KEYS",
        "",
        "Public keys of other servers that seal the log, or that sealed it before, as crm seal status prints them; comma separated.",
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
        "CRM_SEAL_RECORDINGS",
        "on",
        "on: recordings are stored encrypted under the keys of their notes; off: as they come, so that a bucket can hand them out.",
    ),
    setting(
        "CRM_WEBHOOK_PRIVATE",
        "off",
        "on: webhooks may go to private addresses and by http; off: only to the public internet, by https.",
    ),
    setting(
        "CRM_WORKERS",
        "1",
        "Recordings that crm serve transcribes at a time, and as many that it summarises (0 to 64); 0: none, crm work does it elsewhere.",
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
    setting(
        "CRM_DB_CONNECTIONS",
        "10",
        "Connections that requests share (4 to 100); some ten more are kept for what goes on all the time.",
    ),
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
        "How many tokens the model takes, question and answer together (2048 to 2000000); models that think first need 16384 or more.",
    ),
    setting(
        "LLM_TIMEOUT_S",
        "300",
        "Longest time for an answer of the model, in seconds (1 to 3600).",
    ),
];

/// The row of [`KNOWN`] for `name`.
pub(super) fn known(name: &str) -> &'static Setting {
    KNOWN
        .iter()
        .find(|setting| setting.name == name)
        .expect("every name read here stands in KNOWN: a test reads them all")
}
