//! What is made from the definitions themselves: completions, manual pages, the JSON Schema.

use std::path::Path;

use clap::CommandFactory;

use super::args::{Cli, SchemaOf};
use super::streams::Streams;
use super::{Exit, Failure};
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
        Some(directory) => clap_mangen::generate_to(Cli::command(), directory).map_err(|error| {
            let message = format!("manual pages could not be written into {}: {error}", directory.display());
            Failure::new(Exit::Error, message)
        })?,
        None => streams.finish(|out| clap_mangen::Man::new(Cli::command()).render(out))?,
    }
    Ok(Exit::Done)
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
