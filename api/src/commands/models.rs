//! `crm models`: which models are there, and fetching those that are not.

use anyhow::{Context as _, bail};
use serde_json::json;

use crate::commands::{Interruption, say};
use crate::models::{CATALOGUE, Model, Models, Outcome, Registry, catalogue};
use crate::settings::Settings;

/// Options of `crm models`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Print the list as one JSON array
    #[arg(long)]
    json: bool,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum What {
    /// Fetch a model; what is there and whole is left alone
    Get {
        /// What it is for, or its name; all purposes if nothing is said
        name: Option<String>,
    },
}

/// Does what the options say.
///
/// # Errors
/// When there is no such model, or it cannot be fetched; run again, it goes on where it was.
pub async fn run(settings: &Settings, args: &Args) -> anyhow::Result<()> {
    let models = Models::of(settings);
    match &args.what {
        None if args.json => say(&list_json(&models).to_string()),
        None => say(&list(&models)),
        Some(What::Get { name }) => {
            let mut interruption = Interruption::expect()?;
            tokio::select! {
                got = get(&models, name.as_deref()) => got?,
                () = interruption.next() => bail!("stopped; run it again, and it goes on"),
            }
        }
    }
    Ok(())
}

async fn get(models: &Models, name: Option<&str>) -> anyhow::Result<()> {
    let wanted: Vec<&Model> = match name {
        Some(name) => vec![catalogue::find(name).with_context(|| unknown(name))?],
        None => catalogue::defaults().collect(),
    };
    let registry = Registry::find().await;
    for model in wanted {
        match models.get(model, &registry, |line| say(&line)).await? {
            Outcome::Fetched => say(&format!("{} is ready", model.name)),
            Outcome::WasThere => say(&format!("{} was there, whole", model.name)),
        }
    }
    Ok(())
}

fn unknown(name: &str) -> String {
    let known: Vec<String> = CATALOGUE
        .iter()
        .map(|model| format!("{} (for {})", model.name, model.purpose.name()))
        .collect();
    format!("there is no model `{name}`; there are {}", known.join(", "))
}

fn list(models: &Models) -> String {
    let mut lines = vec![row("model", "for", "size", "licence", "state")];
    for model in CATALOGUE {
        let size = format!("{:.1} MB", model.bytes() as f64 / 1e6);
        let state = match models.has(model) {
            true => "there".to_owned(),
            false => format!("missing; crm models get {}", model.name),
        };
        lines.push(row(model.name, model.purpose.name(), &size, model.licence, &state));
    }
    lines.join("\n")
}

fn row(name: &str, purpose: &str, size: &str, licence: &str, state: &str) -> String {
    format!("{name:<22} {purpose:<7} {size:>9}  {licence:<8} {state}")
}

fn list_json(models: &Models) -> serde_json::Value {
    let one = |model: &&Model| {
        let files: Vec<_> =
            model.items.iter().map(|item| models.path(item).display().to_string()).collect();
        json!({"name": model.name, "for": model.purpose.name(), "bytes": model.bytes(),
            "licence": model.licence, "there": models.has(model), "files": files})
    };
    CATALOGUE.iter().map(one).collect()
}
