//! What the settings take, refuse and show, and that the documents say the same.

use std::collections::BTreeSet;
use std::path::Path;

use super::masked::without_password;
use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let home = [("HOME", "/home/ada")];
    home.iter()
        .chain(pairs)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn settings(pairs: &[(&str, &str)]) -> Settings {
    Settings::from_map(&map(pairs)).0.expect("these settings are right")
}

fn errors(pairs: &[(&str, &str)]) -> Vec<String> {
    let errors = Settings::from_map(&map(pairs)).0.expect_err("these settings are wrong");
    errors.iter().map(SettingError::to_string).collect()
}

#[test]
fn with_nothing_set_the_defaults_hold_and_everything_is_embedded() {
    let settings = settings(&[]);
    assert_eq!((settings.api_host.as_str(), settings.api_port), ("127.0.0.1", 8000));
    assert_eq!(
        (settings.body_limit, settings.request_timeout),
        (64 << 20, Duration::from_secs(30))
    );
    assert_eq!((settings.db_connections, settings.log.as_str()), (10, "info"));
    assert!(
        settings.database_url.is_none()
            && settings.qdrant_url.is_none()
            && settings.s3_bucket.is_none()
    );
    assert_eq!(settings.verify_at, NaiveTime::from_hms_opt(3, 0, 0));
    assert_eq!(settings.refusals_days, Some(2192));
    assert!(!settings.webhook_private && settings.seal_recordings);
    let root = rustix::process::geteuid().is_root();
    let data_dir = if root { "/var/lib/crm" } else { "/home/ada/.local/share/crm" };
    assert_eq!(settings.data_dir, Path::new(data_dir));
}

#[test]
fn an_empty_value_counts_as_not_set() {
    let settings = settings(&[("API_PORT", ""), ("DATABASE_URL", " "), ("FRONTEND_URL", "")]);
    assert_eq!(settings.api_port, 8000);
    assert!(settings.database_url.is_none() && settings.frontend_origins.is_empty());
}

#[test]
fn values_are_taken_as_given() {
    let settings = settings(&[
        ("API_HOST", "::1"),
        ("API_PORT", "0"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "key"),
        ("CRM_BODY_LIMIT_MB", "1"),
        ("CRM_DATA_DIR", "~/fundraising"),
        ("CRM_LOG", "info,sqlx=debug"),
        ("DATABASE_URL", "postgresql:///crm?host=/run/postgresql&user=crm"),
        ("FRONTEND_URL", "http://localhost:5173/, https://CRM.example.com"),
    ]);
    assert_eq!(
        (settings.api_host.as_str(), settings.api_port, settings.body_limit),
        ("::1", 0, 1 << 20)
    );
    let in_brackets = self::settings(&[("API_HOST", "[::1]")]);
    assert_eq!(in_brackets.api_host, "::1");
    assert_eq!(settings.data_dir, Path::new("/home/ada/fundraising"));
    assert_eq!(settings.frontend_origins, ["http://localhost:5173", "https://crm.example.com"]);
    let keys = settings.aws_keys.expect("both halves are given");
    assert_eq!((keys.secret.expose(), keys.session), ("key", None));
}

#[test]
fn a_session_token_belongs_to_keys() {
    let token = ("AWS_SESSION_TOKEN", "token");
    let settings =
        settings(&[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "key"), token]);
    let shown = settings.describe().into_iter().find(|row| row.0 == token.0);
    assert_eq!(shown, Some((token.0, "***".to_owned(), Source::Environment)));
    let session = settings.aws_keys.and_then(|keys| keys.session);
    assert_eq!(session.expect("it is given").expose(), "token");
    let wrong = errors(&[token]).remove(0);
    assert!(wrong.starts_with("AWS_SESSION_TOKEN is set, but AWS_ACCESS_KEY_ID is not"), "{wrong}");
}

