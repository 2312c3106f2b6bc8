//! A server that says nothing is given up; one that takes what is sent to it, however slowly, is not.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_s3::config::http::HttpRequest;
use aws_sdk_s3::config::{HttpClient, RuntimeComponents, SharedHttpClient};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

/// How much is given to the network at a time, in bytes.
const PIECE: usize = 64 << 10;

/// Asks a server, and gives it up when it shows no sign of life for a while: it takes nothing more of what is sent, and does
/// not begin to answer.
///
/// The client's own limit of time counts the sending as well: it would cut off whatever takes long to be sent.
#[derive(Clone, Debug)]
pub(super) struct Paced {
    pub client: SharedHttpClient,
    /// How long it may show none.
    pub patience: Duration,
    /// Whether whoever gave up asks again.
    pub again: bool,
}

impl HttpClient for Paced {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connector = self.client.http_connector(settings, components);
        let (patience, again) = (self.patience, self.again);
        SharedHttpConnector::new(PacedConnector { connector, patience, again })
    }
}

#[derive(Debug)]
struct PacedConnector {
    connector: SharedHttpConnector,
    patience: Duration,
    again: bool,
}

impl HttpConnector for PacedConnector {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let pace = Arc::new(Pace::default());
        // All that crm sends is in memory.
        if let Some(content) = request.body().bytes() {
            let rest = Bytes::copy_from_slice(content);
            *request.body_mut() = SdkBody::from_body_1_x(Sent { rest, pace: pace.clone() });
        }
        let (answer, patience, again) = (self.connector.call(request), self.patience, self.again);
        HttpConnectorFuture::new(async move {
            tokio::select! {
                answer = answer => answer,
                () = pace.stopped(patience) => {
                    let silent = Box::new(Silent(patience));
                    Err(if again { ConnectorError::timeout(silent) } else { ConnectorError::other(silent, None) })
                }
            }
        })
    }
}

#[derive(Debug)]
struct Silent(Duration);

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it was silent for {:?}", self.0)
    }
}

impl std::error::Error for Silent {}

/// When something of a request was last taken.
#[derive(Debug)]
struct Pace(Mutex<Taken>);

#[derive(Clone, Copy, Debug)]
struct Taken {
    first: Instant,
    last: Instant,
    all: bool,
}

impl Taken {
    /// Until when a sign of life is waited for. Of what was taken, the system may still have some to send, up to 4 of the 5 MiB
    /// of a part: how long that takes is told by how long the rest took.
    fn end(self, patience: Duration) -> Instant {
        let Self { first, last, all } = self;
        last + if all { patience.max(4 * (last - first)) } else { patience }
    }
}

impl Default for Pace {
    fn default() -> Self {
        let now = Instant::now();
        Self(Mutex::new(Taken { first: now, last: now, all: false }))
    }
}

impl Pace {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// More is asked for: what was given before has been taken.
    fn go_on(&self, all: bool) {
        let mut taken = self.taken();
        (taken.last, taken.all) = (Instant::now(), all);
    }

    /// Resolves when there was none.
    async fn stopped(&self, patience: Duration) {
        loop {
            let end = self.taken().end(patience);
            tokio::time::sleep_until(end).await;
            if self.taken().end(patience) <= end {
                return;
            }
        }
    }
}

/// What is sent, piece by piece.
struct Sent {
    rest: Bytes,
    pace: Arc<Pace>,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        self.pace.go_on(self.rest.is_empty());
        Poll::Ready((!piece.is_empty()).then_some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_life_is_waited_for_longer_only_by_what_may_still_be_on_its_way() {
        let first = Instant::now();
        let check = |last, all, patience, expected| {
            let after = Duration::from_secs;
            let taken = Taken { first, last: first + after(last), all };
            assert_eq!(taken.end(after(patience)), first + after(expected));
        };
        check(0, false, 10, 10);
        check(0, true, 10, 10);
        check(9, false, 10, 19);
        check(45, false, 10, 55);
        check(9, true, 10, 45);
        check(2, true, 10, 12);
    }
}
