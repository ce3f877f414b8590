use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

/// Where a ticketd serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Address {
    /// In plaintext: this machine's, or the one for kubelets.
    Http(Url),
    /// Over TLS.
    Https(Url),
    /// At a Unix socket of this machine.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected =
            "expected an address like http://127.0.0.1:8443, https://ticketd.example:8443 or unix:/run/ticketd.sock";
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() || path.contains('\0') { Err(expected) } else { Ok(Self::Unix(path.into())) };
        }
        let url = Url::parse(text).ok().filter(is_bare).ok_or(expected)?;
        match url.scheme() {
            "http" => Ok(Self::Http(url)),
            "https" => Ok(Self::Https(url)),
            _ => Err(expected),
        }
    }
}

/// Credentials in it would be shown with it.
fn is_bare(url: &Url) -> bool {
    let is_address = url.has_host() && url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    is_address && url.username().is_empty() && url.password().is_none()
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) | Self::Https(url) => url.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_and_a_host_or_is_a_path() {
        for right in
            ["http://127.0.0.1:8443/", "https://ticketd.example/", "unix:/run/ticketd.sock", "unix:ticketd.sock"]
        {
            assert_eq!(right.parse::<Address>().unwrap().to_string(), right);
        }
        for wrong in [
            "",
            "ticketd.example:8443",
            "https://",
            "https://c4nary@ticketd.example",
            "https://ticketd.example/path",
            "https://ticketd.example/?a=b",
            "ftp://ticketd.example",
            "unix:",
        ] {
            assert!(!wrong.parse::<Address>().unwrap_err().contains("c4nary"), "{wrong}");
        }
    }
}
