//! Access control, for each request before anything else of it is looked at.
//!
//! * The caller is this user or root: the kernel says so of the other end of a unix socket, and of a connection
//!   over loopback. Anybody else needs the token, which is compared in constant time.
//! * A browser that came by a link of this server has a cookie ([`super::browser`]).
//! * `Host` is a name of this server. A page of another site that has its own name resolved to loopback
//!   (DNS rebinding) sends the other site's name.
//! * `Origin` and `Sec-Fetch-Site` are not those of a page of another site.
//! * The method is one that changes nothing.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode};
use nix::unistd::geteuid;

use super::browser::{Browsers, same};
use super::listen::Bound;
use super::routes::takes_post;
use crate::process::{Owner, SocketOwners};

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// The user who asks, where the kernel says.
    uid: Option<u32>,
    /// What it is called in the log.
    pub(super) name: String,
}

impl Peer {
    /// The other end of a unix socket.
    pub(super) fn unix(uid: Option<u32>) -> Self {
        Self { uid, name: uid.map_or_else(|| "unix".to_owned(), |uid| format!("uid {uid}")) }
    }

    /// The other end of a TCP connection, by the addresses of both; `None` where the kernel does not say at once whose it
    /// is.
    pub(super) fn tcp(owners: Option<&SocketOwners>, theirs: SocketAddr, ours: SocketAddr) -> Option<Self> {
        let uid = match owner_on_loopback(owners, plain(theirs), plain(ours)) {
            Owner::Uid(uid) => Some(uid),
            Owner::Nobody => None,
            Owner::Unknown => return None,
        };
        Some(Self { uid, name: theirs.to_string() })
    }

    /// The same by the tables of all sockets, which takes long where there are many.
    pub(super) fn tcp_by_tables(theirs: SocketAddr, ours: SocketAddr) -> Self {
        Self { uid: uid_by_tables(plain(theirs), plain(ours)), name: theirs.to_string() }
    }
}

/// The owner of the peer of a loopback connection. Of other connections, no owner is known here.
fn owner_on_loopback(owners: Option<&SocketOwners>, theirs: SocketAddr, ours: SocketAddr) -> Owner {
    match (theirs.ip().is_loopback() && ours.ip().is_loopback(), owners) {
        (false, _) => Owner::Nobody,
        (true, Some(owners)) => owners.of(theirs, ours),
        (true, None) => Owner::Unknown,
    }
}

fn uid_by_tables(theirs: SocketAddr, ours: SocketAddr) -> Option<u32> {
    // IPv4 over an IPv6 socket is in the table of IPv6.
    let entries = procfs::net::tcp().unwrap_or_default().into_iter().chain(procfs::net::tcp6().unwrap_or_default());
    // One that no process holds any more has no inode, and no owner: the kernel says 0, as if it were root's.
    let is_it = |entry: &procfs::net::TcpNetEntry| {
        plain(entry.local_address) == theirs && plain(entry.remote_address) == ours && entry.inode != 0
    };
    entries.into_iter().find(is_it).map(|entry| entry.uid)
}

/// The same address without an IPv4 address inside an IPv6 one.
fn plain(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The status.
    pub(super) status: StatusCode,
    /// A sentence.
    pub(super) why: &'static str,
}

const fn forbidden(why: &'static str) -> Refusal {
    Refusal { status: StatusCode::FORBIDDEN, why }
}

const NOT_THE_USER: Refusal = Refusal {
    status: StatusCode::UNAUTHORIZED,
    why: "only the user who started this server, root, and callers with its token may ask",
};

/// The secret that callers show.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Vec<u8>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// Others may read it.
    #[error("other users may read it; run: chmod 600")]
    Open,
    /// Another user owns it.
    #[error("it belongs to another user")]
    Foreign,
    /// It is too short, or has characters that a header cannot hold.
    #[error("a token has 32 to 1024 printable ASCII characters; make one with: openssl rand -hex 32")]
    Unfit,
}

impl Token {
    const LENGTH: std::ops::RangeInclusive<usize> = 32..=1024;

    /// Reads it from a file that only this user may read, without the white space around it.
    ///
    /// # Errors
    /// When the file cannot be read, others may read it, or it holds no token.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        // A secret of Kubernetes is behind links. What counts is whose the file is, and who may read it.
        let file = File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(TokenError::Unfit);
        }
        if metadata.uid() != geteuid().as_raw() && metadata.uid() != 0 {
            return Err(TokenError::Foreign);
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(TokenError::Open);
        }
        let mut text = Vec::new();
        file.take(4096).read_to_end(&mut text)?;
        let token = text.trim_ascii();
        let is_fit = Self::LENGTH.contains(&token.len()) && token.iter().all(u8::is_ascii_graphic);
        if is_fit { Ok(Self(token.to_vec())) } else { Err(TokenError::Unfit) }
    }
}

