use std::path::PathBuf;

use super::Subject;
use crate::authorization::{Policy, PolicyInForce};

/// Has the policy in force follow its file.
pub(in crate::server) fn policy(in_force: PolicyInForce, file: PathBuf) -> Subject {
    Subject::new("policy", vec![file.clone()], move || Policy::read(&file), move |policy| in_force.replace(policy))
}
