use axum::body::Body;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A page: all of it in one answer, with no script.
pub(super) struct Page {
    pub(super) status: StatusCode,
    /// The heading, which the window's title begins with.
    pub(super) title: String,
    /// What stands small above it.
    pub(super) origin: String,
    pub(super) tone: Tone,
    pub(super) content: Markup,
}

/// How something does. What has a tone says it in words too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    /// It goes on, and should be looked at.
    Wary,
    Bad,
    /// There is nothing to say.
    Quiet,
}

impl Tone {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Wary => "wary",
            Self::Bad => "bad",
            Self::Quiet => "quiet",
        }
    }
}

/// A word with its tone as a dot before it.
pub(super) fn mark(tone: Tone, text: &str) -> Markup {
    html! { span class={ "mark " (tone.class()) } { (text) } }
}

impl Page {
    fn document(&self) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="robots" content="noindex";
                    title { (self.title) " – " (self.origin) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    main class=(self.tone.class()) {
                        p.origin { (self.origin) }
                        h1 { (self.title) }
                        (self.content)
                    }
                }
            }
        }
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.document().into_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        let policy = format!(
            "default-src 'none'; style-src '{STYLE_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        if let Ok(policy) = HeaderValue::try_from(policy) {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
        }
        response
    }
}

/// One column on a phone; on a wide screen facts stand side by side and a tenant is one line. Of the contrasts the least
/// is 5 to 1.
const STYLE: &str = "\
:root{color-scheme:light dark;--text:#1b2430;--soft:#4a5564;--page:#f2f4f7;--sheet:#fff;--line:#d9dee5;\
--accent:#0b5a73;--on-accent:#fff;--good:#1c6b39;--wary:#8a4b00;--bad:#a3261c}\
@media(prefers-color-scheme:dark){:root{--text:#e8ecf1;--soft:#b3bdc9;--page:#12171d;--sheet:#1c232b;--line:#333e4b;\
--accent:#7fd0e8;--on-accent:#08222b;--good:#7ed39b;--wary:#f0b866;--bad:#ff9d92}}\
*{box-sizing:border-box}\
body{margin:0;background:var(--page);color:var(--text);font:1rem/1.5 system-ui,sans-serif;\
-webkit-text-size-adjust:100%}\
main{max-width:64rem;margin:0 auto;padding:1.25rem 1rem 1.5rem;background:var(--sheet);\
border-top:.375rem solid var(--soft);overflow-wrap:anywhere}\
main.good{border-top-color:var(--good)}main.wary{border-top-color:var(--wary)}main.bad{border-top-color:var(--bad)}\
h1{margin:0;font-size:1.875rem;line-height:1.2;letter-spacing:-.01em}\
h2{margin:2rem 0 .5rem;font-size:1.125rem;line-height:1.3}\
small{color:var(--soft);font-size:.875rem;font-weight:400}\
p{margin:.5rem 0}\
.origin,.soft{color:var(--soft);font-size:.9375rem}\
.origin{margin:0 0 .125rem}\
ul{margin:0;padding:0;list-style:none}\
dl{margin:0}\
dt{color:var(--soft);font-size:.875rem}\
dd{margin:0}\
.facts{display:grid;grid-template-columns:1fr 1fr;gap:1px;margin-top:1rem;border:1px solid var(--line);\
border-radius:.5rem;overflow:hidden;background:var(--line)}\
.facts div{padding:.625rem .875rem;background:var(--sheet)}\
.facts dd{font-size:1.1875rem;font-weight:600;line-height:1.3;font-variant-numeric:tabular-nums}\
.lines>*{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 1rem;padding:.5rem 0;\
border-top:1px solid var(--line)}\
.lines>:first-child{border-top:0}\
.lines dt{color:var(--text);font-size:1rem}\
.mark{white-space:nowrap}\
.mark::before{content:'';display:inline-block;width:.5625rem;height:.5625rem;margin-right:.4375rem;\
border-radius:50%;background:currentColor;box-sizing:border-box}\
.mark.quiet::before{background:none;border:.125rem solid currentColor}\
.mark.good{color:var(--good)}.mark.wary{color:var(--wary)}.mark.bad{color:var(--bad)}.mark.quiet{color:var(--soft)}\
code{font:.875em/1.4 ui-monospace,monospace}\
time{white-space:nowrap}\
a{color:inherit}\
.tenants{border-bottom:1px solid var(--line)}\
.tenants a{display:grid;grid-template-columns:1fr auto;gap:.125rem 1rem;padding:.625rem 0;\
min-height:2.875rem;border-top:1px solid var(--line);text-decoration:none}\
.tenants a:hover b{text-decoration-color:currentColor}\
.tenants b{font-weight:600;text-decoration:underline;text-decoration-color:var(--line);text-underline-offset:.2em}\
.tenants .more{grid-column:1/-1;color:var(--soft);font-size:.9375rem}\
form{display:flex;flex-wrap:wrap;gap:.5rem;margin:.75rem 0}\
label{flex:1 0 100%;color:var(--soft);font-size:.9375rem}\
input{flex:1 1 10rem;min-width:0;min-height:2.875rem;padding:.5rem .75rem;border:1px solid var(--soft);\
border-radius:.375rem;background:var(--sheet);color:inherit;font:inherit}\
button,a.button{display:inline-flex;align-items:center;justify-content:center;min-height:2.875rem;padding:.5rem 1.25rem;\
border:1px solid var(--accent);border-radius:.375rem;background:var(--accent);color:var(--on-accent);font:inherit;\
font-weight:600;text-decoration:none;cursor:pointer}\
a.button.plain{background:none;color:var(--accent)}\
button:hover,a.button:hover{text-decoration:underline}\
.ways{display:flex;flex-wrap:wrap;gap:.5rem;margin-top:1rem}\
footer{margin-top:2rem}\
:focus-visible{outline:.1875rem solid var(--accent);outline-offset:.125rem}\
@media(max-width:39.99rem){.ways a.button{flex:1 1 auto}}\
@media(min-width:40rem){body{padding:2rem 1rem}\
main{padding:1.75rem 2rem 2rem;border:1px solid var(--line);border-top:.375rem solid var(--soft);\
border-radius:.125rem .125rem .5rem .5rem}\
.facts{grid-template-columns:repeat(4,1fr)}\
.pair{display:grid;grid-template-columns:1fr 1fr;gap:0 2.5rem}\
label{flex:0 0 auto;align-self:center;margin-right:.25rem}\
input{flex:0 1 20rem}\
.tenants a{grid-template-columns:13rem 1fr auto;align-items:baseline}\
.tenants .more{grid-column:2;grid-row:1}}";

/// The style's hash, for the policy that lets nothing else style the page.
const STYLE_HASH: &str = "sha256-aTdvfgJTYhncYWI/f/s/GjVnVOPAP8uqCIbPtriQTxw=";

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
        let (title, origin) = (hostile.to_owned(), hostile.to_owned());
        let content = html! { p title=(hostile) { (hostile) } };
        let document =
            Page { status: StatusCode::OK, title, origin, tone: Tone::Bad, content }.document().into_string();
        assert!(!document.contains("<script"), "{document}");
        assert!(document.contains("title=\"&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;"), "{document}");
    }
}
