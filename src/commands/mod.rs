//! The command line: what was typed becomes options, options become a capture, an analysis and a
//! report.
//!
//! Commands decide nothing about Go and format nothing. They answer with an [`Exit`], or with a
//! [`Failure`] that says what was tried and what to do; printing it is left to [`run()`].

mod args;
mod at;
mod capture;
mod check;
mod ci_args;
mod completion;
mod contention;
mod diff;
mod doctor;
mod exit;
mod files;
mod generated;
mod heap;
mod heap_args;
mod heap_growth;
mod heap_objects;
mod heap_since;
mod help;
mod input;
mod leaks;
mod list_args;
pub mod live;
#[cfg(feature = "mcp")]
mod mcp;
mod player;
mod ps;
mod record;
mod record_args;
mod redacted;
mod repeated;
mod report;
mod rules;
mod run;
mod save;
mod selection;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "serve")]
pub(crate) mod served;
mod shorthand;
mod snapshots;
pub(crate) mod source;
mod stack;
pub mod streams;
mod summary;
mod target;
mod target_args;
#[cfg(test)]
mod target_tests;
#[cfg(test)]
mod tests;
mod top;
mod topics;
mod var;
mod waits;
mod waits_args;
mod why;

use std::ffi::OsString;

use clap::FromArgMatches as _;

use args::{Cli, Command, Global};
pub use exit::{Exit, Failure};
use source::Sources;
use streams::Streams;
use target::Finder;

/// Runs the command that `arguments` (the program's name first) ask for.
pub fn run<I, T>(arguments: I, sources: &dyn Sources, streams: &mut Streams<'_>) -> Exit
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let mut definitions = help::definitions(&arguments);
    if let Some(shell) = completion::asking(streams) {
        return match completion::answer(&shell, &arguments, definitions, streams) {
            Ok(exit) => exit,
            Err(failure) => {
                failure.print(streams);
                failure.exit()
            }
        };
    }
    let expanded = shorthand::expand(arguments.clone(), &definitions);
    let parsed = definitions.try_get_matches_from_mut(expanded.arguments);
    let cli =
        parsed.and_then(|matches| Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut definitions)));
    let exit = match cli {
        Ok(mut cli) => {
            streams.choose_colour(cli.global.colour());
            match command(&mut cli, expanded.similar_command, sources, streams) {
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
        streams.note(&format!("--freeze takes its value after an equals sign: --freeze={mode}"));
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

fn command(
    cli: &mut Cli,
    similar_command: Option<String>,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    let Some(command) = &mut cli.command else { return ps::overview(sources, streams) };
    command.look_up(&mut Finder { sources, streams, quiet: cli.global.quiet, similar_command })?;
    let global = &cli.global;
    let redacted = redacted::Redacted::new(sources);
    let sources: &dyn Sources = if command.redacts() { &redacted } else { sources };
    match command {
        Command::Summary(arguments) => summary::run(arguments, global, sources, streams),
        Command::Stack(arguments) => stack::run(arguments, global, sources, streams),
        Command::Waits(arguments) => waits::run(arguments, global, sources, streams),
        Command::Why(arguments) => why::run(arguments, global, sources, streams),
        Command::Capture(arguments) => capture::run(arguments, global, sources, streams),
        Command::Record(arguments) => record::run(arguments, global, sources, streams),
        Command::Report(arguments) => report::run(arguments, global, streams),
        Command::Top(arguments) => top::run(arguments, sources, streams),
        Command::Doctor(arguments) => doctor::run(arguments, sources, streams),
        #[cfg(feature = "serve")]
        Command::Serve(arguments) => serve::run(arguments, global, streams),
        #[cfg(feature = "mcp")]
        Command::Mcp(arguments) => mcp::run(arguments),
        Command::Ps(arguments) => ps::run(arguments, sources, streams),
        Command::Heap(arguments) => heap::run(arguments, global, sources, streams),
        Command::Contention(arguments) => contention::run(arguments, global, sources, streams),
        Command::Var(arguments) => var::run(arguments, sources, streams),
        Command::Leaks(arguments) => leaks::run(arguments, global, sources, streams),
        Command::Diff(arguments) => diff::run(arguments, global, sources, streams),
        Command::Check(arguments) => check::run(arguments, global, sources, streams),
        Command::Run(arguments) => run::run(arguments, global, sources, streams),
        Command::Help { topic } => help::help(topic.as_deref(), streams),
        Command::Completions { shell } => completion::script(*shell, streams),
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
        // Nothing more can be done when stderr is closed.
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
