//! The `gospy` program; everything it does is in the library.

use std::io;
use std::process::ExitCode;

use gospy::commands::live::Live;
use gospy::commands::streams::Streams;

fn main() -> ExitCode {
    // Not locked: a panic on another thread has to be able to give the terminal back.
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let mut streams = Streams::of_process(&mut out, &mut err);
    gospy::commands::run(std::env::args_os(), &Live, &mut streams).into()
}
