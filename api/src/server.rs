//! The server: all routes in one router, and how it starts and stops.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use utoipa_swagger_ui::SwaggerUi;

use crate::app::{App, Parts};
use crate::envelope::envelope;
use crate::measures::note_route;
use crate::pages;
use crate::problem::Problem;
use crate::routes;

/// How long a client may take to send the head of a request, and how long a connection is kept for the next one. Proxies
/// usually keep theirs for 60 s: were crm the first to close one, a request just sent on it would be lost.
const HEAD_PATIENCE: Duration = Duration::from_secs(75);

/// What a connection holds of an answer that its client has not taken yet, in bytes; Linux takes it twice. With the system's
/// own, of megabytes, a large answer has left the processor's caches by the time that the client takes it, and sending may
/// cost a third more. It still fills a line of 20 Mbit/s to somebody 100 ms away.
pub const SEND_BUFFER: usize = 256 << 10;

/// How long requests that were accepted may take when the server stops.
const GRACE: Duration = Duration::from_secs(10);

/// The whole HTTP API, with its document at `/openapi.json` and a page to read it at `/docs`.
pub fn router(parts: Parts) -> Router {
    let app = App::from(parts);
    let (routes, document) = routes::all().split_for_parts();
    let paths: Arc<[String]> = document.paths.paths.keys().cloned().collect();
    let reference: Router<App> = SwaggerUi::new("/docs").url("/openapi.json", document).into();
    // The legacy server had a second page to read the document at.
    let redirected = get(|| std::future::ready(Redirect::temporary("/docs/")));
    let routes = routes
        .merge(reference)
        .route("/redoc", redirected)
        .route_layer(middleware::from_fn_with_state(app.clone(), pages::instead))
        .route_layer(middleware::from_fn(note_route))
        .fallback(move |request: Request| std::future::ready(not_found(&paths, &request)))
        .with_state(app.clone());
    // The envelope lies around the router, not around its routes: it must see a request before a route is chosen.
    Router::new().fallback_service(routes).layer(middleware::from_fn_with_state(app, envelope))
}

/// Serves until `shutdown`, then finishes what was accepted, within [`GRACE`].
///
/// # Errors
/// When the listener has no address.
pub async fn serve(
    listener: TcpListener,
    mut parts: Parts,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    parts.origins = parts.origins.local_only(listener.local_addr()?.ip().is_loopback());
    let connections = accept(listener, router(parts), HEAD_PATIENCE, shutdown).await;
    connections.finish(GRACE).await;
    Ok(())
}

/// The connections of clients.
#[derive(Default)]
struct Connections {
    watched: GracefulShutdown,
    tasks: TaskTracker,
    /// Ends them, whatever they are doing.
    cut: CancellationToken,
}

impl Connections {
    /// Finishes what was accepted and cuts off what takes longer. When this is over, no client is served any more.
    async fn finish(self, grace: Duration) {
        if tokio::time::timeout(grace, self.watched.shutdown()).await.is_err() {
            tracing::warn!("some requests took too long and were cut off");
            self.cut.cancel();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Serves whoever connects, until `shutdown`; a connection on which no request begins for as long as `patience` is closed.
/// Gives the connections that are still open.
async fn accept(
    mut listener: TcpListener,
    router: Router,
    patience: Duration,
    shutdown: impl Future<Output = ()>,
) -> Connections {
    let connections = Connections::default();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience);
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, peer) = tokio::select! {
            // It waits by itself where there are no descriptors left.
            accepted = Listener::accept(&mut listener) => accepted,
            () = &mut shutdown => return connections,
        };
        if let Err(error) = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER) {
            tracing::debug!(%error, "a connection has the system's send buffer");
        }
        let router = router.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request)
        });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let serving = connections.watched.watch(connection);
        let cut = connections.cut.clone();
        connections.tasks.spawn(async move {
            if let Some(Err(error)) = cut.run_until_cancelled(serving).await {
                tracing::trace!(%error, %peer, "a connection has ended");
            }
        });
    }
}

