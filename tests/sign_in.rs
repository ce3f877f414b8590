//! A user's sign-in against the sandbox: from the authorization URL to verified claims, refreshed and revoked tokens; and
//! the webhooks that the sandbox sends.

#![expect(clippy::unwrap_used, reason = "a test ends by panicking")]

#[path = "support/superoffice_settings.rs"]
mod superoffice_settings;

use std::sync::Arc;
use std::time::Duration;

use superoffice_sandbox::{Behaviour, ChangeType, Endpoint, IdTokenFlaw, JwtFlaw, Webhook, WebhookFlaw, WrongTenant};
use superoffice_sandbox::{Sandbox, SandboxClock};
use ticketd::clock::{Clock, ManualClock};
use ticketd::crypto::{
    IdTokenClaims, IdTokenProfile, JwtRejection, WebhookClaims, WebhookProfile, code_challenge, random_code_verifier,
    random_token, unverified_header, verify_id_token, verify_webhook_token,
};
use ticketd::identifiers::{ApplicationId, AuthorizationCode, CodeVerifier, SystemUserToken, UnverifiedJwt};
use ticketd::random::SystemRandom;
use ticketd::superoffice::{
    AuthorizationRequest, ClientAuthentication, OAuthError, ResponseMode, Settings, SuperOffice, TokenSet,
    UpstreamError,
};

use self::superoffice_settings::superoffice_settings;

const CALLBACK: &str = "https://ticketd.example/onboarding/callback";
const ADMINISTRATOR: &str = "admin@cust12345.example.com";
const LEEWAY: Duration = Duration::from_mins(1);

/// A sandbox with one tenant, our client, and the time that both share.
struct Scene {
    sandbox: Sandbox,
    superoffice: SuperOffice,
    clock: ManualClock,
    client_id: ApplicationId,
}

/// What a sign-in began with, and the code it brought.
struct SignIn {
    nonce: String,
    verifier: CodeVerifier,
    code: AuthorizationCode,
}

impl Scene {
    async fn new(client_authentication: ClientAuthentication) -> Self {
        // With characters that have to be encoded, in the body and twice in the header.
        let secret = "fedc+ba98/76=54&32%10:feed";
        let clock = ManualClock::new("2026-11-22T12:00:00Z".parse().unwrap());
        let shared = clock.clone();
        let sandbox = Sandbox::builder().client_secret(secret).redirect_uri(CALLBACK);
        let sandbox = sandbox.clock(SandboxClock::from_fn(move || shared.now())).start().await.unwrap();
        sandbox.add_tenant("Cust12345");
        let client_id = ApplicationId::new(sandbox.client_id());
        let settings = superoffice_settings(sandbox.base_url(), sandbox.client_id(), secret);
        let settings = Settings { client_authentication, redirect_uris: vec![CALLBACK.to_owned()], ..settings };
        let superoffice = SuperOffice::new(settings, Arc::new(clock.clone()), Arc::new(SystemRandom)).unwrap();
        Self { sandbox, superoffice, clock, client_id }
    }

    fn sign_in(&self) -> SignIn {
        let (state, nonce, verifier) =
            (random_token().unwrap(), random_token().unwrap(), random_code_verifier().unwrap());
        let url = self.superoffice.authorization_url(&AuthorizationRequest {
            redirect_uri: CALLBACK,
            state: &state,
            nonce: &nonce,
            code_challenge: &code_challenge(&verifier),
            response_mode: Some(ResponseMode::Query),
            login_hint: Some(ADMINISTRATOR),
            tenant: "Cust12345".parse().ok(),
        });
        let redirect = self.sandbox.approve(url.as_str(), ADMINISTRATOR).unwrap();
        assert!(redirect.starts_with(CALLBACK), "{redirect}");
        let redirect: url::Url = redirect.parse().unwrap();
        let pairs: Vec<(String, String)> = redirect.query_pairs().into_owned().collect();
        assert_eq!(pairs.len(), 2, "{pairs:?}");
        assert_eq!(pairs[0], ("state".to_owned(), state));
        assert_eq!(pairs[1].0, "code");
        SignIn { nonce, verifier, code: AuthorizationCode::new(pairs[1].1.as_str()) }
    }

    async fn exchange(&self, sign_in: &SignIn) -> Result<TokenSet, OAuthError> {
        self.superoffice.exchange_code(&sign_in.code, CALLBACK, &sign_in.verifier).await
    }

