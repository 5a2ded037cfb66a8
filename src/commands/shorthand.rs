//! `gospy 1234` and `gospy prometheus`: without a command, `summary` is meant.
//!
//! A word that is both a command and the name of a program is the command; `gospy summary top` and
//! `gospy --name top` read the program.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What was typed, with the command that was left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) arguments: Vec<OsString>,
    /// The command that was perhaps meant by a word that is none.
    pub(super) similar_command: Option<String>,
}

/// Puts `summary` before the first word that is neither a command nor an option of gospy itself.
pub(super) fn expand(mut arguments: Vec<OsString>, gospy: &clap::Command) -> Expanded {
    let Some(at) = place_of_command(&arguments, gospy) else { return Expanded { arguments, similar_command: None } };
    let word = arguments.get(at).cloned().unwrap_or_default();
    let similar_command = (!word.as_encoded_bytes().starts_with(b"-")).then(|| similar(&word, gospy)).flatten();
    arguments.insert(at, OsString::from("summary"));
    Expanded { arguments, similar_command }
}

/// Where a command is missing; `None` where there is one, or where help or the version is asked for.
fn place_of_command(arguments: &[OsString], gospy: &clap::Command) -> Option<usize> {
    let is_command =
        |word: &OsStr| word == "help" || word.to_str().is_some_and(|word| gospy.find_subcommand(word).is_some());
    let mut at = 1;
    loop {
        let word = arguments.get(at)?;
        let global = gospy.get_arguments().find(|argument| is_option(argument, word));
        match global {
            Some(argument) if argument.get_action().takes_values() => at = at.checked_add(2)?,
            Some(_) => at = at.checked_add(1)?,
            None if is_command(word) || ["-h", "--help", "-V", "--version"].iter().any(|asked| word == asked) => {
                return None;
            }
            None if word.as_encoded_bytes().starts_with(b"--color=") => at = at.checked_add(1)?,
            None => return Some(at),
        }
    }
}

fn is_option(argument: &clap::Arg, word: &OsStr) -> bool {
    let Some(word) = word.to_str() else { return false };
    let long = word.strip_prefix("--").is_some_and(|name| argument.get_long() == Some(name));
    let mut letters = word.strip_prefix('-').unwrap_or_default().chars();
    let short = letters.next().is_some_and(|letter| argument.get_short() == Some(letter));
    long || (short && letters.next().is_none())
}

/// The command whose name is nearly this.
fn similar(word: &OsStr, gospy: &clap::Command) -> Option<String> {
    let error = gospy.clone().try_get_matches_from([OsStr::new("gospy"), word]).err()?;
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let name = match error.get(ContextKind::SuggestedSubcommand)? {
        // The most similar is the last. One letter, an alias, is similar to much.
        ContextValue::Strings(names) => names.iter().rfind(|name| name.len() > 1)?,
        ContextValue::String(name) => name,
        _ => return None,
    };
    gospy.find_subcommand(name).map(|command| command.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn summary_is_what_a_target_alone_means() {
        let gospy = crate::commands::args::Cli::command();
        for (typed, meant) in [
            ("", ""),
            ("1234", "summary 1234"),
            ("prometheus --all", "summary prometheus --all"),
            ("-q --color never --strict 1234 -j", "-q --color never --strict summary 1234 -j"),
            ("--color=never web", "--color=never summary web"),
            ("--pid 1234", "summary --pid 1234"),
            ("--name top", "summary --name top"),
            ("-- -h", "summary -- -h"),
            ("top", "top"),
            ("s 1234", "s 1234"),
            ("-q st 1234", "-q st 1234"),
            ("help", "help"),
            ("-h", "-h"),
            ("--version", "--version"),
            ("--color", "--color"),
        ] {
            let words = |text: &str| -> Vec<OsString> {
                std::iter::once("gospy").chain(text.split_whitespace()).map(OsString::from).collect()
            };
            assert_eq!(expand(words(typed), &gospy).arguments, words(meant), "{typed}");
        }
        let similar = |word: &str| expand(vec!["gospy".into(), word.into()], &gospy).similar_command;
        assert_eq!(similar("sumary").as_deref(), Some("summary"));
        for other in ["prometheus", "nosuch", "shopweb", "x"] {
            assert_eq!(similar(other), None, "{other}");
        }
    }
}
