//! The lines of a body as they come. Both dialects stream by lines: server-sent events, and JSON a line.

use reqwest::Response;

/// Reads a body line by line.
pub(super) struct Lines {
    response: Response,
    held: Vec<u8>,
    read: usize,
    is_over: bool,
}

impl Lines {
    pub(super) fn new(response: Response) -> Self {
        Self { response, held: Vec::new(), read: 0, is_over: false }
    }

    /// How many bytes have come.
    pub(super) fn read(&self) -> usize {
        self.read
    }

    /// The next line, without its end; `None` after the last. Nothing is lost if the future is dropped.
    ///
    /// A line that never ends is given out when the caller's limit of bytes has been read.
    pub(super) async fn next(&mut self) -> reqwest::Result<Option<String>> {
        loop {
            if let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.held.drain(..=end).collect();
                return Ok(Some(text(&line)));
            }
            if self.is_over || self.read > super::LONGEST {
                let line = std::mem::take(&mut self.held);
                return Ok((!line.is_empty()).then(|| text(&line)));
            }
            match self.response.chunk().await? {
                Some(chunk) => {
                    self.read += chunk.len();
                    self.held.extend_from_slice(&chunk);
                }
                None => self.is_over = true,
            }
        }
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end_matches(['\r', '\n']).to_owned()
}
