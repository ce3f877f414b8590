use std::fmt;

use url::Url;

use super::super::hosts::Hosts;
use crate::identifiers::{ApplicationId, ContextIdentifier};

const AUTHORIZE: &str = "/login/common/oauth/authorize";

/// What a browser takes along to SuperOffice's sign-in. Nothing in it is a secret of ours: `state` and `nonce` are
/// worth nothing without what they are compared with, and the challenge reveals nothing of its verifier.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizationRequest<'a> {
    /// Where the browser is sent afterwards, exactly as registered.
    pub redirect_uri: &'a str,
    /// Comes back with the redirect, and ties it to the browser it began with.
    pub state: &'a str,
    /// Comes back in the ID token, and ties that to this sign-in.
    pub nonce: &'a str,
    /// [`crate::crypto::code_challenge`] of the verifier that redeems the code.
    pub code_challenge: &'a str,
    /// How the redirect carries its parameters; SuperOffice's default is the query.
    pub response_mode: Option<ResponseMode>,
    /// The user's name at SuperID, to fill the form with.
    pub login_hint: Option<&'a str>,
    /// The tenant to sign in to; the user chooses otherwise.
    pub tenant: Option<ContextIdentifier>,
}

/// How a redirect carries its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseMode {
    /// In the query.
    Query,
    /// In the body of a POST, which no cookie with `SameSite=Lax` comes along with.
    FormPost,
    /// In the fragment, which only scripts in the browser see.
    Fragment,
}

impl fmt::Display for ResponseMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Query => "query",
            Self::FormPost => "form_post",
            Self::Fragment => "fragment",
        })
    }
}

/// See [`super::super::SuperOffice::authorization_url`].
pub(in crate::superoffice) fn authorization_url(
    hosts: &Hosts,
    client_id: &ApplicationId,
    request: &AuthorizationRequest<'_>,
) -> Url {
    let mut url = hosts.login_url(AUTHORIZE);
    let mut query = url.query_pairs_mut();
    query
        .append_pair("client_id", client_id.as_str())
        .append_pair("response_type", "code")
        .append_pair("scope", "openid")
        .append_pair("redirect_uri", request.redirect_uri)
        .append_pair("state", request.state)
        .append_pair("nonce", request.nonce)
        .append_pair("code_challenge", request.code_challenge)
        // Named always: SuperOffice takes a challenge without a method for the verifier itself.
        .append_pair("code_challenge_method", "S256");
    if let Some(mode) = request.response_mode {
        query.append_pair("response_mode", &mode.to_string());
    }
    if let Some(hint) = request.login_hint {
        query.append_pair("login_hint", hint);
    }
    if let Some(tenant) = request.tenant {
        query.append_pair("acr_values", &format!("tenant:{tenant}"));
    }
    drop(query);
    url
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identifiers::Environment;

    const REQUEST: AuthorizationRequest<'_> = AuthorizationRequest {
        redirect_uri: "https://ticketd.example/onboarding/callback",
        state: "st-at_e",
        nonce: "no-nc_e",
        code_challenge: "cha-lleng_e",
        response_mode: None,
        login_hint: None,
        tenant: None,
    };

    fn url(request: &AuthorizationRequest<'_>) -> Url {
        let hosts = Hosts::new(Environment::Online, None).unwrap();
        authorization_url(&hosts, &ApplicationId::new("0123456789abcdef"), request)
    }

    #[test]
    fn it_names_everything_that_ties_the_sign_in_together() {
        assert_eq!(
            url(&REQUEST).as_str(),
            "https://online.superoffice.com/login/common/oauth/authorize?client_id=0123456789abcdef\
             &response_type=code&scope=openid&redirect_uri=https%3A%2F%2Fticketd.example%2Fonboarding%2Fcallback\
             &state=st-at_e&nonce=no-nc_e&code_challenge=cha-lleng_e&code_challenge_method=S256"
        );
        let full = AuthorizationRequest {
            response_mode: Some(ResponseMode::Query),
            login_hint: Some("anna+x@example.com"),
            tenant: "Cust12345".parse().ok(),
            ..REQUEST
        };
        let url = url(&full);
        let end = "&response_mode=query&login_hint=anna%2Bx%40example.com&acr_values=tenant%3ACust12345";
        assert!(url.as_str().ends_with(end), "{url}");
        assert_eq!(ResponseMode::FormPost.to_string(), "form_post");
        assert_eq!(ResponseMode::Fragment.to_string(), "fragment");
    }

    #[test]
    fn no_value_leaves_its_parameter() {
        let hostile = "&redirect_uri=https://evil.example/#@evil.example/\\..//%26client_id=x\r\nHost: evil\0ä+ ;?";
        let request = AuthorizationRequest {
            redirect_uri: hostile,
            state: hostile,
            nonce: hostile,
            code_challenge: hostile,
            login_hint: Some(hostile),
            ..REQUEST
        };
        let url = url(&request);
        assert!(url.as_str().starts_with("https://online.superoffice.com/login/common/oauth/authorize?"), "{url}");
        assert!(url.fragment().is_none() && url.as_str().is_ascii());
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        assert_eq!(pairs.len(), 9, "{pairs:?}");
        for name in ["redirect_uri", "state", "nonce", "code_challenge", "login_hint"] {
            assert_eq!(pairs.iter().filter(|pair| **pair == (name.to_owned(), hostile.to_owned())).count(), 1);
        }
    }
}
