//! The keys: one table makes the behaviour, the help and the documentation.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::tab::Tab;

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Leave.
    Quit,
    /// Show or hide the help.
    Help,
    /// Type a filter.
    Filter,
    /// Close what is open, or clear the filter.
    Back,
    /// Pause the view, or resume it.
    Pause,
    /// One sample back in a recording.
    StepBack,
    /// One sample on.
    StepOn,
    /// One minute back.
    MinuteBack,
    /// One minute on.
    MinuteOn,
    /// To the first sample.
    FirstSample,
    /// To the last one.
    LastSample,
    /// Read now.
    Refresh,
    /// Look for leaks now.
    FindLeaks,
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// One page up.
    PageUp,
    /// One page down.
    PageDown,
    /// To the first row, and stay there.
    First,
    /// To the last row.
    Last,
    /// Look into the selected row.
    Open,
    /// The view before this one.
    NextTab,
    /// The view before this one.
    PreviousTab,
    /// One view.
    Show(Tab),
    /// Sort by the column to the left.
    SortLeft,
    /// Sort by the column to the right.
    SortRight,
    /// Reverse the order.
    Invert,
    /// Group by something else.
    Group,
    /// Hide or show the runtime's own goroutines.
    System,
    /// Show the frames of libraries in the stacks of groups, or put them together.
    Fold,
    /// Compare with now from here on.
    Mark,
    /// Forget the mark.
    Unmark,
    /// A longer interval.
    Slower,
    /// A shorter interval.
    Faster,
    /// Write the snapshot to a file.
    Save,
    /// Draw everything again.
    Redraw,
    /// Put gospy into the background.
    Suspend,
}

/// What a key does while a filter is typed; any other character is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PromptAction {
    /// Use the filter.
    Accept,
    /// Leave the filter as it was.
    Cancel,
    /// One character to the left.
    Left,
    /// One character to the right.
    Right,
    /// To the start.
    Start,
    /// To the end.
    End,
    /// Take away the character before.
    Backspace,
    /// Take away the character under the cursor.
    Delete,
    /// Take away the word before.
    DeleteWord,
    /// Take away everything before.
    DeleteAll,
}

/// A key of the keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    code: KeyCode,
    ctrl: bool,
}

const fn key(code: KeyCode) -> Key {
    Key { code, ctrl: false }
}

const fn c(c: char) -> Key {
    key(KeyCode::Char(c))
}

const fn ctrl(c: char) -> Key {
    Key { code: KeyCode::Char(c), ctrl: true }
}

impl Key {
    fn is(self, event: &KeyEvent) -> bool {
        // Shift is in the character already.
        let others = KeyModifiers::ALT | KeyModifiers::SUPER | KeyModifiers::META | KeyModifiers::HYPER;
        self.code == event.code
            && self.ctrl == event.modifiers.contains(KeyModifiers::CONTROL)
            && !event.modifiers.intersects(others)
    }

    /// Its name, as help shows it.
    #[must_use]
    pub(crate) fn name(self) -> String {
        let name = match self.code {
            KeyCode::Char(' ') => "Space".to_owned(),
            KeyCode::Char(c) if self.ctrl => c.to_ascii_uppercase().to_string(),
            KeyCode::Char(c) => c.to_string(),
            KeyCode::Up => "↑".to_owned(),
            KeyCode::Down => "↓".to_owned(),
            KeyCode::Left => "←".to_owned(),
            KeyCode::Right => "→".to_owned(),
            KeyCode::PageUp => "PgUp".to_owned(),
            KeyCode::PageDown => "PgDn".to_owned(),
            KeyCode::F(number) => format!("F{number}"),
            KeyCode::BackTab => "Shift-Tab".to_owned(),
            other => format!("{other:?}"),
        };
        if self.ctrl { format!("Ctrl-{name}") } else { name }
    }
}

/// A row of the table of keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding<A: 'static> {
    /// Any of these.
    pub keys: &'static [Key],
    /// Does this.
    pub action: A,
    /// In words.
    pub help: &'static str,
    /// A word for the line at the bottom; empty for none.
    pub hint: &'static str,
}

const fn bind<A>(keys: &'static [Key], action: A, help: &'static str, hint: &'static str) -> Binding<A> {
    Binding { keys, action, help, hint }
}

