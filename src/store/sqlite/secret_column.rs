//! The only way into and out of the column that holds system user tokens. The column is plain text: sealing it under the
//! tenant and column that it belongs to changes these two functions and no query.

use crate::identifiers::{ContextIdentifier, SystemUserToken};
use crate::store::check_system_user_token;

/// What goes into the column.
pub(super) fn write(_: ContextIdentifier, token: &SystemUserToken) -> Vec<u8> {
    token.expose().as_bytes().to_vec()
}

/// What came out of the column, checked.
pub(super) fn read(_: ContextIdentifier, column: Vec<u8>) -> Result<SystemUserToken, &'static str> {
    let token = SystemUserToken::new(String::from_utf8(column).map_err(|_| "its system user token is not UTF-8")?);
    check_system_user_token(&token).map_err(|_| "its system user token is not valid")?;
    Ok(token)
}
