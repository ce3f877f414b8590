use rustls::pki_types::{CertificateDer, DnsName};
use thiserror::Error;
use x509_cert::Certificate;
use x509_cert::certificate::TbsCertificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::oid::db::rfc5280::ID_KP_CLIENT_AUTH;
use x509_cert::der::{Decode, DecodeOwned};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};

use crate::identifiers::{CallerId, SpiffeId, SpiffeIdError};

/// Why a client certificate names no caller. Nothing of the certificate is in it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateRefusal {
    /// It is no certificate of X.509, version 3, in DER, or has an extension twice.
    #[error("it is malformed")]
    Malformed,
    /// It is an authority's own.
    #[error("it is a certificate authority's")]
    Authority,
    /// Its key may not sign, or may sign certificates or revocation lists.
    #[error("its key usage must have digitalSignature, and neither keyCertSign nor cRLSign")]
    KeyUsage,
    /// It is for something else.
    #[error("its extended key usage must have clientAuth")]
    ExtendedKeyUsage,
    /// It names nobody that could be a caller.
    #[error("it has neither a URI nor, where they are accepted, a DNS name")]
    NoName,
    /// It has more than one URI, which an X509-SVID must not.
    #[error("it has more than one URI")]
    ManyUris,
    /// Its one URI is no SPIFFE ID.
    #[error("its URI is no SPIFFE ID: {0}")]
    NotSpiffe(SpiffeIdError),
    /// Its trust domain has no bundle.
    #[error("its trust domain is not accepted")]
    TrustDomain,
    /// It has a DNS name, and those are not accepted.
    #[error("it has a DNS name and no SPIFFE ID, and DNS names are not accepted")]
    DnsNotAccepted,
    /// It has more than one DNS name: which of them calls?
    #[error("it has more than one DNS name")]
    ManyDnsNames,
    /// Its one DNS name is none, or stands for many.
    #[error("its DNS name is malformed or a wildcard")]
    DnsName,
}

/// The caller that a certificate names, if it is one that a caller may have: an X509-SVID (X509-SVID standard, 4 and 5),
/// or one with a single DNS name and otherwise of the same form. Whether it is genuine is another question.
pub(super) fn caller(certificate: &CertificateDer<'_>) -> Result<CallerId, CertificateRefusal> {
    let certificate = Certificate::from_der(certificate).map_err(|_| CertificateRefusal::Malformed)?;
    let certificate = certificate.tbs_certificate();
    if extension::<BasicConstraints>(certificate)?.is_some_and(|constraints| constraints.ca) {
        return Err(CertificateRefusal::Authority);
    }
    let may_only_sign = |usage: KeyUsage| usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign();
    if !extension(certificate)?.is_some_and(may_only_sign) {
        return Err(CertificateRefusal::KeyUsage);
    }
    if !extension(certificate)?.is_some_and(|usage: ExtendedKeyUsage| usage.0.contains(&ID_KP_CLIENT_AUTH)) {
        return Err(CertificateRefusal::ExtendedKeyUsage);
    }
    name(&extension(certificate)?.unwrap_or(SubjectAltName(Vec::new())))
}

fn name(names: &SubjectAltName) -> Result<CallerId, CertificateRefusal> {
    let mut uris = names.0.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
        _ => None,
    });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => return spiffe_id(uri),
        (Some(_), Some(_)) => return Err(CertificateRefusal::ManyUris),
        (None, _) => {}
    }
    let mut dns_names = names.0.iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.as_str()),
        _ => None,
    });
    match (dns_names.next(), dns_names.next()) {
        (Some(name), None) => dns_name(name),
        (Some(_), Some(_)) => Err(CertificateRefusal::ManyDnsNames),
        (None, _) => Err(CertificateRefusal::NoName),
    }
}

fn spiffe_id(uri: &str) -> Result<CallerId, CertificateRefusal> {
    uri.parse::<SpiffeId>().map(CallerId::Spiffe).map_err(CertificateRefusal::NotSpiffe)
}

fn dns_name(name: &str) -> Result<CallerId, CertificateRefusal> {
    let is_name = DnsName::try_from(name).is_ok() && !name.ends_with('.');
    is_name.then(|| CallerId::Dns(name.to_ascii_lowercase().into())).ok_or(CertificateRefusal::DnsName)
}

/// The one extension of its type. Whatever has it twice is read by nobody in the same way.
fn extension<T: AssociatedOid + DecodeOwned>(certificate: &TbsCertificate) -> Result<Option<T>, CertificateRefusal> {
    let is_it = |id: &ObjectIdentifier| *id == T::OID;
    let mut found = certificate.extensions().into_iter().flatten().filter(|extension| is_it(&extension.extn_id));
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(CertificateRefusal::Malformed),
        (Some(only), None) => {
            let value = T::from_der(only.extn_value.as_bytes());
            value.map(Some).map_err(|_| CertificateRefusal::Malformed)
        }
    }
}
