//! gospy
fn main() {}
