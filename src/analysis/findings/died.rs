//! The program has died.

use super::{Finding, Seen};

/// The program died, and this is its core file, or what was recorded of one. It is a finding of the
/// whole program, and names the goroutine to blame where there is one.
#[derive(Debug)]
pub(super) struct Died;

impl Finding for Died {
    fn code(&self) -> &'static str {
        "died"
    }

    fn one(&self) -> &'static str {
        "the program died"
    }

    fn many(&self) -> &'static str {
        "the program died in several goroutines"
    }

    fn meaning(&self) -> &'static str {
        "The text is the runtime's; the stack is that of the goroutine to blame."
    }

    fn is_of_program(&self) -> bool {
        true
    }

    fn names(&self, _: &Seen<'_>) -> bool {
        false
    }
}
