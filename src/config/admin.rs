use super::kind::socket_address;
use super::reader::{Checked, Reader};
use crate::admin::Settings;

/// Where the admin port is. There is none without an address.
pub(super) fn read(reader: &mut Reader) -> Checked<Option<Settings>> {
    let address = reader.section("admin").optional("address", socket_address())?;
    Ok(address.map(|address| Settings { address }))
}
