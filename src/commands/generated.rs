//! What is made from the definitions themselves: manual pages and the JSON Schemas.

use std::path::Path;
use std::sync::Arc;

use clap::CommandFactory;

use super::args::{Cli, SchemaOf};
use super::files::{is_dash, write_file};
use super::streams::Streams;
use super::{Exit, Failure, exit};
use crate::new_file::{Directory, Goal, PUBLIC, Replace};
use crate::report::{captures, check, contention, diff, doctor, heap, json, leaks, processes, variables, waits};
use crate::top::stream;

pub(super) fn man(directory: Option<&Path>, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
    let pages = pages();
    match directory {
        Some(directory) if is_dash(directory) => {
            let message = "without a directory, `gospy man` prints the page to standard output";
            return Err(Failure::new(Exit::Usage, message));
        }
        Some(directory) => {
            let directory = Arc::new(Directory::open(directory)?);
            for page in pages {
                let goal = Goal::inside(&directory, &page.name, Replace::Own)?.with_mode(PUBLIC);
                write_file(&goal, |out| out.write_all(&page.text))?;
            }
        }
        None => {
            let own = pages.into_iter().find(|page| page.name == "gospy.1").map(|page| page.text).unwrap_or_default();
            streams.finish(|out| out.write_all(&own))?;
        }
    }
    Ok(Exit::Done)
}

/// A manual page.
struct Page {
    name: String,
    text: Vec<u8>,
}

/// Of gospy itself and of each of its commands.
fn pages() -> Vec<Page> {
    let mut all = Cli::command().disable_help_subcommand(true);
    all.build();
    let commands: Vec<clap::Command> = all.get_subcommands().cloned().chain([all.clone()]).collect();
    commands.into_iter().map(page).collect()
}

/// What the definitions say, with the exit statuses in a section of their own, as is usual, in the
/// place of those that stand below `--help`.
fn page(command: clap::Command) -> Page {
    let name = command.get_name().to_owned();
    let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let examples = help.split("Exit status:").next().unwrap_or_default().trim_end().to_owned();
    let page = clap_mangen::Man::new(command.after_long_help(examples));
    let mut text = Vec::new();
    // Writing to a Vec cannot fail.
    let _ = page.render(&mut text);
    let mut section = String::from(".SH \"EXIT STATUS\"\n");
    for (status, meaning) in exit::statuses(&name) {
        let status = if status.is_empty() { "N".to_owned() } else { status };
        section.push_str(&format!(".TP\n\\fB{status}\\fR\n{}\n", meaning.replace('-', "\\-")));
    }
    text.extend_from_slice(section.as_bytes());
    Page { name: page.get_filename(), text }
}

pub(super) fn schema(of: SchemaOf, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
    let schema = match of {
        SchemaOf::Snapshot => json::schema(),
        SchemaOf::Diff => diff::schema(),
        SchemaOf::Check => check::schema(),
        SchemaOf::Capture => captures::schema(),
        SchemaOf::Doctor => doctor::schema(),
        SchemaOf::Ps => processes::schema(),
        SchemaOf::Waits => waits::json::waits_schema(),
        SchemaOf::Why => waits::json::why_schema(),
        SchemaOf::Top => stream::schema(),
        SchemaOf::Leaks => leaks::schema(),
        SchemaOf::Heap => heap::json::schema(),
        SchemaOf::HeapGrowth => heap::growth::schema(),
        SchemaOf::HeapSince => heap::since::schema(),
        SchemaOf::Var => variables::schema(),
        SchemaOf::Contention => contention::json::schema(),
        SchemaOf::HeapObjects => heap::objects_json::schema(),
    };
    streams.finish(|out| {
        json::to_writer_pretty(out, &schema)?;
        writeln!(out)
    })?;
    Ok(Exit::Done)
}