/// The rules.
#[derive(Debug)]
pub(super) struct Access {
    /// Names in `Host`, in small letters.
    hosts: Vec<String>,
    token: Option<Token>,
    browsers: Browsers,
    uid: u32,
}

/// The only path that needs no known user: it accepts the one-time link that a browser is started with.
pub(super) const ENTER: &str = "/enter";

impl Access {
    pub(super) fn new(bound: &Bound, more: Vec<String>, token: Option<Token>) -> Self {
        let mut hosts = vec!["localhost".to_owned()];
        hosts.extend(more.into_iter().map(|host| host.to_ascii_lowercase()));
        if let Some(addr) = bound.tcp_address().filter(|addr| !addr.ip().is_unspecified()) {
            hosts.push(host_of(addr.ip()));
        }
        Self { hosts, token, browsers: Browsers::default(), uid: geteuid().as_raw() }
    }

    /// For callers who are this user, over nothing that has an address.
    #[cfg(feature = "testing")]
    pub(super) fn local() -> Self {
        Self {
            hosts: vec!["localhost".to_owned()],
            token: None,
            browsers: Browsers::default(),
            uid: geteuid().as_raw(),
        }
    }

    /// Those that came by a link.
    pub(super) fn browsers(&self) -> &Browsers {
        &self.browsers
    }

    /// Whether the request may go on.
    pub(super) fn check(&self, peer: &Peer, request: &Parts) -> Result<(), Refusal> {
        self.check_host(&request.headers)?;
        self.check_origin(&request.headers)?;
        if request.uri.path() != ENTER {
            self.check_caller(peer, &request.headers)?;
        }
        match request.method {
            Method::GET | Method::HEAD => Ok(()),
            Method::POST if takes_post(request.uri.path()) => Ok(()),
            _ => Err(Refusal { status: StatusCode::METHOD_NOT_ALLOWED, why: "only GET and HEAD are answered here" }),
        }
    }

    fn check_host(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Err(forbidden("a request has one Host"));
        };
        match host.to_str() {
            Ok(host) if self.is_ours(host) => Ok(()),
            _ => Err(forbidden("this Host is not a name of the server; see --allow-host")),
        }
    }

    /// Whether a name, with or without a port, is one of the server's.
    fn is_ours(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        if authority.as_str().contains('@') {
            return false;
        }
        let name = authority.host().to_ascii_lowercase();
        let ip = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        ip.is_ok_and(|ip| ip.is_loopback()) || self.hosts.contains(&name)
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        const FOREIGN: Refusal = forbidden("pages of other sites may not ask");
        let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
        if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
            return Err(FOREIGN);
        }
        let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        if origin.is_some_and(|(_, host)| self.is_ours(host)) { Ok(()) } else { Err(FOREIGN) }
    }

    fn check_caller(&self, peer: &Peer, headers: &HeaderMap) -> Result<(), Refusal> {
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        if let (Some(token), Some(shown)) = (&self.token, shown) {
            return if same(&token.0, shown) { Ok(()) } else { Err(NOT_THE_USER) };
        }
        match peer.uid {
            Some(uid) if uid == self.uid || uid == 0 => Ok(()),
            _ if self.browsers.knows(headers) => Ok(()),
            _ => Err(NOT_THE_USER),
        }
    }
}

