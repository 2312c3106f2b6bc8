//! `crm config`: what is in force, secrets masked.

use crate::commands::say;
use crate::settings::Settings;

/// Prints every setting, its value and where it comes from.
///
/// # Errors
/// Never; the result is that of all commands.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    for (name, value, source) in settings.describe() {
        say(&format!("{name:<28} {value:<48} {source}"));
    }
    Ok(())
}
