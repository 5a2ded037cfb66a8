//! Help in one screen: a command's examples first, then its options, a line each; what takes more than
//! a line to explain is a topic of `gospy help`.
//!
//! `-h` leaves out what is seldom needed, `--help` has every option. The manual pages have the long
//! descriptions.

use std::ffi::OsString;

use clap::builder::Resettable;
use clap::{Command, CommandFactory};

use super::args::Cli;
use super::streams::Streams;
use super::{Exit, Failure, exit, topics};

/// Most examples that `-h` shows.
const FEW_EXAMPLES: usize = 2;

const TEMPLATE: &str = "{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

/// The definitions with their help as it is shown. Whether it is the short one depends on what was typed.
pub(super) fn definitions(arguments: &[OsString]) -> Command {
    let before_command = arguments.iter().take_while(|word| *word != "--");
    let long = before_command.into_iter().any(|word| word == "--help" || word == "help");
    // Completions are made of these, too, and have all commands.
    let short = !long && arguments.iter().any(|word| word == "-h");
    screens(Cli::command(), long).mut_subcommands(|command| if short { without_seldom(command) } else { command })
}

fn with_screens(command: Command, long: bool) -> Command {
    screens(command, long).mut_subcommands(|command| if long { command } else { without_seldom(command) })
}

fn screens(command: Command, long: bool) -> Command {
    screen(command, long).mut_subcommands(|command| screen(command, long))
}

/// Commands that are used once, to set gospy up: `-h` leaves them out of its list.
const SELDOM: [&str; 4] = ["completions", "man", "mcp", "schema"];

fn without_seldom(command: Command) -> Command {
    let is_seldom = SELDOM.contains(&command.get_name());
    command.hide(is_seldom)
}

/// No argument keeps a long help: clap would print every argument on lines of its own.
fn screen(command: Command, long: bool) -> Command {
    let text = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let examples = examples(&text, if long { usize::MAX } else { FEW_EXAMPLES });
    let is_gospy = command.get_name() == "gospy";
    let more = match (is_gospy, long) {
        (true, true) => topics::OVERVIEW,
        (true, false) => "More: gospy --help, gospy COMMAND --help",
        (false, true) => "Topics: gospy help filter|keys|rules|freeze|targets|formats|exit",
        (false, false) => "More options: --help",
    };
    command
        .long_about(Resettable::Reset)
        .after_long_help(Resettable::Reset)
        .before_help(examples)
        .after_help(more)
        .help_template(TEMPLATE)
        .mut_args(|argument| {
            let hidden = argument.is_hide_short_help_set() && !long;
            let takes_values = argument.get_action().takes_values();
            argument.long_help(Resettable::Reset).hide_possible_values(takes_values).hide_short_help(hidden)
        })
}

/// The examples in a command's long text: the first paragraph.
fn examples(text: &str, most: usize) -> String {
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    paragraph.lines().take(most.saturating_add(1)).collect::<Vec<_>>().join("\n")
}

/// `gospy help`, with or without a word.
pub(super) fn help(topic: Option<&str>, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
    let mut gospy = with_screens(Cli::command(), true);
    gospy.build();
    let text = match topic {
        None => styled(&mut gospy, streams),
        Some(topic) => match (gospy.find_subcommand_mut(topic), topics::text(topic)) {
            (Some(command), _) => styled(command, streams),
            (None, Some(text)) => text,
            (None, None) => {
                let message = format!("there is no help on {topic}: {}", topics::names());
                return Err(Failure::new(Exit::Usage, message));
            }
        },
    };
    streams.finish(|out| writeln!(out, "{}", text.trim_end()))?;
    Ok(Exit::Done)
}

fn styled(command: &mut Command, streams: &Streams<'_>) -> String {
    let text = command.render_help();
    if streams.out_style().colour { text.ansi().to_string() } else { text.to_string() }
}

/// The exit statuses of all commands, as a topic.
pub(super) fn exit_statuses() -> String {
    format!("{}\n\ngospy run:\n{}", exit::help("gospy"), exit::help("run").replace("Exit status:\n", ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of a screen, and columns.
    const LONG: usize = 50;
    const SHORT: usize = 30;
    const COLUMNS: usize = 80;

    fn check(what: &str, text: &str, most: usize) {
        let lines = text.lines().count();
        assert!(lines <= most, "{what} has {lines} lines of at most {most}:\n{text}");
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(widest <= COLUMNS, "{what} is {widest} columns wide:\n{text}");
    }

    #[test]
    fn every_help_fits_on_a_screen() {
        for (long, most) in [(false, SHORT), (true, LONG)] {
            let mut gospy = with_screens(Cli::command().term_width(COLUMNS), long);
            gospy.build();
            let mut commands: Vec<Command> = gospy.get_subcommands().cloned().collect();
            assert!(commands.len() >= 13);
            commands.push(gospy);
            for mut command in commands {
                let text = command.render_help().to_string();
                check(&format!("{} {long}", command.get_name()), &text, most);
                let name = command.get_name().to_owned();
                let examples = text.find("Examples:\n  ").unwrap_or_else(|| panic!("{name}: {text}"));
                assert!(examples < text.find("Usage:").expect("usage"), "{name}: {text}");
                // Nothing is explained in the long text alone that has no short one.
                assert!(command.get_arguments().all(|argument| argument.get_help().is_some()), "{name}");
            }
        }
        for name in topics::NAMES {
            check(name, &topics::text(name).expect("a topic"), LONG);
        }
    }
}
