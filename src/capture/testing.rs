//! A session for tests: of a real program, recorded.

use std::path::Path;

use super::{OpenOptions, Session};
use crate::process::core::{CoreOptions, CoreTarget};

/// The session of a small program of Go 1.26.6 on amd64.
pub(crate) fn session() -> Session {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures/tiny-1.26.6-amd64.capture");
    let target = CoreTarget::open(&path, &CoreOptions::default()).unwrap();
    Session::open(Box::new(target), &OpenOptions::default()).unwrap()
}
