use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};

use super::bundle::{self, Authority};
use super::leaf::{self, CertificateRefusal};
use super::{Bundle, RevocationList};
use crate::identifiers::CallerId;

/// Verifies client certificates, each with the authorities of the trust domain that it claims and no others: an
/// authority of one domain cannot make a caller of another.
pub struct ClientCertificates {
    trust_domains: BTreeMap<String, Verifiers>,
    dns: Option<Verifiers>,
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
        let bundles = trust_domains.values().chain(&dns);
        let authorities: Vec<_> = bundles.flat_map(|bundle| &bundle.authorities).collect();
        let is_claimed = |list: &RevocationList| authorities.iter().any(|authority| list.is_of(authority));
        let lists: Vec<_> = revocations.iter().map(|list| (list, is_claimed(list))).collect();
        let trust_domains = trust_domains
            .into_iter()
            .map(|(name, bundle)| Ok((name, Verifiers::new(bundle, &lists, &provider)?)))
            .collect::<Result<_, VerifierBuilderError>>()?;
        let dns = dns.map(|bundle| Verifiers::new(bundle, &lists, &provider)).transpose()?;
        Ok(Self { trust_domains, dns, required, provider })
    }

    /// The caller that a certificate names, if such callers are accepted.
    pub fn caller(&self, certificate: &CertificateDer<'_>) -> Result<CallerId, CertificateRefusal> {
        let caller = leaf::caller(certificate)?;
        self.verifiers_of(&caller)?;
        Ok(caller)
    }

    fn verifiers_of(&self, caller: &CallerId) -> Result<&Verifiers, CertificateRefusal> {
        match caller {
            CallerId::Spiffe(id) => self.trust_domains.get(id.trust_domain()).ok_or(CertificateRefusal::TrustDomain),
            CallerId::Dns(_) => self.dns.as_ref().ok_or(CertificateRefusal::DnsNotAccepted),
            _ => Err(CertificateRefusal::NoName),
        }
    }
}

/// Verifies by the authorities of one bundle.
#[derive(Debug)]
struct Verifiers(Vec<Verifier>);

/// Verifies by one authority.
#[derive(Debug)]
struct Verifier {
    verifier: Arc<dyn ClientCertVerifier>,
    /// The authority's name, where a list of somebody else who has it is left out.
    unlisted: Option<Vec<u8>>,
}

impl Verifiers {
    /// One for each authority, with the lists that it answers for: those of another that has the same name say nothing
    /// about its certificates.
    ///
    /// A certificate that a revocation list names is refused, and so is one whose list is no longer current. Once an
    /// authority of the bundle has a list, every certificate of its chains needs one; before, those that no list speaks of
    /// are accepted: the lists of one bundle are no duty of another.
    fn new(
        bundle: Bundle,
        lists: &[(&RevocationList, bool)],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let counts = |authority: &Authority, list: &RevocationList, is_claimed: bool| {
            // One that nobody answers for is everybody's of that name, and verifies nobody: it may be forged, or the
            // authority has another key by now and no list of that.
            list.is_of(authority) || (list.names(authority) && !is_claimed)
        };
        let has_list = lists
            .iter()
            .any(|(list, is_claimed)| bundle.authorities.iter().any(|authority| counts(authority, list, *is_claimed)));
        let verifier = |authority: Authority| {
            let mut lists = lists.to_vec();
            lists.sort_by_key(|(list, _)| list.precedence(&authority));
            // Lists of other names may be of authorities below it.
            let its = lists
                .iter()
                .filter(|(list, is_claimed)| !list.names(&authority) || counts(&authority, list, *is_claimed));
            let mut its: Vec<_> = its.map(|(list, _)| list.der.clone()).collect();
            let unlisted = (!has_list && its.len() < lists.len()).then(|| authority.subject.clone());
            // Without any, rustls asks for none.
            if has_list && its.is_empty() {
                its = lists.iter().map(|(list, _)| list.der.clone()).collect();
            }
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(authority.roots), Arc::clone(provider))
                .with_crls(its)
                .enforce_revocation_expiration();
            let verifier = if has_list { builder.build() } else { builder.allow_unknown_revocation_status().build() }?;
            Ok(Verifier { verifier, unlisted })
        };
        bundle.authorities.into_iter().map(verifier).collect::<Result<_, _>>().map(Self)
    }

    /// Accepts what one of them accepts. Else the error is of the one that came furthest.
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let mut furthest = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        for verifier in &self.0 {
            match verifier.verify(end_entity, intermediates, now) {
                Ok(verified) => return Ok(verified),
                Err(error) if distance(&error) > distance(&furthest) => furthest = error,
                Err(_) => {}
            }
        }
        Err(furthest)
    }
}

impl Verifier {
    /// Where a list of a namesake is left out, so are the namesakes' certificates: by way of one, such as the new key's by
    /// the old, would come what that list has taken back. The authority needs none of its name between itself and what it
    /// has signed.
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let Some(name) = &self.unlisted else {
            return self.verifier.verify_client_cert(end_entity, intermediates, now);
        };
        let others: Vec<_> =
            intermediates.iter().filter(|one| bundle::subject(one).is_some_and(|its| its != *name)).cloned().collect();
        match self.verifier.verify_client_cert(end_entity, &others, now) {
            Err(rustls::Error::InvalidCertificate(CertificateError::BadSignature))
                if others.len() < intermediates.len() =>
            {
                Err(CertificateError::UnknownRevocationStatus.into())
            }
            outcome => outcome,
        }
    }
}

/// How far the chain of a certificate came: not to an authority, to one of the same name, to the authority.
fn distance(error: &rustls::Error) -> u8 {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => 0,
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => 1,
        _ => 2,
    }
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
        self.verifiers_of(&caller).map_err(refused)?.verify(end_entity, intermediates, now)
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
