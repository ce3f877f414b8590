//! Who may ask for what: one policy, read from a file and compiled so that a decision takes well under a microsecond.
//!
//! What no entry allows is denied, and there is nothing else that denies: any entry that allows a call allows it. This
//! module knows neither calls nor connections: who a caller is comes from elsewhere.

mod caller_pattern;
mod cases;
mod document;
mod explanation;
mod file;
mod grants;
mod in_force;
mod method;
mod mistake;
mod pace;
mod policy;
mod reader;
mod settings;
#[cfg(test)]
mod tests;
mod yaml;

pub use cases::Cases;
pub use explanation::Explanation;
pub use in_force::PolicyInForce;
pub use method::Method;
pub use mistake::{Mistake, PolicyError, Problem};
pub use pace::{Pace, Uncounted};
pub use policy::{Decision, Limits, Permit, Policy};
pub use settings::Settings;
