//! `v1/Contact`: companies, listed, read and made. The members are some of `ContactEntity`'s published ones.

use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::super::json_answer;
use super::error;
use crate::contacts::{Caller, Contact};
use crate::tenants::Tenant;
use crate::world::{World, lock};

/// What the database fills in, whatever is posted.
const FILLED_IN: [&str; 6] = ["ContactId", "Name", "CreatedDate", "UpdatedDate", "CreatedBy", "UpdatedBy"];

/// The list, as `OData` has it.
pub(super) fn list(tenant: &Tenant, url: &str) -> Response {
    let rows: Vec<Value> = tenant.contacts.all().iter().map(row).collect();
    let list = json!({ "odata.metadata": format!("{url}$metadata"), "odata.nextLink": null, "value": rows });
    json_answer(StatusCode::OK, &list)
}

pub(super) fn read(tenant: &Tenant, contact_id: &str) -> Response {
    match tenant.contacts.find(contact_id) {
        Some(contact) => json_answer(StatusCode::OK, &entity(tenant, contact)),
        None => error(StatusCode::NOT_FOUND, "SoNotFoundException", "There is no such contact."),
    }
}

/// Makes a company of what is posted.
pub(super) fn create(world: &World, tenant: &Tenant, caller: Caller, body: &[u8]) -> Response {
    let Ok(mut posted) = serde_json::from_slice::<Map<String, Value>>(body) else {
        return error(StatusCode::BAD_REQUEST, "SoException", "The body is no JSON object.");
    };
    let Some(name) = posted.get("Name").and_then(Value::as_str).map(str::to_owned).filter(|name| !name.is_empty())
    else {
        return error(StatusCode::BAD_REQUEST, "SoException", "A contact has to have a Name.");
    };
    posted.retain(|member, _| !FILLED_IN.contains(&member.as_str()));
    let mut tenants = lock(&world.tenants);
    let contacts = tenants.find_mut(&tenant.context_identifier).map(|tenant| &mut tenant.contacts);
    match contacts.and_then(|contacts| contacts.add(&name, posted, caller, world.clock.now())) {
        Some(contact) => json_answer(StatusCode::OK, &entity(tenant, contact)),
        None => error(StatusCode::INTERNAL_SERVER_ERROR, "SoException", "The sandbox keeps no more contacts."),
    }
}

fn row(contact: &Contact) -> Value {
    json!({
        "PrimaryKey": contact.id.to_string(),
        "EntityName": "contact",
        "contactId": contact.id,
        "name": contact.name,
    })
}

fn entity(tenant: &Tenant, contact: &Contact) -> Value {
    let created = time(contact.created);
    let by = associate(tenant, &contact.created_by);
    let mut entity = json!({
        "ContactId": contact.id,
        "Name": contact.name,
        "Department": "",
        "OrgNr": "",
        "Number1": "",
        "Number2": "",
        "CreatedDate": created,
        "UpdatedDate": created,
        "CreatedBy": by,
        "UpdatedBy": by,
    });
    if let Value::Object(members) = &mut entity {
        members.extend(contact.posted.clone());
    }
    entity
}

fn associate(tenant: &Tenant, caller: &Caller) -> Value {
    let (number, name, kind) = match caller {
        Caller::SystemUser => (SYSTEM_USER, format!("System user of {}", tenant.context_identifier), "SystemAssociate"),
        Caller::User(user) => (user.associate_id, user.upn.clone(), "InternalAssociate"),
    };
    json!({ "AssociateId": number, "Name": name, "FullName": name, "Type": kind })
}

/// Its number in the tenant.
const SYSTEM_USER: u32 = 1;

/// As .NET writes a time that has no fraction.
fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
