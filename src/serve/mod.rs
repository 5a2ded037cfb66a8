//! A server for what people have already: it gives Prometheus the metrics of programs that expose none.
//!
//! A program is read when somebody asks for it, and not otherwise; nobody asking, nothing is read. Nothing here
//! stops a program, sends it a signal or writes into it, whatever is asked.
//!
//! Who may ask is decided in one place before anything else (`access`): the caller's user, the names that the
//! server goes by, the origin of a page, a token. Which programs there are to ask for is decided when the server is
//! started (`targets`); others are not there.
//!
//! * `listen`: addresses, connections and their bounds
//! * `access`: who may ask
//! * `targets`: the programs
//! * `discovery`: their list for Prometheus
//! * `routes`: what is asked, and what is answered

mod access;
mod discovery;
mod listen;
mod routes;
mod targets;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub use access::{Token, TokenError};
pub use listen::{Address, AddressError, Bound};
pub use targets::{Choice, Pattern};

use access::Access;
use routes::App;
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
}

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Its own threads.
    #[error("cannot start the server: {0}")]
    Start(io::Error),
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

/// Serves until SIGINT or SIGTERM comes. Each request is a line on `log`.
///
/// # Errors
/// When the server cannot start.
pub fn serve(bound: Bound, options: ServeOptions, log: Box<dyn io::Write + Send>) -> Result<(), ServeError> {
    // Nothing that it may not do now can be done by it or through it later.
    nix::sys::prctl::set_no_new_privs().map_err(|errno| ServeError::Start(errno.into()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(READERS)
        .enable_all()
        .build()
        .map_err(ServeError::Start)?;
    let access = Access::new(&bound, options.hosts, options.token);
    let app = Arc::new(App::new(access, Targets::new(options.choice), log));
    runtime.block_on(listen::accept(bound, app))
}

/// Programs that are read at the same time.
const READERS: usize = 8;
