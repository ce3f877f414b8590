use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// One of SuperOffice's three online environments. Tokens, keys and tenants of one mean nothing in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Environment {
    /// Development, `sod.superoffice.com`.
    Sod,
    /// Stage, `qaonline.superoffice.com`.
    Qaonline,
    /// Production, `online.superoffice.com`.
    Online,
}

/// The text names no environment.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("an environment is one of sod (development), qaonline (stage) and online (production)")]
pub struct UnknownEnvironment;

impl Environment {
    /// Every environment, for help texts and tests.
    pub const ALL: [Self; 3] = [Self::Sod, Self::Qaonline, Self::Online];

    /// The sub-domain that authenticates: numbered sub-domains serve tenants and never authenticate.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sod => "sod",
            Self::Qaonline => "qaonline",
            Self::Online => "online",
        }
    }
}

impl FromStr for Environment {
    type Err = UnknownEnvironment;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|environment| environment.as_str() == text).ok_or(UnknownEnvironment)
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_three_names_parse() {
        for environment in Environment::ALL {
            assert_eq!(environment.to_string().parse(), Ok(environment));
        }
        for wrong in ["", "stage", "qastage", "SOD", "online.attacker.example", "sod2"] {
            assert_eq!(wrong.parse::<Environment>(), Err(UnknownEnvironment), "{wrong}");
        }
    }
}
