//! Whether an object is as it should be, decided from the two alone. The API server fills in what was left out, so that
//! more may be there than was asked for: only what was asked for is compared.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

/// Fields whose values are quantities: `1000m` is `1`.
const QUANTITIES: [&str; 2] = ["requests", "limits"];

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
        (Value::String(wanted), Some(Value::String(there))) => !same_amount(wanted, there),
        _ => true,
    };
    wanted.len() > there.len() || wanted.iter().any(differs)
}

/// Whether two quantities are the same amount, however they are spelled.
pub(crate) fn same_amount(one: &str, other: &str) -> bool {
    one == other || amount(one).is_some_and(|one| Some(one) == amount(other))
}

/// A quantity of Kubernetes in thousandths; none if it cannot be read, or is finer than that.
pub(crate) fn amount(text: &str) -> Option<i128> {
    const UNITS: [(&str, i128); 14] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("Pi", 1 << 50),
        ("Ei", 1 << 60),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("P", 1_000_000_000_000_000),
        ("E", 1_000_000_000_000_000_000),
        ("m", 0),
        ("", 1),
    ];
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor = match unit.strip_prefix(['e', 'E']).map(str::parse::<u32>) {
        Some(Ok(power)) => 10_i128.checked_pow(power)?.checked_mul(1_000)?,
        _ => match UNITS.iter().find(|(name, _)| *name == unit)?.1 {
            0 => 1,
            factor => factor * 1_000,
        },
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let scale = 10_i128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let digits: i128 = format!("{whole}{part}").parse().ok()?;
    let thousandths = digits.checked_mul(factor)?;
    (thousandths % scale == 0).then_some(thousandths / scale)
}

/// The same of an amount of storage.
pub(crate) fn quantity(quantity: Option<&Quantity>) -> Option<i128> {
    quantity.and_then(|quantity| amount(&quantity.0))
}

#[cfg(test)]
mod tests;
