//! The command line: what was typed becomes options, options become a capture, an analysis and a
//! report.
//!
//! Commands decide nothing about Go and format nothing. They answer with an [`Exit`], or with a
//! [`Failure`] that says what was tried and what to do; printing it is left to [`run()`].

mod args;
mod capture;
mod check;
mod ci_args;
mod diff;
mod doctor;
mod examine;
mod exit;
mod files;
mod generated;
mod input;
pub mod live;
mod ps;
mod rules;
mod run;
mod save;
mod selection;
mod snapshots;
pub mod source;
mod stack;
pub mod streams;
mod summary;
#[cfg(test)]
mod tests;
mod top;

use std::ffi::OsString;

use clap::Parser;

use args::{Cli, Command, Global};
pub use exit::{Exit, Failure};
use source::Sources;
use streams::Streams;

/// Runs the command that `arguments` (the program's name first) ask for.
pub fn run<I, T>(arguments: I, sources: &dyn Sources, streams: &mut Streams<'_>) -> Exit
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let exit = match Cli::try_parse_from(&arguments) {
        Ok(cli) => {
            streams.choose_colour(cli.global.colour());
            match command(&cli, sources, streams) {
                Ok(exit) => exit,
                Err(failure) => {
                    failure.print(streams);
                    failure.exit()
                }
            }
        }
        Err(error) => refused(&error, streams),
    };
    if exit == Exit::Usage
        && let Some(mode) = detached_freeze(&arguments)
    {
        streams.note(&format!("--freeze takes its value behind an equals sign: --freeze={mode}"));
    }
    exit
}

/// The value of `--freeze all`, which is no value: it can be left out, so it has to be joined by `=`.
fn detached_freeze(arguments: &[OsString]) -> Option<&str> {
    let modes = arguments.windows(2).filter_map(|pair| match pair {
        [option, mode] if option == "--freeze" => mode.to_str(),
        _ => None,
    });
    modes.into_iter().find(|mode| matches!(*mode, "all" | "running"))
}

fn command(cli: &Cli, sources: &dyn Sources, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
    match &cli.command {
        Command::Summary(arguments) => summary::run(arguments, &cli.global, sources, streams),
        Command::Stack(arguments) => stack::run(arguments, &cli.global, sources, streams),
        Command::Capture(arguments) => capture::run(arguments, &cli.global, sources, streams),
        Command::Top(arguments) => top::run(arguments, sources, streams),
        Command::Doctor(arguments) => doctor::run(arguments, sources, streams),
        Command::Ps(arguments) => ps::run(arguments, sources, streams),
        Command::Diff(arguments) => diff::run(arguments, &cli.global, sources, streams),
        Command::Check(arguments) => check::run(arguments, &cli.global, sources, streams),
        Command::Run(arguments) => run::run(arguments, &cli.global, sources, streams),
        Command::Completions { shell } => generated::completions(*shell, streams),
        Command::Man { directory } => generated::man(directory.as_deref(), streams),
        Command::Schema { of } => generated::schema(*of, streams),
    }
}

/// Help and version are what was asked for; anything else is a usage error.
fn refused(error: &clap::Error, streams: &mut Streams<'_>) -> Exit {
    let asked_for = !error.use_stderr();
    let colour = if asked_for { streams.out_style().colour } else { streams.err_colour() };
    let text = error.render();
    let text = if colour { text.ansi().to_string() } else { text.to_string() };
    if !asked_for {
        // There is nobody left to tell when stderr is closed.
        let _ = streams.err.write_all(text.as_bytes());
        return Exit::Usage;
    }
    match streams.finish(|out| out.write_all(text.as_bytes())) {
        Ok(()) => Exit::Done,
        Err(failure) => {
            failure.print(streams);
            failure.exit()
        }
    }
}
