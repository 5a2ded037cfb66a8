//! Addresses, connections, and their bounds.
//!
//! A unix socket is made for this user alone (0600). What comes over a connection is bounded: how many there are, how
//! large a head is, how long it may take.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ServeError;
use super::access::Peer;
use super::routes::App;
use super::signals::Signals;
use crate::process::SocketOwners;

/// Connections at the same time; more wait.
pub(super) const CONNECTIONS: usize = 64;
/// Most bytes of a request's head.
const HEAD: usize = 8 * 1024;
/// How long a head may take.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a connection takes requests.
const LIFE: Duration = Duration::from_secs(600);
/// How long the answer to its last one may take.
const LAST_ANSWER: Duration = Duration::from_secs(330);
/// How long answers that are under way may take when the server ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// TCP.
    Tcp(SocketAddr),
}

/// An address that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an address with a port (127.0.0.1:8974) or unix:PATH")]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(AddressError) } else { Ok(Self::Unix(path.into())) };
        }
        let port = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        port.as_deref().unwrap_or(text).parse().map(Self::Tcp).map_err(|_| AddressError)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(addr) => write!(f, "http://{addr}"),
        }
    }
}

impl Address {
    /// The socket that is used unless another address is said: in `/run` for root, and else in the user's runtime
    /// directory; `None` where there is none.
    #[must_use]
    pub fn usual() -> Option<Self> {
        let directory = match geteuid().is_root() {
            true => PathBuf::from("/run"),
            false => PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty())?),
        };
        Some(Self::Unix(directory.join("gospy.sock")))
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(addr) => addr.ip().is_loopback(),
        }
    }

    /// Listens there.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn bind(&self) -> Result<Bound, ServeError> {
        let failed = |source: io::Error| ServeError::Listen { address: self.to_string(), source };
        match self {
            Self::Tcp(addr) => {
                let listener = std::net::TcpListener::bind(addr).map_err(failed)?;
                listener.set_nonblocking(true).map_err(failed)?;
                Ok(Bound(Listener::Tcp(listener)))
            }
            Self::Unix(path) => {
                make_way(path)?;
                // Nobody else may connect, from the first moment on.
                let before = umask(Mode::from_bits_truncate(0o177));
                let bound = StdUnixListener::bind(path);
                umask(before);
                let listener = bound.map_err(failed)?;
                let socket = Socket::of(path).map_err(failed)?;
                listener.set_nonblocking(true).map_err(failed)?;
                Ok(Bound(Listener::Unix(listener, socket)))
            }
        }
    }
}

/// Removes a socket of this user on which nobody answers any more.
fn make_way(path: &Path) -> Result<(), ServeError> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() || metadata.uid() != geteuid().as_raw() {
        return Err(ServeError::NoSocket { path: path.to_owned() });
    }
    if StdUnixStream::connect(path).is_ok() {
        return Err(ServeError::Taken { path: path.to_owned() });
    }
    std::fs::remove_file(path).map_err(|source| ServeError::Listen { address: path.display().to_string(), source })
}

/// The socket that was made, which is removed at the end unless another one has taken its place.
#[derive(Debug)]
struct Socket {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Socket {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let now = std::fs::symlink_metadata(&self.path);
        if now.is_ok_and(|now| (now.dev(), now.ino()) == (self.device, self.inode)) {
            // Nobody is left to be told of a failure.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A socket that listens.
#[derive(Debug)]
pub struct Bound(Listener);

#[derive(Debug)]
enum Listener {
    Unix(StdUnixListener, Socket),
    Tcp(std::net::TcpListener),
}

impl Bound {
    /// The address of a TCP socket.
    pub(super) fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.0 {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(..) => None,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        match &self.0 {
            Listener::Tcp(_) => self.tcp_address().map(Address::Tcp),
            Listener::Unix(_, socket) => Some(Address::Unix(socket.path.clone())),
        }
    }
}

/// Accepts connections until one of the signals comes.
pub(super) async fn accept(
    bound: Bound,
    owners: Option<SocketOwners>,
    app: Arc<App>,
    signals: Signals,
) -> Result<(), ServeError> {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    tokio::spawn(tidy(Arc::clone(&app)));
    let accepting = accept_all(bound, owners, app, Arc::clone(&room));
    tokio::select! {
        result = accepting => result?,
        () = signals.wait() => {}
    }
    // Who holds a permit is being answered.
    let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(FAREWELL, room.acquire_many(all)).await;
    Ok(())
}

async fn accept_all(
    bound: Bound,
    owners: Option<SocketOwners>,
    app: Arc<App>,
    room: Arc<Semaphore>,
) -> Result<(), ServeError> {
    match bound.0 {
        Listener::Tcp(listener) => {
            let listener = TcpListener::from_std(listener).map_err(ServeError::Start)?;
            loop {
                let Some(permit) = permit(&room).await else { return Ok(()) };
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        let Ok(ours) = stream.local_addr() else { continue };
                        let (app, owner) = (Arc::clone(&app), Peer::tcp(owners.as_ref(), peer, ours));
                        tokio::spawn(async move {
                            let owner = match owner {
                                Some(owner) => Ok(owner),
                                // The tables of sockets may be long.
                                None => tokio::task::spawn_blocking(move || Peer::tcp_by_tables(peer, ours)).await,
                            };
                            if let Ok(owner) = owner {
                                answer(stream, owner, app, permit).await;
                            }
                        });
                    }
                    Err(_) => pause().await,
                }
            }
        }
        Listener::Unix(listener, _socket) => {
            let listener = UnixListener::from_std(listener).map_err(ServeError::Start)?;
            loop {
                let Some(permit) = permit(&room).await else { return Ok(()) };
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
                        tokio::spawn(answer(stream, Peer::unix(uid), Arc::clone(&app), permit));
                    }
                    Err(_) => pause().await,
                }
            }
        }
    }
}

