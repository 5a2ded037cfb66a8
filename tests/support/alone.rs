//! Tests that change or measure what a process has only one of.

use std::process::Command;

const MARK: &str = "GOSPY_TEST_ALONE";

/// Runs `body` in a process of its own: this test binary once more, with the test of this name only, its
/// path within the binary included.
pub fn alone(test: &str, body: impl FnOnce()) {
    if std::env::var_os(MARK).is_some_and(|mark| mark == test) {
        return body();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads", "1", "--nocapture"])
        .env(MARK, test)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("test result: ok. 1 passed"), "{}:\n{out}{err}", output.status);
}
