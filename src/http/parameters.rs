use std::collections::BTreeMap;

use thiserror::Error;

/// More than any sign-in has; what SuperOffice sends is under 500 bytes.
const MAX_LENGTH: usize = 4096;

/// The parameters of a query or a form, each at most once.
pub(super) struct Parameters(BTreeMap<&'static str, String>);

/// What becomes of parameters that nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// They are a mistake, or an attempt.
    Refused,
    /// OAuth says so of redirects (RFC 6749, 4.1.2): a server may send what we do not know yet.
    Ignored,
}

/// What is wrong with parameters. It repeats nothing of them.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum ParametersError {
    #[error("the parameters are longer than {MAX_LENGTH} bytes")]
    TooLong,
    #[error("a parameter is not percent-encoded UTF-8 without control characters")]
    Encoding,
    #[error("a parameter is there twice")]
    Duplicate,
    #[error("a parameter is not known")]
    Unknown,
}

impl Parameters {
    /// Reads the `known` ones out of `encoded`.
    pub(super) fn read(encoded: &[u8], known: &[&'static str], others: Others) -> Result<Self, ParametersError> {
        if encoded.len() > MAX_LENGTH {
            return Err(ParametersError::TooLong);
        }
        let mut parameters = BTreeMap::new();
        for pair in encoded.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut sides = pair.splitn(2, |byte| *byte == b'=');
            let name = decoded(sides.next().unwrap_or_default())?;
            let value = decoded(sides.next().unwrap_or_default())?;
            let Some(name) = known.iter().find(|known| **known == name) else {
                match others {
                    Others::Refused => return Err(ParametersError::Unknown),
                    Others::Ignored => continue,
                }
            };
            if parameters.insert(*name, value).is_some() {
                return Err(ParametersError::Duplicate);
            }
        }
        Ok(Self(parameters))
    }

    /// The value, which an empty one is not.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).filter(|value| !value.is_empty())
    }
}

/// Undoes the encoding, strictly: what browsers send is well-formed.
fn decoded(encoded: &[u8]) -> Result<String, ParametersError> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => match (rest.next().and_then(digit), rest.next().and_then(digit)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(ParametersError::Encoding),
            },
            byte => byte,
        });
    }
    let text = String::from_utf8(bytes).map_err(|_| ParametersError::Encoding)?;
    if text.chars().any(char::is_control) { Err(ParametersError::Encoding) } else { Ok(text) }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(encoded: &str) -> Result<Vec<Option<String>>, ParametersError> {
        let mut parameters = Parameters::read(encoded.as_bytes(), &["state", "code"], Others::Refused)?;
        Ok(vec![parameters.take("state"), parameters.take("code")])
    }

    #[test]
    fn each_is_read_once() {
        let both = || vec![Some("a b".to_owned()), Some("\u{e5}=&".to_owned())];
        assert_eq!(read("state=a+b&code=%c3%A5%3D%26"), Ok(both()));
        assert_eq!(read("&code=%C3%a5=%26&&state=a%20b&"), Ok(both()));
        assert_eq!(read("state=&code"), Ok(vec![None, None]));
        assert_eq!(read(""), Ok(vec![None, None]));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for (encoded, expected) in [
            ("state=a&state=a", ParametersError::Duplicate),
            ("state=a&%73tate=b", ParametersError::Duplicate),
            ("state=&state=b", ParametersError::Duplicate),
            ("next=x", ParametersError::Unknown),
            ("State=x", ParametersError::Unknown),
            ("state[]=x", ParametersError::Unknown),
            ("state=%", ParametersError::Encoding),
            ("state=%4", ParametersError::Encoding),
            ("state=%zz", ParametersError::Encoding),
            ("state=%00", ParametersError::Encoding),
            ("state=%0d%0a", ParametersError::Encoding),
            ("state=%c3", ParametersError::Encoding),
            ("state=%c0%af", ParametersError::Encoding),
            ("%ff=x", ParametersError::Encoding),
        ] {
            assert_eq!(read(encoded), Err(expected), "{encoded}");
        }
        assert_eq!(read(&"a".repeat(MAX_LENGTH + 1)), Err(ParametersError::TooLong));
        let ignored = Parameters::read(b"next=x&next=y&state=a", &["state"], Others::Ignored);
        assert_eq!(ignored.unwrap().take("state").as_deref(), Some("a"));
    }

    proptest! {
        #[test]
        fn nothing_panics(encoded in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Parameters::read(&encoded, &["state"], Others::Ignored);
        }
    }
}