/// Gives up what is kept for a moment only.
async fn tidy(app: Arc<App>) {
    const PAUSE: Duration = Duration::from_secs(1);
    loop {
        tokio::time::sleep(PAUSE).await;
        let app = Arc::clone(&app);
        // A reading holds the lock that this takes.
        let _ = tokio::task::spawn_blocking(move || app.tidy()).await;
    }
}

async fn permit(room: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(room).acquire_owned().await.ok()
}

/// Out of descriptors, most likely: others have to end first.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: Peer,
    app: Arc<App>,
    permit: OwnedSemaphorePermit,
) {
    let peer = &peer;
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let app = Arc::clone(&app);
        async move {
            let request = request.map(Body::new);
            Ok::<_, Infallible>(app.answer(peer, request).await)
        }
    });
    converse(stream, service, LIFE).await;
    drop(permit);
}

/// Answers what comes over a connection. After `life` it takes no more requests, and finishes what it answers.
pub(super) async fn converse<S>(stream: impl AsyncRead + AsyncWrite + Unpin, service: S, life: Duration)
where
    S: HttpService<Incoming, ResBody = Body, Error = Infallible>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // How it ended concerns the other end only.
    if tokio::time::timeout(life, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(LAST_ANSWER, connection).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn addresses_are_parsed() {
        let tcp = |text: &str| Address::Tcp(text.parse().unwrap());
        assert_eq!("127.0.0.1:8974".parse(), Ok(tcp("127.0.0.1:8974")));
        assert_eq!("localhost:1".parse(), Ok(tcp("127.0.0.1:1")));
        assert_eq!("[::1]:1".parse(), Ok(tcp("[::1]:1")));
        assert_eq!("unix:/a".parse(), Ok(Address::Unix("/a".into())));
        for wrong in ["", "8974", ":8974", "127.0.0.1", "unix:", "example.com:80", "127.0.0.1:99999"] {
            assert_eq!(wrong.parse::<Address>(), Err(AddressError), "{wrong}");
        }
        assert!(tcp("127.3.4.5:1").is_local() && !tcp("0.0.0.0:1").is_local() && !tcp("10.0.0.1:1").is_local());
    }

    #[test]
    fn a_socket_is_its_users_alone_and_goes_with_the_server() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let address = Address::Unix(path.clone());
        let bound = address.bind().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(address.bind(), Err(ServeError::Taken { .. })));
        drop(bound);
        assert!(!path.exists());
        // One that was left by a server that was killed.
        drop(StdUnixListener::bind(&path).unwrap());
        let bound = address.bind().unwrap();
        // Another one has taken its place: that one stays.
        std::fs::remove_file(&path).unwrap();
        let _other = StdUnixListener::bind(&path).unwrap();
        drop(bound);
        assert!(path.exists());
    }

    #[test]
    fn a_file_is_never_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "x").unwrap();
        assert!(matches!(Address::Unix(path.clone()).bind(), Err(ServeError::NoSocket { .. })));
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(directory.path().join("absent"), &link).unwrap();
        assert!(matches!(Address::Unix(link).bind(), Err(ServeError::NoSocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "x");
    }

    #[test]
    fn a_connection_that_has_lived_long_finishes_its_answer() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(async {
            let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
            let (life, work) = (Duration::from_millis(50), Duration::from_millis(300));
            let service = service_fn(move |_: hyper::Request<Incoming>| async move {
                tokio::time::sleep(work).await;
                Ok::<_, Infallible>(hyper::Response::new(Body::from("done")))
            });
            let server = tokio::spawn(async move { converse(ours, service, life).await });
            theirs.writable().await.unwrap();
            theirs.try_write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            server.await.unwrap();
            let mut answer = vec![0; 4096];
            theirs.readable().await.unwrap();
            let len = theirs.try_read(&mut answer).unwrap();
            String::from_utf8_lossy(&answer[..len]).into_owned()
        });
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
        assert!(answer.ends_with("done") && answer.contains("connection: close"), "{answer}");
    }
}
