//! rq.
fn main() {}
