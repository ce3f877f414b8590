//! What stands before the pages, as an ingress does.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// Takes a port before there is a server, and leads from it to the server.
pub(crate) struct Front {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Front {
    pub(crate) async fn with_tls() -> Self {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key.into()).unwrap();
        Self { tls: Some(TlsAcceptor::from(Arc::new(config))), ..Self::without_tls().await }
    }

    pub(crate) async fn without_tls() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), tls: None }
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}", self.listener.local_addr().unwrap().port())
    }

    /// Leads to the server until the handle is dropped.
    pub(crate) fn lead_to(self, server: SocketAddr) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(async move {
            while let Ok((socket, _)) = self.listener.accept().await {
                let tls = self.tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => lead(socket, server).await,
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                lead(socket, server).await;
                            }
                        }
                    }
                });
            }
        }))
    }
}

async fn lead(mut browser: impl AsyncRead + AsyncWrite + Unpin, server: SocketAddr) {
    if let Ok(mut server) = TcpStream::connect(server).await {
        let _cut = copy_bidirectional(&mut browser, &mut server).await;
    }
}
