use std::cmp::Reverse;
use std::time::Duration;

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;
use x509_cert::certificate::Rfc5280;
use x509_cert::crl::CertificateList;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::oid::db::rfc5280::ID_CE_ISSUING_DISTRIBUTION_POINT;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::AuthorityKeyIdentifier;

use super::bundle::Authority;

/// What an authority has taken back.
#[derive(Clone, Debug)]
pub struct RevocationList {
    pub(super) der: CertificateRevocationListDer<'static>,
    /// The authority's name, as its DER.
    pub(super) issuer: Vec<u8>,
    /// What names the authority's key, where the list says that.
    pub(super) key_id: Option<Vec<u8>>,
    /// Whether it says that it speaks of some of the authority's certificates only.
    is_partial: bool,
    /// When it was made, since the epoch.
    this_update: Duration,
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
        let list = parsed.tbs_cert_list;
        let issuer = list.issuer.to_der().map_err(|_| RevocationListError::Malformed)?;
        let extension = |id| list.crl_extensions.iter().flatten().find(|extension| extension.extn_id == id);
        let key_id = extension(AuthorityKeyIdentifier::OID)
            .map(|extension| AuthorityKeyIdentifier::from_der(extension.extn_value.as_bytes()))
            .transpose()
            .map_err(|_| RevocationListError::Malformed)?
            .and_then(|authority| Some(authority.key_identifier?.as_bytes().to_vec()));
        let is_partial = extension(ID_CE_ISSUING_DISTRIBUTION_POINT).is_some();
        Ok(Self { der, issuer, key_id, is_partial, this_update: list.this_update.to_unix_duration() })
    }

    /// Puts in front which of an authority's lists counts, as only the first does that could speak of a certificate: its
    /// own before those of others who have its name, those that speak of everything before those of a part, and of these
    /// the latest.
    pub(super) fn precedence(&self, authority: &Authority) -> impl Ord + use<> {
        (!self.is_of(authority), self.is_partial, Reverse(self.this_update))
    }

    /// Whether the list is of an authority with this name.
    pub(super) fn names(&self, authority: &Authority) -> bool {
        self.issuer == authority.subject
    }

    /// Whether the list is of this very authority, as far as names go: of some that have the same one, the key decides.
    pub(super) fn is_of(&self, authority: &Authority) -> bool {
        let is_other_key = self.key_id.as_ref().zip(authority.key_id.as_ref()).is_some_and(|(its, own)| its != own);
        self.names(authority) && !is_other_key
    }
}