/// The keys, in the order in which they are explained.
pub(crate) const BINDINGS: &[Binding<Action>] = &[
    bind(&[c('q'), ctrl('c')], Action::Quit, "quit", "quit"),
    bind(&[c('?'), c('h'), key(KeyCode::F(1))], Action::Help, "this help", "help"),
    bind(&[c('/')], Action::Filter, "filter: the language of --filter", "filter"),
    bind(&[key(KeyCode::Enter)], Action::Open, "open the row: stack, members, facts", "open"),
    bind(&[key(KeyCode::Esc)], Action::Back, "go back; clear the filter", ""),
    bind(&[c('d')], Action::Mark, "mark: compare with now, and sort by what has grown since", "mark"),
    bind(&[c('D')], Action::Unmark, "forget the mark", ""),
    bind(&[c('b')], Action::Group, "group by place, stack, start function, creator, object", "group by"),
    bind(&[c('<'), c(',')], Action::SortLeft, "sort by the column to the left", "sort"),
    bind(&[c('>'), c('.')], Action::SortRight, "sort by the column to the right", ""),
    bind(&[c('I')], Action::Invert, "reverse the order", ""),
    bind(&[c(' '), c('s')], Action::Pause, "pause or resume", "pause"),
    bind(&[c('r')], Action::Refresh, "read now", ""),
    bind(&[c('[')], Action::StepBack, "in a recording: one sample back", "back"),
    bind(&[c(']')], Action::StepOn, "in a recording: one sample on", "on"),
    bind(&[c('{')], Action::MinuteBack, "in a recording: one minute back", "minute back"),
    bind(&[c('}')], Action::MinuteOn, "in a recording: one minute on", ""),
    bind(&[c('(')], Action::FirstSample, "in a recording: to its beginning", ""),
    bind(&[c(')')], Action::LastSample, "in a recording: to its end", ""),
    bind(&[c('L')], Action::FindLeaks, "find leaks: reads the heap once", ""),
    bind(&[c('+'), c('=')], Action::Slower, "a longer interval", ""),
    bind(&[c('-')], Action::Faster, "a shorter interval", ""),
    bind(&[key(KeyCode::Tab)], Action::NextTab, "next view", "view"),
    bind(&[key(KeyCode::BackTab)], Action::PreviousTab, "view before", ""),
    bind(&[c('1')], Action::Show(Tab::Groups), "groups", ""),
    bind(&[c('2')], Action::Show(Tab::Goroutines), "goroutines", ""),
    bind(&[c('3')], Action::Show(Tab::States), "states and wait reasons over time", ""),
    bind(&[c('4')], Action::Show(Tab::Scheduler), "Ps and Ms: who runs what", ""),
    bind(&[c('5')], Action::Show(Tab::Waits), "waits: what is waited on, and who likely holds it", ""),
    bind(&[c('6')], Action::Show(Tab::Leaks), "leaks: goroutines that can never wake", ""),
    bind(&[c('7')], Action::Show(Tab::Findings), "findings: definite problems", ""),
    bind(&[key(KeyCode::Up), c('k')], Action::Up, "row up", ""),
    bind(&[key(KeyCode::Down), c('j')], Action::Down, "row down", ""),
    bind(&[key(KeyCode::PageUp), ctrl('b')], Action::PageUp, "page up", ""),
    bind(&[key(KeyCode::PageDown), ctrl('f')], Action::PageDown, "page down", ""),
    bind(&[c('g'), key(KeyCode::Home)], Action::First, "to the top, and stay there", ""),
    bind(&[c('G'), key(KeyCode::End)], Action::Last, "to the bottom", ""),
    bind(&[c('S')], Action::System, "hide or show the runtime's own goroutines", ""),
    bind(&[c('f')], Action::Fold, "unfold or fold the library frames in the stack of a group", ""),
    bind(&[c('w')], Action::Save, "write a capture (when paused, JSON)", "write"),
    bind(&[ctrl('l')], Action::Redraw, "draw everything again", ""),
    bind(&[ctrl('z')], Action::Suspend, "suspend gospy; fg brings it back", ""),
];

