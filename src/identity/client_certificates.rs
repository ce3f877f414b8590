use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};

use super::leaf::{self, CertificateRefusal};
use super::{Bundle, RevocationList};
use crate::identifiers::CallerId;

/// Verifies client certificates, each with the authorities of the trust domain that it claims and no others: an
/// authority of one domain cannot make a caller of another.
pub struct ClientCertificates {
    trust_domains: BTreeMap<String, Arc<dyn ClientCertVerifier>>,
    dns: Option<Arc<dyn ClientCertVerifier>>,
    required: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientCertificates {
    /// Accepts the trust domains that have a bundle, and DNS names if there is a bundle for them. `revocations` are in
    /// force for all.
    pub fn new(
        trust_domains: BTreeMap<String, Bundle>,
        dns: Option<Bundle>,
        revocations: &[RevocationList],
        required: bool,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let trust_domains = trust_domains
            .into_iter()
            .map(|(name, bundle)| Ok((name, verifier(bundle, revocations, &provider)?)))
            .collect::<Result<_, VerifierBuilderError>>()?;
        let dns = dns.map(|bundle| verifier(bundle, revocations, &provider)).transpose()?;
        Ok(Self { trust_domains, dns, required, provider })
    }

    /// The caller that a certificate names, if such callers are accepted.
    pub fn caller(&self, certificate: &CertificateDer<'_>) -> Result<CallerId, CertificateRefusal> {
        let caller = leaf::caller(certificate)?;
        self.verifier_of(&caller)?;
        Ok(caller)
    }

    fn verifier_of(&self, caller: &CallerId) -> Result<&Arc<dyn ClientCertVerifier>, CertificateRefusal> {
        match caller {
            CallerId::Spiffe(id) => self.trust_domains.get(id.trust_domain()).ok_or(CertificateRefusal::TrustDomain),
            CallerId::Dns(_) => self.dns.as_ref().ok_or(CertificateRefusal::DnsNotAccepted),
            _ => Err(CertificateRefusal::NoName),
        }
    }
}

/// Builds chains to one bundle's authorities.
///
/// A certificate that a revocation list names is refused, and so is one whose list is no longer current. Once an authority
/// of the bundle has a list, every certificate of its chains needs one; before, those that no list speaks of are accepted:
/// the lists of one bundle are no duty of another.
fn verifier(
    bundle: Bundle,
    revocations: &[RevocationList],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
    let Bundle { roots, subjects, .. } = bundle;
    let has_list = revocations.iter().any(|list| subjects.contains(&list.issuer));
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .with_crls(revocations.iter().map(|list| list.der.clone()))
        .enforce_revocation_expiration();
    if has_list { builder.build() } else { builder.allow_unknown_revocation_status().build() }
}

impl ClientCertVerifier for ClientCertificates {
    /// None: a client has one certificate for us, and need not learn whom we trust before it has shown it.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let caller = leaf::caller(end_entity).map_err(refused)?;
        let verifier = self.verifier_of(&caller).map_err(refused)?;
        verifier.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for ClientCertificates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientCertificates")
            .field("trust_domains", &self.trust_domains.keys())
            .field("dns", &self.dns.is_some())
            .field("required", &self.required)
            .finish_non_exhaustive()
    }
}

fn refused(refusal: CertificateRefusal) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(refusal))).into()
}

/// The refusal that a handshake failed with, if it was one of ours.
pub fn refusal_of(error: &rustls::Error) -> Option<CertificateRefusal> {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else { return None };
    other.0.downcast_ref::<CertificateRefusal>().copied()
}
