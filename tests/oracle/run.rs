//! `gospy run` on what Go's own toolchain builds.

use std::process::Command;

use crate::support::gospy;

/// A test binary that hangs: which of its tests were running is said, from Go's own package `testing`.
#[test]
fn tests_that_hang_are_named() {
    const SOURCE: &str = "package hang\n\nimport (\n\t\"testing\"\n\t\"time\"\n)\n\n\
        func TestDone(t *testing.T) {}\n\n\
        func TestHangs(t *testing.T) {\n\tt.Parallel()\n\tselect {}\n}\n\n\
        func TestOuter(t *testing.T) {\n\tt.Parallel()\n\tt.Run(\"inner\", func(t *testing.T) { time.Sleep(time.Hour) })\n}\n\n\
        func TestLater(t *testing.T) {\n\tt.Parallel()\n\tt.Log(\"never\")\n}\n";
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("go.mod"), "module example.test/hang\n\ngo 1.20\n").unwrap();
    std::fs::write(directory.path().join("hang_test.go"), SOURCE).unwrap();
    let root = crate::support::fixture::script("toolchain", &["1.26.6"]);
    let built = Command::new(root.join("bin/go"))
        .args(["test", "-c", "-o", "hang.test", "."])
        .current_dir(directory.path())
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "-mod=mod")
        .env("GOCACHE", directory.path().join("cache"))
        .env("CGO_ENABLED", "0")
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    let binary = directory.path().join("hang.test").display().to_string();
    let output = gospy(&["run", "--timeout", "3s", "--", &binary, "-test.parallel", "2"]);
    assert_eq!(output.code(), 124, "{output:?}");
    let (_, rest) =
        output.stderr.split_once("gospy: tests that were running in pid ").unwrap_or_else(|| panic!("{output:?}"));
    let tests: Vec<&str> = rest.lines().skip(1).take_while(|line| line.starts_with("  ")).collect();
    assert_eq!(tests.len(), 2, "{tests:?}");
    assert!(tests[0].starts_with("  example.test/hang.TestHangs (goroutine "), "{tests:?}");
    assert!(tests[0].contains("select (no cases)") && tests[0].ends_with("hang_test.go:12)"), "{tests:?}");
    assert!(tests[1].starts_with("  example.test/hang.TestOuter.func1 (goroutine "), "{tests:?}");
}
