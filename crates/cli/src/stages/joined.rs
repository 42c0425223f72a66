//! A stage's own keys and a library's settings in one flat table.
//!
//! Serde's `flatten` would do the same, but with it neither side may deny unknown keys. Here the schema of both sides is
//! merged, against which a table's mistakes are found with their places, and the keys are then handed to their side.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// `own` and `settings`, written as one table. Where both know a key, it is `own`'s.
#[derive(Debug, Clone)]
pub(crate) struct Joined<A, B> {
    /// The stage's own keys.
    pub(crate) own: A,
    /// The library's settings.
    pub(crate) settings: B,
}

impl<'de, A, B> Deserialize<'de> for Joined<A, B>
where
    A: DeserializeOwned + JsonSchema,
    B: DeserializeOwned,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let keys = Map::deserialize(deserializer)?;
        let schema = SchemaGenerator::default().into_root_schema_for::<A>();
        let known = |key: &str| schema.get("properties").and_then(|p| p.get(key)).is_some();
        let (own, rest): (Map<_, _>, Map<_, _>) = keys.into_iter().partition(|(key, _)| known(key));
        let own = serde_json::from_value(Value::Object(own)).map_err(D::Error::custom)?;
        let settings = serde_json::from_value(Value::Object(rest)).map_err(D::Error::custom)?;
        Ok(Self { own, settings })
    }
}

impl<A: Serialize, B: Serialize> Serialize for Joined<A, B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error as _;
        let object = |value: Result<Value, serde_json::Error>| match value {
            Ok(Value::Object(map)) => Ok(map),
            Ok(_) => Err(S::Error::custom("a table's settings are an object")),
            Err(error) => Err(S::Error::custom(error)),
        };
        let mut keys = object(serde_json::to_value(&self.settings))?;
        keys.extend(object(serde_json::to_value(&self.own))?);
        keys.serialize(serializer)
    }
}

impl<A: JsonSchema, B: JsonSchema> JsonSchema for Joined<A, B> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}And{}", A::schema_name(), B::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = A::json_schema(generator);
        let settings = B::json_schema(generator);
        for key in ["properties", "required"] {
            match (schema.get(key).cloned(), settings.get(key)) {
                (Some(Value::Object(own)), Some(Value::Object(more))) => {
                    let mut merged = more.clone();
                    merged.extend(own);
                    schema.insert(key.to_owned(), Value::Object(merged));
                }
                (Some(Value::Array(own)), Some(Value::Array(more))) => {
                    schema.insert(key.to_owned(), Value::Array(own.into_iter().chain(more.iter().cloned()).collect()));
                }
                (None, Some(more)) => {
                    schema.insert(key.to_owned(), more.clone());
                }
                _ => {}
            }
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Own {
        name: String,
    }

    #[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        size: u32,
    }

    #[test]
    fn keys_go_to_their_side_and_come_back_as_one_table() {
        let joined: Joined<Own, Settings> = serde_json::from_str(r#"{"name":"a","size":3}"#).unwrap();
        assert_eq!((joined.own.name.as_str(), joined.settings.size), ("a", 3));
        assert_eq!(serde_json::to_string(&joined).unwrap(), r#"{"size":3,"name":"a"}"#);
        assert!(serde_json::from_str::<Joined<Own, Settings>>(r#"{"name":"a","sise":3}"#).is_err());
    }

    #[test]
    fn the_schema_knows_both_sides() {
        let schema = SchemaGenerator::default().into_root_schema_for::<Joined<Own, Settings>>();
        let properties = schema.get("properties").unwrap().as_object().unwrap();
        assert!(properties.contains_key("name") && properties.contains_key("size"));
        assert_eq!(schema.get("required").unwrap(), &serde_json::json!(["name"]));
    }
}
