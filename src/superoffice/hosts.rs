use std::net::IpAddr;

use url::{Host, Url};

use super::{Development, SetupError};
use crate::identifiers::Environment;

/// Whom we speak to, and where our callers may be sent with a ticket.
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    login: Url,
    issuer: String,
    development: bool,
}

impl Hosts {
    pub(super) fn new(environment: Environment, development: Option<&Development>) -> Result<Self, SetupError> {
        if let Some(development) = development {
            let login = development.base_url.clone();
            let plain = login.path() == "/" && login.query().is_none() && login.fragment().is_none();
            if !matches!(login.scheme(), "http" | "https") || has_user_info(&login) || !is_loopback(&login) || !plain {
                return Err(SetupError::BaseUrlRefused);
            }
            return Ok(Self::with(login, true));
        }
        let login = match environment {
            Environment::Sod => "https://sod.superoffice.com/",
            Environment::Qaonline => "https://qaonline.superoffice.com/",
            Environment::Online => "https://online.superoffice.com/",
        };
        Ok(Self::with(Url::parse(login).map_err(|_| SetupError::BaseUrlRefused)?, false))
    }

    fn with(login: Url, development: bool) -> Self {
        // Without a path, although the discovery document lies under one.
        Self { issuer: login.origin().ascii_serialization(), login, development }
    }

    /// See [`super::SuperOffice::issuer`].
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) fn is_development(&self) -> bool {
        self.development
    }

    /// Whether TLS protects what is sent to the login host.
    pub(super) fn is_https(&self) -> bool {
        self.login.scheme() == "https"
    }

    /// The login host's URL for `path`. Nothing in the path can lead to another host.
    pub(super) fn login_url(&self, path: &str) -> Url {
        let mut url = self.login.clone();
        url.set_path(path);
        url
    }

    /// See [`super::SuperOffice::checked_tenant_url`].
    pub(super) fn checked_tenant_url(&self, url: &str) -> Option<String> {
        // URL parsers disagree about everything outside this alphabet, and the caller's is not ours.
        let unambiguous = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/[]".contains(&byte);
        if url.len() > MAX_LENGTH || !url.bytes().all(unambiguous) {
            return None;
        }
        let (scheme, rest) = url.split_once("://")?;
        let path = rest.find('/').map_or("", |slash| rest.get(slash..).unwrap_or_default());
        let odd_segment = |segment| matches!(segment, "." | "..");
        if rest.starts_with('/') || path.contains("//") || path.contains([':', '[']) || path.split('/').any(odd_segment)
        {
            return None;
        }
        let mut parsed = Url::parse(url).ok()?;
        let trusted = is_superoffice(&parsed) || (self.development && self.is_own_loopback(&parsed));
        if !trusted || has_user_info(&parsed) || !scheme.eq_ignore_ascii_case(parsed.scheme()) {
            return None;
        }
        if !parsed.path().ends_with('/') {
            parsed.set_path(&format!("{}/", parsed.path()));
        }
        // With its slash too: what comes out is checked again before it is used.
        (parsed.as_str().len() <= MAX_LENGTH).then(|| parsed.into())
    }

    fn is_own_loopback(&self, url: &Url) -> bool {
        url.scheme() == self.login.scheme() && is_loopback(url)
    }
}

/// Real ones have under 60 bytes.
const MAX_LENGTH: usize = 256;

fn is_superoffice(url: &Url) -> bool {
    let Some(Host::Domain(host)) = url.host() else { return false };
    // Letters, digits and hyphens, as hosts have them; no internationalised labels: SuperOffice has none, and they look
    // like what they are not.
    let is_of_hosts = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let plain = |label: &str| {
        !label.is_empty() && !label.starts_with("xn--") && !label.starts_with('-') && label.bytes().all(is_of_hosts)
    };
    url.scheme() == "https"
        && url.port().is_none()
        && host.strip_suffix(".superoffice.com").is_some_and(|names| names.split('.').all(plain))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    }
}

