//! How much is run: a bounded share, or the whole.

/// Counts of one run of this test binary.
pub(crate) struct Sizes {
    /// Freezes of each storm through the library.
    pub(crate) freezes: usize,
    /// Freezes of each storm of Go by the `gospy` program.
    pub(crate) by_program: usize,
    /// Kills amid back-to-back freezes through the library.
    pub(crate) kills: usize,
    /// Kills of the `gospy` program.
    pub(crate) program_kills: usize,
    /// Kills amid freezes of each storm.
    pub(crate) storm_kills: usize,
    /// Times that the tracer, gospy or both are stopped in place of killed, for each of them.
    pub(crate) stops: usize,
    /// Freezes of threads that wait in the kernel.
    pub(crate) of_sleepers: usize,
    /// Runs of each command that is to stop nothing.
    pub(crate) unstopped: usize,
}

impl Sizes {
    /// What `GOSPY_HARM` asks for: nothing, or `full`.
    pub(crate) fn get() -> Sizes {
        match std::env::var("GOSPY_HARM").as_deref() {
            Err(_) | Ok("") => Sizes {
                freezes: 150,
                by_program: 6,
                kills: 48,
                program_kills: 12,
                storm_kills: 8,
                stops: 2,
                of_sleepers: 100,
                unstopped: 2,
            },
            Ok("full") => Sizes {
                freezes: 400,
                by_program: 60,
                kills: 2000,
                program_kills: 300,
                storm_kills: 100,
                stops: 20,
                of_sleepers: 500,
                unstopped: 15,
            },
            Ok(other) => panic!("GOSPY_HARM is {other:?}; it can be \"full\", or absent"),
        }
    }
}
