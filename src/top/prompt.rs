//! The line in which a filter is typed.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::keys::{self, PROMPT_BINDINGS, PromptAction};
use crate::analysis::{Filter, FilterError};

/// Longest expression that can be typed, bytes.
const MAX_BYTES: usize = 4096;

/// A filter as far as it has been typed.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    text: String,
    /// In bytes, on a character's boundary.
    cursor: usize,
    error: Option<FilterError>,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It goes on.
    Open,
    /// Use this one; `None` for none.
    Accepted(Option<(String, Filter)>),
    /// Leave everything as it was.
    Cancelled,
}

impl Prompt {
    /// Starts with `text`, the cursor after it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), cursor: text.len(), error: None }
    }

    /// What has been typed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is before the cursor.
    #[must_use]
    pub fn before_cursor(&self) -> &str {
        self.text.get(..self.cursor).unwrap_or(&self.text)
    }

    /// What is wrong with it; `None` where it is understood, or empty.
    #[must_use]
    pub fn error(&self) -> Option<&FilterError> {
        self.error.as_ref()
    }

    /// Takes in a key.
    pub fn press(&mut self, event: &KeyEvent) -> Answer {
        match keys::action(PROMPT_BINDINGS, event) {
            Some(PromptAction::Accept) => return self.accept(),
            Some(PromptAction::Cancel) => return Answer::Cancelled,
            Some(edit) => self.edit(edit),
            None => {
                let plain = !event.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
                if let (KeyCode::Char(c), true) = (event.code, plain && self.text.len() < MAX_BYTES)
                    && !c.is_control()
                {
                    self.text.insert(self.cursor, c);
                    self.cursor += c.len_utf8();
                }
            }
        }
        self.error = if self.text.trim().is_empty() { None } else { Filter::parse(&self.text).err() };
        Answer::Open
    }

    fn accept(&mut self) -> Answer {
        if self.text.trim().is_empty() {
            return Answer::Accepted(None);
        }
        match Filter::parse(&self.text) {
            Ok(filter) => Answer::Accepted(Some((self.text.clone(), filter))),
            Err(error) => {
                self.cursor = error.at().end.min(self.text.len());
                while !self.text.is_char_boundary(self.cursor) {
                    self.cursor -= 1;
                }
                self.error = Some(error);
                Answer::Open
            }
        }
    }

    fn edit(&mut self, action: PromptAction) {
        let before = self.before_cursor().chars().next_back().map_or(0, char::len_utf8);
        let under = self.text.get(self.cursor..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        match action {
            PromptAction::Left => self.cursor -= before,
            PromptAction::Right => self.cursor += under,
            PromptAction::Start => self.cursor = 0,
            PromptAction::End => self.cursor = self.text.len(),
            PromptAction::Backspace => self.take(before),
            PromptAction::Delete => {
                self.cursor += under;
                self.take(under);
            }
            PromptAction::DeleteWord => {
                let kept = self.before_cursor().trim_end();
                let kept = kept.rfind(char::is_whitespace).map_or(0, |space| space + 1);
                // The space may be longer than a byte.
                let kept = (kept..=self.cursor).find(|at| self.text.is_char_boundary(*at)).unwrap_or(self.cursor);
                self.take(self.cursor - kept);
            }
            PromptAction::DeleteAll => self.take(self.cursor),
            PromptAction::Accept | PromptAction::Cancel => {}
        }
    }

    /// Takes away the `bytes` before the cursor.
    fn take(&mut self, bytes: usize) {
        let start = self.cursor.saturating_sub(bytes);
        self.text.replace_range(start..self.cursor, "");
        self.cursor = start;
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Prompt};
    use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
    use proptest::prelude::*;

    fn press(prompt: &mut Prompt, code: KeyCode) -> Answer {
        prompt.press(&KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn type_in(prompt: &mut Prompt, text: &str) {
        for c in text.chars() {
            press(prompt, KeyCode::Char(c));
        }
    }

    #[test]
    fn typing_and_editing() {
        let mut prompt = Prompt::default();
        type_in(&mut prompt, "state=wörking");
        for code in [KeyCode::Left, KeyCode::Home, KeyCode::Delete, KeyCode::End, KeyCode::Backspace] {
            press(&mut prompt, code);
        }
        assert_eq!(prompt.text(), "tate=wörkin");
        type_in(&mut prompt, " and\u{2003}名前");
        prompt.press(&KeyEvent::new(KeyCode::Char('w'), KeyModifiers::CONTROL));
        assert_eq!(prompt.text(), "tate=wörkin and\u{2003}");
        prompt.press(&KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL));
        assert_eq!(prompt.text(), "");
    }

    #[test]
    fn errors_are_told_while_typing_and_keep_it_open() {
        let mut prompt = Prompt::default();
        type_in(&mut prompt, "colour=red and id=1");
        assert!(prompt.error().is_some());
        assert!(matches!(press(&mut prompt, KeyCode::Enter), Answer::Open));
        assert_eq!(prompt.before_cursor(), "colour");
        let mut prompt = Prompt::new("id=1");
        assert!(matches!(press(&mut prompt, KeyCode::Enter), Answer::Accepted(Some((text, _))) if text == "id=1"));
        assert!(matches!(press(&mut prompt, KeyCode::Esc), Answer::Cancelled));
        assert!(matches!(press(&mut Prompt::new("  "), KeyCode::Enter), Answer::Accepted(None)));
    }

    proptest! {
        #[test]
        fn no_keys_break_it(script in proptest::collection::vec((0..12_u8, any::<char>()), 0..80)) {
            let mut prompt = Prompt::default();
            for (kind, c) in script {
                let ctrl = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
                let event = match kind {
                    0 => KeyCode::Left.into(),
                    1 => KeyCode::Right.into(),
                    2 => KeyCode::Backspace.into(),
                    3 => KeyCode::Delete.into(),
                    4 => ctrl('w'),
                    5 => KeyCode::Enter.into(),
                    6 => KeyCode::Char(' ').into(),
                    7 => KeyCode::Home.into(),
                    _ => KeyCode::Char(c).into(),
                };
                prompt.press(&event);
                prop_assert!(prompt.text().is_char_boundary(prompt.before_cursor().len()));
                prop_assert!(prompt.text().starts_with(prompt.before_cursor()));
            }
        }
    }
}
