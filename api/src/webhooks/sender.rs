//! One POST to a receiver.

use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use projections::webhooks::{Delivery, Secret, Webhook};
use uuid::Uuid;

use super::address::{Reach, Resolver};
use super::signature;
use crate::live::cloud_event::MEDIA_TYPE;
use crate::traces::with_causes;

/// How long a receiver may take until its answer begins.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it may take to end its answer; else its connection is not used again.
const REST: Duration = Duration::from_secs(1);

/// How long a connection is kept for the next event.
const KEPT: Duration = Duration::from_secs(30);

/// How much of an answer is read, so that its connection can be used again; more than that is not worth it.
const READ: usize = 16 << 10;

/// The longest that a receiver may ask for a pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// The way out. Clones share connections.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Where it goes.
    pub reach: Reach,
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
}

/// An event on its way to a receiver.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Its place in the log; `None` for a test.
    pub position: Option<i64>,
    /// Names it, however often it is sent.
    pub event_id: Uuid,
    /// What happened.
    pub event_type: String,
    /// The event as JSON.
    pub body: String,
}

/// What became of an attempt.
#[derive(Debug)]
pub struct Outcome {
    /// For the receiver's history.
    pub delivery: Delivery,
    /// How long the receiver would like to be left alone.
    pub pause: Option<Duration>,
}

impl Outcome {
    /// Whether the receiver has taken it.
    pub fn is_delivered(&self) -> bool {
        self.delivery.error.is_none()
    }

    /// Whether the receiver wants nothing any more.
    pub fn is_gone(&self) -> bool {
        self.delivery.status == Some(410)
    }
}

impl Sender {
    /// Sends to addresses within this reach.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(reach: Reach) -> anyhow::Result<Self> {
        let mut connector = HttpConnector::new_with_resolver(Resolver::new(reach));
        connector.enforce_http(false);
        connector.set_nodelay(true);
        // Named, since rustls refuses to choose as soon as some dependency brings a second one.
        let cryptography = rustls::crypto::ring::default_provider();
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(cryptography)?
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT)
            .build(connector);
        Ok(Self { reach, client })
    }

    /// Sends an event, signed for this moment. Only a 2xx counts as taken; a redirect is not followed.
    pub async fn send(&self, hook: &Webhook, secrets: &[Secret], parcel: &Parcel) -> Outcome {
        let started = Instant::now();
        let answered = match tokio::time::timeout(PATIENCE, self.post(hook, secrets, parcel)).await
        {
            Ok(answered) => answered,
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        let duration = started.elapsed();
        let answered = match answered {
            Ok(answer) => Ok(head_of(answer).await),
            Err(error) => Err(error),
        };
        let (status, pause, error) = match answered {
            Ok((status, headers)) => (Some(status), pause(&headers, Utc::now()), complaint(status)),
            Err(error) => (None, None, Some(error)),
        };
        let delivery = Delivery {
            attempted_at: Utc::now(),
            position: parcel.position,
            event_id: parcel.event_id,
            event_type: parcel.event_type.clone(),
            attempt: hook.attempts.saturating_add(1),
            status: status.and_then(|status| i16::try_from(status.as_u16()).ok()),
            error,
            duration_ms: i32::try_from(duration.as_millis()).unwrap_or(i32::MAX),
        };
        let outcome = if delivery.error.is_none() { "delivered" } else { "failed" };
        metrics::counter!(super::ATTEMPTS, "outcome" => outcome).increment(1);
        Outcome { delivery, pause }
    }

    async fn post(
        &self,
        hook: &Webhook,
        secrets: &[Secret],
        parcel: &Parcel,
    ) -> Result<Response<Incoming>, String> {
        let uri = self.reach.admit(&hook.url).map_err(|error| error.to_string())?;
        let (id, timestamp) = (parcel.event_id.to_string(), Utc::now().timestamp());
        let signature = signature::sign(secrets, &id, timestamp, parcel.body.as_bytes());
        let request = Request::post(uri)
            .header(header::CONTENT_TYPE, MEDIA_TYPE)
            .header(header::USER_AGENT, concat!("crm/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(Full::from(parcel.body.clone()))
            .map_err(|error| error.to_string())?;
        self.client.request(request).await.map_err(|error| with_causes(&error))
    }
}

/// What an answer says first, which is all that counts. The rest of it is read for the sake of the connection.
async fn head_of(answer: Response<Incoming>) -> (StatusCode, HeaderMap) {
    let (parts, body) = answer.into_parts();
    // What it says is of no interest, nor is whether it says it to the end.
    let _ = tokio::time::timeout(REST, Limited::new(body, READ).collect()).await;
    (parts.status, parts.headers)
}

fn complaint(status: StatusCode) -> Option<String> {
    match status {
        status if status.is_success() => None,
        status if status.is_redirection() => {
            Some(format!("the receiver answers {status}; redirects are not followed"))
        }
        status => Some(format!("the receiver answers {status}")),
    }
}

/// What `Retry-After` asks for, in seconds or as a time of day. A time that has passed asks for nothing.
fn pause(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = DateTime::parse_from_rfc2822(text).ok()?;
            until.signed_duration_since(now).to_std().ok()?
        }
    };
    Some(pause.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_names_a_pause_in_seconds_or_its_end() {
        let now = DateTime::parse_from_rfc3339("2015-10-21T07:28:00Z").unwrap().to_utc();
        let check = |text: &'static str, expected: Option<u64>| {
            let headers = [(header::RETRY_AFTER, text.parse().unwrap())].into_iter().collect();
            assert_eq!(pause(&headers, now), expected.map(Duration::from_secs), "{text}");
        };
        check("120", Some(120));
        check(" 0 ", Some(0));
        check("Wed, 21 Oct 2015 07:30:00 GMT", Some(120));
        check("Wed, 21 Oct 2015 07:27:00 GMT", None);
        check("Fri, 23 Oct 2015 07:28:00 GMT", Some(24 * 3600));
        check("1000000", Some(24 * 3600));
        check("soon", None);
        check("-1", None);
        assert_eq!(pause(&HeaderMap::new(), now), None);
    }
}
