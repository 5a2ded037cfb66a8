//! Reads what the runtime keeps in single variables and short lists, with the mirrors of its types.

pub mod ancestors;
pub(crate) mod bulk;
pub mod collector;
pub mod debug_settings;
pub mod goids;
pub mod labels;
pub mod memory;
pub mod panics;
pub mod processors;
pub mod scheduler;
pub mod spans;
pub mod threads;
pub mod waits;

#[cfg(test)]
mod tests;
