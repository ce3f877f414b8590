//! The JSON schema that is shipped, beside the parser.

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Map, Value as Json, json};

use super::super::Method;
use super::super::yaml::{self, Mistakes, Node, Value};

const SCHEMA: &str = include_str!("../../../docs/policy.schema.json");
const CHART: &str = include_str!("../../../helm/ticketd/values.schema.json");

pub(super) struct Schema {
    schemas: Schemas,
    policy: SchemaIndex,
}

impl Schema {
    pub(super) fn new() -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("policy.json", serde_json::from_str(SCHEMA).unwrap()).unwrap();
        let policy = compiler.compile("policy.json", &mut schemas).unwrap();
        Self { schemas, policy }
    }

    /// Why it refuses the text, which is YAML.
    pub(super) fn refuses(&self, text: &str) -> Option<String> {
        let mut mistakes = Mistakes::default();
        let value = yaml::read(text, &mut mistakes).map(|node| json_of(&node)).expect("this is YAML");
        self.schemas.validate(&value, self.policy).err().map(|error| error.to_string())
    }
}

fn json_of(node: &Node) -> Json {
    match &node.value {
        Value::Text(text) => json!(text),
        // What YAML takes for no text is JSON as it stands here.
        Value::Bare(text) => serde_json::from_str(text).unwrap_or(Json::Null),
        Value::List(nodes) => nodes.iter().map(json_of).collect(),
        Value::Mapping(fields) => {
            Json::Object(fields.iter().map(|field| (field.name.clone(), json_of(&field.node))).collect::<Map<_, _>>())
        }
        Value::Unusable => Json::Null,
    }
}

#[test]
fn the_schema_knows_every_rpc() {
    let schema: Json = serde_json::from_str(SCHEMA).unwrap();
    let rpcs = &schema["properties"]["callers"]["items"]["properties"]["rpcs"]["items"]["enum"];
    assert_eq!(rpcs, &json!(Method::ALL.map(Method::name)));
}

#[test]
fn the_charts_schema_of_a_policy_is_the_same() {
    let (mut schema, chart): (Json, Json) =
        (serde_json::from_str(SCHEMA).unwrap(), serde_json::from_str(CHART).unwrap());
    for name in ["$schema", "$id", "title", "description"] {
        schema.as_object_mut().unwrap().remove(name);
    }
    let policy = &chart["properties"]["policy"]["anyOf"];
    assert_eq!(policy[0], json!({"type": "object", "maxProperties": 0}), "no policy");
    assert_eq!(policy[1], schema);
}
