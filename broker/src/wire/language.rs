//! Peculiarities of the official clients that the broker works around, by the language that they call themselves.

use rq_proto::rocketmq::Code;

/// Clients that need something of their own, by the metadata `x-mq-language`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    /// Uses a customized back-off only, in whole seconds.
    Python,
    /// Uses an exponential back-off only. Calls itself HTTP.
    Node,
    /// Panics on codes that came after its release.
    Rust,
    /// Takes whatever the protocol allows.
    Other,
}

impl Language {
    /// By the metadata `x-mq-language`.
    pub fn of(metadata: &str) -> Self {
        match metadata {
            "PYTHON" => Self::Python,
            "HTTP" => Self::Node,
            "RUST" => Self::Rust,
            _ => Self::Other,
        }
    }

    /// The code as the client can take it: of the same class, where it does not know the exact one.
    pub const fn code(self, code: Code) -> Code {
        match (self, code) {
            (
                Self::Rust,
                Code::MessageBodyEmpty
                | Code::IllegalOffset
                | Code::IllegalLiteTopic
                | Code::InvalidClientProperties
                | Code::LiteTopicQuotaExceeded
                | Code::LiteSubscriptionQuotaExceeded,
            ) => Code::BadRequest,
            (Self::Rust, Code::OffsetNotFound) => Code::NotFound,
            (_, code) => code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_gets_no_code_that_its_release_panics_on() {
        let rust = Language::of("RUST");
        assert_eq!(rust.code(Code::MessageBodyEmpty), Code::BadRequest);
        assert_eq!(rust.code(Code::OffsetNotFound), Code::NotFound);
        assert_eq!(rust.code(Code::MessageBodyTooLarge), Code::MessageBodyTooLarge);
        assert_eq!(Language::of("JAVA").code(Code::MessageBodyEmpty), Code::MessageBodyEmpty);
    }
}
