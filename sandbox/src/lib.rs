//! SuperOffice's side of the system user flow, for tests and for trying things out.
//!
//! The sandbox answers on real loopback sockets: the login host (exchange of signed system user tokens, sign-in and
//! OAuth tokens, JWKS, discovery, tenant state) and a number of tenant hosts (the Web API that wants the ticket). It checks
//! signatures, makes tickets and signs JWTs as SuperOffice does, as far as that is publicly known. Nothing in it can
//! reach or imitate the real service: its keys are throwaway, and it binds loopback addresses only.
//!
//! [`Settings`] say how SuperOffice is; a [`Behaviour`] says what goes wrong. Both can be changed while it runs, from
//! Rust through [`Sandbox`] and from anywhere else over its control API.
//!
//! A request's way: `listener` accepts it, `answers` finds its route, asks `knobs` what goes wrong with it, and lets one
//! of the files in `answers/` make the true answer from the `world`; `delivery` spoils it where a behaviour says so.

mod answers;
mod behaviour;
mod builder;
mod clock;
mod codes;
mod contacts;
mod control;
mod delivery;
mod duration;
mod endpoint;
mod id_token;
mod jwt;
mod jwt_flaw;
mod keys;
mod knobs;
mod listener;
mod names;
mod parameters;
mod partner_key;
mod sandbox;
mod seen_secrets;
mod settings;
mod sign_in;
mod signed_token;
mod tenants;
mod tls;
mod traffic;
mod users;
mod webhook;
mod world;

pub use behaviour::{Behaviour, CannedAnswer, Knob, KnobError, Refusal};
pub use builder::{Builder, StartError, ThrowawayPartnerKey};
pub use clock::SandboxClock;
pub use contacts::{Caller, SandboxContact};
pub use endpoint::Endpoint;
pub use jwt_flaw::{IdTokenFlaw, JwtFlaw, WrongTenant};
pub use keys::{KeyRotation, SigningKeyError};
pub use knobs::KnobId;
pub use partner_key::PartnerKeyError;
pub use sandbox::{Sandbox, UnknownTenant};
pub use seen_secrets::SeenSecrets;
pub use settings::{Settings, SettingsError};
pub use sign_in::SignInError;
pub use tenants::{SandboxTenant, TenantState};
pub use traffic::RequestRecord;
pub use users::SandboxUser;
pub use webhook::{ChangeType, Webhook, WebhookError, WebhookFlaw};
