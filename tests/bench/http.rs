//! A client that spends as little as possible of the two cores that it shares with the server.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How much is read at once.
pub const BUFFER: usize = 1 << 18;

/// One connection, kept alive.
pub struct Client {
    stream: TcpStream,
    host: SocketAddr,
    buffer: Vec<u8>,
}

/// What came back; the body only where it was asked for.
pub struct Answer {
    pub status: u16,
    pub etag: Option<String>,
    /// Bytes of body as they came over the wire.
    pub size: usize,
    pub body: Vec<u8>,
}

/// Whether the body is of interest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Body {
    Kept,
    Dropped,
}

impl Client {
    pub async fn connect(host: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host, buffer: vec![0; BUFFER] })
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&mut self, request: &Request<'_>, keep: Body) -> anyhow::Result<Answer> {
        let Request { method, path, headers, body } = request;
        let (host, length) = (self.host, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n{headers}\r\n{body}"
        );
        self.stream.write_all(head.as_bytes()).await?;
        let mut filled = 0;
        let (end, answer) = loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                bail!("the server closed the connection");
            }
            filled += read;
            if let Some(end) = self.buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n")
            {
                break (end + 4, std::str::from_utf8(&self.buffer[..end])?.to_owned());
            }
        };
        let header = |wanted: &str| {
            let mut pairs = answer.lines().filter_map(|line| line.split_once(": "));
            pairs
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value.to_owned())
        };
        let status = answer.split(' ').nth(1).context("no status")?.parse()?;
        let size = match (status, header("content-length")) {
            (304, _) => 0,
            (_, Some(size)) => size.parse()?,
            (_, None) => bail!("the answer does not say how long it is"),
        };
        let body = self.read_body(end, filled, size, keep).await?;
        Ok(Answer { status, etag: header("etag"), size, body })
    }

    async fn read_body(
        &mut self,
        from: usize,
        filled: usize,
        size: usize,
        keep: Body,
    ) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        let mut got = filled - from;
        if keep == Body::Kept {
            body.extend_from_slice(&self.buffer[from..filled]);
        }
        while got < size {
            let read = self.stream.read(&mut self.buffer).await?;
            if read == 0 {
                bail!("the answer ended too early");
            }
            got += read;
            if keep == Body::Kept {
                body.extend_from_slice(&self.buffer[..read]);
            }
        }
        Ok(body)
    }
}

/// A request; headers are whole lines.
#[derive(Clone)]
pub struct Request<'a> {
    pub method: &'static str,
    pub path: &'a str,
    pub headers: String,
    pub body: String,
}

impl<'a> Request<'a> {
    pub fn get(path: &'a str) -> Self {
        Self { method: "GET", path, headers: String::new(), body: String::new() }
    }

    pub fn with_body(method: &'static str, path: &'a str, body: String) -> Self {
        Self { method, path, headers: String::new(), body }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }
}
