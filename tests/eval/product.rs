//! `crm serve` on a fresh folder, and the requests that the evaluation makes of it.

use std::collections::HashMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use reqwest::{Client, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::set::Set;

/// How many hits are asked for.
pub const LIMIT: usize = 20;

/// Title of the todo that is registered last. Vectors are computed in the order of changes: once it is found by meaning,
/// all before it can be.
const LAST: &str = "The evaluation set is complete";

/// After how long without vectors something must be wrong; embedding some hundred notes takes a minute of CPU.
const PATIENCE: Duration = Duration::from_secs(1200);

/// How long between two looks whether the vectors are there.
const LOOK: Duration = Duration::from_millis(500);

/// How `GET /search` is asked to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Lexical,
    Semantic,
    Hybrid,
}

impl Mode {
    pub fn word(self) -> &'static str {
        match self {
            Self::Lexical => "lexical",
            Self::Semantic => "semantic",
            Self::Hybrid => "hybrid",
        }
    }
}

/// Which note of the set has which id in the database.
pub type Notes = HashMap<i64, String>;

/// A hit: a note of the set, with the score that the product gave it.
#[derive(Serialize)]
pub struct Hit {
    pub note: String,
    pub score: f64,
}

/// What of the answer of `GET /search` is looked at.
#[derive(Deserialize)]
struct Answer {
    hits: Vec<AnsweredHit>,
    missing: Option<String>,
}

#[derive(Deserialize)]
struct AnsweredHit {
    id: i64,
    score: f64,
}

/// A running server with nothing in it.
pub struct Product {
    http: Client,
    base: String,
    process: Child,
    _folder: TempDir,
}

impl Product {
    pub async fn start() -> anyhow::Result<Self> {
        // The unprivileged user that runs Postgres must be able to go there.
        let open = std::fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().prefix("crm-eval-").permissions(open).tempdir()?;
        if ["EMBED_MODEL", "EMBED_URL"].iter().all(|name| std::env::var_os(name).is_none()) {
            bring_model(folder.path()).await?;
        }
        let mut process = crm(folder.path()).arg("serve").stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().context("crm has no output")?;
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next_line().await? {
            if let Some((_, rest)) = line.split_once("http://") {
                let address = rest.split([' ', '/']).next().unwrap_or_default();
                let base = format!("http://{address}");
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok(Self { http: Client::new(), base, process, _folder: folder });
            }
        }
        bail!("crm serve ended before it was ready")
    }

