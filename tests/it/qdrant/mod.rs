//! A server that speaks Qdrant's protocol, in memory, and fails when told to. It stands on the stubs that come with the
//! client, and refuses what Qdrant would: unknown collections, vectors of another length, filters without an index.

mod collections;
mod matching;
mod points;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};

use ::qdrant_client::qdrant::collections_server::CollectionsServer;
use ::qdrant_client::qdrant::points_server::PointsServer;
use ::qdrant_client::qdrant::{UpdateResult, UpdateStatus, Value};
use projections::search::engine::qdrant::Address;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tonic::transport::{Identity, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// A running server. What it holds survives its being stopped.
pub struct Server {
    address: SocketAddr,
    speaks_tls: bool,
    shared: Arc<Shared>,
    /// What it runs on, so that its connections are cut when it goes, as they are when a server dies.
    running: Mutex<Option<Runtime>>,
}

/// What the services share.
struct Shared {
    state: Mutex<State>,
    /// While true, no request is answered.
    stuck: watch::Sender<bool>,
    /// Where requests of one step wait.
    gate: watch::Sender<Option<Gate>>,
    /// How many wait there.
    waiting: watch::Sender<usize>,
}

/// A step on the way of a new collection that takes the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is made.
    Create,
    /// It gets points.
    Write,
    /// Questions go to it.
    Publish,
    /// The other one goes.
    Delete,
}

/// Where requests of a step wait: before anything is done, or when it is done and not yet said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    pub step: Step,
    pub is_done: bool,
}

/// What the server holds, and how it is to behave.
#[derive(Default)]
pub struct State {
    /// By name.
    pub collections: BTreeMap<String, Collection>,
    /// Which collection each alias names.
    pub aliases: BTreeMap<String, String>,
    /// The key that it asks for.
    pub key: Option<String>,
    /// How many of the next writes are done but not said to be.
    pub slow_writes: usize,
    /// How many of the next writes are not done, with an error.
    pub failed_writes: usize,
    /// What the next listings of points are refused with, the last first.
    pub refusals: Vec<String>,
    /// How many points were written so far.
    pub written: usize,
}

/// A collection.
#[derive(Default)]
pub struct Collection {
    /// The length of its vectors.
    pub dimensions: u64,
    /// The fields with an index.
    pub indexed: HashSet<String>,
    /// By id.
    pub points: BTreeMap<String, Stored>,
}

/// A point.
#[derive(Clone)]
pub struct Stored {
    /// Its payload.
    pub payload: HashMap<String, Value>,
    /// Its vector, of length 1.
    pub vector: Vec<f32>,
}

impl Server {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        Self::start_speaking(false)
    }

    /// Likewise, with the certificate of the tests.
    pub async fn start_with_tls() -> Self {
        Self::start_speaking(true)
    }

    fn start_speaking(speaks_tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Mutex::new(State::default());
        let shared = Arc::new(Shared {
            state,
            stuck: watch::Sender::new(false),
            gate: watch::Sender::new(None),
            waiting: watch::Sender::new(0),
        });
        let running = Mutex::new(Some(serve(listener, shared.clone(), speaks_tls)));
        Self { address, speaks_tls, shared, running }
    }

    /// How to reach it.
    pub fn address(&self) -> Address {
        let url = match self.speaks_tls {
            // What the certificate is for.
            true => format!("https://localhost:{}", self.address.port()),
            false => format!("http://{}", self.address),
        };
        Address { url, key: self.state().key.clone() }
    }

    /// What it holds.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Stops answering, on connections that stay open, until told otherwise.
    pub fn hang(&self, hangs: bool) {
        self.shared.stuck.send_replace(hangs);
    }

    /// Has requests of a step wait.
    pub fn close(&self, gate: Gate) {
        self.shared.waiting.send_replace(0);
        self.shared.gate.send_replace(Some(gate));
    }

    /// Waits until a request waits.
    pub async fn until_waited_for(&self) {
        let _ = self.shared.waiting.subscribe().wait_for(|waiting| *waiting > 0).await;
    }

    /// Lets all of them go on.
    pub fn open(&self) {
        self.shared.gate.send_replace(None);
    }

    /// Goes away.
    pub fn stop(&self) {
        if let Some(runtime) = self.running.lock().unwrap().take() {
            runtime.shutdown_background();
        }
    }

    /// Comes back at the same address.
    pub async fn resume(&self) {
        // The one before may still be leaving.
        let listener = loop {
            match TcpListener::bind(self.address) {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        *self.running.lock().unwrap() = Some(serve(listener, self.shared.clone(), self.speaks_tls));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(listener: TcpListener, shared: Arc<Shared>, speaks_tls: bool) -> Runtime {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    listener.set_nonblocking(true).unwrap();
    let service = Service(shared);
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let mut server = tonic::transport::Server::builder();
        if speaks_tls {
            let identity = Identity::from_pem(
                include_str!("../../fixtures/tls/localhost.pem"),
                include_str!("../../fixtures/tls/localhost.key"),
            );
            server = server.tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
        }
        server
            .add_service(CollectionsServer::new(service.clone()))
            .add_service(PointsServer::new(service))
            .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener))
            .await
            .unwrap();
    });
    runtime
}

/// The services, on what the server holds.
#[derive(Clone)]
struct Service(Arc<Shared>);

impl Service {
    /// Lets a request in, if it has the key, once the server answers at all.
    async fn admit<T>(&self, request: Request<T>) -> Result<T, Status> {
        let mut stuck = self.0.stuck.subscribe();
        let _ = stuck.wait_for(|stuck| !*stuck).await;
        let key = request.metadata().get("api-key").and_then(|key| key.to_str().ok());
        let expected = self.state().key.clone();
        match expected.is_none() || expected.as_deref() == key {
            true => Ok(request.into_inner()),
            false => Err(Status::unauthenticated("Must provide an API key")),
        }
    }

    /// Where a request waits if the gate is closed.
    async fn pass(&self, step: Step, is_done: bool) {
        let here = Some(Gate { step, is_done });
        let mut gate = self.0.gate.subscribe();
        if *gate.borrow() == here {
            self.0.waiting.send_modify(|waiting| *waiting += 1);
            let _ = gate.wait_for(|gate| *gate != here).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }
}

impl State {
    /// The collection of this name, or that an alias of this name names.
    fn collection(&mut self, name: &str) -> Result<&mut Collection, Status> {
        let name = self.aliases.get(name).map_or(name, String::as_str).to_owned();
        let missing = || Status::not_found(format!("Collection `{name}` doesn't exist!"));
        self.collections.get_mut(&name).ok_or_else(missing)
    }

    /// What becomes of a write that was asked for, by the faults that were ordered.
    fn write<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Status>,
    ) -> Result<UpdateResult, Status> {
        if self.failed_writes > 0 {
            self.failed_writes -= 1;
            return Err(Status::internal("Service internal error: disk"));
        }
        work(self)?;
        let mut status = UpdateStatus::Completed;
        if self.slow_writes > 0 {
            self.slow_writes -= 1;
            status = UpdateStatus::WaitTimeout;
        }
        Ok(UpdateResult { operation_id: Some(1), status: status.into() })
    }
}

/// What this server has not learnt.
fn unknown<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the test server does not know this"))
}
