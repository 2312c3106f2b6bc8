//! Stands before a server, and lets only so much through.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How much is let through at a time, in bytes.
const PIECE: usize = 16 << 10;

/// How much each side of a connection keeps for those behind it, in bytes: it should be seen by the sender that nobody reads.
const KEPT: usize = 32 << 10;

/// Where to, for what goes through.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    To,
    From,
}

/// A gate before a server.
pub struct Gate {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    /// How many bytes may still go each way.
    left: watch::Sender<[u64; 2]>,
    /// How long 16 kB that go to the server take, in microseconds.
    pause: AtomicU64,
}

impl Gate {
    /// An open one before the server at this address.
    pub async fn before(server: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(KEPT).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        socket.listen(64).unwrap();
        socket.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(socket.into()).unwrap();
        let address = listener.local_addr().unwrap();
        let state =
            Arc::new(State { left: watch::Sender::new([u64::MAX; 2]), pause: AtomicU64::new(0) });
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server, shared.clone()));
            }
        });
        Self { address, state }
    }

    /// Where it stands.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes itself this way after so many bytes more, on connections that stay open.
    pub fn close_after(&self, way: Way, bytes: u64) {
        self.state.left.send_modify(|left| left[way as usize] = bytes);
    }

    /// Whether all that was allowed has gone through.
    pub fn is_closed(&self, way: Way) -> bool {
        self.state.left.borrow()[way as usize] == 0
    }

    /// Lets everything through.
    pub fn open(&self) {
        self.state.left.send_replace([u64::MAX; 2]);
    }

    /// Has each 16 kB that go to the server take so long.
    pub fn slow_down(&self, pause: Duration) {
        self.state.pause.store(u64::try_from(pause.as_micros()).unwrap(), Ordering::Relaxed);
    }
}

async fn carry(mut client: TcpStream, server: SocketAddr, state: Arc<State>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::select! {
        () = pass(from_client, to_server, Way::To, &state) => {}
        () = pass(from_server, to_client, Way::From, &state) => {}
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    way: Way,
    state: &State,
) {
    let (mut piece, mut news) = (vec![0; PIECE], state.left.subscribe());
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        if matches!(way, Way::To) {
            let pause = state.pause.load(Ordering::Relaxed) * read as u64 / PIECE as u64;
            tokio::time::sleep(Duration::from_micros(pause)).await;
        }
        let mut rest = &piece[..read];
        while !rest.is_empty() {
            let mut allowed = 0;
            state.left.send_if_modified(|left| {
                let left = &mut left[way as usize];
                allowed = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                if *left != u64::MAX {
                    *left -= allowed as u64;
                }
                false
            });
            if to.write_all(&rest[..allowed]).await.is_err() {
                return;
            }
            rest = &rest[allowed..];
            if !rest.is_empty() && news.changed().await.is_err() {
                return;
            }
        }
    }
}
