use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::{BasicConstraints, SubjectKeyIdentifier};
use x509_cert::time::{Time, Validity};

/// The authorities whose word counts: for one trust domain, or for DNS names.
#[derive(Clone, Debug)]
pub struct Bundle {
    pub(super) authorities: Vec<Authority>,
}

/// One authority. Others may have the same name: after a change of keys, or in another trust domain.
#[derive(Clone, Debug)]
pub(super) struct Authority {
    /// This one alone.
    pub(super) roots: RootCertStore,
    /// Its name, as its DER.
    pub(super) subject: Vec<u8>,
    /// What names its key, where its certificate says that.
    pub(super) key_id: Option<Vec<u8>>,
    expire_time: Timestamp,
}

/// Why a file is no [`Bundle`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BundleError {
    /// There is no certificate in it.
    #[error("holds no certificate: expected one or more in PEM")]
    Empty,
    /// What is in it is no PEM or no certificate.
    #[error("holds something that is no certificate")]
    Malformed,
    /// A certificate in it is nobody's that may issue others.
    #[error("holds a certificate that is not a certificate authority's")]
    NotAnAuthority,
    /// None of its certificates is valid at this time.
    #[error("holds no certificate that is valid now")]
    NoneValid,
}

impl Bundle {
    /// Reads certificates in PEM. Those that are not valid at `now` are left out: chains end in them without a look at
    /// their dates.
    pub fn read(pem: &[u8], now: Timestamp) -> Result<Self, BundleError> {
        let certificates: Vec<_> =
            CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| BundleError::Malformed)?;
        if certificates.is_empty() {
            return Err(BundleError::Empty);
        }
        let mut authorities = Vec::new();
        for certificate in certificates {
            authorities.extend(Authority::new(certificate, now)?);
        }
        if authorities.is_empty() { Err(BundleError::NoneValid) } else { Ok(Self { authorities }) }
    }

    /// Until when one of them is valid: from then on nobody's certificate is.
    pub fn expire_time(&self) -> Timestamp {
        self.authorities.iter().map(|authority| authority.expire_time).max().unwrap_or(Timestamp::MIN)
    }
}

impl Authority {
    /// None when it is not valid at `now`.
    fn new(certificate: CertificateDer<'static>, now: Timestamp) -> Result<Option<Self>, BundleError> {
        let parsed = Certificate::from_der(&certificate).map_err(|_| BundleError::Malformed)?;
        let parsed = parsed.tbs_certificate();
        let constraints = parsed.get_extension::<BasicConstraints>().map_err(|_| BundleError::Malformed)?;
        if !constraints.is_some_and(|(_, constraints)| constraints.ca) {
            return Err(BundleError::NotAnAuthority);
        }
        let Some([_, expire_time]) =
            valid_from_until(parsed.validity()).filter(|[from, until]| (from..=until).contains(&&now))
        else {
            return Ok(None);
        };
        let subject = parsed.subject().to_der().map_err(|_| BundleError::Malformed)?;
        let key_id = parsed.get_extension::<SubjectKeyIdentifier>().map_err(|_| BundleError::Malformed)?;
        let key_id = key_id.map(|(_, id)| id.0.as_bytes().to_vec());
        let mut roots = RootCertStore::empty();
        roots.add(certificate).map_err(|_| BundleError::Malformed)?;
        Ok(Some(Self { roots, subject, key_id, expire_time }))
    }
}

/// From when until when a certificate is valid.
pub fn validity(certificate: &CertificateDer<'_>) -> Option<[Timestamp; 2]> {
    valid_from_until(Certificate::from_der(certificate).ok()?.tbs_certificate().validity())
}

/// Whose certificate it is, as its DER. None when it is malformed.
pub(super) fn subject(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    Certificate::from_der(certificate).ok()?.tbs_certificate().subject().to_der().ok()
}

fn valid_from_until(validity: &Validity) -> Option<[Timestamp; 2]> {
    let timestamp = |time: Time| Timestamp::from_second(i64::try_from(time.to_unix_duration().as_secs()).ok()?).ok();
    Some([timestamp(validity.not_before)?, timestamp(validity.not_after)?])
}
