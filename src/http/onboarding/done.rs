use std::fmt;

use axum::extract::RawQuery;
use axum::http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use url::form_urlencoded::Serializer;

use super::{DONE, texts};
use crate::credentials::{SignedIn, TenantChange};
use crate::http::cookies::SignInName;
use crate::http::failure::Failure;
use crate::http::page::{Forms, Page, Tone};
use crate::http::parameters::{Others, Parameters};
use crate::identifiers::ContextIdentifier;

const REGISTERED: &str = "registered";
const TOKEN_REPLACED: &str = "token-replaced";
const UNCHANGED: &str = "unchanged";
const YES: &str = "yes";
const NO: &str = "no";

/// How a sign-in ended, as its own browser keeps it in a cookie: nobody else can say what the page shows, whatever link
/// leads to it. Nothing in it is secret, and nothing is decided by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    tenant: ContextIdentifier,
    user: String,
    change: TenantChange,
    grant_kept: bool,
}

/// Where the outcome is shown.
pub(super) fn location(name: &SignInName) -> String {
    format!("{DONE}?sign_in={}", name.as_str())
}

/// Says what has happened.
pub(super) async fn show(RawQuery(query): RawQuery, headers: HeaderMap) -> Result<Page, Failure> {
    let query = query.unwrap_or_default();
    let mut parameters = Parameters::read(query.as_bytes(), &["sign_in"], Others::Refused)
        .map_err(|error| Failure::malformed(&error))?;
    let name = parameters.take("sign_in").and_then(|name| SignInName::read(&name));
    let outcome = name.and_then(|name| Outcome::read(name.outcome_cookie().value(&headers)?));
    let content = outcome.ok_or_else(nothing_to_show)?.content();
    Ok(Page {
        status: StatusCode::OK,
        title: "SuperOffice is connected",
        tone: Tone::Success,
        forms: Forms::Nowhere,
        content,
    })
}

impl Outcome {
    pub(super) fn of(signed_in: &SignedIn) -> Self {
        Self {
            tenant: signed_in.context_identifier,
            user: signed_in.user.clone(),
            change: signed_in.tenant,
            grant_kept: signed_in.grant_kept,
        }
    }

    fn read(text: &str) -> Option<Self> {
        let known = ["tenant", "user", "change", "grant_kept"];
        let mut parameters = Parameters::read(text.as_bytes(), &known, Others::Refused).ok()?;
        Some(Self {
            tenant: parameters.take("tenant")?.parse().ok()?,
            user: parameters.take("user")?,
            change: match parameters.take("change")?.as_str() {
                REGISTERED => TenantChange::Registered,
                TOKEN_REPLACED => TenantChange::TokenReplaced,
                UNCHANGED => TenantChange::Unchanged,
                _ => return None,
            },
            grant_kept: parameters.take("grant_kept")? == YES,
        })
    }

    fn content(&self) -> Markup {
        html! {
            p {
                @match self.change {
                    TenantChange::Registered => { "Your tenant " strong { (self.tenant) } " is connected from now on." }
                    TenantChange::TokenReplaced => {
                        "Your tenant " strong { (self.tenant) } " was connected before. Its access has been renewed."
                    }
                    TenantChange::Unchanged => {
                        "Your tenant " strong { (self.tenant) } " was connected before, and still is."
                    }
                }
                " You signed in as " strong { (self.user) } "."
            }
            h2 { "What to do next" }
            p { "Nothing: you can close this page." }
            @if !self.grant_kept {
                p {
                    "This service works with your tenant as the application. It cannot act in your own name later: \
                     if it is meant to, tell the people who run it."
                }
            }
            p.quiet { "You can withdraw the access at any time, in SuperOffice." }
        }
    }
}

/// In the characters that a cookie's value has.
impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change = match self.change {
            TenantChange::Registered => REGISTERED,
            TenantChange::TokenReplaced => TOKEN_REPLACED,
            TenantChange::Unchanged => UNCHANGED,
        };
        let text = Serializer::new(String::new())
            .append_pair("tenant", self.tenant.as_str())
            .append_pair("user", &self.user)
            .append_pair("change", change)
            .append_pair("grant_kept", if self.grant_kept { YES } else { NO })
            .finish();
        formatter.write_str(&text)
    }
}

fn nothing_to_show() -> Failure {
    Failure::final_one(&texts::OUTCOME_UNKNOWN, &"the browser has no outcome of a sign-in")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_comes_back_from_its_cookie() {
        for change in [TenantChange::Registered, TenantChange::TokenReplaced, TenantChange::Unchanged] {
            let tenant = "Cust12345".parse().unwrap();
            let outcome = Outcome { tenant, user: "å;=&, \"<b>@x".to_owned(), change, grant_kept: false };
            let text = outcome.to_string();
            assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)), "{text}");
            assert_eq!(Outcome::read(&text), Some(outcome));
        }
        for text in ["", "tenant=Cust12345", "tenant=1&user=a&change=registered&grant_kept=no", "a=b"] {
            assert_eq!(Outcome::read(text), None, "{text}");
        }
    }
}
