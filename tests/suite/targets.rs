//! Which program is read: chosen on a terminal where a name means several.

use crate::support::terminal::Terminal;
use crate::support::{Fixture, Running, live_bytes, write_program};

/// Two runs of a program with a name that no other has.
fn two(directory: &std::path::Path) -> (String, [Running; 2]) {
    let name = format!("chosen-{}", std::process::id());
    let path = write_program(directory, &name, &live_bytes());
    (name, ["states", "idle"].map(|what| Fixture::of(&path).run(&[what])))
}

#[test]
fn one_of_several_is_chosen_on_a_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let (name, programs) = two(directory.path());
    let mut pids = programs.each_ref().map(Running::pid);
    pids.sort_unstable();
    let mut terminal = Terminal::gospy(&["summary", &name]);
    terminal.until_text("Which one? [1-2, or a pid] ");
    let list = terminal.text();
    assert!(list.contains(&format!("2 programs match {name}:")), "{list}");
    // Neither a number of the list nor a pid of it: asked again.
    terminal.press("7\r");
    terminal.until("the question again", |screen| (screen.matches("Which one?").count() == 2).then_some(()));
    terminal.press("2\r");
    assert!(terminal.end().success(), "{}", terminal.text());
    let log = String::from_utf8_lossy(&terminal.log).into_owned();
    assert!(log.contains(&format!("pid {}", pids[1])), "{log}");

    // The live view starts on the one that is chosen, here by its pid.
    let mut terminal = Terminal::gospy(&["top", &name]);
    terminal.until_text("Which one? [1-2, or a pid] ");
    terminal.press(&format!("{}\r", pids[0]));
    terminal.until_text(&format!("pid {}", pids[0]));
    terminal.until_text("COUNT");
    terminal.press("q");
    assert!(terminal.end().success());
    terminal.is_restored();

    // The end of the input chooses none.
    let mut terminal = Terminal::gospy(&["summary", &name]);
    terminal.until_text("Which one? [1-2, or a pid] ");
    terminal.press("\u{4}");
    assert_eq!(terminal.end().exit_code(), 2);
    assert!(terminal.text().contains("nothing was chosen"), "{}", terminal.text());
}
