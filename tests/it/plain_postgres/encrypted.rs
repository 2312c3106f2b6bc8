//! Connections that are encrypted, as managed servers want them.

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

/// What a client sends that asks for encryption: a length, and a number in the place of the protocol's version.
const WANTS_TLS: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls").join(name)
}

/// A server with a certificate for `localhost` before this database, which answers only who encrypts. Tells its port.
async fn behind_tls(url: &str) -> u16 {
    let options: PgConnectOptions = url.parse().unwrap();
    let socket = options.get_socket().unwrap();
    let socket = socket.join(format!(".s.PGSQL.{}", options.get_port()));
    let certificate = CertificateDer::from_pem_file(fixture("localhost.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(fixture("localhost.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (acceptor, socket) = (acceptor.clone(), socket.clone());
            tokio::spawn(async move {
                let mut asked = [0; 8];
                client.read_exact(&mut asked).await?;
                if asked != WANTS_TLS {
                    return Ok((0, 0));
                }
                client.write_all(b"S").await?;
                let mut client = acceptor.accept(client).await?;
                let mut server = UnixStream::connect(socket).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_checked_as_the_url_says_and_a_wrong_one_told_with_what_to_do() {
    let plain = empty_database("encrypted", "", "").await;
    let port = behind_tls(&plain).await;
    let database = plain.rsplit('/').next().unwrap();
    let url = |host: &str, mode: &str, authority: Option<PathBuf>| {
        let authority = authority.map(|path| format!("&sslrootcert={}", path.display()));
        let authority = authority.unwrap_or_default();
        format!("postgres://crm@{host}:{port}/{database}?sslmode={mode}{authority}")
    };
    let good = fixture("authority.pem");
    for (host, mode, authority) in
        [("localhost", "verify-full", Some(good.clone())), ("127.0.0.1", "require", None)]
    {
        let url = url(host, mode, authority);
        let home = Home::new();
        let server = Server::start_with(&home, &[], &[("DATABASE_URL", &url)]).await;
        let answer = reqwest::get(format!("{}/lps", server.url)).await.unwrap();
        assert_eq!(answer.status(), 200, "{url}");
        assert!(server.stop().await);
    }

    for mode in ["verify-full", "verify-ca"] {
        let said = refusal(&url("127.0.0.1", mode, Some(good.clone()))).await;
        assert!(said.contains("must name the host that it is for"), "{said}");
    }
    for authority in [None, Some(fixture("stranger.pem"))] {
        let said = refusal(&url("localhost", "verify-full", authority)).await;
        assert!(said.contains("sslrootcert=/path/to/ca.pem"), "{said}");
    }
    let none = NamedTempFile::new().unwrap();
    std::fs::write(none.path(), "This is no certificate.").unwrap();
    let said = refusal(&url("localhost", "verify-full", Some(none.path().to_owned()))).await;
    assert!(said.contains("sslrootcert"), "{said}");
}
