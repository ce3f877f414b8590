//! Lists, page by page.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::requests::{InvalidRequest, MAX_USER};
use super::timestamp;
use crate::grpc::proto;
use crate::identifiers::ContextIdentifier;
use crate::store::{Grant, Tenant, TenantSource, user_key};

const DEFAULT_PAGE_SIZE: u32 = 100;
const LARGEST_PAGE_SIZE: u32 = 1_000;

pub(in crate::grpc) fn page_size(size: i32) -> Result<u32, InvalidRequest> {
    match u32::try_from(size).map_err(|_| InvalidRequest::PageSize)? {
        0 => Ok(DEFAULT_PAGE_SIZE),
        size => Ok(size.min(LARGEST_PAGE_SIZE)),
    }
}

/// The tenant after which the page begins. Encoded, so that nobody takes it for more than an answer of ours.
pub(in crate::grpc) fn page_token(token: &str) -> Result<Option<ContextIdentifier>, InvalidRequest> {
    let text = page_token_text(token)?;
    text.map(|text| text.parse()).transpose().map_err(|_| InvalidRequest::PageToken)
}

/// The key of the user after whom the page begins.
pub(in crate::grpc) fn grants_page_token(token: &str) -> Result<Option<String>, InvalidRequest> {
    let text = page_token_text(token)?;
    // Lower case may be longer.
    if text.as_ref().is_some_and(|text| text.len() > 4 * MAX_USER) { Err(InvalidRequest::PageToken) } else { Ok(text) }
}

fn page_token_text(token: &str) -> Result<Option<String>, InvalidRequest> {
    if token.is_empty() {
        return Ok(None);
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| InvalidRequest::PageToken)?;
    let text = String::from_utf8(bytes).map_err(|_| InvalidRequest::PageToken)?;
    // No name has them, and PostgreSQL takes no NUL.
    if text.chars().any(char::is_control) { Err(InvalidRequest::PageToken) } else { Ok(Some(text)) }
}

/// A page of at most `size` of the tenants, which are one more when another page follows.
pub(in crate::grpc) fn page(mut tenants: Vec<Tenant>, size: u32) -> proto::ListTenantsResponse {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let more = tenants.len() > size;
    tenants.truncate(size);
    let last = tenants.last().filter(|_| more);
    let next_page_token = last.map(|last| URL_SAFE_NO_PAD.encode(last.context_identifier.as_str())).unwrap_or_default();
    proto::ListTenantsResponse { tenants: tenants.into_iter().map(tenant).collect(), next_page_token }
}

pub(in crate::grpc) fn tenant(tenant: Tenant) -> proto::Tenant {
    let source = match tenant.source {
        TenantSource::Database => proto::tenant::Source::Database,
        TenantSource::Directory => proto::tenant::Source::Directory,
    };
    proto::Tenant {
        context_identifier: tenant.context_identifier.to_string(),
        source: source.into(),
        serial: tenant.serial.unwrap_or_default(),
        webapi_url: tenant.webapi_url.unwrap_or_default(),
        create_time: tenant.create_time.map(timestamp),
        update_time: tenant.update_time.map(timestamp),
    }
}

/// A page of at most `size` of the grants, which are one more when another page follows.
pub(in crate::grpc) fn grants_page(mut grants: Vec<Grant>, size: u32) -> proto::ListGrantsResponse {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let more = grants.len() > size;
    grants.truncate(size);
    let last = grants.last().filter(|_| more);
    let next_page_token = last.map(|last| URL_SAFE_NO_PAD.encode(user_key(&last.user))).unwrap_or_default();
    proto::ListGrantsResponse { grants: grants.into_iter().map(grant).collect(), next_page_token }
}

fn grant(grant: Grant) -> proto::Grant {
    proto::Grant {
        user: grant.user,
        associate_id: grant.associate_id.unwrap_or_default(),
        create_time: Some(timestamp(grant.create_time)),
        update_time: Some(timestamp(grant.update_time)),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::identifiers::{RefreshToken, SystemUserToken};

    #[test]
    fn pages_have_bounds() {
        assert_eq!(page_size(0), Ok(100));
        assert_eq!(page_size(7), Ok(7));
        assert_eq!(page_size(i32::MAX), Ok(1_000));
        assert_eq!(page_size(-1), Err(InvalidRequest::PageSize));
    }

    #[test]
    fn a_page_token_of_grants_leads_to_the_user_after_it() {
        let kept = |user: &str| Grant {
            context_identifier: "Cust1".parse().unwrap(),
            user: user.to_owned(),
            refresh_token: RefreshToken::new("x"),
            associate_id: None,
            create_time: Timestamp::UNIX_EPOCH,
            update_time: Timestamp::UNIX_EPOCH,
        };
        let first = grants_page(vec![kept("A@example.com"), kept("b@example.com")], 1);
        assert_eq!(first.grants.len(), 1);
        assert_eq!(grants_page_token(&first.next_page_token), Ok(Some("a@example.com".to_owned())));
        assert_eq!(grants_page(vec![kept("b@example.com")], 1).next_page_token, "");
        for wrong in ["=", "_w", &URL_SAFE_NO_PAD.encode("x".repeat(2_000)), &URL_SAFE_NO_PAD.encode("a\0b")] {
            assert_eq!(grants_page_token(wrong), Err(InvalidRequest::PageToken), "{wrong}");
        }
    }

    #[test]
    fn a_page_token_leads_to_the_tenant_after_it_and_the_last_page_has_none() {
        let registered = |name: &str| Tenant {
            context_identifier: name.parse().unwrap(),
            system_user_token: SystemUserToken::new("x"),
            source: TenantSource::Database,
            serial: None,
            webapi_url: None,
            create_time: None,
            update_time: None,
        };
        let first = page(vec![registered("Cust1"), registered("Cust2"), registered("Cust3")], 2);
        assert_eq!(first.tenants.len(), 2);
        assert_eq!(page_token(&first.next_page_token), Ok(Some("Cust2".parse().unwrap())));
        assert_eq!(page(vec![registered("Cust3")], 2).next_page_token, "");
        assert_eq!(page(vec![registered("Cust3"), registered("Cust4")], 2).next_page_token, "");
        for wrong in ["Cust2", "Q3VzdDI=", "//..", "AA", "\u{1f600}"] {
            assert_eq!(page_token(wrong), Err(InvalidRequest::PageToken), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_page_token_panics(token in ".{0,60}") {
            let _ = page_token(&token);
        }
    }
}
