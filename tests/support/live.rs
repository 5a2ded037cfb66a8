//! `fixtures/live`: the Go program that comes with the sources, for tests that everybody can run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use flate2::read::GzDecoder;

use super::fixture::Fixture;
use super::process::Running;

/// The version of Go that it was built with.
pub const LIVE_VERSION: &str = "1.26.6";

/// Starts it and waits until it is ready.
pub fn live(args: &[&str]) -> Running {
    Fixture::of(&live_program()).run(args)
}

/// Its bytes.
pub fn live_bytes() -> Vec<u8> {
    let packed = std::fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/live/live.gz")).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut GzDecoder::new(packed), &mut bytes).unwrap();
    bytes
}

/// Its path, below `target`. It is unpacked by the first test of a run that wants it.
pub fn live_program() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let bytes = live_bytes();
        let mut sum = flate2::Crc::new();
        sum.update(&bytes);
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("live-{:08x}", sum.sum()));
        let path = directory.join("live");
        if !path.exists() {
            // Another run of the tests may do the same at this moment.
            let mine = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let made = write_program(mine.path(), "live", &bytes);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::rename(made, &path).unwrap();
        }
        path
    })
    .clone()
}

/// The same program in another build, in `directory`: it has another build id, and another byte of code in
/// a gap between two functions.
pub fn other_build(directory: &Path) -> Fixture {
    let mut bytes = live_bytes();
    // Notes: the lengths of the name and of what follows it, the type, the name.
    for (note, length) in
        [(b"\x04\0\0\0\x53\0\0\0\x04\0\0\0Go\0\0", 0x53), (b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0", 0x14)]
    {
        let at = memchr::memmem::find(&bytes, note).unwrap() + note.len();
        // Go's has four parts, with slashes in between.
        for byte in bytes[at..at + length].iter_mut().filter(|byte| **byte != b'/') {
            *byte = if *byte == b'a' { b'b' } else { b'a' };
        }
    }
    let gap = 0x10000 + memchr::memmem::find(&bytes[0x10000..], &[0xcc; 8]).unwrap();
    bytes[gap + 4] = 0x90;
    Fixture::of(&write_program(directory, "live", &bytes))
}

/// Makes an executable file, by another process: were it open for writing here while another thread
/// of this one forks, it could not be started until that child has become something else.
pub fn write_program(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let (data, path) = (directory.join(format!("{name}.bytes")), directory.join(name));
    std::fs::write(&data, bytes).unwrap();
    let installed = Command::new("install").args(["-m", "755"]).arg(&data).arg(&path).status().unwrap();
    assert!(installed.success());
    std::fs::remove_file(data).unwrap();
    path
}
