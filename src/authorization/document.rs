//! What a policy's file says, read field by field so that every mistake is found at once.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::Limits;
use super::caller_pattern::CallerPattern;
use super::method::Method;
use super::mistake::{Mistake, Problem, nearest};
use super::reader::{Fields, Reader};
use super::yaml::{self, Field, Node, Value};
use crate::identifiers::{CallerId, ContextIdentifier};

/// What `apiVersion` has to say.
const VERSION: &str = "policy/v1";
/// The largest number in `limits`.
const MAX_LIMIT: u32 = 1_000_000;
const MAX_NAME: usize = 64;

const POLICY: &[&str] = &["apiVersion", "limits", "callers", "groups"];
const ENTRY: &[&str] =
    &["name", "id", "serviceAccount", "dns", "unixUser", "unidentified", "rpcs", "tenants", "limits", "appToken"];
const DOORS: &[&str] = &["id", "serviceAccount", "dns", "unixUser", "unidentified"];
const LIMITS: &[&str] = &["rps", "burst"];

const NAME: &str = "a name of 1 to 64 letters, digits, dots, hyphens and underscores";
const SPIFFE_ID: &str = "a SPIFFE ID, spiffe://TRUST_DOMAIN/PATH, whose end may be /* for all below";
const RPCS: &str = "a list of RPCs, like [GetSystemTicket]";
const TENANTS: &str = "a list of tenants like Cust12345 and groups like \"group:nordic\", or [\"*\"]";

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) entries: Vec<Entry>,
    pub(super) groups: Vec<Group>,
    pub(super) limits: Option<Limits>,
}

/// One of `callers`.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its name, or its place.
    pub(super) rule: Arc<str>,
    pub(super) line: usize,
    pub(super) callers: Vec<CallerPattern>,
    pub(super) methods: Vec<Method>,
    pub(super) tenants: Tenants,
    pub(super) limits: Option<Limits>,
    pub(super) app_token: bool,
}

/// For which tenants.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    pub(super) every: bool,
    pub(super) named: Vec<ContextIdentifier>,
    /// Places in [`Document::groups`].
    pub(super) groups: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) tenants: Vec<ContextIdentifier>,
}

/// Reads it, or tells everything that is wrong with it.
pub(super) fn read(text: &str) -> Result<Document, Vec<Mistake>> {
    let mut policy = PolicyReader::default();
    let document = yaml::read(text, &mut policy.reader.mistakes).map(|root| policy.document(&root));
    policy.reader.finish(document)
}

/// Reads a policy: the groups first, since entries name them.
#[derive(Debug, Default)]
struct PolicyReader {
    reader: Reader,
    groups: Vec<Group>,
    /// Where in `groups` each is.
    places: HashMap<String, usize>,
    /// The lines of entries' names.
    names: HashMap<String, usize>,
}

impl PolicyReader {
    fn document(&mut self, root: &Node) -> Document {
        let Some(fields) = self.reader.fields(root, String::new(), POLICY) else { return Document::default() };
        let expected = || format!("apiVersion: {VERSION}");
        if let Some(version) = self.reader.required(&fields, "apiVersion", &expected())
            && !matches!(&version.value, Value::Text(text) if text == VERSION)
        {
            self.reader.expected(version, "apiVersion", &expected());
        }
        let limits = fields.get("limits").and_then(|node| self.limits(node, "limits".to_owned()));
        if let Some(groups) = fields.get("groups") {
            self.read_groups(groups);
        }
        let mut entries = Vec::new();
        if let Some(callers) = self.reader.required(&fields, "callers", "a list of callers and what they may do") {
            let nodes =
                self.reader.list(callers, "callers", "a list of callers and what they may do").unwrap_or_default();
            for (index, node) in nodes.iter().enumerate() {
                if self.reader.mistakes.is_full() {
                    break;
                }
                entries.extend(self.entry(node, index));
            }
        }
        Document { entries, groups: std::mem::take(&mut self.groups), limits }
    }

    fn read_groups(&mut self, node: &Node) {
        let Value::Mapping(groups) = &node.value else {
            return self.reader.expected(node, "groups", "names of groups, each with a list of tenants");
        };
        let mut lines = HashMap::new();
        for Field { line, name, node } in groups {
            if !is_name(name) {
                self.reader.note(*line, "groups", Problem::Expected(NAME.to_owned()));
                continue;
            }
            let path = format!("groups.{name}");
            if let Some(first) = lines.get(name) {
                self.reader.note(*line, path, Problem::Twice { first: *first });
                continue;
            }
            lines.insert(name, *line);
            let expected = "a list of tenants, like [Cust12345]";
            let nodes = self.reader.list(node, &path, expected).unwrap_or_default();
            let tenants = self.reader.each(nodes, &path, "a tenant like Cust12345", |text| text.parse().ok());
            self.places.insert(name.clone(), self.groups.len());
            self.groups.push(Group { name: name.clone(), tenants });
        }
    }

    fn entry(&mut self, node: &Node, index: usize) -> Option<Entry> {
        let fields = self.reader.fields(node, format!("callers[{index}]"), ENTRY)?;
        let name = fields.get("name").and_then(|node| self.name(node, fields.path("name")));
        let tenants = self.tenants(&fields);
        let entry = Entry {
            rule: name.unwrap_or_else(|| fields.path.clone()).into(),
            line: fields.line,
            callers: self.callers(&fields),
            methods: self.methods(&fields),
            tenants: tenants.unwrap_or_default(),
            limits: fields.get("limits").and_then(|node| self.limits(node, fields.path("limits"))),
            app_token: fields.get("appToken").and_then(|node| self.reader.switch(node, fields.path("appToken")))
                == Some(true),
        };
        if entry.methods.iter().any(|method| method.is_about_every_tenant()) && !entry.tenants.every {
            let why = "ListTenants tells about every tenant: grant it in an entry with tenants: [\"*\"]";
            self.reader.note(fields.line, fields.path("rpcs"), Problem::Conflict(why));
        }
        Some(entry)
    }

