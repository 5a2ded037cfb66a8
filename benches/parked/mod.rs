//! What the benchmarks look into: a capture of 5,000 goroutines parked on 200 distinct stacks, so
//! that they need no Go, no permission and no other process, and always see the same bytes.
//!
//! `benches/side_by_side --record` made it, of `fx many 5000 -kinds 200 -depth 8`.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use gospy::capture::{CaptureOptions, OpenOptions, Session};
use gospy::model::Snapshot;
use gospy::process::capture_file::CaptureFile;
use gospy::process::core::{CoreOptions, CoreTarget};
use gospy::testing::ByteSource as _;
use gospy::testing::FileBytes;

/// The capture, decompressed, so that reading it costs a copy as it does with a process.
pub(crate) fn image() -> anyhow::Result<Arc<Vec<u8>>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures/parked.gospy");
    let file = FileBytes::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let capture = CaptureFile::open(Arc::new(file))?;
    let mut image = vec![0; usize::try_from(capture.len())?];
    anyhow::ensure!(capture.read_at(0, &mut image)? == image.len(), "the capture is short");
    Ok(Arc::new(image))
}

/// Opens it, as `gospy` opens a process.
pub(crate) fn open(image: &Arc<Vec<u8>>) -> anyhow::Result<Session> {
    let target = CoreTarget::from_source(Arc::clone(image) as _, &CoreOptions::default())?;
    Ok(Session::open(Box::new(target), &OpenOptions::default())?)
}

/// Reads all goroutines with their stacks.
pub(crate) fn capture(session: &mut Session) -> anyhow::Result<Snapshot> {
    let snapshot = session.capture(&CaptureOptions { stacks: true, ..CaptureOptions::default() })?;
    anyhow::ensure!(snapshot.goroutines.len() >= 5_000, "{} goroutines", snapshot.goroutines.len());
    anyhow::ensure!(snapshot.is_complete(), "not all of it could be read");
    Ok(snapshot)
}