    /// As at sign-in when there is one, else as after a refresh.
    async fn verify(&self, tokens: &TokenSet, sign_in: Option<&SignIn>) -> Result<IdTokenClaims, JwtRejection> {
        let id_token = tokens.id_token.as_ref().unwrap();
        let keys = self.superoffice.verification_keys(&unverified_header(id_token)?).await;
        let profile = IdTokenProfile {
            issuer: self.superoffice.issuer(),
            client_id: &self.client_id,
            nonce: sign_in.map(|sign_in| sign_in.nonce.as_str()),
            access_token: Some(&tokens.access_token),
            code: sign_in.map(|sign_in| &sign_in.code),
            leeway: LEEWAY,
        };
        verify_id_token(id_token, &keys, &profile, self.clock.now())
    }

    async fn verify_webhook(&self, webhook: &Webhook) -> Result<WebhookClaims, JwtRejection> {
        let payload = self.sandbox.webhook_payload(webhook).unwrap();
        let token = UnverifiedJwt::new(payload["Token"].as_str().unwrap());
        let keys = self.superoffice.verification_keys(&unverified_header(&token)?).await;
        let profile = WebhookProfile {
            issuer: self.superoffice.issuer(),
            client_id: &self.client_id,
            context_identifier: "Cust12345".parse().unwrap(),
            leeway: LEEWAY,
        };
        verify_webhook_token(&token, &keys, &profile, self.clock.now())
    }
}

#[tokio::test]
async fn a_user_signs_in_stays_and_goes_whichever_way_the_client_proves_itself() {
    for way in [ClientAuthentication::Post, ClientAuthentication::Basic] {
        let scene = Scene::new(way).await;
        let tenant = scene.sandbox.add_tenant("Cust12345");
        let sign_in = scene.sign_in();
        let tokens = scene.exchange(&sign_in).await.unwrap();
        assert_eq!(tokens.expires_in, Duration::from_hours(1));
        let claims = scene.verify(&tokens, Some(&sign_in)).await.unwrap();
        assert_eq!(claims.context_identifier.as_str(), "Cust12345");
        assert_eq!((claims.user.as_str(), claims.is_administrator), (ADMINISTRATOR, true));
        assert_eq!(claims.associate_id.as_deref(), Some("10"));
        assert_eq!(claims.system_user_tokens, [SystemUserToken::new(tenant.system_user_token)]);
        assert_eq!(claims.serial, Some(tenant.serial));

        let refresh_token = tokens.refresh_token.unwrap();
        let refreshed = scene.superoffice.refresh_access_token(&refresh_token).await.unwrap();
        assert_eq!(refreshed.refresh_token, None);
        assert_ne!(refreshed.access_token, tokens.access_token);
        assert_eq!(scene.verify(&refreshed, None).await.unwrap().user, ADMINISTRATOR);

        scene.superoffice.revoke(&refresh_token).await.unwrap();
        assert!(!scene.sandbox.accepts_refresh_token(refresh_token.expose()));
        let refused = scene.superoffice.refresh_access_token(&refresh_token).await;
        assert_eq!(refused, Err(OAuthError::InvalidGrant));
        assert_eq!(scene.superoffice.revoke(&refresh_token).await, Ok(()), "revoking again is no error");
        assert_eq!(scene.sandbox.requests(Endpoint::Revoke), 2);
    }
}

#[tokio::test]
async fn a_rotated_refresh_token_and_a_changed_system_user_token_are_handed_on() {
    let scene = Scene::new(ClientAuthentication::Post).await;
    let old = scene.exchange(&scene.sign_in()).await.unwrap().refresh_token.unwrap();
    scene.sandbox.add_tenant_with_token("Cust12345", "Sandbox Application-changed000");
    scene.sandbox.change_settings(|settings| {
        settings.rotate_refresh_tokens = true;
        settings.expires_in_as_string = true;
    });
    let refreshed = scene.superoffice.refresh_access_token(&old).await.unwrap();
    assert_eq!(refreshed.expires_in, Duration::from_hours(1));
    let claims = scene.verify(&refreshed, None).await.unwrap();
    assert_eq!(claims.system_user_tokens, [SystemUserToken::new("Sandbox Application-changed000")]);
    assert_eq!(scene.superoffice.refresh_access_token(&old).await, Err(OAuthError::InvalidGrant));
    let new = refreshed.refresh_token.unwrap();
    assert!(scene.superoffice.refresh_access_token(&new).await.is_ok());
}