fn has_user_info(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn online() -> Hosts {
        Hosts::new(Environment::Online, None).unwrap()
    }

    fn development(base_url: &str) -> Result<Hosts, SetupError> {
        let base_url = Url::parse(base_url).unwrap();
        Hosts::new(Environment::Sod, Some(&Development { base_url, extra_ca_file: None }))
    }

    #[test]
    fn each_environment_has_its_one_host() {
        for environment in Environment::ALL {
            let hosts = Hosts::new(environment, None).unwrap();
            let url = hosts.login_url("/Login/api/PartnerSystemUser/Authenticate");
            let expected = format!("https://{environment}.superoffice.com/Login/api/PartnerSystemUser/Authenticate");
            assert_eq!(url.as_str(), expected);
            assert!(hosts.is_https() && !hosts.is_development());
            assert_eq!(hosts.issuer(), format!("https://{environment}.superoffice.com"));
        }
        for path in ["//evil.example/x", "https://evil.example/", "/a?b=c#d", "@evil.example", "\\\\evil.example"] {
            let url = online().login_url(path);
            assert_eq!((url.host_str(), url.query()), (Some("online.superoffice.com"), None), "{path}");
        }
    }

    #[test]
    fn a_development_server_is_on_this_machine() {
        for good in [
            "http://127.0.0.1:8400",
            "https://localhost:1/",
            "http://[::1]:8400/",
            "http://127.9.8.7",
            "http://LOCALHOST",
        ] {
            assert!(development(good).is_ok(), "{good}");
        }
        for bad in [
            "http://0.0.0.0:8400",
            "http://192.168.0.1",
            "http://[::ffff:127.0.0.1]",
            "http://[::]",
            "http://localhost.evil.example",
            "http://evil.localhost",
            "http://127.0.0.1.evil.example",
            "http://localhost.",
            "https://online.superoffice.com",
            "http://user@localhost",
            "http://:password@localhost",
            "http://localhost/path",
            "http://localhost/?query",
            "http://localhost/#fragment",
            "ftp://localhost",
            "unix:/localhost",
            "file:///localhost",
            "data:localhost",
        ] {
            assert!(matches!(development(bad), Err(SetupError::BaseUrlRefused)), "{bad}");
        }
    }

    #[test]
    fn tenant_urls_are_normalised() {
        for (given, expected) in [
            ("https://online2.superoffice.com/Cust12345/api", "https://online2.superoffice.com/Cust12345/api/"),
            ("https://online2.superoffice.com/Cust12345/api/", "https://online2.superoffice.com/Cust12345/api/"),
            ("https://online2.superoffice.com:443/Cust1", "https://online2.superoffice.com/Cust1/"),
            ("HTTPS://APP-SOD.SuperOffice.com/cust1234/api", "https://app-sod.superoffice.com/cust1234/api/"),
            ("https://a.b.superoffice.com", "https://a.b.superoffice.com/"),
            ("https://disasterrecovery.superoffice.com/c/", "https://disasterrecovery.superoffice.com/c/"),
        ] {
            assert_eq!(online().checked_tenant_url(given).as_deref(), Some(expected));
            assert_eq!(online().checked_tenant_url(expected).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_comes_out_is_taken_again_also_at_the_longest() {
        let base = "https://app.superoffice.com/";
        let of_length = |length: usize| format!("{base}{}", "a".repeat(length - base.len()));
        let longest = online().checked_tenant_url(&of_length(MAX_LENGTH - 1)).unwrap();
        assert_eq!((longest.len(), online().checked_tenant_url(&longest).as_ref()), (MAX_LENGTH, Some(&longest)));
        assert_eq!(online().checked_tenant_url(&of_length(MAX_LENGTH)), None);
    }

    const HOSTILE: &[&str] = &[
        // Another scheme, or none.
        "",
        "http://app.superoffice.com/",
        "ftp://app.superoffice.com/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "//app.superoffice.com/",
        "app.superoffice.com/",
        "https:app.superoffice.com",
        "https:/app.superoffice.com",
        "https:///app.superoffice.com",
        "wss://app.superoffice.com/",
        "data:text/html,x",
        "httpss://app.superoffice.com/",
        // Another host.
        "https://superoffice.com/",
        "https://evil.example/",
        "https://evilsuperoffice.com/",
        "https://app-superoffice.com/",
        "https://superoffice.com.evil.example/",
        "https://app.superoffice.com.evil.example/",
        "https://app.superoffice.comx/",
        "https://app.superoffice.co/",
        "https://app.superoffice.com./",
        "https://.superoffice.com/",
        "https://app..superoffice.com/",
        "https://superoffice.com.superoffice.com.evil.example/",
        "https://app.superoffice.org/",
        "https://evil.example/.superoffice.com/",
        "https://evil.example/app.superoffice.com",
        "https://localhost/",
        "https://-.superoffice.com/",
        // No characters of hosts.
        "https://~pp.superoffice.com/",
        "https://a_b.superoffice.com/",
        // User information.
        "https://user@app.superoffice.com/",
        "https://user:pw@app.superoffice.com/",
        "https://@app.superoffice.com/",
        "https://app.superoffice.com@evil.example/",
        "https://app.superoffice.com:443@evil.example/",
        "https://app.superoffice.com%40evil.example/",
        "https://:@app.superoffice.com/",
        // Ports.
        "https://app.superoffice.com:8443/",
        "https://app.superoffice.com:80/",
        "https://app.superoffice.com:0/",
        "https://app.superoffice.com:99999/",
        "https://app.superoffice.com:x/",
        // Addresses in every spelling.
        "https://127.0.0.1/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/",
        "https://10.0.0.1/",
        "https://[fe80::1]/",
        // Query, fragment and tricks with the path.
        "https://app.superoffice.com/?x=1",
        "https://app.superoffice.com?x",
        "https://app.superoffice.com/#x",
        "https://app.superoffice.com#@evil.example",
        "https://evil.example#.superoffice.com",
        "https://evil.example?.superoffice.com",
        "https://app.superoffice.com/../x",
        "https://app.superoffice.com/a/..",
        "https://app.superoffice.com/./x",
        "https://app.superoffice.com/%2e%2e/x",
        "https://app.superoffice.com/a%2fb",
        "https://app.superoffice.com//evil.example/",
        "https://app.superoffice.com/a//b",
        "https://app.superoffice.com/x:y",
        "https://app.superoffice.com/;x",
        // Characters that parsers drop, fold or split at.
        "https://evil.example\\.superoffice.com/",
        "https://app.superoffice.com\\@evil.example/",
        "https:\\\\app.superoffice.com\\",
        "https://app.superoffice.com/\r\nX-Header: y",
        "https://app.super\toffice.com/",
        " https://app.superoffice.com/",
        "https://app.superoffice.com/ ",
        "https://app.superoffice.com/\0",
        "https://evil.example%00.superoffice.com/",
        "https://evil.example%23.superoffice.com/",
        "https://evil.example%2f.superoffice.com/",
        "https://a%2esuperoffice.com/",
        "https://app.superоffice.com/",
        "https://app。superoffice。com/",
        "https://app.superoffice.com。evil.example/",
        "https://ａpp.superoffice.com/",
        "https://xn--pp-eka.superoffice.com/",
        "https://äpp.superoffice.com/",
        "https://app.superoffice.ⅽom/",
        "https://evil.example／.superoffice.com/",
        "https://app_x,y.superoffice.com/",
        "https://app.superoffice.com/\u{202e}x",
        "https://app.superoffice.com/\u{200b}",
        "https://app\u{ad}.superoffice.com/",
        "https://[app.superoffice.com]/",
        "https://*.superoffice.com/",
    ];

    #[test]
    fn a_ticket_is_never_sent_to_any_of_these() {
        let long = format!("https://app.superoffice.com/{}", "a".repeat(MAX_LENGTH));
        let hostile: Vec<&str> = HOSTILE.iter().copied().chain([long.as_str()]).collect();
        assert!(hostile.len() >= 60, "{}", hostile.len());
        for url in &hostile {
            assert_eq!(online().checked_tenant_url(url), None, "{url:?}");
        }
        println!("hostile tenant URLs refused: all of {}", hostile.len());
    }

    #[test]
    fn loopback_is_for_development_alone_and_with_its_own_scheme() {
        let hosts = development("http://127.0.0.1:8400").unwrap();
        assert_eq!(hosts.issuer(), "http://127.0.0.1:8400");
        for (given, expected) in [
            ("http://127.0.0.1:8401/Cust1/api", "http://127.0.0.1:8401/Cust1/api/"),
            ("http://localhost:9/Cust1/api/", "http://localhost:9/Cust1/api/"),
            ("http://[::1]:9/api", "http://[::1]:9/api/"),
            ("https://app.superoffice.com/c/api", "https://app.superoffice.com/c/api/"),
        ] {
            assert_eq!(hosts.checked_tenant_url(given).as_deref(), Some(expected));
        }
        for refused in [
            "https://127.0.0.1:8401/",
            "http://app.superoffice.com/",
            "http://192.168.0.1/",
            "http://user@localhost/",
            "http://localhost.evil.example/",
            "http://[::ffff:127.0.0.1]/",
        ] {
            assert_eq!(hosts.checked_tenant_url(refused), None, "{refused}");
        }
    }
}
