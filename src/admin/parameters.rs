use url::form_urlencoded;

use crate::credentials::Selection;
use crate::identifiers::{ContextIdentifier, ContextIdentifierError};

/// How many tenants a page for people has.
pub(super) const PAGE: u32 = 50;
/// How many programs may ask for at once.
const MOST: u32 = 1_000;

/// What a status is asked for with.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters {
    prefix: String,
    after: String,
    limit: Option<u32>,
}

/// A selection that can be meant.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) selection: Selection,
    pub(super) limit: u32,
}

impl Parameters {
    /// What the query holds. What it holds besides does not matter.
    pub(super) fn of(query: Option<&str>) -> Self {
        let mut parameters = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "prefix" => parameters.prefix = value.into_owned(),
                "after" => parameters.after = value.into_owned(),
                "limit" => parameters.limit = value.parse().ok(),
                _ => {}
            }
        }
        parameters
    }

    /// What was typed, to be shown again if it can be a name's beginning: whatever else somebody pasted is not.
    pub(super) fn typed(&self) -> &str {
        let typed = self.prefix.trim();
        if typed.parse::<ContextIdentifier>().is_ok() { typed } else { "" }
    }

    /// Whether all tenants are asked for, from the beginning.
    pub(super) fn is_whole(&self) -> bool {
        self.prefix.trim().is_empty() && self.after.trim().is_empty()
    }

    /// What is meant, unless no tenant could be called so.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        let selection = Selection { prefix: name(&self.prefix).ok()?, after: name(&self.after).ok()? };
        Some(Wanted { selection, limit: self.limit.unwrap_or(PAGE).clamp(1, MOST) })
    }
}

/// A name or its beginning, if one was given.
fn name(text: &str) -> Result<Option<ContextIdentifier>, ContextIdentifierError> {
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(prefix: &str, after: &str, limit: Option<u32>) -> Parameters {
        Parameters { prefix: prefix.to_owned(), after: after.to_owned(), limit }
    }

    #[test]
    fn what_no_tenant_could_be_called_selects_nothing() {
        for hostile in ["<script>", "Cust 1", "1", "%", "C".repeat(25).as_str(), "Cust1'--", "\0"] {
            assert!(parameters(hostile, "", None).wanted().is_none(), "{hostile:?}");
            assert!(parameters("", hostile, None).wanted().is_none(), "{hostile:?}");
        }
        for secret in ["0123456789abcdef0123456789abcdef", "7T:x", "<b>", &"x".repeat(100_000)] {
            assert_eq!(parameters(secret, "", None).typed(), "");
        }
    }

    #[test]
    fn the_query_is_read_whatever_it_holds() {
        let parameters = Parameters::of(Some("x=%ff&prefix=Cust%31&limit=x&after=&after=cust12&=&&prefix"));
        assert_eq!((parameters.typed(), parameters.is_whole()), ("", false));
        let wanted = Parameters::of(Some("prefix=Cust%31&after=cust12&limit=3")).wanted().unwrap();
        assert_eq!(wanted.selection.prefix, "cust1".parse().ok());
        assert_eq!((wanted.selection.after, wanted.limit), ("cust12".parse().ok(), 3));
        assert!(Parameters::of(None).is_whole());
    }

    #[test]
    fn limits_are_kept() {
        for (limit, kept) in [(None, PAGE), (Some(0), 1), (Some(7), 7), (Some(u32::MAX), MOST)] {
            assert_eq!(parameters(" Cust1 ", "Cust2", limit).wanted().unwrap().limit, kept);
        }
    }
}
