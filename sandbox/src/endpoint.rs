//! Which door a request knocks at.

use serde::{Deserialize, Serialize};

/// The endpoints that are counted, and that behaviours can be limited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endpoint {
    /// `POST /Login/api/PartnerSystemUser/Authenticate`
    Exchange,
    /// `POST /login/services/PartnerSystemUserService.svc`
    SoapExchange,
    /// `GET /login/.well-known/jwks`
    Jwks,
    /// `GET /login/.well-known/openid-configuration`
    Discovery,
    /// `/login/common/oauth/authorize`, or a tenant's name in place of `common`: the page, and its decision
    Authorize,
    /// `POST /login/common/oauth/tokens`
    Tokens,
    /// `POST /login/common/oauth/revoke`
    Revoke,
    /// `GET /api/state/{ContextIdentifier}`
    TenantState,
    /// `GET /{ContextIdentifier}/api/...` on a tenant host
    WebApi,
    /// Anything else.
    Other,
}

/// Which of the sandbox's listeners a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// The authentication host.
    Login,
    /// A tenant host, by its number.
    Tenant(usize),
}

impl Host {
    /// The login host is the first, and the tenant hosts follow.
    pub(crate) fn at(place: usize) -> Self {
        place.checked_sub(1).map_or(Self::Login, Self::Tenant)
    }
}

/// An endpoint with what its path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Exchange,
    SoapExchange,
    Jwks,
    Discovery,
    Authorize { context_identifier: Option<String> },
    Tokens,
    Revoke,
    TenantState { context_identifier: String },
    WebApi { context_identifier: String, resource: String },
    Other,
}

impl Route {
    /// SuperOffice runs on IIS, where the case of a path means nothing.
    pub(crate) fn find(host: Host, path: &str) -> Self {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let lower: Vec<String> = segments.iter().map(|segment| segment.to_ascii_lowercase()).collect();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        match (host, lower.as_slice()) {
            (Host::Login, ["login", "api", "partnersystemuser", "authenticate"]) => Self::Exchange,
            (Host::Login, ["login", "services", "partnersystemuserservice.svc"]) => Self::SoapExchange,
            (Host::Login, ["login", ".well-known", "jwks"]) => Self::Jwks,
            (Host::Login, ["login", ".well-known", "openid-configuration"]) => Self::Discovery,
            (Host::Login, ["login", "common", "oauth", "tokens"]) => Self::Tokens,
            (Host::Login, ["login", "common", "oauth", "revoke"]) => Self::Revoke,
            (Host::Login, ["login", tenant, "oauth", "authorize"]) => {
                Self::Authorize { context_identifier: (*tenant != "common").then(|| segments[1].to_owned()) }
            }
            (Host::Login, ["api", "state", _]) => Self::TenantState { context_identifier: segments[2].to_owned() },
            (_, [_, "api", resource @ ..]) => {
                Self::WebApi { context_identifier: segments[0].to_owned(), resource: resource.join("/") }
            }
            _ => Self::Other,
        }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        match self {
            Self::Exchange => Endpoint::Exchange,
            Self::SoapExchange => Endpoint::SoapExchange,
            Self::Jwks => Endpoint::Jwks,
            Self::Discovery => Endpoint::Discovery,
            Self::Authorize { .. } => Endpoint::Authorize,
            Self::Tokens => Endpoint::Tokens,
            Self::Revoke => Endpoint::Revoke,
            Self::TenantState { .. } => Endpoint::TenantState,
            Self::WebApi { .. } => Endpoint::WebApi,
            Self::Other => Endpoint::Other,
        }
    }

    /// The tenant that the path names.
    pub(crate) fn context_identifier(&self) -> Option<&str> {
        match self {
            Self::TenantState { context_identifier } | Self::WebApi { context_identifier, .. } => {
                Some(context_identifier)
            }
            Self::Authorize { context_identifier } => context_identifier.as_deref(),
            _ => None,
        }
    }
}
