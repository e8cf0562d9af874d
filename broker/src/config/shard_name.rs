//! Which `QueueShard` holds the configuration, as people write it: `NAMESPACE/NAME`.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;

/// A `QueueShard` of the Kubernetes cluster.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct ShardName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A text that names none.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0:?} names no QueueShard: write NAMESPACE/NAME")]
pub struct NoShardName(String);

impl FromStr for ShardName {
    type Err = NoShardName;

    fn from_str(text: &str) -> Result<Self, NoShardName> {
        match text.split_once('/') {
            Some((namespace, name)) if is_part(namespace) && is_part(name) => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(NoShardName(text.to_owned())),
        }
    }
}

impl TryFrom<String> for ShardName {
    type Error = NoShardName;

    fn try_from(text: String) -> Result<Self, NoShardName> {
        text.parse()
    }
}

impl fmt::Display for ShardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Whether Kubernetes takes it as a name; it goes into the path of a request.
fn is_part(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    !text.is_empty() && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_as_written_and_anything_else_is_refused_with_the_form() {
        let name: ShardName = "shop/orders".parse().unwrap();
        assert_eq!((name.namespace.as_str(), name.name.as_str()), ("shop", "orders"));
        assert_eq!(name.to_string(), "shop/orders");
        for text in ["", "orders", "/orders", "shop/", "shop/orders/0", "Shop/orders", "shop/or ders"] {
            assert!(
                text.parse::<ShardName>().unwrap_err().to_string().contains("NAMESPACE/NAME"),
                "{text:?}"
            );
        }
    }
}
