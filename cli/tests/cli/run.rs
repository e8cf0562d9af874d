//! What came of a command, for every test that types one.

use serde_json::Value;

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) what: String,
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        self.ends_with(0)
    }

    #[track_caller]
    pub(crate) fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// The one JSON value that it printed.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let value = serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("`rq {}`: {error}: {}", self.what, self.out));
        assert!(
            is_spelled_as_promised(&value),
            "`rq {}`: not every field is in camelCase: {value:#}",
            self.what
        );
        value
    }
}

/// Whether every field is in camelCase. Names that others choose are theirs.
fn is_spelled_as_promised(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.iter().all(is_spelled_as_promised),
        Value::Object(fields) => fields.iter().all(|(name, value)| {
            name == "errors" || name == "properties" || !name.contains('_') && is_spelled_as_promised(value)
        }),
        _ => true,
    }
}
