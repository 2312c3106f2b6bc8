//! What the settings say of search by meaning.

use std::sync::Arc;

use projections::database::Database;
use projections::search::encoder::{Server, Source};
use projections::search::engine::Engine;
use projections::search::engine::qdrant::Address;
use projections::search::vectors::{self, VectorOptions};

use crate::models::{Models, embedding_files, embedding_model_in};
use crate::settings::{Secret, Settings};

/// Where vectors come from and where they are searched.
pub fn options(settings: &Settings) -> VectorOptions {
    VectorOptions {
        earlier: vec![fetched(settings)],
        qdrant: qdrant(settings),
        ..VectorOptions::of(source(settings))
    }
}

/// What must be done to have a model, as far as the settings tell.
pub fn lacking(settings: &Settings) -> Option<String> {
    source(settings).lacking()
}

/// The engine that holds the vectors of this log.
///
/// # Errors
/// When the database does not answer, or QDRANT_URL or QDRANT_API_KEY cannot be used.
pub async fn engine(settings: &Settings, database: &Database) -> anyhow::Result<Arc<dyn Engine>> {
    let mut db = database.pool.acquire().await?;
    let log = projections::seal::store::log_id(&mut db).await?;
    Ok(vectors::engine(qdrant(settings).as_ref(), log)?)
}

fn source(settings: &Settings) -> Source {
    match &settings.embed_url {
        Some(url) => Source::Server(Server {
            url: url.clone(),
            model: settings.embed_name.clone(),
            key: settings.embed_api_key.as_ref().map(exposed),
        }),
        None => {
            let (weights, tokenizer) = embedding_files(settings);
            Source::Files { weights, tokenizer }
        }
    }
}

/// The model that `crm models get` has fetched, whichever the settings name.
fn fetched(settings: &Settings) -> Source {
    let (weights, tokenizer) = embedding_model_in(&Models::of(settings));
    Source::Files { weights, tokenizer }
}

fn qdrant(settings: &Settings) -> Option<Address> {
    let url = settings.qdrant_url.clone()?;
    Some(Address { url, key: settings.qdrant_api_key.as_ref().map(exposed) })
}

fn exposed(secret: &Secret) -> String {
    secret.expose().to_owned()
}