/// Nothing is there; but with a trailing slash too many, the client is sent on, and a browser that opens the address that
/// crm prints comes to the pages.
fn not_found(paths: &[String], request: &Request) -> Response {
    let path = request.uri().path();
    if path == "/" && request.method() == Method::GET && pages::is_wanted(request.headers()) {
        let headers = [(header::LOCATION, "/audit"), (header::VARY, "Accept, HX-Request, Origin")];
        return (StatusCode::SEE_OTHER, headers).into_response();
    }
    let stripped = path.trim_end_matches('/');
    if path != stripped
        && paths.iter().any(|template| fits(template, stripped))
        && let Ok(location) = HeaderValue::from_str(&absolute(request, stripped))
    {
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response();
    }
    Problem::NoSuchPath.into_response()
}

fn fits(template: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    template.split('/').all(|expected| {
        let is_parameter = expected.starts_with('{');
        parts.next().is_some_and(|part| expected == part || (is_parameter && !part.is_empty()))
    }) && parts.next().is_none()
}

fn absolute(request: &Request, path: &str) -> String {
    let header =
        |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let scheme = if header("x-forwarded-proto") == Some("https") { "https" } else { "http" };
    match header("host") {
        Some(host) => format!("{scheme}://{host}{path}{query}"),
        None => format!("{path}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use axum::body::Body;
    use futures::{StreamExt as _, stream};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::mpsc::error::TryRecvError;

    use super::*;

    #[tokio::test]
    async fn a_client_that_does_not_finish_its_request_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = |ConnectInfo(peer): ConnectInfo<std::net::SocketAddr>| async move {
            peer.ip().to_string()
        };
        let router = Router::new().route("/", get(peer));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let patience = Duration::from_millis(200);
        let serving = tokio::spawn(accept(listener, router, patience, async {
            stopped.await.unwrap();
        }));
        let answer = async |sent: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
            let mut answer = String::new();
            let reading = stream.read_to_string(&mut answer);
            tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap().unwrap();
            answer
        };
        let whole = answer("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(whole.starts_with("HTTP/1.1 200") && whole.ends_with("127.0.0.1"), "{whole}");
        for begun in ["", "GET / HTTP/1.1\r\nHo"] {
            assert!(!answer(begun).await.starts_with("HTTP/1.1 2"), "{begun:?}");
        }
        stop.send(()).unwrap();
        serving.await.unwrap().finish(Duration::from_secs(20)).await;
    }

    #[tokio::test]
    async fn a_request_that_does_not_end_in_time_is_cut_off_when_the_server_stops() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (held, mut released) = tokio::sync::mpsc::channel::<()>(1);
        let endless = move || {
            let held = held.clone();
            // The first piece comes, and then no other, for as long as somebody waits for it.
            let first = stream::once(ready(Ok::<_, std::io::Error>("piece")));
            let pieces = first.chain(stream::pending()).inspect(move |_| _ = &held);
            ready(Body::from_stream(pieces))
        };
        let router = Router::new().route("/", get(endless));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(accept(listener, router, HEAD_PATIENCE, async {
            stopped.await.unwrap();
        }));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut begun = [0; 15];
        stream.read_exact(&mut begun).await.unwrap();
        assert_eq!(&begun, b"HTTP/1.1 200 OK");
        stop.send(()).unwrap();
        serving.await.unwrap().finish(Duration::from_millis(50)).await;
        // The handler went with the listener, and what it has answered with the connection.
        assert_eq!(released.try_recv(), Err(TryRecvError::Disconnected));
    }

    #[test]
    fn a_trailing_slash_is_sent_on_if_the_path_exists_without_it() {
        let paths = ["/lps".to_owned(), "/lps/{lp_id}/notes".to_owned()];
        let check = |uri: &str, expected: Option<&str>| {
            let request = Request::builder().uri(uri).header("host", "localhost:8000");
            let answer = not_found(&paths, &request.body(Body::empty()).unwrap());
            let location = answer.headers().get("location").map(|text| text.to_str().unwrap());
            assert_eq!(location, expected, "{uri}");
        };
        check("/lps/", Some("http://localhost:8000/lps"));
        check("/lps/?q=a", Some("http://localhost:8000/lps?q=a"));
        check("/lps/7/notes/", Some("http://localhost:8000/lps/7/notes"));
        check("/lps//notes/", None);
        check("/nothing/", None);
        check("/", None);
    }
}
