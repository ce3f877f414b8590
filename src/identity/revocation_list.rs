use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;
use x509_cert::certificate::Rfc5280;
use x509_cert::crl::CertificateList;
use x509_cert::der::{Decode, Encode};

/// What an authority has taken back.
#[derive(Clone, Debug)]
pub struct RevocationList {
    pub(super) der: CertificateRevocationListDer<'static>,
    /// The authority's name, as its DER.
    pub(super) issuer: Vec<u8>,
}

/// Why a file holds no [`RevocationList`]s.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationListError {
    /// There is none in it.
    #[error("holds no certificate revocation list: expected one or more in PEM")]
    Empty,
    /// What is in it is no PEM or no list.
    #[error("holds something that is no certificate revocation list")]
    Malformed,
}

impl RevocationList {
    /// Reads lists in PEM.
    pub fn read(pem: &[u8]) -> Result<Vec<Self>, RevocationListError> {
        let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(pem)
            .map(|der| Self::new(der.map_err(|_| RevocationListError::Malformed)?))
            .collect::<Result<_, _>>()?;
        if lists.is_empty() { Err(RevocationListError::Empty) } else { Ok(lists) }
    }

    fn new(der: CertificateRevocationListDer<'static>) -> Result<Self, RevocationListError> {
        let parsed = CertificateList::<Rfc5280>::from_der(&der).map_err(|_| RevocationListError::Malformed)?;
        let issuer = parsed.tbs_cert_list.issuer.to_der().map_err(|_| RevocationListError::Malformed)?;
        Ok(Self { der, issuer })
    }
}
