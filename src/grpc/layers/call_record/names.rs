use http::{HeaderMap, HeaderName, HeaderValue};

use crate::audit::Audit;

/// What the call is named: by its caller, or else by us.
pub(in crate::grpc::layers) fn name_of_call(headers: &HeaderMap, audit: &Audit) -> HeaderValue {
    let drawn = || {
        let mut drawn = HeaderValue::from_bytes(audit.draw_id().as_bytes()).ok()?;
        // It comes once: as such it gets no place in the connection's table of headers, where it would displace others.
        drawn.set_sensitive(true);
        Some(drawn)
    };
    request_id(headers).or_else(drawn).unwrap_or(HeaderValue::from_static(""))
}

/// The caller's name for the call, if it can be nobody's secret: credentials have other characters, or are longer.
fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(REQUEST_ID)?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    ((1..=64).contains(&value.len()) && value.as_bytes().iter().all(is_plain)).then(|| value.clone())
}

/// Where callers name their calls, and answers say the name.
pub(in crate::grpc::layers) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The trace that a W3C `traceparent` names.
pub(super) fn trace_id(traceparent: &HeaderValue) -> Option<&str> {
    let mut parts = traceparent.to_str().ok()?.split('-');
    let (version, trace_id) = (parts.next()?, parts.next()?);
    let is_lower_hexadecimal = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_one = version.len() == 2
        && trace_id.len() == 32
        && is_lower_hexadecimal(version)
        && is_lower_hexadecimal(trace_id)
        && trace_id.bytes().any(|byte| byte != b'0');
    is_one.then_some(trace_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &[u8]) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_bytes(value).unwrap())])
    }

    #[test]
    fn a_request_id_is_a_plain_token() {
        for sane in ["1", "8b3f3f9e-6f0b-4f43-a2e3-8d2f4b1a9c11", "01JD9Y_x"] {
            let id = request_id(&headers(REQUEST_ID, sane.as_bytes()));
            assert_eq!(id.unwrap().to_str().unwrap(), sane);
        }
        let long = "x".repeat(65);
        for strange in ["", " ", "7T:abc", "8A:Cust1.abc", "a b", "a,b", "eyJh.eyJh.abc", "{}", "\u{e5}", long.as_str()]
        {
            assert_eq!(request_id(&headers(REQUEST_ID, strange.as_bytes())), None, "{strange:?}");
        }
    }

    #[test]
    fn a_trace_is_named_as_w3c_names_it() {
        let of = |value: &str| trace_id(&HeaderValue::from_str(value).unwrap()).map(str::to_owned);
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(of(&format!("00-{trace}-00f067aa0ba902b7-01")).as_deref(), Some(trace));
        for strange in ["", "00", "00-", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-ABC-1-1"] {
            assert_eq!(of(strange), None, "{strange:?}");
        }
    }
}
