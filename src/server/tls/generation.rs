use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, ServerConfig, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use thiserror::Error;
use zeroize::Zeroize;

use super::HTTP2;
use super::files::Files;
use crate::admin::Certificate;
use crate::clock::Clock;
use crate::config::ShownPath;
use crate::identifiers::CallerId;
use crate::identity::{
    self, Bundle, BundleError, CertificateRefusal, ClientCertificates, RevocationList, RevocationListError,
};
use crate::metrics;
use crate::server::settings::{ClientCertificate, TlsSettings};

/// What handshakes are made with: certificate, key, bundles and revocation lists of one moment.
#[derive(Debug)]
pub(in crate::server) struct Generation {
    pub(super) config: Arc<ServerConfig>,
    clients: Option<Arc<ClientCertificates>>,
    /// From when our certificate is valid.
    start_time: Timestamp,
    /// Until when.
    pub(in crate::server) expire_time: Timestamp,
    /// Until when callers' authorities are.
    pub(super) authorities: Vec<Certificate>,
}

/// Why files are not what handshakes can be made with.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{file} cannot be read")]
    File {
        /// Which.
        file: ShownPath,
        /// Why.
        source: io::Error,
    },
    /// There is no certificate where ours should be.
    #[error("{file} holds no certificate: expected ours in PEM, followed by those above it")]
    Certificate {
        /// Which.
        file: ShownPath,
    },
    /// There is no key where ours should be.
    #[error("{file} holds no private key: expected one in PEM (PKCS#8, PKCS#1 or SEC1), unencrypted")]
    Key {
        /// Which.
        file: ShownPath,
    },
    /// The key is not the certificate's.
    #[error("the key in {key_file} is not that of the certificate in {certificate_file}")]
    KeyMismatch {
        /// The certificate.
        certificate_file: ShownPath,
        /// The key.
        key_file: ShownPath,
    },
    /// The certificate is not valid at this time.
    #[error("the certificate in {file} is valid from {from} until {until}, and not now")]
    NotValidNow {
        /// Which.
        file: ShownPath,
        /// From when.
        from: Timestamp,
        /// Until when.
        until: Timestamp,
    },
    /// A file holds no usable authorities.
    #[error("{file} {source}")]
    Bundle {
        /// Which.
        file: ShownPath,
        /// Why not.
        source: BundleError,
    },
    /// A file holds no usable revocation lists.
    #[error("{file} {source}")]
    RevocationLists {
        /// Which.
        file: ShownPath,
        /// Why not.
        source: RevocationListError,
    },
    /// A revocation list cannot be used.
    #[error("client certificates cannot be verified")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// The TLS library refuses its settings.
    #[error("TLS cannot be set up")]
    Protocol(#[from] rustls::Error),
}

