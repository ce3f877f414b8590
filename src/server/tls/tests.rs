//! The handshake, over real sockets, with certificates of every kind and a clock that the test moves.

#[path = "../../../tests/support/pki.rs"]
mod pki;

mod authorities;
mod certificates;
mod connections;
mod generations;
mod sessions;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, SignatureScheme};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

use self::pki::{Authority, Identity};
use super::*;
use crate::clock::ManualClock;
use crate::identifiers::CallerId;
use crate::server::settings::ClientCertificate;

const PATIENCE: Duration = Duration::from_secs(20);
const TRUST_DOMAIN: &str = "corp.example";
/// When it is by the server's clock.
const NOW: &str = "2026-11-22T12:00:00Z";

/// A directory with the files of a server, and the authorities that it trusts.
struct Place {
    directory: TempDir,
    clock: ManualClock,
    /// Vouches for the server.
    servers: Authority,
    /// Vouches for the callers of [`TRUST_DOMAIN`].
    corp: Authority,
    settings: TlsSettings,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (servers, corp) = (Authority::root("servers"), Authority::root("corp"));
        let (certificate_file, key_file) = servers.issue(&pki::server(&["localhost"])).write(directory.path(), "tls");
        let mut place = Self {
            clock: ManualClock::new(NOW.parse().unwrap()),
            servers,
            corp,
            settings: TlsSettings {
                certificate_file,
                key_file,
                client_certificate: ClientCertificate::Required,
                trust_bundles: BTreeMap::new(),
                dns_ca_file: None,
                crl_files: Vec::new(),
            },
            directory,
        };
        let bundle = place.write("corp.pem", &place.corp.pem());
        place.settings.trust_bundles.insert(TRUST_DOMAIN.to_owned(), bundle);
        place
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock.clone())
    }

    fn read(&self) -> Result<Generation, TlsError> {
        Generation::read(&self.settings, &self.clock())
    }

    fn tls(&self) -> Tls {
        Tls::new(Arc::new(ArcSwap::from_pointee(self.read().unwrap())), self.clock())
    }

    /// A client that trusts the server, and shows a certificate if it has one.
    fn client(&self, identity: Option<&Identity>) -> ClientConfig {
        client_that_shows(&[&rustls::version::TLS13, &rustls::version::TLS12], &self.servers, identity.map(certified))
    }

    /// A caller of the trust domain.
    fn caller(&self) -> Identity {
        self.corp.issue(&pki::client([pki::uri("spiffe://corp.example/ns/crm/sa/sync")]))
    }
}

fn client_that_shows(
    versions: &[&'static rustls::SupportedProtocolVersion],
    servers: &Authority,
    certificate: Option<CertifiedKey>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(servers.0.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match certificate {
        Some(certificate) => builder.with_client_cert_resolver(Arc::new(Shows(Arc::new(certificate)))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// A certificate with its key, matching or not.
fn certified(identity: &Identity) -> CertifiedKey {
    let chain = CertificateDer::pem_slice_iter(identity.chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    CertifiedKey::new(chain, rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap())
}

/// Shows a certificate unasked whether it would be accepted.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What the server makes of a client: the caller, if it proved one.
async fn outcome(tls: &Tls, client: ClientConfig) -> Result<Option<CallerId>, String> {
    let (listener, address) = listen().await;
    let client = tokio::spawn(connect(address, Arc::new(client)));
    let (socket, peer) = listener.accept().await.unwrap();
    let accepted = within(tls.shake_hands(socket, Peer::Tcp(peer))).await;
    let outcome = match &accepted {
        Ok((_, identity)) => Ok(identity.id.clone()),
        Err(failure) => Err(failure.to_string()),
    };
    drop(accepted);
    drop(within(client).await);
    outcome
}

/// Shakes hands and waits for the server to close.
async fn connect(address: SocketAddr, client: Arc<ClientConfig>) -> std::io::Result<()> {
    let socket = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(client).connect(name, socket).await?;
    stream.read_to_end(&mut Vec::new()).await.map(drop)
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens in time")
}
