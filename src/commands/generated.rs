//! What is made from the definitions themselves: completions, manual pages, the JSON Schema.

use std::path::Path;
use std::sync::Arc;

use clap::CommandFactory;

use super::args::{Cli, SchemaOf};
use super::files::{is_dash, write_file};
use super::streams::Streams;
use super::{Exit, Failure};
use crate::new_file::{Directory, Goal, PUBLIC, Replace};
use crate::report::{captures, check, diff, doctor, json, processes};
use crate::top::stream;

pub(super) fn completions(shell: clap_complete::Shell, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "gospy", &mut script);
    streams.finish(|out| out.write_all(&script))?;
    Ok(Exit::Done)
}

pub(super) fn man(directory: Option<&Path>, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
    match directory {
        Some(directory) if is_dash(directory) => {
            let message = "without a directory, `gospy man` prints the page to standard output";
            return Err(Failure::new(Exit::Usage, message));
        }
        Some(directory) => {
            let mut command = Cli::command().disable_help_subcommand(true);
            command.build();
            write_pages(command, &Arc::new(Directory::open(directory)?))?;
        }
        None => streams.finish(|out| clap_mangen::Man::new(Cli::command()).render(out))?,
    }
    Ok(Exit::Done)
}

/// A page for a command and one for each of its subcommands.
fn write_pages(command: clap::Command, directory: &Arc<Directory>) -> Result<(), Failure> {
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()).cloned() {
        write_pages(subcommand, directory)?;
    }
    let page = clap_mangen::Man::new(command);
    let goal = Goal::inside(directory, &page.get_filename(), Replace::Own)?;
    write_file(&goal.with_mode(PUBLIC), |mut out| page.render(&mut out))
}

pub(super) fn schema(of: SchemaOf, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
    let schema = match of {
        SchemaOf::Snapshot => json::schema(),
        SchemaOf::Diff => diff::schema(),
        SchemaOf::Check => check::schema(),
        SchemaOf::Capture => captures::schema(),
        SchemaOf::Doctor => doctor::schema(),
        SchemaOf::Ps => processes::schema(),
        SchemaOf::Top => stream::schema(),
    };
    streams.finish(|out| {
        json::to_writer_pretty(out, &schema)?;
        writeln!(out)
    })?;
    Ok(Exit::Done)
}