impl Generation {
    /// Reads every file and checks what they hold, by the clock's time. It may block.
    pub(in crate::server) fn read(settings: &TlsSettings, clock: &Arc<dyn Clock>) -> Result<Self, TlsError> {
        let (mut files, now) = (Files::default(), clock.now());
        let provider = Arc::new(default_provider());
        let (certified, [start_time, expire_time]) = certified_key(settings, &mut files, now)?;
        let (clients, authorities) = client_certificates(settings, &mut files, now, &provider)?;
        let verifier = match &clients {
            Some(clients) => Arc::clone(clients) as _,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let time = Arc::new(WallTime(Arc::clone(clock)));
        let mut config = ServerConfig::builder_with_details(provider, time)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![HTTP2.to_owned()];
        // A resumed session would skip the client certificate, or carry one that was verified by other rules.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), clients, start_time, expire_time, authorities })
    }

    /// Tells metrics that this is the one in use.
    pub(in crate::server) fn tell(&self) {
        for (metric, time) in
            [(&metrics::TLS_CERT_START, self.start_time), (&metrics::TLS_CERT_EXPIRY, self.expire_time)]
        {
            metric.set(time.as_duration().as_secs_f64(), &["server"]);
        }
    }

    /// The caller that a certificate of a completed handshake names.
    pub(super) fn caller(&self, certificate: &CertificateDer<'_>) -> Result<CallerId, CertificateRefusal> {
        let clients = self.clients.as_ref().ok_or(CertificateRefusal::NoName)?;
        clients.caller(certificate)
    }
}

fn certified_key(
    settings: &TlsSettings,
    files: &mut Files,
    now: Timestamp,
) -> Result<(CertifiedKey, [Timestamp; 2]), TlsError> {
    let TlsSettings { certificate_file, key_file, .. } = settings;
    let no_certificate = || TlsError::Certificate { file: ShownPath::new(certificate_file) };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(files, certificate_file)?)
        .collect::<Result<_, _>>()
        .map_err(|_| no_certificate())?;
    let [from, until] = chain.first().and_then(identity::validity).ok_or_else(no_certificate)?;
    if !(from..=until).contains(&now) {
        return Err(TlsError::NotValidNow { file: ShownPath::new(certificate_file), from, until });
    }
    let no_key = || TlsError::Key { file: ShownPath::new(key_file) };
    let mut key = PrivateKeyDer::from_pem_slice(&read(files, key_file)?).map_err(|_| no_key())?;
    let signer = any_supported_type(&key);
    key.zeroize();
    let certified = CertifiedKey::new(chain, signer.map_err(|_| no_key())?);
    certified.keys_match().map_err(|_| TlsError::KeyMismatch {
        certificate_file: ShownPath::new(certificate_file),
        key_file: ShownPath::new(key_file),
    })?;
    Ok((certified, [from, until]))
}

/// None when none are asked for. With them comes until when their authorities are valid.
fn client_certificates(
    settings: &TlsSettings,
    files: &mut Files,
    now: Timestamp,
    provider: &Arc<CryptoProvider>,
) -> Result<(Option<Arc<ClientCertificates>>, Vec<Certificate>), TlsError> {
    let mut bundle = |file: &PathBuf| {
        let failed = |source| TlsError::Bundle { file: ShownPath::new(file), source };
        Bundle::read(&read(files, file)?, now).map_err(failed)
    };
    let trust_domains: BTreeMap<_, _> = settings
        .trust_bundles
        .iter()
        .map(|(trust_domain, file)| Ok((trust_domain.clone(), bundle(file)?)))
        .collect::<Result<_, TlsError>>()?;
    let dns = settings.dns_ca_file.as_ref().map(&mut bundle).transpose()?;
    if trust_domains.is_empty() && dns.is_none() {
        return Ok((None, Vec::new()));
    }
    let of_domains = trust_domains.iter().map(|(domain, bundle)| (format!("callers' authorities of {domain}"), bundle));
    let of_names = dns.iter().map(|bundle| ("callers' authorities for DNS names".to_owned(), bundle));
    let authorities = of_domains.chain(of_names);
    let authorities =
        authorities.map(|(name, bundle)| Certificate { name, expire_time: bundle.expire_time() }).collect();
    let mut lists = Vec::new();
    for file in &settings.crl_files {
        let failed = |source| TlsError::RevocationLists { file: ShownPath::new(file), source };
        lists.extend(RevocationList::read(&read(files, file)?).map_err(failed)?);
    }
    let required = settings.client_certificate == ClientCertificate::Required;
    let clients = ClientCertificates::new(trust_domains, dns, &lists, required, Arc::clone(provider))?;
    Ok((Some(Arc::new(clients)), authorities))
}

fn read(files: &mut Files, file: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, TlsError> {
    files.read(file).map_err(|source| TlsError::File { file: ShownPath::new(file), source })
}

/// The time that certificates are judged by.
#[derive(Debug)]
struct WallTime(Arc<dyn Clock>);

impl TimeProvider for WallTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}
