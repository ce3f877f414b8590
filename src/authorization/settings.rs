use std::path::PathBuf;

use super::Policy;

/// Which policy counts.
#[derive(Debug)]
pub struct Settings {
    /// Where it came from, if from a file.
    pub policy_file: Option<PathBuf>,
    /// What it says.
    pub policy: Policy,
}

impl Settings {
    /// [`Policy::development`], and no file.
    pub fn development() -> Self {
        Self { policy_file: None, policy: Policy::development() }
    }
}