#[tokio::test]
async fn a_code_is_for_its_own_sign_in_and_for_once() {
    let scene = Scene::new(ClientAuthentication::Post).await;
    let (first, second) = (scene.sign_in(), scene.sign_in());
    let crossed = scene.superoffice.exchange_code(&first.code, CALLBACK, &second.verifier).await;
    assert_eq!(crossed, Err(OAuthError::InvalidGrant));
    let elsewhere = scene.superoffice.exchange_code(&second.code, "https://evil.example/", &second.verifier).await;
    assert_eq!(elsewhere, Err(OAuthError::InvalidGrant));

    let raced = scene.sign_in();
    let (one, other) = tokio::join!(scene.exchange(&raced), scene.exchange(&raced));
    assert!(one.is_ok() != other.is_ok(), "a code has one winner");
    let late = scene.sign_in();
    scene.clock.advance(Duration::from_mins(10));
    assert_eq!(scene.exchange(&late).await, Err(OAuthError::InvalidGrant));

    let tokens = scene.exchange(&scene.sign_in()).await.unwrap();
    let rejection = scene.verify(&tokens, Some(&scene.sign_in())).await.err();
    assert_eq!(rejection, Some(JwtRejection::NonceMismatch), "another's tokens are injected");
    scene.clock.advance(Duration::from_mins(6));
    assert_eq!(scene.verify(&tokens, None).await.err(), Some(JwtRejection::Expired));
}

#[tokio::test]
async fn no_flaw_of_an_id_token_gets_through() {
    use JwtRejection as R;
    let scene = Scene::new(ClientAuthentication::Post).await;
    scene.sandbox.add_tenant("Cust54321");
    let behaviours = IdTokenFlaw::ALL.map(Behaviour::IdToken).into_iter();
    let behaviours =
        behaviours.chain(JwtFlaw::ALL.map(Behaviour::Jwt)).chain(WrongTenant::ALL.map(Behaviour::WrongTenant));
    let mut refused = 0;
    for behaviour in behaviours {
        scene.sandbox.set_behaviour(behaviour.clone().at(Endpoint::Tokens).times(1));
        let sign_in = scene.sign_in();
        let answer = scene.exchange(&sign_in).await;
        if behaviour == Behaviour::Jwt(JwtFlaw::Oversized) {
            assert_eq!(answer, Err(UpstreamError::BodyTooLarge.into()));
            refused += 1;
            continue;
        }
        let tokens = answer.unwrap();
        if tokens.id_token.is_none() {
            assert_eq!(behaviour, Behaviour::IdToken(IdTokenFlaw::Missing));
            continue;
        }
        let outcome = scene.verify(&tokens, Some(&sign_in)).await;
        let expected = match &behaviour {
            Behaviour::IdToken(IdTokenFlaw::WrongNonce) => R::NonceMismatch,
            Behaviour::IdToken(IdTokenFlaw::WithoutNonce) => R::ClaimMissing("nonce"),
            Behaviour::IdToken(IdTokenFlaw::OtherEnvironment | IdTokenFlaw::SystemUserIssuer)
            | Behaviour::Jwt(JwtFlaw::WrongIssuer) => R::IssuerMismatch,
            Behaviour::IdToken(IdTokenFlaw::OtherApplication) | Behaviour::Jwt(JwtFlaw::WrongAudience) => {
                R::AudienceMismatch
            }
            Behaviour::IdToken(IdTokenFlaw::TwoApplications) => R::ClaimMalformed("aud"),
            Behaviour::IdToken(IdTokenFlaw::WrongAccessTokenHash) => R::AccessTokenMismatch,
            Behaviour::IdToken(IdTokenFlaw::WrongCodeHash) => R::CodeMismatch,
            Behaviour::Jwt(JwtFlaw::Expired) => R::Expired,
            Behaviour::Jwt(JwtFlaw::NotYetValid) => R::NotYetValid,
            Behaviour::Jwt(JwtFlaw::WithoutExpiry) => R::ClaimMissing("exp"),
            Behaviour::Jwt(JwtFlaw::ExpiryAsString) => R::ClaimMalformed("exp"),
            Behaviour::Jwt(JwtFlaw::WithoutIssuer) => R::ClaimMissing("iss"),
            Behaviour::Jwt(JwtFlaw::WithoutAudience) => R::ClaimMissing("aud"),
            Behaviour::Jwt(JwtFlaw::WrongKid) => R::UnknownKey,
            Behaviour::Jwt(
                JwtFlaw::SignedByAnotherKey | JwtFlaw::BadSignature | JwtFlaw::EmbeddedKey | JwtFlaw::KeyUrl,
            ) => R::SignatureInvalid,
            Behaviour::Jwt(JwtFlaw::AlgNone | JwtFlaw::Unsigned | JwtFlaw::TrailingBytes | JwtFlaw::Garbage) => {
                R::NotThreeParts
            }
            Behaviour::Jwt(JwtFlaw::HmacWithPublicKey) => R::AlgorithmNotAllowed,
            Behaviour::Jwt(JwtFlaw::CriticalHeader) => R::CriticalExtension,
            Behaviour::WrongTenant(WrongTenant::ContextMissing) => R::ClaimMissing("ctx"),
            Behaviour::WrongTenant(
                WrongTenant::ContextArray | WrongTenant::ContextEmpty | WrongTenant::ContextTrailingSpace,
            ) => R::ClaimMalformed("ctx"),
            // What a sign-in does not know of before: the token itself says which tenant and database it is.
            _ => {
                assert!(outcome.is_ok(), "{behaviour:?}: {:?}", outcome.err());
                continue;
            }
        };
        assert_eq!(outcome.err(), Some(expected), "{behaviour:?}");
        refused += 1;
    }
    println!("flawed ID tokens refused: {refused}");
    assert!(refused >= 30);
}

