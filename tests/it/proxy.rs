//! A proxy between the product and Postgres that knows every statement and lets any one of them fail.
//!
//! Statements are told apart by their text and counted by text: the projectors work beside the commands, so that the
//! hundredth statement of one run is seldom that of the next, but the third time that one text comes is.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use projections::database::Database as Connections;
use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

/// How a statement fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks before Postgres learns of it.
    Unsent,
    /// Postgres carries it out, and the connection breaks before anybody is told.
    Unanswered,
    /// Postgres itself refuses it with this code; a statement that is only being prepared, with a code of its own.
    Refused(&'static str),
}

/// What a client can ask of Postgres that can fail by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Statement {
    /// A text is prepared, to be run later.
    Prepare(String),
    /// A text is run, prepared or not.
    Run(String),
    /// The end of a COPY into Postgres.
    EndOfCopy,
}

/// Which statement fails, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The statement.
    pub statement: Statement,
    /// The how manieth of that text, from 1.
    pub nth: usize,
    /// How.
    pub fault: Fault,
}

/// The proxy, for as long as it is there; its connections end with it.
pub struct Proxy {
    options: PgConnectOptions,
    sights: Arc<Sights>,
    _folder: TempDir,
    _connections: JoinSet<()>,
}

/// What has been seen so far.
#[derive(Default)]
struct Sights {
    plan: Option<Plan>,
    seen: Mutex<BTreeMap<Statement, usize>>,
    has_struck: AtomicBool,
}

impl Proxy {
    /// Stands before the Postgres of these options, which listens on a Unix socket. Every fault strikes once.
    pub async fn before(options: &PgConnectOptions, plan: Option<Plan>) -> Self {
        let folder = TempDir::new().unwrap();
        let file = format!(".s.PGSQL.{}", options.get_port());
        let listener = UnixListener::bind(folder.path().join(&file)).unwrap();
        let socket = options.get_socket().unwrap().join(file);
        let options = options.clone().socket(folder.path());
        let sights = Arc::new(Sights { plan, ..Sights::default() });
        let mut connections = JoinSet::new();
        connections.spawn(listen(listener, socket, sights.clone()));
        Self { options, sights, _folder: folder, _connections: connections }
    }

    /// Connections of the product by way of this proxy.
    pub fn connections(&self) -> Connections {
        crate::harness::connect(self.options.clone(), 4)
    }

    /// How often each statement has come.
    pub fn seen(&self) -> BTreeMap<Statement, usize> {
        self.sights.seen.lock().unwrap().clone()
    }

    /// Whether the planned statement has come and failed.
    pub fn has_struck(&self) -> bool {
        self.sights.has_struck.load(Ordering::Acquire)
    }
}

impl Sights {
    /// Counts a statement and tells whether it is to fail.
    fn meet(&self, statement: Statement) -> Option<Fault> {
        let mut seen = self.seen.lock().unwrap();
        let count = seen.entry(statement.clone()).or_default();
        *count += 1;
        let plan = self.plan.as_ref()?;
        if plan.statement != statement || plan.nth != *count {
            return None;
        }
        self.has_struck.store(true, Ordering::Release);
        Some(plan.fault)
    }
}

async fn listen(listener: UnixListener, socket: PathBuf, sights: Arc<Sights>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (client, _) = accepted.unwrap();
                let (socket, sights) = (socket.clone(), sights.clone());
                // Either side may leave at any time, which is no fault of this test's.
                connections.spawn(async move { connect(client, &socket, &sights).await.ok() });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A message: its type and all that follows, its length included.
struct Message {
    tag: u8,
    rest: Vec<u8>,
}

impl Message {
    async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let tag = from.read_u8().await?;
        Ok(Self { tag, rest: read_sized(from).await? })
    }

    fn new(tag: u8, body: &[u8]) -> Self {
        let length = u32::try_from(body.len() + 4).unwrap();
        Self { tag, rest: [&length.to_be_bytes(), body].concat() }
    }

    fn write(&self, to: &mut Vec<u8>) {
        to.push(self.tag);
        to.extend_from_slice(&self.rest);
    }

    /// The texts, each ended by a zero, that the message begins with.
    fn texts(&self) -> impl Iterator<Item = String> {
        self.rest[4..].split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into())
    }
}

/// What begins with its own length of four bytes.
async fn read_sized(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.resize(length as usize, 0);
    from.read_exact(&mut bytes[4..]).await?;
    Ok(bytes)
}

/// What both directions of a connection must know of each other.
#[derive(Default)]
struct Line {
    /// How many answers Postgres owes.
    owed: AtomicI64,
    /// Whether the client is not to hear any more.
    is_muted: AtomicBool,
}

