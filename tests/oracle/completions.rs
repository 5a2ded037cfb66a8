//! Completion in real shells, as a person types.

use crate::support::terminal::Terminal;
use crate::support::{Fixture, live_bytes, need, write_program};
use portable_pty::CommandBuilder;

/// A shell on a terminal, with gospy in its path and the completions loaded.
fn shell(name: &str, arguments: &[&str], load: &str, home: &std::path::Path) -> Terminal {
    let gospy = std::path::Path::new(env!("CARGO_BIN_EXE_gospy"));
    let path = std::env::var("PATH").unwrap();
    let mut command = CommandBuilder::new(need(name, name));
    command.args(arguments);
    command.env("PATH", format!("{}:{path}", gospy.parent().unwrap().display()));
    command.env("HOME", home);
    command.env("XDG_CONFIG_HOME", home);
    command.env("XDG_DATA_HOME", home);
    command.env("TERM", "xterm");
    command.cwd(home);
    let mut terminal = Terminal::start(command);
    terminal.press(&format!("{load}\r"));
    // The echo of the command has a quote in it that its output has not.
    terminal.press("echo load''ed\r");
    terminal.until_text("loaded");
    terminal
}

/// Types a part of a line and Tab until the line is `whole`; some shells need a second Tab for the list.
fn completes(terminal: &mut Terminal, part: &str, whole: &str) {
    terminal.press(part);
    terminal.until_text(part);
    terminal.press("\t");
    terminal.until_text(whole);
    // An empty line again.
    terminal.press("\u{15}");
}

#[test]
fn shells_complete_commands_options_and_programs() {
    let home = tempfile::tempdir().unwrap();
    let name = format!("completed-{}", std::process::id());
    let program = Fixture::of(&write_program(home.path(), &name, &live_bytes())).run(&["idle"]);
    let shells: [(&str, &[&str], &str); 3] = [
        ("bash", &["--norc", "--noprofile"], "source <(gospy completions bash)"),
        ("zsh", &["-f"], "autoload -U compinit; compinit -u; source <(gospy completions zsh)"),
        ("fish", &["--no-config"], "gospy completions fish | source"),
    ];
    for (shell_name, arguments, load) in shells {
        let mut terminal = shell(shell_name, arguments, load, home.path());
        completes(&mut terminal, "gospy summ", "gospy summary ");
        completes(&mut terminal, "gospy stack --c-f", "gospy stack --c-frames");
        completes(&mut terminal, "gospy top completed-", &format!("gospy top {name}"));
        terminal.press("exit\r");
        terminal.end();
    }
    drop(program);
}
