//! Fuzz targets for everything in gospy that reads bytes others wrote.
//!
//! Two engines run the same targets: cargo-fuzz, which is led by coverage (`cargo +nightly fuzz run TARGET`), and a
//! plain loop of mutations on any toolchain (`cargo run --bin fuzz -- TARGET`), which is what CI runs. Whatever the
//! engine, an input must not panic, must not take more than [`limits::CPU`] and a second a megabyte, nor more than
//! [`limits::MEMORY`] beyond the input.
//!
//! * `targets`: the list of targets
//! * `image`, `files`, `requests`, `memory`: what they do
//! * `bases`: the programs, captures and core files that inputs are changes of
//! * `parts`: inputs taken apart, and put together with right lengths and checksums
//! * `limits`: what an input may take
//! * `mutate`, `runner`: the plain loop

pub mod bases;
pub mod files;
pub mod image;
pub mod limits;
pub mod memory;
pub mod mutate;
pub mod parts;
pub mod requests;
pub mod runner;
pub mod targets;

#[cfg(fuzzing)]
pub use libfuzzer_sys;

/// Where the files of this crate are.
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Counts what is allocated, which [`limits`] looks at.
#[global_allocator]
pub static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

/// The program of one target: for cargo-fuzz its engine, else the plain loop.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        #[cfg(fuzzing)]
        $crate::libfuzzer_sys::fuzz_target!(|input: &[u8]| $crate::limits::check($name, input));

        #[cfg(not(fuzzing))]
        fn main() -> std::process::ExitCode {
            $crate::runner::main([$name.to_owned()].into_iter().chain(std::env::args().skip(1)))
        }
    };
}