/// The keys while a filter is typed.
pub(crate) const PROMPT_BINDINGS: &[Binding<PromptAction>] = &[
    bind(&[key(KeyCode::Enter)], PromptAction::Accept, "use the filter; an empty one shows all", "use"),
    bind(&[key(KeyCode::Esc), ctrl('c')], PromptAction::Cancel, "leave it as it was", "cancel"),
    bind(&[key(KeyCode::Left), ctrl('b')], PromptAction::Left, "to the left", ""),
    bind(&[key(KeyCode::Right), ctrl('f')], PromptAction::Right, "to the right", ""),
    bind(&[key(KeyCode::Home), ctrl('a')], PromptAction::Start, "to the start", ""),
    bind(&[key(KeyCode::End), ctrl('e')], PromptAction::End, "to the end", ""),
    bind(&[key(KeyCode::Backspace)], PromptAction::Backspace, "delete the character before", ""),
    bind(&[key(KeyCode::Delete)], PromptAction::Delete, "delete the character under the cursor", ""),
    bind(&[ctrl('w')], PromptAction::DeleteWord, "delete the word before", ""),
    bind(&[ctrl('u')], PromptAction::DeleteAll, "delete everything before", "clear"),
];

/// What a key event does by a table.
#[must_use]
pub(crate) fn action<A: Copy>(table: &[Binding<A>], event: &KeyEvent) -> Option<A> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    table.iter().find(|binding| binding.keys.iter().any(|key| key.is(event))).map(|binding| binding.action)
}

/// Whether an action only makes sense while the program can change.
#[must_use]
pub(crate) fn needs_change(action: Action) -> bool {
    use Action::{Faster, Mark, Pause, Refresh, Slower, Unmark};
    matches!(action, Mark | Unmark | Pause | Refresh | Slower | Faster)
}

/// Whether an action only makes sense in a recording of many samples.
#[must_use]
pub(crate) fn needs_recording(action: Action) -> bool {
    use Action::{FirstSample, LastSample, MinuteBack, MinuteOn, StepBack, StepOn};
    matches!(action, StepBack | StepOn | MinuteBack | MinuteOn | FirstSample | LastSample)
}

/// Names of the keys of a binding: `↑ k`.
#[must_use]
pub(crate) fn names<A>(binding: &Binding<A>) -> String {
    binding.keys.iter().map(|key| key.name()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{Action, BINDINGS, Binding, PROMPT_BINDINGS, action};
    use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    /// The table of keys as Markdown, for the documentation.
    fn markdown() -> String {
        let mut out = String::from("# Keys in `gospy top`\n\n| key | does |\n|---|---|\n");
        rows(&mut out, BINDINGS);
        out.push_str("\nWhile a filter is typed:\n\n| key | does |\n|---|---|\n");
        rows(&mut out, PROMPT_BINDINGS);
        out
    }

    fn rows<A>(out: &mut String, table: &[Binding<A>]) {
        for binding in table {
            let keys: Vec<String> = binding.keys.iter().map(|key| format!("`{}`", key.name())).collect();
            out.push_str(&format!("| {} | {} |\n", keys.join(" "), binding.help));
        }
    }

    #[test]
    fn no_key_means_two_things() {
        let mut seen = Vec::new();
        for key in BINDINGS.iter().flat_map(|binding| binding.keys) {
            assert!(!seen.contains(key), "{} is bound twice", key.name());
            seen.push(*key);
        }
        let mut seen = Vec::new();
        for key in PROMPT_BINDINGS.iter().flat_map(|binding| binding.keys) {
            assert!(!seen.contains(key), "{} is bound twice while typing", key.name());
            seen.push(*key);
        }
    }

    #[test]
    fn modifiers_count_but_for_shift() {
        let press = |code, modifiers| action(BINDINGS, &KeyEvent::new(code, modifiers));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Action::Quit));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(press(KeyCode::Char('G'), KeyModifiers::SHIFT), Some(Action::Last));
        assert_eq!(press(KeyCode::Char('q'), KeyModifiers::ALT), None);
    }

    #[test]
    fn the_documentation_has_every_key() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/top-keys.md");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if std::env::var_os("GOSPY_BLESS").is_some() {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
            std::fs::write(path, markdown()).unwrap();
        } else {
            assert!(text == markdown(), "docs/top-keys.md is not the table of keys; GOSPY_BLESS=1 writes it anew");
        }
    }
}