    fn name(&mut self, node: &Node, path: String) -> Option<String> {
        let name = self.reader.text(node, path.clone(), NAME, |text| is_name(text).then(|| text.to_owned()))?;
        if let Some(first) = self.names.insert(name.clone(), node.line) {
            self.reader.note(node.line, path, Problem::Twice { first });
        }
        Some(name)
    }

    /// Those whom an entry names: the same caller at different doors.
    fn callers(&mut self, fields: &Fields<'_>) -> Vec<CallerPattern> {
        if !DOORS.iter().any(|door| fields.get(door).is_some()) {
            let expected = "whom it is about: id, serviceAccount, dns, unixUser or unidentified";
            self.reader.note(fields.line, fields.path.clone(), Problem::Missing(expected.to_owned()));
        }
        let mut callers = Vec::new();
        if let Some(node) = fields.get("id") {
            callers.extend(self.reader.text(node, fields.path("id"), SPIFFE_ID, CallerPattern::spiffe));
        }
        if let Some(node) = fields.get("serviceAccount") {
            let account = |text: &str| text.parse().ok().map(CallerId::ServiceAccount);
            let account =
                self.reader.text(node, fields.path("serviceAccount"), "a service account, NAMESPACE/NAME", account);
            callers.extend(account.map(CallerPattern::Exactly));
        }
        if let Some(node) = fields.get("dns") {
            let dns = self.reader.text(node, fields.path("dns"), "a DNS name in lower case", CallerPattern::dns);
            callers.extend(dns);
        }
        if let Some(node) = fields.get("unixUser") {
            let user = self.reader.number(node, fields.path("unixUser"), 0, u32::MAX);
            callers.extend(user.map(|user| CallerPattern::Exactly(CallerId::UnixUser(user))));
        }
        if let Some(node) = fields.get("unidentified") {
            match self.reader.switch(node, fields.path("unidentified")) {
                Some(true) => callers.push(CallerPattern::Exactly(CallerId::Unidentified)),
                Some(false) => self.reader.expected(node, fields.path("unidentified"), "true, or the field left out"),
                None => {}
            }
        }
        callers
    }

    fn methods(&mut self, fields: &Fields<'_>) -> Vec<Method> {
        let path = fields.path("rpcs");
        let Some(nodes) = self.reader.required_list(fields, "rpcs", RPCS) else { return Vec::new() };
        let mut methods = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let path = format!("{path}[{index}]");
            methods.extend(method(&mut self.reader, node, path).map(|method| (method, node.line)));
        }
        self.reader.once(methods, &path)
    }

    fn tenants(&mut self, fields: &Fields<'_>) -> Option<Tenants> {
        let path = fields.path("tenants");
        let nodes = self.reader.required_list(fields, "tenants", TENANTS)?;
        let (mut named, mut groups, mut every) = (Vec::new(), Vec::new(), false);
        for (index, node) in nodes.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let expected = "a tenant like Cust12345, a group like \"group:nordic\", or \"*\"";
            let Some(text) = self.reader.any_text(node, &path, expected) else { continue };
            if text == "*" {
                every = true;
                if nodes.len() > 1 {
                    self.reader.note(node.line, path, Problem::Conflict("\"*\" is every tenant: it stands alone"));
                }
            } else if let Some(group) = text.strip_prefix("group:") {
                if let Some(group) = self.places.get(group) {
                    groups.push((*group, node.line));
                } else {
                    let suggestion = nearest(self.groups.iter().map(|known| known.name.as_str()), group);
                    self.reader.note(node.line, path, Problem::UnknownGroup { suggestion });
                }
            } else {
                match text.parse::<ContextIdentifier>() {
                    Ok(tenant) => named.push((tenant, node.line)),
                    Err(_) => self.reader.expected(node, path, expected),
                }
            }
        }
        Some(Tenants { every, named: self.reader.once(named, &path), groups: self.reader.once(groups, &path) })
    }

    fn limits(&mut self, node: &Node, path: String) -> Option<Limits> {
        let fields = self.reader.fields(node, path, LIMITS)?;
        let mut limit = |name| {
            let expected = format!("a whole number from 1 to {MAX_LIMIT}");
            let node = self.reader.required(&fields, name, &expected)?;
            NonZeroU32::new(self.reader.number(node, fields.path(name), 1, MAX_LIMIT)?)
        };
        let (rps, burst) = (limit("rps"), limit("burst"));
        Some(Limits { rps: rps?, burst: burst? })
    }
}

/// An RPC by its name.
pub(super) fn method(reader: &mut Reader, node: &Node, path: String) -> Option<Method> {
    let text = reader.any_text(node, &path, "the name of an RPC")?;
    let method = Method::named(text);
    if method.is_none() {
        let problem = if text == "*" {
            let why = "there is no \"*\" for RPCs: name each, so that nobody gets one that is not there yet";
            Problem::Conflict(why)
        } else {
            Problem::UnknownRpc { suggestion: nearest(Method::ALL.iter().map(|method| method.name()), text) }
        };
        reader.note(node.line, path, problem);
    }
    method
}

fn is_name(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(inside)
}