/// An address as a URL has it.
fn host_of(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn access(token: bool) -> Access {
        Access {
            hosts: vec!["localhost".to_owned(), "gospy.example".to_owned()],
            token: token.then(|| Token(TOKEN.into())),
            browsers: Browsers::default(),
            uid: 1000,
        }
    }

    fn status(access: &Access, uid: Option<u32>, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().uri("/metrics");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        access.check(&Peer::unix(uid), &parts).map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
    }

    #[test]
    fn names_of_the_server_are_accepted_and_no_others() {
        let access = access(false);
        for host in [
            "localhost",
            "localhost:8974",
            "LOCALHOST",
            "127.0.0.1:8974",
            "[::1]:8974",
            "127.8.9.1",
            "gospy.example",
            "Gospy.Example:80",
        ] {
            assert_eq!(status(&access, Some(1000), &[("host", host)]), 200, "{host}");
        }
        for host in [
            "evil.test",
            "localhost.evil.test",
            "evil.test:8974",
            "",
            "127.0.0.1.evil.test",
            "x@localhost",
            "localhost@evil.test",
            "10.0.0.1",
            "localhost:8974:1",
            "[::1",
            "local host",
            "0.0.0.0",
        ] {
            assert_eq!(status(&access, Some(1000), &[("host", host)]), 403, "{host}");
        }
        assert_eq!(status(&access, Some(1000), &[]), 403);
        assert_eq!(status(&access, Some(1000), &[("host", "localhost"), ("host", "localhost")]), 403);
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let access = access(false);
        let with = |name, value| status(&access, Some(1000), &[("host", "localhost"), (name, value)]);
        assert_eq!(with("origin", "http://localhost:8974"), 200);
        for origin in ["http://evil.test", "null", "http://localhost.evil.test", "https://localhost@evil.test", ""] {
            assert_eq!(with("origin", origin), 403, "{origin}");
        }
        assert_eq!((with("sec-fetch-site", "same-origin"), with("sec-fetch-site", "none")), (200, 200));
        assert_eq!((with("sec-fetch-site", "cross-site"), with("sec-fetch-site", "same-site")), (403, 403));
    }

    #[test]
    fn other_users_need_the_token() {
        let (open, closed) = (access(true), access(false));
        let host = ("host", "localhost");
        assert_eq!(status(&closed, Some(1000), &[host]), 200);
        assert_eq!(status(&closed, Some(0), &[host]), 200);
        for uid in [None, Some(1001)] {
            assert_eq!(status(&closed, uid, &[host]), 401);
            assert_eq!(status(&open, uid, &[host]), 401);
            let bearer = |token: &str| status(&open, uid, &[host, ("authorization", &format!("Bearer {token}"))]);
            assert_eq!(bearer(TOKEN), 200);
            for wrong in
                ["", "0123456789abcdef0123456789abcdeX", "123456789abcdef0123456789abcdef", &format!("{TOKEN}0")]
            {
                assert_eq!(bearer(wrong), 401, "{wrong}");
            }
            let basic = ("authorization", "Basic MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
            assert_eq!(status(&open, uid, &[host, basic]), 401);
        }
    }

    #[test]
    fn a_link_and_its_cookie_let_a_browser_in() {
        let access = access(true);
        let host = ("host", "localhost");
        let mut request = Request::builder().uri("/enter?code=x").header("host", "localhost");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(access.check(&Peer::unix(None), &parts), Ok(()), "what the code is good for is decided later");
        request = Request::builder().uri("/enter").header("host", "evil.test");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        assert!(access.check(&Peer::unix(None), &parts).is_err());
        let code = access.browsers().link().unwrap();
        let cookie = access.browsers().enter(&code).unwrap();
        let cookie = ("cookie", cookie.to_str().unwrap().split(';').next().unwrap());
        assert_eq!(status(&access, None, &[host, cookie]), 200);
        assert_eq!(status(&access, None, &[host, cookie, ("sec-fetch-site", "cross-site")]), 403);
        assert_eq!(status(&access, None, &[host, ("cookie", "gospy=0")]), 401);
    }

    #[test]
    fn a_token_is_read_from_a_file_of_ones_own_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let with = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Token::read(&path)
        };
        assert_eq!(with(&format!("  {TOKEN}\n"), 0o600).unwrap(), Token(TOKEN.into()));
        assert!(matches!(with(TOKEN, 0o640), Err(TokenError::Open)));
        assert!(matches!(with("short", 0o600), Err(TokenError::Unfit)));
        assert!(matches!(with(&"ä".repeat(40), 0o600), Err(TokenError::Unfit)));
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(Token::read(&link), Err(TokenError::Unfit)), "what it leads to decides");
        with(TOKEN, 0o600).unwrap();
        assert_eq!(Token::read(&link).unwrap(), Token(TOKEN.into()));
        assert!(matches!(Token::read(directory.path()), Err(TokenError::Unfit)));
        assert!(!format!("{:?}", with(TOKEN, 0o600).unwrap()).contains("0123"));
    }

    #[test]
    fn the_kernel_says_whose_a_connection_over_loopback_is() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, ours) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let owners = SocketOwners::open();
        assert!(owners.is_some());
        let uid = |theirs| Peer::tcp(owners.as_ref(), theirs, ours).map(|peer| peer.uid);
        let uid_by_tables = |theirs| Peer::tcp_by_tables(theirs, ours).uid;
        let me = Some(geteuid().as_raw());
        assert_eq!((uid(theirs), uid_by_tables(theirs)), (Some(me), me));
        assert_eq!(Peer::tcp(None, theirs, ours), None, "the tables have to be asked");
        drop(client);
        assert_eq!((uid(theirs), uid_by_tables(theirs)), (Some(None), None), "no process holds it");
        let afar = "10.0.0.1:1".parse().unwrap();
        assert_eq!((uid(afar), uid_by_tables(afar)), (Some(None), None));
    }
}
