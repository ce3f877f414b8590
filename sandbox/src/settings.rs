//! How SuperOffice is: lives, limits, and the forms that differ between what has been seen of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::duration;

/// The sandbox's settings. The defaults are SuperOffice's as far as they are known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a form of its own that SuperOffice has been seen in")]
pub struct Settings {
    /// How long a ticket lives after the exchange and after each use.
    #[serde(with = "duration")]
    pub ticket_life: Duration,
    /// How long the JWT around a ticket is valid, from `iat` to `exp`.
    #[serde(with = "duration")]
    pub jwt_life: Duration,
    /// How long an authorization code is valid.
    #[serde(with = "duration")]
    pub code_life: Duration,
    /// How long an OAuth access token is valid.
    #[serde(with = "duration")]
    pub access_token_life: Duration,
    /// How far ahead `ValidUntil` of a tenant's state lies.
    #[serde(with = "duration")]
    pub state_life: Duration,
    /// A signed system user token is refused when its time stamp is this far from the sandbox's time, or farther.
    #[serde(with = "duration")]
    pub max_drift: Duration,
    /// Whether the JWT's header has a `kid` beside `x5t`. Older ones have none.
    pub jwt_with_kid: bool,
    /// Whether `iat` is a string, as in older JWTs, or a number.
    pub iat_as_string: bool,
    /// Whether `system_token` is an array, as a duplicate claim becomes, or a string.
    pub system_token_as_array: bool,
    /// Whether the JWT has a `webapi_url`.
    pub webapi_url_claim: bool,
    /// Who issues ID tokens. Absent: the login host's own URL, as at SuperOffice.
    pub issuer: Option<String>,
    /// Whether the application's list of claims has the system user token: ID tokens carry it then, for tenants that
    /// have not had it taken away.
    pub id_token_system_token: bool,
    /// Whether an ID token has a `webapi_url`. Newer ones have none.
    pub id_token_webapi_url: bool,
    /// Whether a refresh answers an ID token.
    pub refresh_with_id_token: bool,
    /// Whether a webhook's token is issued by the environment, as the documentation's sample has it, or by
    /// `SuperOffice AS`, as SuperOffice's other outgoing tokens are.
    pub webhook_issuer_is_environment: bool,
    /// Whether members that are null are left out of the exchange's answer.
    pub omit_null_members: bool,
    /// Whether `expires_in` is a string or a number.
    pub expires_in_as_string: bool,
    /// Whether a refresh answers a new refresh token and ends the old one. SuperOffice does not.
    pub rotate_refresh_tokens: bool,
    /// Whether the exchange refuses tenants that are not running. What SuperOffice does is not known.
    pub exchange_needs_running_tenant: bool,
    /// The HTTP status of a refused exchange; 200 comes with `IsSuccessful: false`.
    pub refusal_status: u16,
    /// The same for a system user token that is not known, which SuperOffice answers without success.
    pub unknown_token_status: u16,
    /// The HTTP status of a Web API call whose ticket or access token is no longer valid: 401 or 403.
    pub stale_ticket_status: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ticket_life: Duration::from_hours(6),
            jwt_life: Duration::from_mins(5),
            code_life: Duration::from_mins(10),
            access_token_life: Duration::from_hours(1),
            state_life: Duration::from_hours(1),
            max_drift: Duration::from_mins(15),
            jwt_with_kid: true,
            iat_as_string: false,
            system_token_as_array: true,
            webapi_url_claim: true,
            issuer: None,
            id_token_system_token: true,
            id_token_webapi_url: false,
            refresh_with_id_token: true,
            webhook_issuer_is_environment: false,
            omit_null_members: false,
            expires_in_as_string: false,
            rotate_refresh_tokens: false,
            exchange_needs_running_tenant: false,
            refusal_status: 200,
            unknown_token_status: 400,
            stale_ticket_status: 401,
        }
    }
}

/// A change of settings that does not fit.
#[derive(Debug, thiserror::Error)]
#[error("settings: {0}")]
pub struct SettingsError(String);

impl Settings {
    /// These settings with the members of a JSON object in place of their own.
    pub fn patched(&self, patch: &serde_json::Map<String, Value>) -> Result<Self, SettingsError> {
        let mut value = serde_json::to_value(self).map_err(|error| SettingsError(error.to_string()))?;
        if let Value::Object(members) = &mut value {
            members.extend(patch.clone());
        }
        let patched: Self = serde_json::from_value(value).map_err(|error| SettingsError(error.to_string()))?;
        for status in [patched.refusal_status, patched.unknown_token_status, patched.stale_ticket_status] {
            if !(200..600).contains(&status) {
                return Err(SettingsError(format!("{status} is no HTTP status of an answer")));
            }
        }
        Ok(patched)
    }

    /// These settings with one `key=value` of a command line.
    pub fn with_assignment(&self, assignment: &str) -> Result<Self, SettingsError> {
        let (key, value) =
            assignment.split_once('=').ok_or_else(|| SettingsError(format!("`{assignment}` is not key=value")))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        self.patched(&serde_json::Map::from_iter([(key.to_owned(), value)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_changes_one_setting_and_refuses_unknown_ones() {
        let settings = Settings::default().with_assignment("ticket_life=20s").unwrap();
        assert_eq!(settings, Settings { ticket_life: Duration::from_secs(20), ..Settings::default() });
        assert!(Settings::default().with_assignment("iat_as_string=true").unwrap().iat_as_string);
        assert!(Settings::default().with_assignment("tiket_life=20s").is_err());
        assert!(Settings::default().with_assignment("refusal_status=99").is_err());
    }
}
