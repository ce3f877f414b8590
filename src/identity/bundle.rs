use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::time::{Time, Validity};

/// The authorities whose word counts: for one trust domain, or for DNS names.
#[derive(Clone, Debug)]
pub struct Bundle {
    pub(super) roots: RootCertStore,
    /// Their names, each as its DER.
    pub(super) subjects: Vec<Vec<u8>>,
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
        let mut bundle = Self { roots: RootCertStore::empty(), subjects: Vec::new(), expire_time: now };
        for certificate in certificates {
            bundle.add(certificate, now)?;
        }
        if bundle.roots.is_empty() { Err(BundleError::NoneValid) } else { Ok(bundle) }
    }

    /// Until when one of them is valid: from then on nobody's certificate is.
    pub fn expire_time(&self) -> Timestamp {
        self.expire_time
    }

    fn add(&mut self, certificate: CertificateDer<'static>, now: Timestamp) -> Result<(), BundleError> {
        let parsed = Certificate::from_der(&certificate).map_err(|_| BundleError::Malformed)?;
        let parsed = parsed.tbs_certificate();
        let constraints = parsed.get_extension::<BasicConstraints>().map_err(|_| BundleError::Malformed)?;
        if !constraints.is_some_and(|(_, constraints)| constraints.ca) {
            return Err(BundleError::NotAnAuthority);
        }
        let Some([_, until]) =
            valid_from_until(parsed.validity()).filter(|[from, until]| (from..=until).contains(&&now))
        else {
            return Ok(());
        };
        let subject = parsed.subject().to_der().map_err(|_| BundleError::Malformed)?;
        self.roots.add(certificate).map_err(|_| BundleError::Malformed)?;
        self.subjects.push(subject);
        self.expire_time = self.expire_time.max(until);
        Ok(())
    }
}

/// From when until when a certificate is valid.
pub fn validity(certificate: &CertificateDer<'_>) -> Option<[Timestamp; 2]> {
    valid_from_until(Certificate::from_der(certificate).ok()?.tbs_certificate().validity())
}

fn valid_from_until(validity: &Validity) -> Option<[Timestamp; 2]> {
    let timestamp = |time: Time| Timestamp::from_second(i64::try_from(time.to_unix_duration().as_secs()).ok()?).ok();
    Some([timestamp(validity.not_before)?, timestamp(validity.not_after)?])
}
