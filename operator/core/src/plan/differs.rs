//! Whether an object is as it should be, decided from the two alone. The API server fills in what was left out, so that
//! more may be there than was asked for: only what was asked for is compared.

use serde::Serialize;
use serde_json::Value;

use crate::quantity;

/// Fields whose values are quantities: `1000m` is `1`.
const QUANTITIES: [&str; 2] = ["requests", "limits"];

/// Objects of Kubernetes have no value that JSON cannot hold.
pub(super) fn json(object: &impl Serialize) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// Whether something that was asked for is not there as it was asked for. Lists are compared by position and length, maps
/// by the keys of `wanted`.
pub(crate) fn differs(wanted: &Value, there: &Value) -> bool {
    match (wanted, there) {
        (Value::Object(wanted), Value::Object(there)) => wanted.iter().any(|(key, wanted)| {
            let there = there.get(key).unwrap_or(&Value::Null);
            if QUANTITIES.contains(&key.as_str()) {
                amounts_differ(wanted, there)
            } else {
                differs(wanted, there)
            }
        }),
        (Value::Array(wanted), Value::Array(there)) => {
            wanted.len() != there.len()
                || wanted.iter().zip(there).any(|(wanted, there)| differs(wanted, there))
        }
        // What is empty is left out.
        (wanted, Value::Null) => !is_empty(wanted),
        (wanted, there) => wanted != there,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Array(values) => values.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Amounts are ours alone: one that was not asked for is one too many.
fn amounts_differ(wanted: &Value, there: &Value) -> bool {
    let (Value::Object(wanted), Value::Object(there)) = (wanted, there) else {
        return differs(wanted, there);
    };
    let differs = |(name, wanted): (&String, &Value)| match (wanted, there.get(name)) {
        (Value::String(wanted), Some(Value::String(there))) => !quantity::same(wanted, there),
        _ => true,
    };
    wanted.len() > there.len() || wanted.iter().any(differs)
}

#[cfg(test)]
mod tests;
