//! A partner: signs system user tokens, exchanges them and checks what comes back.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use reqwest::{Client, Response};
use rsa::pkcs1v15::{Signature, SigningKey, VerifyingKey};
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::signature::{SignatureEncoding as _, Signer as _, Verifier as _};
use rsa::{BoxedUint, RsaPrivateKey, RsaPublicKey};
use serde_json::{Value, json};
use sha2::Sha256;
use superoffice_sandbox::{Builder, Sandbox, SandboxClock, SandboxTenant};

pub(crate) const CLAIM: &str = "http://schemes.superoffice.net/identity/";
pub(crate) const NOW: &str = "2026-03-01T12:00:30Z";

/// A sandbox whose time stands, with one tenant and a partner.
pub(crate) struct Scene {
    pub(crate) sandbox: Sandbox,
    pub(crate) tenant: SandboxTenant,
    pub(crate) http: Client,
    key: SigningKey<Sha256>,
}

/// What came back: its status, headers and body, which is null unless it is JSON.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(Sandbox::builder()).await
    }

    pub(crate) async fn with(builder: Builder) -> Self {
        let sandbox = builder.clock(SandboxClock::standing_at(NOW.parse().unwrap())).start().await.unwrap();
        let tenant = sandbox.add_tenant("Cust12345");
        let pem = sandbox.partner_private_key_pem().unwrap();
        let mut http = Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(Duration::from_secs(20));
        if let Some(ca) = sandbox.ca_pem() {
            http = http.tls_certs_only([reqwest::Certificate::from_pem(ca.as_bytes()).unwrap()]);
        }
        let key = SigningKey::new(RsaPrivateKey::from_pkcs8_pem(pem).unwrap());
        Self { sandbox, tenant, http: http.build().unwrap(), key }
    }

    pub(crate) fn sign(&self, token: &str, at: Timestamp) -> String {
        let message = format!("{token}.{}", at.strftime("%Y%m%d%H%M"));
        let signature: Signature = self.key.sign(message.as_bytes());
        format!("{message}.{}", STANDARD.encode(signature.to_bytes()))
    }

    pub(crate) fn request(&self) -> Value {
        let signed = self.sign(&self.tenant.system_user_token, self.sandbox.clock().now());
        json!({
            "SignedSystemToken": signed,
            "ApplicationToken": self.sandbox.client_secret(),
            "ContextIdentifier": self.tenant.context_identifier,
            "ReturnTokenType": "JWT",
        })
    }

    pub(crate) async fn send(&self, request: &Value) -> reqwest::Result<Response> {
        let url = format!("{}/Login/api/PartnerSystemUser/Authenticate", self.sandbox.base_url());
        self.http.post(url).json(request).send().await
    }

    /// An exchange with everything right.
    pub(crate) async fn exchange(&self) -> Answer {
        read(self.send(&self.request()).await.unwrap()).await.unwrap()
    }

    pub(crate) async fn jwt(&self) -> String {
        let answer = self.exchange().await;
        assert_eq!(answer.json["IsSuccessful"], true, "{}", answer.text);
        answer.json["Token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn ticket(&self) -> String {
        claims(&self.jwt().await)[format!("{CLAIM}ticket")].as_str().unwrap().to_owned()
    }

    /// The status of a call of the tenant's Web API with a ticket, at the host that the state API names.
    pub(crate) async fn use_ticket(&self, ticket: &str) -> u16 {
        let api = self.get("/api/state/Cust12345").await.json["Api"].as_str().unwrap().to_owned();
        let url = format!("{api}/v1/User/currentPrincipal");
        let call = self.http.get(url).header("Authorization", format!("SOTICKET {ticket}"));
        call.header("SO-AppToken", self.sandbox.client_secret()).send().await.unwrap().status().as_u16()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let url = format!("{}{path}", self.sandbox.base_url());
        read(self.http.get(url).send().await.unwrap()).await.unwrap()
    }

    pub(crate) async fn jwks(&self) -> Value {
        self.get("/login/.well-known/jwks").await.json
    }
}

pub(crate) async fn read(response: Response) -> reqwest::Result<Answer> {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    #[expect(clippy::disallowed_methods, reason = "the partner of these tests trusts the sandbox's sizes")]
    let text = response.text().await?;
    let json = serde_json::from_str(&text).unwrap_or_default();
    Ok(Answer { status, headers, text, json })
}

pub(crate) fn header(jwt: &str) -> Value {
    part(jwt, 0)
}

pub(crate) fn claims(jwt: &str) -> Value {
    part(jwt, 1)
}

fn part(jwt: &str, index: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jwt.split('.').nth(index).unwrap()).unwrap()).unwrap()
}

/// Whether the JWT is RS256-signed by a key of the set that its header names.
pub(crate) fn is_signed(jwt: &str, jwks: &Value) -> bool {
    let header = header(jwt);
    let named = |key: &&Value| header["x5t"] == key["x5t"] && (header["kid"].is_null() || header["kid"] == key["kid"]);
    let Some(key) = jwks["keys"].as_array().unwrap().iter().find(named) else { return false };
    let number =
        |name: &str| BoxedUint::from_be_slice_vartime(&URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap());
    let key = VerifyingKey::<Sha256>::new(RsaPublicKey::new(number("n"), number("e")).unwrap());
    let parts: Vec<&str> = jwt.split('.').collect();
    let [head, body, signature] = parts[..] else { return false };
    let Ok(signature) = Signature::try_from(&*URL_SAFE_NO_PAD.decode(signature).unwrap()) else { return false };
    header["alg"] == "RS256" && key.verify(format!("{head}.{body}").as_bytes(), &signature).is_ok()
}
