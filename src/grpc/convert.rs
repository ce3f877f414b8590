//! Between the wire's messages and the domain's types. Nothing a caller sends panics here.

mod pages;
mod requests;
mod sign_ins;
mod tickets;

use jiff::Timestamp;

pub(super) use self::pages::{grants_page, grants_page_token, page, page_size, page_token, tenant};
pub(super) use self::requests::{
    GrantOf, InvalidRequest, context_identifier, context_identifiers, fingerprint, grant_of, min_validity,
    optional_context_identifier, system_user_token, user,
};
pub(super) use self::sign_ins::{begun_sign_in, sign_in_answer, sign_in_request, signed_in};
pub(super) use self::tickets::{
    access_token, change_by_invalidation, framed_system_ticket, invalidate_outcome, system_ticket,
    system_ticket_outcome,
};

/// The wire counts nanoseconds forward from whole seconds, jiff towards zero: they differ before 1970.
fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let nanos = time.subsec_nanosecond();
    if nanos < 0 {
        prost_types::Timestamp { seconds: time.as_second() - 1, nanos: nanos + 1_000_000_000 }
    } else {
        prost_types::Timestamp { seconds: time.as_second(), nanos }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn times_of_either_sign_keep_their_value(seconds in -60_000_000_000_i64..250_000_000_000, nanos in 0..1_000_000_000_i32) {
            let time = Timestamp::from_nanosecond(i128::from(seconds) * 1_000_000_000 + i128::from(nanos)).unwrap();
            prop_assert_eq!(timestamp(time), prost_types::Timestamp { seconds, nanos });
        }
    }
}
