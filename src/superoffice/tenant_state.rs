use std::fmt;

use serde_json::Value;

/// What a tenant can be in, by the names and numbers of SuperOffice's state API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TenantState {
    /// SuperOffice does not know, or says something that is not documented.
    Unknown,
    /// It is being set up.
    Provisioning,
    /// It can be used.
    Running,
    /// It is gone.
    Deleted,
    /// Its APIs are switched off; the customer may come back.
    Suspended,
    /// It is being worked on and can be used.
    OnlineMaintenance,
    /// It is being worked on and cannot be used.
    OfflineMaintenance,
    /// It could not be set up.
    ProvisioningFailed,
    /// It is being deleted.
    Deleting,
    /// It could not be deleted.
    DeleteFailed,
    /// It waits for its move.
    MigrationPending,
}

impl TenantState {
    /// Every state with its number in SuperOffice's documentation; 7 and 9 do not exist.
    const NUMBERED: [(Self, u64); 11] = [
        (Self::Unknown, 0),
        (Self::Provisioning, 1),
        (Self::Running, 2),
        (Self::Deleted, 3),
        (Self::Suspended, 4),
        (Self::OnlineMaintenance, 5),
        (Self::OfflineMaintenance, 6),
        (Self::ProvisioningFailed, 8),
        (Self::Deleting, 10),
        (Self::DeleteFailed, 11),
        (Self::MigrationPending, 12),
    ];

    /// The name in SuperOffice's documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::Provisioning => "Provisioning",
            Self::Running => "Running",
            Self::Deleted => "Deleted",
            Self::Suspended => "Suspended",
            Self::OnlineMaintenance => "OnlineMaintenance",
            Self::OfflineMaintenance => "OfflineMaintenance",
            Self::ProvisioningFailed => "ProvisioningFailed",
            Self::Deleting => "Deleting",
            Self::DeleteFailed => "DeleteFailed",
            Self::MigrationPending => "MigrationPending",
        }
    }

    /// Every state.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        Self::NUMBERED.into_iter().map(|(state, _)| state)
    }

    /// A short name out of a fixed set, for metrics.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Provisioning => "provisioning",
            Self::Running => "running",
            Self::Deleted => "deleted",
            Self::Suspended => "suspended",
            Self::OnlineMaintenance => "online_maintenance",
            Self::OfflineMaintenance => "offline_maintenance",
            Self::ProvisioningFailed => "provisioning_failed",
            Self::Deleting => "deleting",
            Self::DeleteFailed => "delete_failed",
            Self::MigrationPending => "migration_pending",
        }
    }

    /// Whether its APIs can be used (`IsRunning`).
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running | Self::OnlineMaintenance)
    }

    /// From a name in any case, a number, or a number in a string.
    pub(super) fn from_json(value: &Value) -> Self {
        let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
        let is_meant = |state: Self, its_number| {
            number == Some(its_number)
                || value.as_str().is_some_and(|name| name.trim().eq_ignore_ascii_case(state.as_str()))
        };
        let found = Self::NUMBERED.into_iter().find(|(state, its_number)| is_meant(*state, *its_number));
        found.map_or(Self::Unknown, |(state, _)| state)
    }
}

impl fmt::Display for TenantState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_known_by_name_and_by_number() {
        for (state, number) in TenantState::NUMBERED {
            for value in [
                Value::from(state.to_string()),
                Value::from(state.to_string().to_uppercase()),
                Value::from(number),
                Value::from(number.to_string()),
            ] {
                assert_eq!(TenantState::from_json(&value), state, "{value}");
            }
        }
        for value in [
            Value::from(7),
            Value::from(9),
            Value::from(-1),
            Value::from(2.5),
            Value::from("Runningx"),
            Value::from(""),
        ] {
            assert_eq!(TenantState::from_json(&value), TenantState::Unknown, "{value}");
        }
    }
}
