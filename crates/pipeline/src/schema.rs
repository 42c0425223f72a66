//! The JSON Schema of pipeline files, for editors.

use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::kind::{DefKind, Kind};

/// The JSON Schema (draft 2020-12) of a whole pipeline file: stages and teachers are told apart by their `kind`.
#[must_use]
pub fn schema<C, T>(kinds: &[Kind<C>], teachers: &[DefKind<T>]) -> Value {
    let mut generator = SchemaGenerator::default();
    let mut definitions = Map::new();
    let stages = kinds.iter().map(|kind| {
        let mut edges = Map::new();
        edges.insert(
            "inputs".to_owned(),
            json!({
                "description": "Where the rows or models come from: names of stages, or `STAGE.OUTPUT`.",
                "type": "array", "items": { "type": "string" },
            }),
        );
        if kind.init_from {
            edges.insert(
                "init_from".to_owned(),
                json!({
                    "description": "The stage whose model this one starts from.", "type": "string",
                }),
            );
        }
        (format!("stage.{}", kind.name), entry(kind.name, kind.about, edges, (kind.schema)(&mut generator)))
    });
    let stages: Vec<(String, Value)> = stages.collect();
    let teachers: Vec<(String, Value)> = teachers
        .iter()
        .map(|kind| (format!("teacher.{}", kind.name), entry(kind.name, kind.about, Map::new(), (kind.schema)(&mut generator))))
        .collect();
    let one_of =
        |entries: &[(String, Value)]| entries.iter().map(|(name, _)| json!({ "$ref": format!("#/$defs/{name}") })).collect::<Vec<_>>();
    let (stage, teacher) = (one_of(&stages), one_of(&teachers));
    definitions.extend(stages);
    definitions.extend(teachers);
    definitions.extend(generator.take_definitions(true));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "potstill pipeline",
        "description": "What is distilled from which teacher into which student, step by step.",
        "type": "object",
        "required": ["version", "stage"],
        "additionalProperties": false,
        "properties": {
            "version": { "description": "The version of the file's form.", "const": 1 },
            "seed": { "description": "The seed of all randomness.", "type": "integer", "minimum": 0, "default": 0 },
            "teacher": tables("Models that are asked for completions, by name.", &teacher),
            "stage": tables("The steps, by name.", &stage),
        },
        "$defs": definitions,
    })
}

fn tables(about: &str, one_of: &[Value]) -> Value {
    json!({
        "description": about,
        "type": "object",
        "propertyNames": { "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$" },
        "additionalProperties": { "oneOf": one_of },
    })
}

/// The schema of a table of one kind: the kind's own keys, `kind` itself in front, and the edges.
fn entry(name: &str, about: &str, edges: Map<String, Value>, own: Schema) -> Value {
    let mut schema = own.to_value();
    let Some(object) = schema.as_object_mut() else {
        return schema;
    };
    let mut properties = Map::new();
    properties.insert("kind".to_owned(), json!({ "description": about, "const": name }));
    properties.extend(edges);
    if let Some(Value::Object(own)) = object.remove("properties") {
        properties.extend(own);
    }
    let mut required = vec![Value::from("kind")];
    if let Some(Value::Array(own)) = object.remove("required") {
        required.extend(own);
    }
    object.insert("type".to_owned(), "object".into());
    object.insert("description".to_owned(), about.into());
    object.insert("properties".to_owned(), Value::Object(properties));
    object.insert("required".to_owned(), Value::Array(required));
    object.insert("additionalProperties".to_owned(), false.into());
    schema
}
