use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::{HandshakeKind, NamedGroup, ServerConfig};
use tokio::io::AsyncWriteExt;

use super::*;

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

#[tokio::test]
async fn both_versions_work_and_http2_is_a_must() {
    let place = Place::new();
    let (tls, caller) = (place.tls(), place.caller());
    for version in VERSIONS {
        let client = |alpn: &[&[u8]]| {
            let mut client = client_that_shows(&[version], &place.servers, Some(certified(&caller)));
            client.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
            client
        };
        assert!(outcome(&tls, client(&[b"h2"])).await.is_ok(), "{version:?}");
        assert!(outcome(&tls, client(&[b"http/1.1", b"h2"])).await.is_ok(), "{version:?}");
        for without in [&[][..], &[b"http/1.1".as_slice()], &[b"h2c".as_slice()]] {
            let refused = outcome(&tls, client(without)).await.unwrap_err();
            assert_eq!(refused, "the peer offers no HTTP/2 (ALPN h2)", "{version:?} {without:?}");
        }
    }
}

#[tokio::test]
async fn without_a_certificate_a_caller_is_let_in_where_it_is_optional_and_proves_nothing() {
    let mut place = Place::new();
    place.settings.client_certificate = ClientCertificate::Optional;
    let tls = place.tls();
    assert_eq!(outcome(&tls, place.client(None)).await, Ok(None));
    let id = outcome(&tls, place.client(Some(&place.caller()))).await.unwrap().unwrap();
    assert_eq!(id.to_string(), "spiffe://corp.example/ns/crm/sa/sync");
    let wrong = Authority::root("corp").issue(&pki::client([pki::uri("spiffe://corp.example/a")]));
    assert!(outcome(&tls, place.client(Some(&wrong))).await.is_err(), "a wrong one is worse than none");

    place.settings.trust_bundles.clear();
    let unasked = place.tls();
    assert_eq!(outcome(&unasked, place.client(Some(&place.caller()))).await, Ok(None), "nobody asks for it");
}

#[tokio::test]
async fn no_session_is_offered_and_none_is_taken_up() {
    let place = Place::new();
    let caller = place.caller();
    for version in VERSIONS {
        let kept = Arc::new(Kept::default());
        let mut client = client_that_shows(&[version], &place.servers, Some(certified(&caller)));
        client.resumption = Resumption::store(kept.clone());
        let client = Arc::new(client);
        for _ in 0..3 {
            assert_eq!(handshake(&place.read().unwrap().config, &client).await, HandshakeKind::Full);
        }
        let offered = kept.offered.load(Ordering::SeqCst);
        println!("{version:?}: {offered} sessions offered in 3 handshakes, 3 handshakes in full");
        assert_eq!(offered, 0);

        // A server with the same certificate that does offer sessions.
        let mut generous = ServerConfig::clone(&place.read().unwrap().config);
        generous.session_storage = rustls::server::ServerSessionMemoryCache::new(16);
        generous.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
        generous.send_tls13_tickets = 2;
        let generous = Arc::new(generous);
        handshake(&generous, &client).await;
        assert!(kept.offered.load(Ordering::SeqCst) > 0, "the client keeps what it is offered");
        assert_eq!(handshake(&generous, &client).await, HandshakeKind::Resumed, "and would come back with it");
        let kind = handshake(&place.read().unwrap().config, &client).await;
        println!("{version:?}: a session of elsewhere ends in a handshake of kind {kind:?}");
        assert_eq!(kind, HandshakeKind::Full);
    }
}

#[tokio::test]
async fn what_is_no_tls_of_ours_is_refused_at_once() {
    let place = Place::new();
    let tls = place.tls();
    let hello = |version: u8| {
        let mut hello = vec![1, 0, 0, 43, 3, version];
        hello.extend([7; 32]);
        // No session, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 and CBC_SHA, no compression, no extensions.
        hello.extend([0, 0, 4, 0xc0, 0x2f, 0xc0, 0x13, 1, 0]);
        let length = u8::try_from(hello.len()).unwrap();
        hello[3] = length - 4;
        [&[22, 3, 1, 0, length], hello.as_slice()].concat()
    };
    for (what, bytes, reason) in [
        ("TLS 1.1", hello(2), "no TLS version or cipher suite in common"),
        ("TLS 1.0", hello(1), "no TLS version or cipher suite in common"),
        ("HTTP/2 in plaintext", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), "does not speak TLS"),
        ("HTTP/1.1 in plaintext", b"GET / HTTP/1.1\r\n\r\n".to_vec(), "does not speak TLS"),
        ("noise", vec![0xff; 64], "does not speak TLS"),
        ("nothing", Vec::new(), "the connection ended"),
        ("half a hello", hello(3)[..20].to_vec(), "the connection ended"),
    ] {
        let (listener, address) = listen().await;
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(&bytes).await.unwrap();
        peer.shutdown().await.unwrap();
        let (socket, from) = listener.accept().await.unwrap();
        let refused = within(tls.shake_hands(socket, Peer::Tcp(from))).await.map(drop).unwrap_err().to_string();
        println!("{what}: {refused}");
        assert!(refused.contains(reason), "{what}: {refused}");
    }
}

async fn handshake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> HandshakeKind {
    let (listener, address) = listen().await;
    let client = tokio::spawn(connect(address, client.clone()));
    let (socket, _) = listener.accept().await.unwrap();
    let mut stream = within(TlsAcceptor::from(server.clone()).accept(socket)).await.unwrap();
    let kind = stream.get_ref().1.handshake_kind().unwrap();
    within(stream.shutdown()).await.unwrap();
    within(client).await.unwrap().unwrap();
    kind
}

/// A client's memory, which counts what it is offered.
#[derive(Debug)]
struct Kept {
    offered: AtomicUsize,
    memory: ClientSessionMemoryCache,
}

impl Default for Kept {
    fn default() -> Self {
        Self { offered: AtomicUsize::new(0), memory: ClientSessionMemoryCache::new(16) }
    }
}

impl ClientSessionStore for Kept {
    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        self.memory.set_kx_hint(server, group);
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        self.memory.kx_hint(server)
    }

    fn set_tls12_session(&self, server: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.offered.fetch_add(1, Ordering::SeqCst);
        self.memory.set_tls12_session(server, value);
    }

    fn tls12_session(&self, server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.memory.tls12_session(server)
    }

    fn remove_tls12_session(&self, server: &ServerName<'static>) {
        self.memory.remove_tls12_session(server);
    }

    fn insert_tls13_ticket(&self, server: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.offered.fetch_add(1, Ordering::SeqCst);
        self.memory.insert_tls13_ticket(server, value);
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.memory.take_tls13_ticket(server)
    }
}