    /// Ends the server, and with it its Postgres.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.process.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(rustix::process::Pid::from_raw).context("crm has ended")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.process.wait().await?;
        Ok(())
    }

    /// Registers all organisations and notes, with the links between them.
    pub async fn load(&self, set: &Set) -> anyhow::Result<Notes> {
        let mut organisations = HashMap::new();
        for organisation in &set.organisations {
            let path = format!("/{}s", organisation.kind);
            let id = self.register(&path, json!({"name": organisation.name})).await?;
            organisations.insert(organisation.name.as_str(), (organisation.kind.as_str(), id));
        }
        let mut notes = Notes::new();
        for note in &set.notes {
            let body = json!({"name": note.title, "date": note.date, "content_text": note.text});
            let id = self.register("/notes", body).await?;
            let (kind, organisation) = organisations
                .get(note.organisation.as_str())
                .with_context(|| format!("{} is about an unknown organisation", note.id))?;
            let link = format!("/notes/{id}/{kind}s/{organisation}");
            self.post(&link, Value::Null).await?;
            notes.insert(id, note.id.clone());
        }
        self.register("/todos", json!({"title": LAST})).await?;
        Ok(notes)
    }

    async fn register(&self, path: &str, body: Value) -> anyhow::Result<i64> {
        let row: Value = self.post(path, body).await?.json().await?;
        row["id"].as_i64().with_context(|| format!("POST {path} answered without an id: {row}"))
    }

    async fn post(&self, path: &str, body: Value) -> anyhow::Result<Response> {
        let answer = self.http.post(format!("{}{path}", self.base)).json(&body).send().await?;
        checked(answer, path).await
    }

    /// What the product says it lacks to search that way, if anything. That texts are being embedded is nothing that it lacks,
    /// only to be waited for.
    pub async fn missing(&self, mode: Mode) -> anyhow::Result<Option<String>> {
        let begun = Instant::now();
        loop {
            let missing = self.lacks(mode).await?;
            if missing.is_none() || !self.embeds().await? {
                return Ok(missing);
            }
            ensure!(begun.elapsed() < PATIENCE, "the vectors are not there after {PATIENCE:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether it makes vectors, which takes a model.
    async fn embeds(&self) -> anyhow::Result<bool> {
        let answer = self.http.get(format!("{}/projections", self.base)).send().await?;
        let all: Value = checked(answer, "/projections").await?.json().await?;
        Ok(all["vectors"].as_array().is_some_and(|sets| !sets.is_empty()))
    }

    async fn lacks(&self, mode: Mode) -> anyhow::Result<Option<String>> {
        let answer = self.ask(LAST, mode, "todo").await?;
        if answer.status() == reqwest::StatusCode::SERVICE_UNAVAILABLE {
            return Ok(Some(answer.text().await?));
        }
        Ok(checked(answer, "/search").await?.json::<Answer>().await?.missing)
    }

    /// Waits until everything that was registered can be found that way.
    pub async fn wait_until_found_by(&self, mode: Mode) -> anyhow::Result<()> {
        if mode == Mode::Lexical {
            return Ok(());
        }
        let begun = Instant::now();
        loop {
            let answer = checked(self.ask(LAST, Mode::Semantic, "todo").await?, "/search").await?;
            if !answer.json::<Answer>().await?.hits.is_empty() {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "the vectors are not there after {PATIENCE:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The notes that the product finds, best first.
    pub async fn search(&self, text: &str, mode: Mode, notes: &Notes) -> anyhow::Result<Vec<Hit>> {
        let answer = checked(self.ask(text, mode, "note").await?, "/search").await?;
        let known = |hit: AnsweredHit| {
            let note = notes.get(&hit.id).cloned();
            let note = note.with_context(|| format!("note {} was never registered", hit.id))?;
            Ok(Hit { note, score: hit.score })
        };
        answer.json::<Answer>().await?.hits.into_iter().map(known).collect()
    }

    async fn ask(&self, text: &str, mode: Mode, kind: &str) -> anyhow::Result<Response> {
        let limit = LIMIT.to_string();
        let query = [("q", text), ("kinds", kind), ("mode", mode.word()), ("limit", &limit)];
        Ok(self.http.get(format!("{}/search", self.base)).query(&query).send().await?)
    }
}

/// The answer, unless it is a refusal, which is told.
async fn checked(answer: Response, path: &str) -> anyhow::Result<Response> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    bail!("{path} answered {}: {}", answer.status(), answer.text().await?)
}

/// The model of meaning from the folder that tests share, fetched into it if it is not there yet. Without one the
/// evaluation goes on with what can be measured.
#[allow(clippy::print_stderr, reason = "a word to whoever runs the evaluation")]
async fn bring_model(folder: &Path) -> anyhow::Result<()> {
    let shared = shared_models();
    std::fs::create_dir_all(shared.join("models"))?;
    symlink(shared.join("models"), folder.join("models"))?;
    let fetched = crm(&shared).args(["models", "get", "embed"]).status().await?;
    if !fetched.success() {
        eprintln!("eval: `crm models get embed` failed: going on without a model of meaning");
    }
    Ok(())
}

/// Where models lie that tests have fetched.
fn shared_models() -> PathBuf {
    let own = || {
        let user = rustix::process::getuid().as_raw();
        std::env::temp_dir().join(format!("crm-test-models-{user}"))
    };
    std::env::var_os("CRM_TEST_MODELS").map_or_else(own, PathBuf::from)
}

/// `crm` on this folder, in the profile that the evaluation itself was built in.
fn crm(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crm-under-test"));
    // Away from the checkout, where an `.env` may lie.
    command.current_dir(folder).env_remove("DATABASE_URL").env_remove("QDRANT_URL");
    command.env("CRM_DATA_DIR", folder).env("CRM_LOG", "warn").env("API_PORT", "0");
    command.kill_on_drop(true);
    command
}
