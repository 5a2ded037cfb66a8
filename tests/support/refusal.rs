//! How gospy refuses: the statuses, and one clear message.

use super::command::Output;

/// As `gospy --help` says.
pub const ERROR: i32 = 1;
pub const USAGE: i32 = 2;
pub const GONE: i32 = 3;
pub const PERMISSION: i32 = 4;
pub const NOT_GO: i32 = 5;
pub const INCOMPLETE: i32 = 6;

/// The message of a run that failed as it should.
pub fn refused(output: &Output, code: i32) -> String {
    assert_eq!(output.code(), code, "{output:?}");
    assert_eq!(output.stdout, "", "{output:?}");
    let message = &output.stderr;
    assert!(message.starts_with("gospy: ") || message.starts_with("error: "), "{message:?}");
    assert_eq!(message.matches("gospy: ").count() + message.matches("error: ").count(), 1, "{message:?}");
    assert!(!message.contains("panicked") && message.lines().count() <= 8, "{message:?}");
    message.clone()
}
