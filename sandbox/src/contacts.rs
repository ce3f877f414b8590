//! The companies in a tenant's database.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::users::SandboxUser;

/// A company that was made over a tenant's Web API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxContact {
    /// Its number in the tenant.
    pub contact_id: u32,
    /// Its name.
    pub name: String,
    /// Who made it.
    pub created_by: Caller,
}

/// In whose name a tenant's Web API is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The application's own: it came with a ticket.
    SystemUser,
    /// A user's: it came with the access token of one who signed in.
    User(SandboxUser),
}

/// A row of the contact table.
#[derive(Clone)]
pub(crate) struct Contact {
    pub(crate) id: u32,
    pub(crate) name: String,
    /// The members besides those that the database fills in, as they were posted.
    pub(crate) posted: Map<String, Value>,
    pub(crate) created: Timestamp,
    pub(crate) created_by: Caller,
}

#[derive(Clone, Default)]
pub(crate) struct Contacts(Vec<Contact>);

/// Bounds the memory of one tenant.
const CAPACITY: usize = 10_000;

impl Contacts {
    /// Adds a row; nothing when the table is full.
    pub(crate) fn add(
        &mut self,
        name: &str,
        posted: Map<String, Value>,
        created_by: Caller,
        now: Timestamp,
    ) -> Option<&Contact> {
        if self.0.len() >= CAPACITY {
            return None;
        }
        // The first is the company of the tenant itself, which is not kept here.
        let id = u32::try_from(self.0.len()).ok()?.checked_add(2)?;
        self.0.push(Contact { id, name: name.to_owned(), posted, created: now, created_by });
        self.0.last()
    }

    pub(crate) fn find(&self, contact_id: &str) -> Option<&Contact> {
        let id: u32 = contact_id.parse().ok()?;
        self.0.iter().find(|contact| contact.id == id)
    }

    pub(crate) fn all(&self) -> &[Contact] {
        &self.0
    }
}

impl From<&Contact> for SandboxContact {
    fn from(contact: &Contact) -> Self {
        Self { contact_id: contact.id, name: contact.name.clone(), created_by: contact.created_by.clone() }
    }
}
