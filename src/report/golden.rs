//! Texts that were looked at, and are compared with in tests.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

/// Compares with `src/report/NAME`; `GOSPY_BLESS=1` writes it anew.
pub(super) fn compare(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report").join(name);
    if std::env::var_os("GOSPY_BLESS").is_some() {
        std::fs::write(&path, text).expect("the golden file can be written");
    }
    let want = std::fs::read_to_string(&path).expect("the golden file is there");
    assert_eq!(text, want, "{name} differs; look at it, then run again with GOSPY_BLESS=1");
}
