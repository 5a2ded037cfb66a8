//! Programs that tests need beside Go and Rust.

use std::path::PathBuf;

/// The path of a program. Without it the test fails, and says what to install.
pub fn need(tool: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(tool)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("'{tool}' is not installed; install the package '{package}'"))
}

/// Other users and mounts take root. Whoever is somebody else sees that these tests did not run.
pub fn need_root() {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root");
}
