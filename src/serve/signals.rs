//! The signals that end the server: SIGINT, SIGTERM, and SIGHUP, which a terminal sends when it is closed.

use std::io;

use signal_hook::consts::SIGHUP;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::process::proc_dir::ProcDir;

/// Signals that are caught.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` where it is ignored, as below `nohup`.
    hangup: Option<Signal>,
}

impl Signals {
    /// Catches them; inside a runtime.
    pub(super) fn catch() -> io::Result<Self> {
        let hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())?, hangup })
    }

    /// Waits for one of them.
    pub(super) async fn wait(mut self) {
        let hung_up = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hung_up => {}
        }
    }
}

fn ignores_hangup() -> bool {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let status = ProcDir::open(own).and_then(|own| own.status());
    status.is_ok_and(|status| status.sigign & (1 << (SIGHUP - 1)) != 0)
}
