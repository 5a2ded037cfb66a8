//! The captures in `fixtures/captures`.

use std::path::PathBuf;

pub struct Recorded {
    pub path: PathBuf,
    pub program: String,
    pub version: String,
    pub arch: String,
}

impl Recorded {
    pub fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

pub fn all() -> Vec<Recorded> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures");
    let mut found: Vec<Recorded> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "capture"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let parts: Vec<&str> = name.split('-').collect();
            let [program, version, arch] = parts[..] else { panic!("{name} is not PROGRAM-VERSION-ARCH") };
            Recorded { program: program.into(), version: version.into(), arch: arch.into(), path }
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() >= 16, "only {} captures", found.len());
    found
}