#[tokio::test]
async fn webhooks_verify_and_forgeries_do_not() {
    let scene = Scene::new(ClientAuthentication::Post).await;
    for change in ChangeType::ALL {
        let claims = scene.verify_webhook(&Webhook::new(change, "Cust12345")).await.unwrap();
        assert_eq!(claims.expires, scene.clock.now() + Duration::from_mins(6));
        let again = scene.verify_webhook(&Webhook::new(change, "Cust12345")).await.unwrap();
        assert_ne!(claims.token_id, again.token_id, "two webhooks are two");
    }
    scene.sandbox.change_settings(|settings| settings.webhook_issuer_is_environment = true);
    assert!(scene.verify_webhook(&Webhook::new(ChangeType::Move, "Cust12345")).await.is_ok());
    for (flaw, expected) in [
        (WebhookFlaw::Jwt(JwtFlaw::SignedByAnotherKey), JwtRejection::SignatureInvalid),
        (WebhookFlaw::Jwt(JwtFlaw::BadSignature), JwtRejection::SignatureInvalid),
        (WebhookFlaw::Jwt(JwtFlaw::Expired), JwtRejection::Expired),
        (WebhookFlaw::Jwt(JwtFlaw::WrongIssuer), JwtRejection::IssuerMismatch),
        (WebhookFlaw::Jwt(JwtFlaw::WrongAudience), JwtRejection::AudienceMismatch),
        (WebhookFlaw::Jwt(JwtFlaw::HmacWithPublicKey), JwtRejection::AlgorithmNotAllowed),
        (WebhookFlaw::Jwt(JwtFlaw::Oversized), JwtRejection::TooLarge),
        (WebhookFlaw::WrongTenant(WrongTenant::OtherContext), JwtRejection::ContextIdentifierMismatch),
        (WebhookFlaw::WrongTenant(WrongTenant::ContextSuffix), JwtRejection::ContextIdentifierMismatch),
    ] {
        let outcome = scene.verify_webhook(&Webhook::new(ChangeType::Delete, "Cust12345").flawed(flaw)).await;
        assert_eq!(outcome.err(), Some(expected), "{flaw:?}");
    }
}

#[tokio::test]
async fn an_id_token_is_no_webhook_token() {
    let scene = Scene::new(ClientAuthentication::Post).await;
    let tokens = scene.exchange(&scene.sign_in()).await.unwrap();
    let refreshed = scene.superoffice.refresh_access_token(tokens.refresh_token.as_ref().unwrap()).await.unwrap();
    for id_token in [tokens.id_token.unwrap(), refreshed.id_token.unwrap()] {
        let keys = scene.superoffice.verification_keys(&unverified_header(&id_token).unwrap()).await;
        let profile = WebhookProfile {
            issuer: scene.superoffice.issuer(),
            client_id: &scene.client_id,
            context_identifier: "Cust12345".parse().unwrap(),
            leeway: LEEWAY,
        };
        let outcome = verify_webhook_token(&id_token, &keys, &profile, scene.clock.now());
        assert_eq!(outcome.err(), Some(JwtRejection::PurposeMismatch));
    }
}
