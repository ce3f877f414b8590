use rcgen::{
    CertificateParams, CertificateRevocationListParams, CertifiedIssuer, CrlDistributionPoint,
    CrlIssuingDistributionPoint, CustomExtension, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};

use super::pki::{Authority, Identity, authority};

impl Authority {
    pub(super) fn below(&self, name: &str) -> Self {
        self.below_with(authority(name))
    }

    pub(super) fn below_with(&self, params: CertificateParams) -> Self {
        Self(CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    /// The certificate with which this authority vouches for the key of one that has taken its name.
    pub(super) fn rollover(&self, name: &str, to: &Self) -> String {
        authority(name).signed_by(to.0.key(), &self.0).unwrap().pem()
    }

    /// A list with these serial numbers, current until the end of that year.
    pub(super) fn revoke(&self, serials: &[u64], until_year: i32) -> String {
        self.revoke_in(2020, serials, until_year)
    }

    /// The same, made at the begin of a year.
    pub(super) fn revoke_in(&self, year: i32, serials: &[u64], until_year: i32) -> String {
        self.list(year, serials, until_year, None)
    }

    /// One that says that it speaks of what names this distribution point only.
    pub(super) fn revoke_part(&self, year: i32, serials: &[u64], distribution_point: &str) -> String {
        let distribution_point = CrlDistributionPoint { uris: vec![distribution_point.to_owned()] };
        let part = CrlIssuingDistributionPoint { distribution_point, scope: None };
        self.list(year, serials, 2026, Some(part))
    }

    fn list(
        &self,
        year: i32,
        serials: &[u64],
        until_year: i32,
        issuing_distribution_point: Option<CrlIssuingDistributionPoint>,
    ) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(year, 1, 1),
            next_update: date_time_ymd(until_year, 12, 31),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

impl Identity {
    /// Its own certificate, followed by the authority's.
    pub(super) fn above(mut self, authority: &Authority) -> Self {
        self.chain.push_str(&authority.pem());
        self
    }
}

pub(super) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

/// A subject alternative name extension that holds these bytes, whatever they are.
pub(super) fn raw_names(content: Vec<u8>) -> CustomExtension {
    CustomExtension::from_oid_content(&[2, 5, 29, 17], content)
}
