//! Who calls, and what the policy lets him do.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use ticketd::authorization::{Decision, Method, Policy};
use ticketd::identifiers::{CallerId, ServiceAccount, SpiffeId};
use ticketd::identity::{Bundle, ClientCertificates, RevocationList};

const TRUST_DOMAIN: &str = "corp.example";
const AUTHORITY: &[u8] = include_bytes!("../corpus/client_certificate/authority.pem");

static NOW: LazyLock<Timestamp> = LazyLock::new(|| "2026-11-22T12:00:00Z".parse().unwrap());

static CERTIFICATES: LazyLock<ClientCertificates> = LazyLock::new(|| {
    let bundle = Bundle::read(AUTHORITY, *NOW).unwrap();
    let domains = BTreeMap::from([(TRUST_DOMAIN.to_owned(), bundle.clone())]);
    ClientCertificates::new(domains, Some(bundle), &[], true, Arc::new(default_provider())).unwrap()
});

/// A client certificate in DER; in PEM, a bundle of authorities and their revocation lists.
pub(crate) fn client_certificate(input: &[u8]) {
    if input.starts_with(b"-----") {
        let _ = (Bundle::read(input, *NOW), RevocationList::read(input));
        return;
    }
    match CERTIFICATES.caller(&CertificateDer::from_slice(input)) {
        Ok(CallerId::Spiffe(id)) => assert_eq!(id.trust_domain(), TRUST_DOMAIN),
        Ok(CallerId::Dns(name)) => assert!(is_harmless(&name), "{name}"),
        Ok(other) => panic!("a certificate names no {other:?}"),
        Err(_) => {}
    }
}

/// A caller's name, as certificates, tokens and policies write it.
pub(crate) fn caller_name(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(id) = text.parse::<SpiffeId>() {
        assert!(is_harmless(text) && id.as_str() == text);
        assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), text);
        assert!(!id.path().split('/').skip(1).any(|segment| matches!(segment, "" | "." | "..")), "{text}");
    }
    if let Ok(account) = text.parse::<ServiceAccount>() {
        assert!(is_harmless(text) && account.as_str() == text && text.matches('/').count() == 1);
    }
}

/// A policy. Whom it does not name may do nothing.
pub(crate) fn policy(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let policy = match Policy::parse(text) {
        Ok(policy) => policy,
        Err(error) => {
            let said = error.to_string();
            let is_shown = |character: char| character == '\n' || !character.is_control();
            assert!(!said.is_empty() && said.len() < 100_000 && said.chars().all(is_shown), "{said:?}");
            return;
        }
    };
    let stranger = CallerId::Spiffe("spiffe://elsewhere.example/x".parse().unwrap());
    let named = CallerId::UnixUser(1000);
    for method in Method::ALL {
        for tenant in [None, Some("Cust12345".parse().unwrap())] {
            for caller in [&stranger, &named, &CallerId::Unidentified] {
                let decision = policy.decide(caller, method, tenant);
                let explanation = policy.explain(caller, method, tenant);
                assert!(explanation.decision == decision && !explanation.to_string().is_empty());
            }
            let refuses = |caller| policy.decide(caller, method, tenant) == Decision::Denied;
            assert!(refuses(&stranger) || text.contains("elsewhere"));
            assert!(refuses(&CallerId::Unidentified) || text.contains("unidentified"));
            assert!(refuses(&named) || text.contains("unixUser"));
        }
    }
}

fn is_harmless(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte))
}
