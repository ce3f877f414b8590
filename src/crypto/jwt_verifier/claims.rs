use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use serde_json::Value;
use zeroize::Zeroizing;

use super::JwtRejection;
use super::json_object::JsonObject;
use crate::identifiers::{ContextIdentifier, SystemUserToken, Ticket};

/// What SuperOffice puts before its own claims' names.
const NAMESPACE: &str = "http://schemes.superoffice.net/identity/";

/// Real tickets have about 150 bytes.
const MAX_TICKET_BYTES: usize = 1024;
/// Real serial numbers have ten digits.
const MAX_SERIAL_BYTES: usize = 64;
const MAX_URL_BYTES: usize = 2048;

/// The claims of a token whose signature is proven.
pub(super) struct Claims(JsonObject);

impl Claims {
    pub(super) fn read(payload: &str) -> Result<Self, JwtRejection> {
        let json = URL_SAFE_NO_PAD.decode(payload).map(Zeroizing::new).map_err(|_| JwtRejection::EncodingMalformed)?;
        JsonObject::read(&json, JwtRejection::ClaimsMalformed).map(Self)
    }

    /// That a claim without a namespace is there, whatever it says.
    pub(super) fn require(&self, name: &'static str) -> Result<(), JwtRejection> {
        if self.has(name) { Ok(()) } else { Err(JwtRejection::ClaimMissing(name)) }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some()
    }

    pub(super) fn has_own(&self, name: &str) -> bool {
        self.has(&[NAMESPACE, name].concat())
    }

    pub(super) fn expiry(&self) -> Result<SignedDuration, JwtRejection> {
        self.time("exp")?.ok_or(JwtRejection::ClaimMissing("exp"))
    }

    pub(super) fn not_before(&self) -> Result<Option<SignedDuration>, JwtRejection> {
        self.time("nbf")
    }

    /// Older tokens have it as a string.
    pub(super) fn issued_at(&self) -> Result<Option<SignedDuration>, JwtRejection> {
        let seconds = match self.0.get("iat") {
            None => return Ok(None),
            Some(Value::String(digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
            Some(value) => value.as_i64(),
        };
        seconds.map(SignedDuration::from_secs).map(Some).ok_or(JwtRejection::ClaimMalformed("iat"))
    }

    pub(super) fn issuer(&self) -> Result<&str, JwtRejection> {
        self.single("iss", "iss")
    }

    pub(super) fn audience(&self) -> Result<&str, JwtRejection> {
        self.single("aud", "aud")
    }

    /// The values of `aud`, when there may be several.
    pub(super) fn audiences(&self) -> Result<Vec<&str>, JwtRejection> {
        const NAME: &str = "aud";
        let claim = self.0.get(NAME).ok_or(JwtRejection::ClaimMissing(NAME))?;
        values(claim).ok_or(JwtRejection::ClaimMalformed(NAME))
    }

    /// A claim as it stands.
    pub(super) fn raw(&self, name: &'static str) -> Result<&Value, JwtRejection> {
        self.0.get(name).ok_or(JwtRejection::ClaimMissing(name))
    }

    /// A claim without a namespace, when it is there.
    pub(super) fn optional(&self, name: &'static str) -> Result<Option<&str>, JwtRejection> {
        if self.has(name) { self.single(name, name).map(Some) } else { Ok(None) }
    }

    /// A claim of SuperOffice's, when it is there.
    pub(super) fn optional_own(&self, name: &'static str) -> Result<Option<&str>, JwtRejection> {
        if self.has_own(name) { self.own(name).map(Some) } else { Ok(None) }
    }

    pub(super) fn serial(&self) -> Result<&str, JwtRejection> {
        let serial = self.own("serial")?;
        let well_formed =
            (1..=MAX_SERIAL_BYTES).contains(&serial.len()) && serial.bytes().all(|b| b.is_ascii_graphic());
        if well_formed { Ok(serial) } else { Err(JwtRejection::ClaimMalformed("serial")) }
    }

    pub(super) fn context_identifier(&self) -> Result<ContextIdentifier, JwtRejection> {
        self.own("ctx")?.parse().map_err(|_| JwtRejection::ClaimMalformed("ctx"))
    }

    /// A ticket goes into a request header: it has to be printable ASCII there.
    pub(super) fn ticket(&self) -> Result<Ticket, JwtRejection> {
        let ticket = self.own("ticket")?;
        let well_formed = ticket.len() <= MAX_TICKET_BYTES
            && ticket.strip_prefix("7T:").is_some_and(|rest| !rest.is_empty())
            && ticket.bytes().all(|byte| byte.is_ascii_graphic());
        if well_formed { Ok(Ticket::new(ticket)) } else { Err(JwtRejection::ClaimMalformed("ticket")) }
    }

    /// The values of the claim, each once; nothing when it is not there: it is optional, and a list in real tokens.
    pub(super) fn system_user_tokens(&self) -> Result<Option<Vec<SystemUserToken>>, JwtRejection> {
        const NAME: &str = "system_token";
        let Some(value) = self.0.get(&[NAMESPACE, NAME].concat()) else { return Ok(None) };
        let mut tokens = Vec::new();
        for token in values(value).ok_or(JwtRejection::ClaimMalformed(NAME))? {
            let token = SystemUserToken::new(token);
            if !tokens.contains(&token) {
                tokens.push(token);
            }
        }
        Ok(Some(tokens))
    }

    /// A convenience: a strange one is left out rather than costing the ticket.
    pub(super) fn webapi_url(&self) -> Option<String> {
        self.url("webapi_url")
    }

    pub(super) fn netserver_url(&self) -> Option<String> {
        self.url("netserver_url")
    }

    fn url(&self, name: &'static str) -> Option<String> {
        self.own(name).ok().filter(|url| url.len() <= MAX_URL_BYTES).map(str::to_owned)
    }

    pub(super) fn time(&self, name: &'static str) -> Result<Option<SignedDuration>, JwtRejection> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        value.as_i64().map(SignedDuration::from_secs).map(Some).ok_or(JwtRejection::ClaimMalformed(name))
    }

    fn own(&self, name: &'static str) -> Result<&str, JwtRejection> {
        self.single(&[NAMESPACE, name].concat(), name)
    }

    /// The one value of a claim that may be a string or a list.
    fn single(&self, member: &str, name: &'static str) -> Result<&str, JwtRejection> {
        let values = values(self.0.get(member).ok_or(JwtRejection::ClaimMissing(name))?);
        match values.as_deref() {
            Some([first, rest @ ..]) if rest.iter().all(|value| value == first) => Ok(first),
            _ => Err(JwtRejection::ClaimMalformed(name)),
        }
    }
}

/// The strings in a claim, unless there is anything else in it.
fn values(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(list) => list.iter().map(Value::as_str).collect(),
        _ => None,
    }
}
