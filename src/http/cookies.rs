use std::time::Duration;

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};

use crate::identifiers::SignInState;

/// Longer than a sign-in waits for its user: who comes too late reads that, and not that the browser is a stranger. By
/// itself a cookie is worth nothing, so it may stay after its sign-in.
const MAX_AGE: Duration = Duration::from_hours(1);
/// Part of a state, for names: enough to tell sign-ins apart, too little to end one.
const NAME_LENGTH: usize = 16;

/// A sign-in's name where others may see it: two in two tabs are two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SignInName(String);

impl SignInName {
    /// The name of the sign-in with this state, if it may be one of ours.
    pub(super) fn of(state: &SignInState) -> Option<Self> {
        state.expose().get(..NAME_LENGTH).and_then(Self::read)
    }

    /// A name that a request has.
    pub(super) fn read(text: &str) -> Option<Self> {
        let is_ours = text.len() == NAME_LENGTH
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        is_ours.then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Holds what ties the sign-in to its browser.
    pub(super) fn browser_cookie(&self) -> Cookie {
        Cookie(format!("__Host-ticketd-{}", self.0))
    }

    /// Holds how the sign-in ended.
    pub(super) fn outcome_cookie(&self) -> Cookie {
        Cookie(format!("__Host-ticketd-done-{}", self.0))
    }
}

/// A cookie's name. The prefix keeps other hosts of the same domain from setting it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cookie(String);

impl Cookie {
    /// Its value, unless the browser has none or two.
    pub(super) fn value<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let pairs = headers.get_all(COOKIE).into_iter().filter_map(|header| header.to_str().ok());
        let pairs = pairs.flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut values = pairs.filter(|(name, _)| *name == self.0).map(|(_, value)| value);
        values.next().filter(|_| values.next().is_none())
    }

    /// The header that sets it. `value` is in characters that cookies have. Lax, because the browser comes back by a
    /// redirect from another site, which brings no strict cookie.
    pub(super) fn set(&self, value: &str) -> Option<HeaderValue> {
        let max_age = MAX_AGE.as_secs();
        let text = format!("{}={value}; Path=/; Max-Age={max_age}; Secure; HttpOnly; SameSite=Lax", self.0);
        let mut header = HeaderValue::try_from(text).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = "abcdefgh-_ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456";

    fn headers(cookies: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(COOKIE, cookie.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name_and_only_once() {
        let cookie = SignInName::of(&SignInState::new(STATE)).unwrap().browser_cookie();
        let name = "__Host-ticketd-abcdefgh-_ABCDEF";
        assert_eq!(cookie.value(&headers(&["a=b; ", &format!("x=y; {name}=se=cret;z=")])), Some("se=cret"));
        for cookies in [
            vec![],
            vec![name.to_owned()],
            vec![format!("{name}G=secret")],
            vec![format!("ticketd={name}=secret")],
            vec![name.to_ascii_lowercase() + "=secret"],
            vec![format!("{name}=secret; {name}=other")],
            vec![format!("{name}=secret"), format!("{name}=other")],
        ] {
            let cookies: Vec<_> = cookies.iter().map(String::as_str).collect();
            assert_eq!(cookie.value(&headers(&cookies)), None, "{cookies:?}");
        }
    }

    #[test]
    fn it_is_set_with_every_attribute_that_its_prefix_needs() {
        let cookie = SignInName::read("0123456789abcdef").unwrap().browser_cookie();
        let attributes = "; Secure; HttpOnly; SameSite=Lax";
        let set = cookie.set("value").unwrap();
        assert_eq!(set, format!("__Host-ticketd-0123456789abcdef=value; Path=/; Max-Age=3600{attributes}").as_str());
        assert!(!format!("{set:?}").contains("value"), "{set:?}");
        assert_eq!(cookie.set("a\r\nSet-Cookie: b"), None);
    }

    #[test]
    fn only_what_can_be_a_state_names_a_sign_in() {
        for state in ["", "short", "0123456789abcde=", "0123456789abcde;xxxxxxxxxx", "0123456789abcd\u{e5}", "\r\n"] {
            assert_eq!(SignInName::of(&SignInState::new(state)), None, "{state:?}");
        }
    }
}