#[test]
fn each_wrong_value_is_refused_with_what_is_expected() {
    let check = |name: &str, value: &str, expected: &str| {
        let found = errors(&[(name, value)]);
        assert_eq!(found.len(), 1, "{name}={value}: {found:?}");
        assert!(
            found[0].starts_with(&format!("{name} is `{value}`")) && found[0].contains(expected),
            "{found:?}"
        );
    };
    for value in ["mysql://localhost/crm", "localhost", "postgres://host:notaport/crm"] {
        check("DATABASE_URL", value, "postgres://user:password@host:5432/database");
    }
    for value in ["localhost:6334", "ftp://host", "http://", "http://qdrant@host:6334"] {
        check("QDRANT_URL", value, "http://localhost:6334");
    }
    for (name, value) in [
        ("QDRANT_URL", "http://host:6334?api-key=hush"),
        ("EMBED_URL", "http://host/v1?key=hush"),
        ("AWS_ENDPOINT_URL", "http://host:9000/#hush"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318/?key=hush"),
    ] {
        let found = errors(&[(name, value)]).remove(0);
        assert!(found.starts_with(&format!("{name} is `http://")), "{found}");
        assert!(found.contains("***`") && !found.contains("hush"), "{found}");
    }
    for value in ["http://a/path", "a.example.com", "http://user@host", "*"] {
        check("FRONTEND_URL", value, "without a path");
    }
    for value in ["65536", "-1", "http", "80.5"] {
        check("API_PORT", value, "a whole number from 0 to 65535");
    }
    for value in ["256.0.0.1", "a b", "-a", "host:80", "a..b", "[127.0.0.1]", "[::1]:80"] {
        check("API_HOST", value, "an IP address or a host name");
    }
    for value in ["minio", "http://key@localhost:9000"] {
        check("AWS_ENDPOINT_URL", value, "http://localhost:9000, without a user");
    }
    check("DATABASE_URL", "postgres://crm@db/crm?sslmode=verifyfull", "verify-ca and verify-full");
    let cut = errors(&[("DATABASE_URL", "postgres://crm:1/x@db/crm")]).remove(0);
    assert!(cut.contains("%2F") && !cut.contains("1/x"), "{cut}");
    check("CRM_BODY_LIMIT_MB", "0", "from 1 to 4096");
    check("CRM_DB_CONNECTIONS", "3", "from 4 to 100");
    check("CRM_LOG", "info,=", "a filter");
    check("CRM_LOG", "warning", "a filter");
    check("CRM_LOG", "sqlx=info, Inf", "a filter");
    check("CRM_REQUEST_TIMEOUT_S", "30s", "from 1 to 3600");
    let wrong = errors(&[("CRM_SEAL_KEY", "hush")]).remove(0);
    assert!(wrong.starts_with("CRM_SEAL_KEY is `***`: expected is 32 random bytes"), "{wrong}");
    check("CRM_SEAL_KNOWN_KEYS", "crm/log+1+x", "public keys as `crm seal status` prints them");
    check("CRM_WEBHOOK_PRIVATE", "yes", "on or off");
    check("CRM_SEAL_RECORDINGS", "no", "on or off");
    check("CRM_VERIFY_AT", "25:00", "a time like 03:00, or off");
    check("CRM_REFUSALS_DAYS", "-1", "a whole number from 0 to 36500");
    for value in ["localhost:4318", "grpc://localhost:4317"] {
        check("OTEL_EXPORTER_OTLP_ENDPOINT", value, "http://localhost:4318");
    }
    check("S3_BUCKET", "My Bucket", "the name of a bucket");
    check("AWS_REGION", "eu west", "the name of a region");
}

#[test]
fn all_wrong_values_are_reported_at_once() {
    let found = errors(&[
        ("API_PORT", "x"),
        ("CRM_DB_CONNECTIONS", "1"),
        ("QDRANT_URL", "x"),
        ("AWS_ACCESS_KEY_ID", "x"),
    ]);
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn half_an_aws_key_is_refused_without_showing_it() {
    let found = errors(&[("AWS_SECRET_ACCESS_KEY", "hush")]);
    assert_eq!(
        found,
        ["AWS_ACCESS_KEY_ID is not set, but AWS_SECRET_ACCESS_KEY is: set both or neither"]
    );
}

#[test]
fn a_language_model_needs_its_server_and_its_name() {
    let given =
        [("LLM_URL", "http://localhost:11434"), ("LLM_MODEL", "llama3.1"), ("LLM_API_KEY", "hush")];
    let llm = settings(&given).llm.expect("both are given");
    assert_eq!(
        (llm.url.as_str(), llm.model.as_str(), llm.context),
        ("http://localhost:11434", "llama3.1", 8192)
    );
    assert_eq!(llm.timeout, Duration::from_secs(300));
    assert!(settings(&given[2..]).llm.is_none());
    let only = |at: usize| errors(&given[at..=at]).join("");
    assert_eq!(only(0), "LLM_MODEL is not set, but LLM_URL is: name the model, such as llama3.1");
    assert_eq!(
        only(1),
        "LLM_URL is not set, but LLM_MODEL is: name its server, such as http://localhost:11434"
    );
    for wrong in ["localhost:11434", "http://user:hush@host", "http://host/?key=hush"] {
        let found = errors(&[("LLM_URL", wrong), ("LLM_MODEL", "m")]);
        assert!(found[0].starts_with("LLM_URL is `"), "{found:?}");
    }
}

#[test]
fn a_mistyped_name_is_answered_with_the_nearest_known_one() {
    let check = |port: &str, right: bool| {
        let pairs = map(&[("CRM_DATADIR", "/x"), ("OTHER", "y"), ("API_PORT", port)]);
        let (settings, warnings) = Settings::from_map(&pairs);
        assert_eq!(settings.is_ok(), right);
        let texts: Vec<String> = warnings.iter().map(Warning::to_string).collect();
        assert_eq!(
            texts,
            ["CRM_DATADIR is no setting of crm and is ignored: is CRM_DATA_DIR meant?"]
        );
    };
    check("9000", true);
    // A wrong value does not hide it.
    check("http", false);
}

#[test]
fn a_name_that_looks_like_none_is_not_taken_for_another() {
    let (_, warnings) = Settings::from_map(&map(&[("CRM_FOO", "x"), ("CRM_LOGS", "info")]));
    let texts: Vec<String> = warnings.iter().map(Warning::to_string).collect();
    let foo = "CRM_FOO is no setting of crm and is ignored; `crm config` lists all that there are";
    assert_eq!(texts, [foo, "CRM_LOGS is no setting of crm and is ignored: is CRM_LOG meant?"]);
}

#[test]
fn secrets_are_never_shown() {
    let pairs = [
        ("DATABASE_URL", "postgres://crm:hush@db/crm"),
        ("QDRANT_API_KEY", "hush"),
        ("LLM_URL", "http://localhost:11434"),
        ("LLM_MODEL", "llama3.1"),
        ("LLM_API_KEY", "hush"),
        ("EMBED_API_KEY", "hush"),
        ("AWS_ACCESS_KEY_ID", "hush"),
        ("AWS_SECRET_ACCESS_KEY", "hush"),
    ];
    let settings = settings(&pairs);
    let shown = format!("{settings:?} {:?} {}", settings.describe(), Secret::new("hush"));
    assert!(!shown.contains("hush"), "{shown}");
    let error = errors(&[("DATABASE_URL", "postgres://crm:hush@db:x/crm")]).remove(0);
    assert!(error.contains("postgres://crm:***@db:x/crm"), "{error}");
    let error = errors(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://crm:hush@collector")]).remove(0);
    assert!(error.contains("http://crm:***@collector"), "{error}");
}

#[test]
fn of_a_database_url_only_the_password_is_hidden() {
    for (url, expected) in [
        ("postgres://crm:se@cr:et@db/crm", "postgres://crm:***@db/crm"),
        ("postgres://crm@db/crm", "postgres://crm@db/crm"),
        ("postgres:///crm?password=secret&host=/run", "postgres:///crm?password=***&host=/run"),
        (
            "postgres:///crm?password=secret&sslpassword=secret",
            "postgres:///crm?password=***&sslpassword=***",
        ),
        ("crm:secret@db", "crm:***@db"),
    ] {
        assert_eq!(without_password(url), expected);
    }
}

#[test]
fn describe_names_every_setting_with_its_source() {
    let described = settings(&[("API_PORT", "9000")]).describe();
    assert_eq!(described.len(), KNOWN.len());
    let of = |name| described.iter().find(|row| row.0 == name).map(|row| (row.1.as_str(), row.2));
    assert_eq!(of("API_PORT"), Some(("9000", Source::Environment)));
    assert_eq!(of("API_HOST"), Some(("127.0.0.1", Source::Default)));
    assert_eq!(of("S3_BUCKET"), Some(("", Source::Unset)));
}

#[test]
fn the_example_file_documents_exactly_the_known_settings_and_is_right_as_it_stands() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../.env.example");
    let text = std::fs::read_to_string(path).expect("the example file is there");
    let lines: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.trim_start_matches('#').split_once('='))
        .filter(|(name, _)| {
            name.bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        })
        .collect();
    let names: BTreeSet<&str> = lines.iter().map(|line| line.0).collect();
    assert_eq!(names, KNOWN.iter().map(|setting| setting.name).collect());
    assert_eq!(lines.len(), KNOWN.len(), "each stands there once");
    settings(&lines);
    for setting in KNOWN.iter().filter(|setting| !setting.default.is_empty()) {
        assert!(
            lines.contains(&(setting.name, setting.default)),
            "{} shows its default",
            setting.name
        );
    }
}

#[test]
fn the_readme_lists_every_setting_as_it_is() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let text = std::fs::read_to_string(path).expect("the readme is there");
    for Setting { name, default, meaning, .. } in KNOWN {
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        let row = format!("| `{name}` | {default} | {meaning} |");
        assert!(text.lines().any(|line| line == row), "README.md lacks: {row}");
    }
}
