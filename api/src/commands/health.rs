//! `crm health`: asks a running server whether it is ready, for the health check of a container.

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::commands::say;
use crate::settings::Settings;

/// Asks `/readyz` of the server that these settings describe.
///
/// # Errors
/// When nobody answers within three seconds, or the answer is not 200.
pub async fn run(settings: &Settings) -> anyhow::Result<()> {
    let host = match settings.api_host.as_str() {
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        host => host,
    };
    let asked =
        tokio::time::timeout(std::time::Duration::from_secs(3), ask(host, settings.api_port));
    let answer = asked
        .await
        .map_err(|_| anyhow::anyhow!("no answer within 3 s"))
        .and_then(|answer| answer)
        .with_context(|| format!("no server answers at {host}:{}", settings.api_port))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    say(body.trim());
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => bail!("not ready"),
    }
}

async fn ask(host: &str, port: u16) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect((host, port)).await?;
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
