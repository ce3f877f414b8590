use std::str::FromStr;

use thiserror::Error;

/// How OAuth requests carry the client's id and secret. SuperOffice takes both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// `client_secret_post`: in the body.
    #[default]
    Post,
    /// `client_secret_basic`: in the `Authorization` header.
    Basic,
}

/// The text names no way to authenticate.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("client authentication is \"post\" or \"basic\"")]
pub struct UnknownClientAuthentication;

impl FromStr for ClientAuthentication {
    type Err = UnknownClientAuthentication;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "post" => Ok(Self::Post),
            "basic" => Ok(Self::Basic),
            _ => Err(UnknownClientAuthentication),
        }
    }
}
