//! Reads what the runtime keeps in single variables and short lists, with the mirrors of its types.

pub(crate) mod ancestors;
pub(crate) mod bulk;
pub(crate) mod collector;
pub(crate) mod debug_settings;
pub(crate) mod goids;
pub(crate) mod labels;
pub(crate) mod memory;
pub(crate) mod metrics;
pub(crate) mod panics;
pub(crate) mod processors;
pub(crate) mod scheduler;
pub(crate) mod spans;
pub(crate) mod threads;
pub(crate) mod waits;

#[cfg(test)]
mod tests;
