//! The generated code, and what must be written by hand around it.

use std::collections::HashMap;
use std::fmt;

#[expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::large_enum_variant,
    clippy::pedantic,
    unused_qualifications,
    reason = "generated"
)]
mod generated {
    tonic::include_proto!("superoffice.ticket.v1");
}

pub use generated::*;

/// The services and messages, encoded: for reflection and for the names of the methods.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("superoffice.ticket.v1");

/// Stands in for a secret in `Debug` output.
struct Redacted;

impl fmt::Debug for Redacted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(redacted)")
    }
}

/// Headers without their values.
struct Names<'a>(&'a HashMap<String, String>);

impl fmt::Debug for Names<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.0.keys().map(|name| (name, Redacted))).finish()
    }
}

impl fmt::Debug for SystemTicket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            context_identifier,
            ticket: _,
            fingerprint,
            issue_time,
            expire_time,
            refresh_time,
            webapi_url,
            netserver_url,
            tenant_state,
            refresh_warning,
            request_headers,
        } = self;
        formatter
            .debug_struct("SystemTicket")
            .field("context_identifier", context_identifier)
            .field("ticket", &Redacted)
            .field("fingerprint", fingerprint)
            .field("issue_time", issue_time)
            .field("expire_time", expire_time)
            .field("refresh_time", refresh_time)
            .field("webapi_url", webapi_url)
            .field("netserver_url", netserver_url)
            .field("tenant_state", tenant_state)
            .field("refresh_warning", refresh_warning)
            .field("request_headers", &Names(request_headers))
            .finish()
    }
}

impl fmt::Debug for RefreshAccessTokenRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { context_identifier, refresh_token: _, user, refused_access_token: _ } = self;
        formatter
            .debug_struct("RefreshAccessTokenRequest")
            .field("context_identifier", context_identifier)
            .field("refresh_token", &Redacted)
            .field("user", user)
            .field("refused_access_token", &Redacted)
            .finish()
    }
}

impl fmt::Debug for RefreshAccessTokenResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { access_token: _, expire_time, refresh_token: _ } = self;
        formatter
            .debug_struct("RefreshAccessTokenResponse")
            .field("access_token", &Redacted)
            .field("expire_time", expire_time)
            .field("refresh_token", &Redacted)
            .finish()
    }
}

impl fmt::Debug for CreateAuthorizationUrlResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { authorization_url: _, state: _, expire_time } = self;
        formatter
            .debug_struct("CreateAuthorizationUrlResponse")
            .field("authorization_url", &Redacted)
            .field("state", &Redacted)
            .field("expire_time", expire_time)
            .finish()
    }
}

impl fmt::Debug for ExchangeAuthorizationCodeRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state: _, code: _ } = self;
        formatter
            .debug_struct("ExchangeAuthorizationCodeRequest")
            .field("state", &Redacted)
            .field("code", &Redacted)
            .finish()
    }
}

impl fmt::Debug for ExchangeAuthorizationCodeResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { context_identifier, user, access_token: _, expire_time, tenant_change, grant_kept } = self;
        formatter
            .debug_struct("ExchangeAuthorizationCodeResponse")
            .field("context_identifier", context_identifier)
            .field("user", user)
            .field("access_token", &Redacted)
            .field("expire_time", expire_time)
            .field("tenant_change", tenant_change)
            .field("grant_kept", grant_kept)
            .finish()
    }
}

impl fmt::Debug for PutTenantRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { context_identifier, system_user_token: _, accept_serial } = self;
        formatter
            .debug_struct("PutTenantRequest")
            .field("context_identifier", context_identifier)
            .field("system_user_token", &Redacted)
            .field("accept_serial", accept_serial)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "canary-3f9a61c2";

    #[test]
    fn debug_output_has_no_secret() {
        let request_headers = [("SO-AppToken".to_owned(), CANARY.to_owned())].into();
        let ticket = SystemTicket {
            ticket: CANARY.to_owned(),
            fingerprint: "f1".to_owned(),
            request_headers,
            ..Default::default()
        };
        let shown = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            SystemTicketOutcome {
                context_identifier: "Cust1".to_owned(),
                outcome: Some(system_ticket_outcome::Outcome::SystemTicket(ticket.clone()))
            },
            GetSystemTicketResponse { system_ticket: Some(ticket) },
            RefreshAccessTokenRequest {
                context_identifier: "Cust1".to_owned(),
                refresh_token: CANARY.to_owned(),
                user: String::new(),
                refused_access_token: CANARY.to_owned()
            },
            RefreshAccessTokenResponse {
                access_token: CANARY.to_owned(),
                expire_time: None,
                refresh_token: CANARY.to_owned()
            },
            CreateAuthorizationUrlResponse {
                authorization_url: CANARY.to_owned(),
                state: CANARY.to_owned(),
                expire_time: None
            },
            ExchangeAuthorizationCodeRequest { state: CANARY.to_owned(), code: CANARY.to_owned() },
            ExchangeAuthorizationCodeResponse { access_token: CANARY.to_owned(), ..Default::default() },
            PutTenantRequest { system_user_token: CANARY.to_owned(), accept_serial: true, ..Default::default() },
        );
        assert!(!shown.contains("canary") && !shown.contains("3f9a"), "{shown}");
        assert_eq!(shown.matches("(redacted)").count(), 14, "{shown}");
        assert!(
            shown.contains("\"f1\"") && shown.contains("Cust1") && shown.contains("accept_serial: true"),
            "{shown}"
        );
    }

    #[test]
    fn every_message_with_a_secret_field_has_its_own_debug() {
        // The descriptors do not keep `debug_redact`: prost does not know it.
        let protos = [
            include_str!("../../proto/superoffice/ticket/v1/ticket_service.proto"),
            include_str!("../../proto/superoffice/ticket/v1/authorization_service.proto"),
            include_str!("../../proto/superoffice/ticket/v1/tenant_service.proto"),
        ];
        let mut with_secrets = Vec::new();
        let mut message = "";
        for line in protos.iter().flat_map(|proto| proto.lines()) {
            if let Some(rest) = line.strip_prefix("message ") {
                message = rest.split_whitespace().next().unwrap();
            } else if line.contains("debug_redact = true") {
                with_secrets.push(message);
            }
        }
        with_secrets.sort_unstable();
        with_secrets.dedup();
        let by_hand = [
            "CreateAuthorizationUrlResponse",
            "ExchangeAuthorizationCodeRequest",
            "ExchangeAuthorizationCodeResponse",
            "PutTenantRequest",
            "RefreshAccessTokenRequest",
            "RefreshAccessTokenResponse",
            "SystemTicket",
        ];
        assert_eq!(with_secrets, by_hand);
    }
}
