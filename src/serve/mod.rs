//! A server for what people have already: it gives Prometheus the metrics of programs that expose none.
//!
//! A program is read only while a request for it is answered. Nothing here stops a program, sends it a signal or
//! writes into it.
//!
//! Access is checked in one place before anything else (`access`): the caller's user, `Host`, `Origin`, the token.
//! Which programs are served is decided when the server is started (`targets`); any other is 404.
//!
//! * `listen`: addresses, connections and their bounds; `signals`: what ends the server
//! * `access`: access control
//! * `browser`: links and cookies
//! * `confine`: what the server can no longer do; `in_effect`: the same for `gospy doctor`
//! * `targets`: the programs
//! * `discovery`: their list for Prometheus
//! * `page`: the page, and what it asks for
//! * `places`: bounds on what takes long
//! * `profiles`: profiles of a program, as `net/http/pprof` would give them
//! * `program_metrics`, `all_metrics`: metrics of one program, and of all in one answer
//! * `routes`: paths and their answers
//! * `api`: what commands answer, as JSON, and changes as they come
//! * `changes`: what changes from reading to reading
//! * `feeds`: who listens to changes, and what is read for them
//! * `commands`: how a command is run
//! * `mcp`: what assistants ask
//! * `call`, `answer`: a request and an answer without what HTTP adds

mod access;
mod all_metrics;
mod answer;
mod api;
mod browser;
mod call;
mod changes;
mod commands;
mod confine;
mod discovery;
mod feeds;
mod in_effect;
mod listen;
#[cfg(feature = "mcp")]
pub mod mcp;
mod page;
mod places;
mod profiles;
mod program_metrics;
mod routes;
mod signals;
mod targets;
#[cfg(feature = "testing")]
pub(crate) mod testing;

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Runtime;

pub use access::{Token, TokenError};
pub use commands::{CommandRun, Outcome, RunCommand};
pub use in_effect::in_effect;
pub use listen::{Address, AddressError, Bound};
pub use targets::{Choice, Pattern, Program};

use crate::process::SocketOwners;
use crate::threads;

use access::{Access, ENTER};
use routes::App;
use signals::Signals;
use targets::Targets;

/// What is served, and to whom.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// Programs that are served.
    pub choice: Choice,
    /// Names in `Host` that are accepted beside the usual ones of loopback.
    pub hosts: Vec<String>,
    /// What a caller shows who is another user, or not on this machine.
    pub token: Option<Token>,
    /// Whether `log` is a terminal: then it gets a link for a browser, which is a secret for a minute.
    pub is_terminal: bool,
    /// How commands are run; without it there is no API.
    pub commands: Option<RunCommand>,
}

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Its own threads.
    #[error("cannot start the server: {0}")]
    Start(io::Error),
    /// What is given up before the first request.
    #[error("cannot drop privileges: {0}")]
    Confine(io::Error),
    /// The address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// As it was typed.
        address: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// A socket that another server answers on.
    #[error("cannot listen on {}: another server answers there", path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket is at the path.
    #[error("cannot listen on {}: there is a file, and it is not a socket of this user", path.display())]
    NoSocket {
        /// The file.
        path: PathBuf,
    },
    /// An address that others than this machine can reach, without a token.
    #[error("{address} can be reached from other machines: give --token-file FILE, too, or listen on 127.0.0.1")]
    Exposed {
        /// As it was typed.
        address: String,
    },
}

/// A server before it listens. From now on, SIGINT, SIGTERM and SIGHUP end it in order, so that none can come between
/// making a socket and being ready to remove it.
#[derive(Debug)]
pub struct Prepared {
    runtime: Runtime,
    signals: Signals,
}

impl Prepared {
    /// Begins.
    ///
    /// # Errors
    /// When the kernel refuses what waiting for connections and signals takes, or a thread.
    pub fn new() -> Result<Self, ServeError> {
        // The address is announced after this: not by a server that cannot start.
        threads::can_start(1).map_err(ServeError::Start)?;
        let runtime = runtime(THREADS).map_err(ServeError::Start)?;
        let signals = {
            let _context = runtime.enter();
            Signals::catch().map_err(ServeError::Start)?
        };
        Ok(Self { runtime, signals })
    }

    /// Serves until one of the signals comes. Each request is a line on `log`.
    ///
    /// # Errors
    /// When the server cannot start.
    pub fn serve(
        self,
        bound: Bound,
        options: ServeOptions,
        mut log: Box<dyn io::Write + Send>,
    ) -> Result<(), ServeError> {
        // No socket can be opened afterwards.
        let owners = bound.tcp_address().and_then(|_| SocketOwners::open());
        // Threads are started later, and inherit it.
        confine::give_up(&mut log).map_err(ServeError::Confine)?;
        start_one(&self.runtime).map_err(ServeError::Start)?;
        let access = Access::new(&bound, options.hosts, options.token);
        if let (Some(mut addr), true) = (bound.tcp_address(), options.is_terminal)
            && let Some(code) = access.browsers().link()
        {
            if addr.ip().is_unspecified() {
                addr.set_ip(Ipv4Addr::LOCALHOST.into());
            }
            let _ = writeln!(log, "for a browser, within a minute: http://{addr}{ENTER}?code={code}");
        }
        let app = Arc::new(App::new(access, Targets::new(options.choice), options.commands, log));
        let result = self.runtime.block_on(listen::accept(bound, owners, app, self.signals));
        // An answer that takes long is not waited for.
        self.runtime.shutdown_background();
        result
    }
}

/// One thread takes requests and sends answers, which takes little. Whatever may block (reading a program, writing the
/// log) is done on up to `blocking` others. With several of the first kind, each answer would wake more of them.
fn runtime(blocking: usize) -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().max_blocking_threads(blocking).enable_all().build()
}

/// Starts a thread that may block.
fn start_one(runtime: &Runtime) -> io::Result<()> {
    // Where the system refuses the first one, tokio panics. While it is there, what would need another one that is refused
    // waits for it.
    threads::can_start(1)?;
    drop(runtime.spawn_blocking(|| ()));
    Ok(())
}

/// A connection has one thread that finds out or writes its answer, and one that did so for the answer before.
const THREADS: usize = 2 * listen::CONNECTIONS;
