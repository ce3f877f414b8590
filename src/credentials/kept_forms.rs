use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use crate::identifiers::ClientSecret;
use crate::superoffice::KnownTenant;

/// What the API makes of a ticket's answer, encoded: kept beside the ticket, so that it is made once for all who ask. One
/// form goes to those who may have the client secret, the other to everybody else.
#[derive(Default)]
pub(super) struct KeptForms {
    plain: ArcSwapOption<Form>,
    with_secret: ArcSwapOption<Form>,
}

/// An encoded answer, and what it says besides the ticket. It counts while these two are the same that they were.
struct Form {
    tenant: Arc<KnownTenant>,
    secret: Option<Arc<ClientSecret>>,
    bytes: Bytes,
}

impl KeptForms {
    /// The form that says this of the tenant, and has this secret if any: the one that is kept, or else what `make` makes.
    pub(super) fn get(
        &self,
        tenant: &Arc<KnownTenant>,
        secret: Option<&Arc<ClientSecret>>,
        make: impl FnOnce() -> Bytes,
    ) -> Bytes {
        let place = if secret.is_some() { &self.with_secret } else { &self.plain };
        if let Some(form) = &*place.load()
            && Arc::ptr_eq(&form.tenant, tenant)
            && form.secret.as_ref().map(Arc::as_ptr) == secret.map(Arc::as_ptr)
        {
            return form.bytes.clone();
        }
        let bytes = make();
        let form = Form { tenant: Arc::clone(tenant), secret: secret.cloned(), bytes: bytes.clone() };
        place.store(Some(Arc::new(form)));
        bytes
    }
}

impl fmt::Debug for KeptForms {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeptForms(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::superoffice::{TenantState, TenantStatus};

    fn status() -> Arc<KnownTenant> {
        let (state, now) = (TenantState::Running, Timestamp::UNIX_EPOCH);
        Arc::new(KnownTenant::told(TenantStatus { state, webapi_url: None, valid_until: now }, now))
    }

    fn secret() -> Arc<ClientSecret> {
        Arc::new(ClientSecret::new("secret"))
    }

    #[test]
    fn a_form_is_made_once_for_each_that_it_depends_on() {
        let (forms, mut made) = (KeptForms::default(), 0_u8);
        let (tenant, moved) = (status(), status());
        let (old, new) = (secret(), secret());
        let mut get = |tenant: &Arc<KnownTenant>, secret: Option<&Arc<ClientSecret>>| {
            forms.get(tenant, secret, || {
                made += 1;
                Bytes::copy_from_slice(&[made])
            })[0]
        };
        assert_eq!((get(&tenant, None), get(&tenant, None)), (1, 1));
        assert_eq!((get(&tenant, Some(&old)), get(&tenant, Some(&old)), get(&tenant, None)), (2, 2, 1));
        assert_eq!((get(&tenant, Some(&new)), get(&tenant, Some(&new))), (3, 3), "another secret");
        assert_eq!((get(&moved, None), get(&moved, Some(&new)), get(&moved, None)), (4, 5, 4), "the tenant moved");
    }
}
