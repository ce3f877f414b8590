//! The people who sign in.

use serde::{Deserialize, Serialize};

/// A user of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxUser {
    /// The name at SuperID, an e-mail address.
    pub upn: String,
    /// The user's number in the tenant.
    pub associate_id: u32,
    /// Whether the user administers the tenant.
    #[serde(default)]
    pub is_administrator: bool,
}

/// Whom a new tenant has: an administrator first, then somebody else.
pub(crate) fn of_a_new_tenant(context_identifier: &str) -> Vec<SandboxUser> {
    let domain = format!("{}.example.com", context_identifier.to_ascii_lowercase());
    vec![
        SandboxUser { upn: format!("admin@{domain}"), associate_id: 10, is_administrator: true },
        SandboxUser { upn: format!("user@{domain}"), associate_id: 11, is_administrator: false },
    ]
}
