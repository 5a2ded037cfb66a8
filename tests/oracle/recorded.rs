//! The recorded captures, as other programs read them.

use crate::support::{gospy, recorded};

/// What is inside is an ELF core file to others as well.
#[test]
fn other_readers_open_the_core_file_inside() {
    for recorded in recorded::all() {
        let dir = tempfile::tempdir().unwrap();
        let core = dir.path().join("core");
        gospy(&["capture", "--from", recorded.path(), "-o", core.to_str().unwrap(), "--uncompressed"]).ok();
        let readelf = |flag: &str| {
            let output = std::process::Command::new("readelf").args([flag, "-W"]).arg(&core).output();
            let output = output.expect("readelf (package binutils) is needed");
            assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let headers = readelf("-l");
        assert!(headers.contains("Elf file type is CORE") && headers.matches("  LOAD").count() > 2, "{headers}");
        let notes = readelf("-n");
        for note in ["NT_PRSTATUS", "NT_PRPSINFO", "NT_AUXV", "NT_FILE", "GOSPY"] {
            assert!(notes.contains(note), "{note} is missing in {notes}");
        }
    }
}
