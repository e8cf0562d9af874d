//! Between the wire and the core: checks of what clients send, conversion of what they get. Pure functions: no
//! clock, no engine, no gRPC status. Every refusal is an [`Invalid`] with its code and a message that says what to
//! change.

pub mod deliver;
mod digest;
pub mod endpoints;
pub mod invalid;
pub mod language;
pub mod names;
pub mod receive;
mod reserved;
pub mod send;
pub mod settings;
pub mod time;

pub use invalid::Invalid;
