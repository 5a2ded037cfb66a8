//! The `gospy` program; everything it does is in the library.

use std::io::{self, BufReader};
use std::process::ExitCode;
use std::sync::Arc;

use gospy::commands::live::Live;
use gospy::commands::streams::Streams;
use signal_hook::consts::SIGXFSZ;

fn main() -> ExitCode {
    gospy::process::free_large_blocks_at_once();
    // A file that grows beyond its limit (ulimit -f) is an error that can be reported, and no death. That
    // the signal is received is all that is wanted; without it, no more than that is lost.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    // Not locked: a panic on another thread has to be able to give the terminal back.
    let (mut out, mut err, mut input) = (io::stdout(), io::stderr(), BufReader::new(io::stdin()));
    let mut streams = Streams::of_process(&mut out, &mut err, &mut input);
    gospy::commands::run(std::env::args_os(), &Live, &mut streams).into()
}
