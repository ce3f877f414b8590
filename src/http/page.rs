use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A page: all of it in one answer, so that it shows also where nothing else can be had.
pub(super) struct Page {
    pub(super) status: StatusCode,
    /// The window's title and the heading.
    pub(super) title: &'static str,
    pub(super) tone: Tone,
    /// Where a form of the page may lead, through any number of redirects.
    pub(super) forms: Forms,
    pub(super) content: Markup,
}

/// What a page is about. Its heading says it in words too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// Something will happen.
    Question,
    /// Something has succeeded.
    Success,
    /// Something has failed.
    Failure,
}

/// Where a page's forms may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forms {
    /// It has none.
    Nowhere,
    /// To SuperOffice, and on to whoever a company lets its people sign in with: any host, over TLS.
    Https,
    /// There too, and to a sandbox without TLS.
    Http,
}

impl Page {
    fn document(&self) -> Markup {
        let announced = self.tone != Tone::Question;
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="robots" content="noindex";
                    title { (self.title) " – SuperOffice connection" }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    main class=(self.tone.class()) {
                        // What has happened is read aloud first; what will happen is read in order.
                        h1 tabindex=[announced.then_some("-1")] autofocus[announced] { (self.title) }
                        (self.content)
                    }
                }
            }
        }
    }

    fn policy(&self) -> String {
        let forms = match self.forms {
            Forms::Nowhere => "'none'",
            Forms::Https => "'self' https:",
            Forms::Http => "'self' https: http:",
        };
        format!(
            "default-src 'none'; style-src '{STYLE_HASH}'; form-action {forms}; base-uri 'none'; frame-ancestors 'none'"
        )
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.document().into_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        if let Ok(policy) = HeaderValue::try_from(self.policy()) {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
        }
        response
    }
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// Says to programs when to come again.
pub(super) fn retry_after(headers: &mut HeaderMap, wait: Duration) {
    headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
}

/// Of the contrasts the least is 5.6 to 1.
const STYLE: &str = "\
:root{color-scheme:light dark;--text:#1b2430;--quiet:#4a5564;--page:#f2f4f7;--sheet:#fff;--line:#d3d9e1;\
--accent:#0b5a73;--on-accent:#fff;--good:#1c6b39;--bad:#a3261c}\
@media(prefers-color-scheme:dark){:root{--text:#e8ecf1;--quiet:#b3bdc9;--page:#12171d;--sheet:#1c232b;--line:#364150;\
--accent:#7fd0e8;--on-accent:#08222b;--good:#7ed39b;--bad:#ff9d92}}\
*{box-sizing:border-box}\
body{margin:0;padding:1rem;background:var(--page);color:var(--text);font:1.0625rem/1.55 system-ui,sans-serif}\
main{max-width:38rem;margin:0 auto;padding:1.5rem;background:var(--sheet);border:1px solid var(--line);\
border-top:.375rem solid var(--accent);border-radius:.125rem .125rem .5rem .5rem;overflow-wrap:anywhere}\
@media(min-width:40rem){body{padding:4rem 1rem}main{padding:2rem 2.5rem}}\
main.success{border-top-color:var(--good)}\
main.failure{border-top-color:var(--bad)}\
h1{margin:0 0 1rem;font-size:1.625rem;line-height:1.25}\
h1:focus{outline:none}\
h2{margin:1.5rem 0 .25rem;font-size:1.125rem}\
p,ol,ul{margin:.5rem 0 1rem}\
ol,ul{padding-left:1.4rem}\
li{margin:.25rem 0}\
button,a.button{display:inline-block;min-height:2.875rem;margin:.5rem 0;padding:.6rem 1.4rem;border:0;\
border-radius:.375rem;background:var(--accent);color:var(--on-accent);font:inherit;font-weight:600;\
text-decoration:none;cursor:pointer}\
button:hover,a.button:hover{text-decoration:underline}\
:focus-visible{outline:.1875rem solid var(--accent);outline-offset:.1875rem}\
.quiet{margin-bottom:0;color:var(--quiet);font-size:.9375rem}";

/// The style's hash, for the policy that lets nothing else style the page.
const STYLE_HASH: &str = "sha256-le3S77D28ySUSofb4nRSdylo6kVWRHp02KOnHKICN0E=";

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_lets_the_style_through() {
        assert_eq!(STYLE_HASH, format!("sha256-{}", STANDARD.encode(Sha256::digest(STYLE))));
    }

    #[test]
    fn what_is_not_ours_is_text() {
        let hostile = "</title><script>alert(1)</script>\"'&";
        let page = Page {
            status: StatusCode::OK,
            title: "Title",
            tone: Tone::Failure,
            forms: Forms::Nowhere,
            content: html! { p title=(hostile) { (hostile) } },
        };
        let document = page.document().into_string();
        assert!(!document.contains("<script"), "{document}");
        assert!(document.contains("title=\"&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;"), "{document}");
    }
}
