use std::fmt;

/// What a caller can ask for: every RPC of our API. Health and reflection are nobody's to grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `TicketService.GetSystemTicket`.
    GetSystemTicket,
    /// `TicketService.BatchGetSystemTickets`.
    BatchGetSystemTickets,
    /// `TicketService.WatchSystemTickets`.
    WatchSystemTickets,
    /// `TicketService.InvalidateSystemTicket`.
    InvalidateSystemTicket,
    /// `TicketService.RefreshAccessToken`.
    RefreshAccessToken,
    /// `AuthorizationService.CreateAuthorizationUrl`.
    CreateAuthorizationUrl,
    /// `AuthorizationService.ExchangeAuthorizationCode`.
    ExchangeAuthorizationCode,
    /// `TenantService.PutTenant`.
    PutTenant,
    /// `TenantService.GetTenant`.
    GetTenant,
    /// `TenantService.ListTenants`.
    ListTenants,
    /// `TenantService.DeleteTenant`.
    DeleteTenant,
    /// `TenantService.ListGrants`.
    ListGrants,
    /// `TenantService.RevokeGrant`.
    RevokeGrant,
}

/// Which tenants an entry has to hold for a call that names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WithoutTenant {
    /// Every one: the call is about all of them.
    Every,
    /// Any: which one it is comes out later, and is checked then.
    Any,
}

impl Method {
    /// Every one of them.
    pub const ALL: [Self; 13] = [
        Self::GetSystemTicket,
        Self::BatchGetSystemTickets,
        Self::WatchSystemTickets,
        Self::InvalidateSystemTicket,
        Self::RefreshAccessToken,
        Self::CreateAuthorizationUrl,
        Self::ExchangeAuthorizationCode,
        Self::PutTenant,
        Self::GetTenant,
        Self::ListTenants,
        Self::DeleteTenant,
        Self::ListGrants,
        Self::RevokeGrant,
    ];

    /// Its name in the proto, and in a policy.
    pub fn name(self) -> &'static str {
        self.full_name().rsplit_once('/').map_or("", |(_, name)| name)
    }

    /// `package.Service/Name`, as calls spell it.
    pub fn full_name(self) -> &'static str {
        match self {
            Self::GetSystemTicket => "superoffice.ticket.v1.TicketService/GetSystemTicket",
            Self::BatchGetSystemTickets => "superoffice.ticket.v1.TicketService/BatchGetSystemTickets",
            Self::WatchSystemTickets => "superoffice.ticket.v1.TicketService/WatchSystemTickets",
            Self::InvalidateSystemTicket => "superoffice.ticket.v1.TicketService/InvalidateSystemTicket",
            Self::RefreshAccessToken => "superoffice.ticket.v1.TicketService/RefreshAccessToken",
            Self::CreateAuthorizationUrl => "superoffice.ticket.v1.AuthorizationService/CreateAuthorizationUrl",
            Self::ExchangeAuthorizationCode => "superoffice.ticket.v1.AuthorizationService/ExchangeAuthorizationCode",
            Self::PutTenant => "superoffice.ticket.v1.TenantService/PutTenant",
            Self::GetTenant => "superoffice.ticket.v1.TenantService/GetTenant",
            Self::ListTenants => "superoffice.ticket.v1.TenantService/ListTenants",
            Self::DeleteTenant => "superoffice.ticket.v1.TenantService/DeleteTenant",
            Self::ListGrants => "superoffice.ticket.v1.TenantService/ListGrants",
            Self::RevokeGrant => "superoffice.ticket.v1.TenantService/RevokeGrant",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// Whether it administers tenants, rather than use them.
    pub fn is_admin(self) -> bool {
        match self {
            Self::GetSystemTicket
            | Self::BatchGetSystemTickets
            | Self::WatchSystemTickets
            | Self::InvalidateSystemTicket
            | Self::RefreshAccessToken
            | Self::CreateAuthorizationUrl
            | Self::ExchangeAuthorizationCode => false,
            Self::PutTenant
            | Self::GetTenant
            | Self::ListTenants
            | Self::DeleteTenant
            | Self::ListGrants
            | Self::RevokeGrant => true,
        }
    }

    pub(super) fn without_tenant(self) -> WithoutTenant {
        match self {
            Self::CreateAuthorizationUrl | Self::ExchangeAuthorizationCode => WithoutTenant::Any,
            _ => WithoutTenant::Every,
        }
    }

    /// Whether no call of it names a tenant, and it is about all of them.
    pub(super) fn is_about_every_tenant(self) -> bool {
        self == Self::ListTenants
    }

    /// Its place in [`ALL`](Self::ALL).
    pub(super) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::grpc::proto::FILE_DESCRIPTOR_SET;

    #[test]
    fn every_rpc_of_our_protos_has_its_place() {
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let ours = set.file.iter().filter(|file| file.package() == "superoffice.ticket.v1");
        let services = ours.flat_map(|file| file.service.iter().map(|service| (file.package(), service)));
        let rpcs: BTreeSet<_> = services
            .flat_map(|(package, service)| {
                service.method.iter().map(move |method| format!("{package}.{}/{}", service.name(), method.name()))
            })
            .collect();
        let placed: BTreeSet<_> = Method::ALL.into_iter().map(|method| method.full_name().to_owned()).collect();
        assert_eq!(rpcs, placed, "say in authorization::Method what a policy calls it, and whether it administers");
    }

    #[test]
    fn names_are_found_and_indices_are_places() {
        for (index, method) in Method::ALL.into_iter().enumerate() {
            assert_eq!((Method::named(method.name()), method.index()), (Some(method), index));
            assert_eq!(method.is_admin(), method.full_name().contains(".TenantService/"));
        }
        for none in ["", "*", "getSystemTicket", "TicketService/GetSystemTicket", "Check"] {
            assert_eq!(Method::named(none), None);
        }
    }
}
