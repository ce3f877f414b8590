use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::JwtRejection;

/// The members of a JSON object, each there once. Two readers of a token with a repeated member may take different
/// ones of the two for true, so such a token means nothing.
pub(super) struct JsonObject(BTreeMap<String, Value>);

impl JsonObject {
    /// Reads an object; what is no object, or has something after it, is `malformed`.
    pub(super) fn read(json: &[u8], malformed: JwtRejection) -> Result<Self, JwtRejection> {
        match serde_json::from_slice(json).map_err(|_| malformed)? {
            Members { members, repeated: false } => Ok(Self(members)),
            Members { repeated: true, .. } => Err(JwtRejection::MemberRepeated),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

#[derive(Default)]
struct Members {
    members: BTreeMap<String, Value>,
    repeated: bool,
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Members::default();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            members.repeated |= members.members.insert(name, value).is_some();
        }
        Ok(members)
    }
}
