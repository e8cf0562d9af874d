//! The CRD as an API server applies it: unknown fields, defaults, the bounds of the schema with its words for them, then CEL.

use kube::CustomResourceExt as _;
use kube_cel::{Validator, apply_defaults};
use rq_operator_core::queue::ReliableQueue;
use serde_json::{Map, Value};

pub(crate) struct Crd {
    schema: Value,
    validator: Validator,
}

impl Crd {
    pub(crate) fn new() -> Self {
        let crd = serde_json::to_value(ReliableQueue::crd()).unwrap();
        let schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        Self { schema, validator: Validator::new() }
    }

    /// The object as it would be stored, or what the user would read.
    pub(crate) fn create(&self, object: &Value) -> Result<Value, String> {
        self.put(object, None)
    }

    /// The same for a change of what is stored.
    pub(crate) fn update(&self, old: &Value, new: &Value) -> Result<Value, String> {
        let old = self.create(old).unwrap();
        self.put(new, Some(&old))
    }

    fn put(&self, object: &Value, old: Option<&Value>) -> Result<Value, String> {
        let object = apply_defaults(&self.schema, object);
        let mut errors = Vec::new();
        let own = object.as_object().unwrap().iter();
        let own: Map<_, _> = own
            .filter(|(key, _)| !["apiVersion", "kind", "metadata"].contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        check(&self.schema, &Value::Object(own), "", &mut errors);
        // As on the API server: what is not of its type never gets to the rules.
        if errors.is_empty()
            && let Err(found) = self.validator.validate(&self.schema, &object, old)
        {
            errors.extend(found.iter().map(ToString::to_string));
        }
        if errors.is_empty() { Ok(object) } else { Err(errors.join("\n")) }
    }
}

fn check(schema: &Value, value: &Value, path: &str, errors: &mut Vec<String>) {
    if schema["x-kubernetes-int-or-string"] == true || (value.is_null() && schema["nullable"] == true) {
        return;
    }
    let fits = match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        other => panic!("{path}: no structural schema: {other:?}"),
    };
    if !fits {
        errors.push(format!("{path}: Invalid value: must be of type {}", schema["type"].as_str().unwrap()));
        return;
    }
    bounds(schema, value, path, errors);
    if let Some(items) = value.as_array() {
        for item in items {
            check(&schema["items"], item, path, errors);
        }
    }
    let Some(object) = value.as_object() else { return };
    for required in schema["required"].as_array().into_iter().flatten() {
        if !object.contains_key(required.as_str().unwrap()) {
            errors.push(format!("{path}.{}: Required value", required.as_str().unwrap()));
        }
    }
    for (key, value) in object {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (schema["properties"].get(key), schema.get("additionalProperties")) {
            (Some(property), _) | (None, Some(property)) => check(property, value, &path, errors),
            (None, None) => errors.push(format!("unknown field \"{path}\"")),
        }
    }
}

fn bounds(schema: &Value, value: &Value, path: &str, errors: &mut Vec<String>) {
    let mut refuse = |what: String| errors.push(format!("{path}: {what}"));
    if let Some(allowed) = schema["enum"].as_array().filter(|allowed| !allowed.contains(value)) {
        let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
        refuse(format!("Unsupported value: {value}: supported values: {}", allowed.join(", ")));
    }
    let at_least = |key: &str, size: i64| schema[key].as_f64().is_none_or(|least| size as f64 >= least);
    let at_most = |key: &str, size: i64| schema[key].as_f64().is_none_or(|most| size as f64 <= most);
    if let Some(number) = value.as_i64() {
        if !at_most("maximum", number) {
            refuse(format!("should be less than or equal to {}", schema["maximum"].as_f64().unwrap()));
        }
        if !at_least("minimum", number) {
            refuse(format!("should be greater than or equal to {}", schema["minimum"].as_f64().unwrap()));
        }
    }
    let (size, most) = match value {
        Value::String(text) => (text.len(), "maxLength"),
        Value::Array(items) => (items.len(), "maxItems"),
        Value::Object(entries) => (entries.len(), "maxProperties"),
        _ => return,
    };
    let size = i64::try_from(size).unwrap();
    if !at_most(most, size) {
        refuse(format!("Too {}", if value.is_string() { "long" } else { "many" }));
    }
    if value.is_string() && !at_least("minLength", size) {
        refuse("should be at least 1 chars long".to_owned());
    }
}
