//! Under construction.
pub mod symbolize;
pub mod unwind;
