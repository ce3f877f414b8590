use reqwest::Url;

use super::super::UpstreamError;

/// Longer ones are refused by most servers.
const MAX_LENGTH: usize = 8 * 1024;

/// The URL of what is at `path` below `base`, a checked tenant URL. Whatever the path is, it leads nowhere else: what
/// two parsers could read differently is refused, not repaired.
pub(super) fn join(base: &str, path: &str) -> Result<Url, UpstreamError> {
    if path.len() > MAX_LENGTH {
        return Err(UpstreamError::RequestRefused("the path is longer than 8 KiB"));
    }
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.is_empty() || path.starts_with('/') || path.contains("//") || !path.split('/').all(is_plain) {
        return Err(UpstreamError::RequestRefused(
            "the path is not plain: it is a relative path like v1/Contact/2, without . and .. and with all that is \
             not a letter, a digit or one of -_~!$&'()*+,= percent-encoded",
        ));
    }
    if query.is_some_and(|query| query.chars().any(char::is_control)) {
        return Err(UpstreamError::RequestRefused("the query has a control character"));
    }
    let mut url = Url::parse(base).map_err(|_| UpstreamError::AddressRefused)?;
    let whole = format!("{}{path}", url.path());
    url.set_path(&whole);
    // What is not ASCII, a space or a # is encoded here.
    url.set_query(query);
    if url.path() == whole && url.as_str().starts_with(base) {
        Ok(url)
    } else {
        Err(UpstreamError::RequestRefused("the path leads elsewhere"))
    }
}

/// Whether a segment is the same to every parser, decoded or not.
fn is_plain(segment: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=%".contains(&byte);
    segment.bytes().all(is_allowed) && decoded(segment).is_some_and(|bytes| !is_dots(&bytes) && !misleads(&bytes))
}

fn is_dots(bytes: &[u8]) -> bool {
    matches!(bytes, b"." | b"..")
}

/// Separators, further encodings and control characters are no part of a name, however they are written.
fn misleads(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| byte.is_ascii_control() || b"/\\%?#;".contains(byte))
}

fn decoded(segment: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            bytes.push(digit()? << 4 | digit()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: &str = "https://app.superoffice.com/Cust12345/api/";

    fn joined(path: &str) -> Option<String> {
        join(BASE, path).ok().map(String::from)
    }

    #[test]
    fn plain_paths_are_joined() {
        for (path, expected) in [
            ("v1/Contact", "v1/Contact"),
            ("/v1/Contact/2", "v1/Contact/2"),
            ("v1/Contact/", "v1/Contact/"),
            ("v1/Contact?$select=name&$top=5", "v1/Contact?$select=name&$top=5"),
            ("v1/Contact?$filter=name eq 'C#'", "v1/Contact?$filter=name%20eq%20%27C%23%27"),
            ("v1/Contact?", "v1/Contact?"),
            ("v1/Preference/Mail%20Merge/a.b", "v1/Preference/Mail%20Merge/a.b"),
            ("v1/Contact?next=https://x/../..", "v1/Contact?next=https://x/../.."),
            ("v1/...", "v1/..."),
        ] {
            assert_eq!(joined(path), Some(format!("{BASE}{expected}")), "{path}");
        }
    }

    #[test]
    fn no_path_leads_out_of_the_tenants_api() {
        let long = "a".repeat(MAX_LENGTH + 1);
        let hostile = [
            "",
            "/",
            "//",
            "//evil.example/",
            "///evil.example/",
            "v1//Contact",
            "..",
            ".",
            "../",
            "../../Cust2/api/v1",
            "v1/..",
            "v1/../../..",
            "v1/./Contact",
            "/..",
            "/../",
            "%2e",
            "%2e%2e/",
            "%2E%2e/Cust2",
            ".%2e/x",
            "%2e./x",
            "v1/%2e%2e/%2e%2e/x",
            "%252e%252e/x",
            "..%2fx",
            "..%5cx",
            "%2f%2fevil.example",
            "%5c%5cevil.example",
            "..;/x",
            "v1;/x",
            "v1/..;a/x",
            "%3b",
            "..\\x",
            "\\\\evil.example\\",
            "\\/evil.example",
            "/\\evil.example",
            "v1\\..\\..\\x",
            "https://evil.example/",
            "http:evil.example",
            "https:/evil.example",
            "javascript:alert(1)",
            "@evil.example/",
            ":@evil.example",
            "user:password@evil.example/",
            ".evil.example/:443",
            ":8443/",
            "#x",
            "v1#x",
            "%23",
            "%3f",
            "%00",
            "v1/%00",
            "v1/%0d%0aX-Header:%20y",
            "%",
            "%2",
            "%zz",
            "v1/%",
            "v1/%e",
            "v1 x",
            " v1",
            "v1 ",
            "\t../x",
            "v1/.\t./x",
            "v1/.\n./x",
            "\r\nX-Header: y",
            "v1\0",
            "v1?x\r\nX-Header: y",
            "v1?\0",
            "v1/\u{2024}\u{2024}/x",
            "v1/\u{ff0e}\u{ff0e}/x",
            "\u{ff0f}evil",
            "v1/\u{202e}x",
            "é",
            "v1/[x]",
            "v1/<x>",
            "v1/\"x\"",
            "v1/`x`",
            "v1/{x}",
            "v1/|x",
            "v1/^x",
            long.as_str(),
        ];
        assert!(hostile.len() >= 75, "{}", hostile.len());
        for path in hostile {
            assert!(matches!(join(BASE, path), Err(UpstreamError::RequestRefused(_))), "{path:?}: {:?}", joined(path));
        }
        println!("hostile paths refused: all of {}", hostile.len());
    }

    proptest! {
        #[test]
        fn whatever_is_joined_stays_below_its_base(path in "([a-z0-9./\\\\:@%?#; \\PC]|\\.\\.|%2e|%2f|//){0,12}") {
            if let Some(url) = joined(&path) {
                prop_assert!(url.starts_with(BASE));
                let parsed = Url::parse(&url).unwrap();
                prop_assert_eq!(parsed.as_str(), &url);
                prop_assert_eq!(parsed.host_str(), Some("app.superoffice.com"));
                prop_assert!(parsed.path().starts_with("/Cust12345/api/") && parsed.username().is_empty());
            }
        }
    }
}
