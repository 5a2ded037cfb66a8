//! Programs that tests need beside Go and Rust.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The path of a program. Without it the test fails, and says what to install.
pub fn need(tool: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(tool)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("'{tool}' is not installed; install the package '{package}'"))
}

/// Asks again and again until there is an answer, for as long as a busy machine may take.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(5));
    }
}

/// Other users and mounts take root. Whoever is somebody else sees that these tests did not run.
pub fn need_root() {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root");
}