/// One connection from its first message to its end; both sides are cut off when this returns.
async fn connect(mut client: UnixStream, socket: &Path, sights: &Sights) -> io::Result<()> {
    const CANCEL: [u8; 4] = 80_877_102_u32.to_be_bytes();
    const ENCRYPT: [[u8; 4]; 2] = [80_877_103_u32.to_be_bytes(), 80_877_104_u32.to_be_bytes()];
    let mut startup = read_sized(&mut client).await?;
    while ENCRYPT.iter().any(|code| startup[4..8] == *code) {
        client.write_all(b"N").await?;
        startup = read_sized(&mut client).await?;
    }
    let mut server = UnixStream::connect(socket).await?;
    server.write_all(&startup).await?;
    if startup[4..8] == CANCEL {
        return Ok(());
    }
    let line = Line::default();
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    // Postgres greets with a first "ready" that nobody has asked for.
    line.owed.store(1, Ordering::Release);
    tokio::select! {
        ended = ask(BufReader::new(from_client), to_server, &line, sights) => ended,
        ended = answer(BufReader::new(from_server), to_client, &line) => ended,
    }
}

/// From the client to Postgres.
async fn ask(
    mut client: BufReader<impl AsyncRead + Unpin>,
    mut server: impl AsyncWrite + Unpin,
    line: &Line,
    sights: &Sights,
) -> io::Result<()> {
    let mut prepared = HashMap::new();
    let mut asked = Vec::new();
    loop {
        let message = Message::read(&mut client).await?;
        let fault = statement(&message, &mut prepared).and_then(|met| sights.meet(met));
        if fault == Some(Fault::Unsent) {
            return server.write_all(&asked).await;
        }
        if fault == Some(Fault::Unanswered) {
            line.is_muted.store(true, Ordering::Release);
        }
        if matches!(message.tag, b'Q' | b'S') {
            line.owed.fetch_add(1, Ordering::AcqRel);
        }
        match fault {
            Some(Fault::Refused(code)) => {
                for refused in refused(&message, code) {
                    refused.write(&mut asked);
                }
            }
            _ => message.write(&mut asked),
        }
        if client.buffer().is_empty() {
            server.write_all(&asked).await?;
            asked.clear();
        }
    }
}

/// The statement that a message asks for, if it asks for one.
fn statement(message: &Message, prepared: &mut HashMap<String, String>) -> Option<Statement> {
    let mut texts = message.texts();
    match message.tag {
        b'P' => {
            let (name, text) = (texts.next()?, texts.next()?);
            let text = without_numbers(&text);
            prepared.insert(name, text.clone());
            Some(Statement::Prepare(text))
        }
        b'B' => {
            let name = texts.nth(1)?;
            Some(Statement::Run(prepared.get(&name).cloned().unwrap_or_default()))
        }
        b'Q' => Some(Statement::Run(without_numbers(&texts.next()?))),
        b'c' => Some(Statement::EndOfCopy),
        _ => None,
    }
}

/// Some statements take no parameters, so that the ids of each run, and the numbers of its generations, stand in their
/// text.
fn without_numbers(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '0'..='9' if plain.ends_with([' ', '_']) => plain.push('#'),
            '0'..='9' if plain.ends_with('#') => {}
            letter => plain.push(letter),
        }
    }
    plain
}

/// What is sent instead of a message, so that Postgres refuses it and both sides agree on where they are.
fn refused(message: &Message, code: &str) -> Vec<Message> {
    let raise =
        format!("do $$ begin raise 'refused by the proxy' using errcode = '{code}'; end $$");
    // Name, text, and no types of parameters.
    let parse = |name: &str, text: &str| {
        Message::new(b'P', &[name.as_bytes(), &[0], text.as_bytes(), &[0, 0, 0]].concat())
    };
    match message.tag {
        b'P' => vec![parse(&message.texts().next().unwrap(), "select refused_by_the_proxy")],
        // The unnamed portal of the unnamed statement, without formats and parameters.
        b'B' => vec![parse("", &raise), Message::new(b'B', &[0; 8])],
        b'Q' => vec![Message::new(b'Q', &[raise.as_bytes(), &[0]].concat())],
        _ => vec![Message::new(b'f', b"refused by the proxy\0")],
    }
}

/// From Postgres to the client.
async fn answer(
    mut server: BufReader<impl AsyncRead + Unpin>,
    mut client: impl AsyncWrite + Unpin,
    line: &Line,
) -> io::Result<()> {
    let mut heard = Vec::new();
    loop {
        let message = Message::read(&mut server).await?;
        let owed = match message.tag {
            b'Z' => line.owed.fetch_sub(1, Ordering::AcqRel) - 1,
            // A COPY that begins is an answer too; the one to its end is still owed.
            b'G' => 0,
            _ => i64::MAX,
        };
        if line.is_muted.load(Ordering::Acquire) {
            if owed <= 0 {
                return Ok(());
            }
            continue;
        }
        message.write(&mut heard);
        if server.buffer().is_empty() {
            client.write_all(&heard).await?;
            heard.clear();
        }
    }
}
