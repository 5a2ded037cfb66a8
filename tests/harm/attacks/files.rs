//! What an attack leaves in the directory of gospy's outputs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;

use super::super::look::program;

/// How gospy ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// It had no chance to tidy up.
    pub(crate) at_once: bool,
    /// It says that it did what it was to do.
    pub(crate) is_success: bool,
}

/// What is wrong with the files: each is whole or not there, for its owner alone, and nothing lies beside them.
pub(crate) fn examine(directory: &Path, end: End) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut outputs = 0;
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let mode = entry.metadata().map_or(0, |metadata| metadata.permissions().mode() & 0o777);
        if name == "socket" {
            if !end.at_once {
                wrong.push("its socket is left".to_owned());
            }
            continue;
        }
        if name.starts_with(".gospy-") {
            // Between the two steps of a replacement, where there is no room for cleaning up.
            if !end.at_once {
                wrong.push(format!("{name} is left"));
            }
            continue;
        }
        outputs += 1;
        if mode != 0o600 {
            wrong.push(format!("{name} has the mode {mode:o}"));
        }
        if let Err(why) = whole(&path, &name, end) {
            wrong.push(format!("{name} is not whole: {why}"));
        }
    }
    if end.is_success && outputs == 0 {
        wrong.push("it says that it is done, and there is no file".to_owned());
    }
    wrong
}

/// Whether a file is all of what its name says.
fn whole(path: &Path, name: &str, end: End) -> Result<(), String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let ends_with = |tag: &str| match bytes.trim_ascii_end().ends_with(tag.as_bytes()) {
        true => Ok(()),
        false => Err(format!("{} bytes, of which the last are not {tag}", bytes.len())),
    };
    match name.split_once('.').map_or("", |(_, ending)| ending) {
        "pb.gz" => {
            let mut plain = Vec::new();
            // The checksum stands at the end.
            std::io::Read::read_to_end(&mut GzDecoder::new(&bytes[..]), &mut plain)
                .map_err(|error| error.to_string())?;
            if plain.is_empty() { Err("there is nothing in it".to_owned()) } else { Ok(()) }
        }
        "html" => ends_with("</html>"),
        "svg" => ends_with("</svg>"),
        "xml" => ends_with("</testsuites>"),
        "json" => serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).map(drop).map_err(|error| error.to_string()),
        // It grows while it is written, and can be read up to there: from its first sample on.
        "gospyrec" if name.starts_with("all") && !end.is_success => shown(path, true),
        "gospyrec" | "gospy" | "capture" => shown(path, false),
        other => Err(format!("who writes files that end in {other}?")),
    }
}

/// Whether gospy shows it.
fn shown(path: &Path, may_be_empty: bool) -> Result<(), String> {
    let mut command = Command::new(program());
    command.args(["summary", "--limit", "1", "--from"]).arg(path).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let is_empty = may_be_empty && output.status.code() == Some(1) && said.contains("no sample");
    if output.status.success() || is_empty { Ok(()) } else { Err(format!("{}: {said}", output.status)) }
}
