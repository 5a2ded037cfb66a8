//! Unix sockets of our own network namespace, by the kernel's socket diagnostics (sock_diag(7), linux/unix_diag.h),
//! and the way to ask for those, which [`super::socket_owner`] takes, too.
//!
//! Unlike `/proc/net/unix`, they have names that nobody can forge, the peer, queues and the backlog. The kernel
//! answers only for the namespace of who asks, and we enter no other. Where it does not answer, the table is
//! read instead ([`super::sockets`]). One dump is read for all sockets, since a peer's name is in its own entry.

use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;
use rustc_hash::{FxHashMap, FxHashSet};

use super::descriptor::{Protocol, Socket, SocketName, SocketState, UnixKind};
use crate::bytes::FieldsExt as _;

/// Bytes of one answer, which holds several messages; the kernel's are at most 32 KiB.
const ANSWER: usize = 64 << 10;
/// Most answers that are read.
const MAX_ANSWERS: usize = 1 << 16;
/// `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;
/// `struct unix_diag_msg`.
const MESSAGE: usize = 16;
/// The type of a message that is an error.
pub(super) const NLMSG_ERROR: u16 = 2;

/// A socket to ask the kernel by, which waits a second for an answer; `None` where the kernel refuses.
pub(super) fn open() -> Option<OwnedFd> {
    let protocol = SockProtocol::NetlinkSockDiag;
    let socket = socket(AddressFamily::Netlink, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol).ok()?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(1, 0)).ok()?;
    Some(socket)
}

/// Asks.
pub(super) fn send(socket: &OwnedFd, request: &[u8]) -> Option<()> {
    socket::send(socket.as_raw_fd(), request, MsgFlags::empty()).ok().map(drop)
}

/// Waits for an answer, and says how long it is.
pub(super) fn receive(socket: &OwnedFd, answer: &mut [u8]) -> Option<usize> {
    socket::recv(socket.as_raw_fd(), answer, MsgFlags::empty()).ok()
}

/// The same without waiting; `None` where there is none.
pub(super) fn receive_at_once(socket: &OwnedFd, answer: &mut [u8]) -> Option<usize> {
    socket::recv(socket.as_raw_fd(), answer, MsgFlags::MSG_DONTWAIT).ok()
}

/// A question of the kind `SOCK_DIAG_BY_FAMILY`, with these flags and this number.
pub(super) fn request(flags: u16, number: u32, body: &[u8]) -> Vec<u8> {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    let len = u32::try_from(HEADER.saturating_add(body.len())).unwrap_or(0);
    let mut out = len.to_ne_bytes().to_vec();
    out.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend([number, 0].into_iter().flat_map(u32::to_ne_bytes));
    out.extend(body);
    out
}

/// Finds the unix sockets with these inodes; `None` when the kernel does not answer.
pub(super) fn unix(wanted: &FxHashSet<u64>) -> Option<FxHashMap<u64, Socket>> {
    let socket = open()?;
    send(&socket, &all_unix())?;
    let mut answer = vec![0; ANSWER];
    let mut found = Dump::default();
    for _ in 0..MAX_ANSWERS {
        let got = receive(&socket, &mut answer)?;
        match found.add(answer.get(..got)?, wanted)? {
            Progress::More => {}
            Progress::Done => return Some(found.finish()),
        }
    }
    None
}

/// A request for all unix sockets in all states, with names, peers and queues.
fn all_unix() -> Vec<u8> {
    /// `NLM_F_REQUEST` and `NLM_F_DUMP`.
    const FLAGS: u16 = 0x301;
    const AF_UNIX: u8 = 1;
    /// `UDIAG_SHOW_NAME`, `UDIAG_SHOW_PEER`, `UDIAG_SHOW_RQLEN`.
    const SHOW: u32 = 0x1 | 0x4 | 0x10;
    let mut body = vec![AF_UNIX, 0, 0, 0];
    // States, inode, what to show, and two words of a cookie: any.
    for word in [u32::MAX, 0, SHOW, u32::MAX, u32::MAX] {
        body.extend(word.to_ne_bytes());
    }
    request(FLAGS, 1, &body)
}

pub(super) enum Progress {
    More,
    Done,
}

/// What was read of a dump.
#[derive(Default)]
pub(super) struct Dump {
    /// The wanted ones, with the inodes of their peers.
    found: FxHashMap<u64, (Socket, Option<u64>)>,
    /// All names, by inode.
    names: FxHashMap<u64, SocketName>,
}

impl Dump {
    /// Adds the messages of one answer; `None` for an error, and for what makes no sense.
    pub(super) fn add(&mut self, mut answer: &[u8], wanted: &FxHashSet<u64>) -> Option<Progress> {
        const NLMSG_DONE: u16 = 3;
        while !answer.is_empty() {
            let len = usize::try_from(answer.u32_at(0)?).ok()?;
            let message = answer.get(..len).filter(|message| message.len() >= HEADER)?;
            match message.u16_at(4)? {
                NLMSG_DONE => return Some(Progress::Done),
                NLMSG_ERROR => return None,
                _ => self.add_socket(message.get(HEADER..)?, wanted)?,
            }
            answer = answer.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        Some(Progress::More)
    }

    /// `struct unix_diag_msg` and its attributes.
    fn add_socket(&mut self, message: &[u8], wanted: &FxHashSet<u64>) -> Option<()> {
        const NAME: u16 = 0;
        const PEER: u16 = 2;
        const QUEUES: u16 = 4;
        let inode = u64::from(message.u32_at(4)?);
        let kind = match message.u8_at(1)? {
            1 => UnixKind::Stream,
            2 => UnixKind::Datagram,
            5 => UnixKind::SeqPacket,
            _ => UnixKind::Unknown,
        };
        let state = SocketState::of(message.u8_at(2)?).filter(|state| *state != SocketState::Close);
        let listens = state == Some(SocketState::Listen);
        let mut socket = Socket { protocol: Some(Protocol::Unix(kind)), state, ..Socket::unknown(inode) };
        let mut peer = None;
        let mut rest = message.get(MESSAGE..)?;
        while !rest.is_empty() {
            let len = usize::from(rest.u16_at(0)?);
            let value = rest.get(4..len)?;
            match rest.u16_at(2)? {
                NAME => socket.local = name(value),
                PEER => peer = value.u32_at(0).map(u64::from),
                QUEUES => {
                    let (received, sent) = (value.u32_at(0).map(u64::from), value.u32_at(4).map(u64::from));
                    if listens {
                        (socket.accept_queue, socket.backlog) = (received, sent);
                    } else {
                        (socket.receive_queue, socket.send_queue) = (received, sent);
                    }
                }
                _ => {}
            }
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        if let Some(name) = &socket.local {
            self.names.insert(inode, name.clone());
        }
        if wanted.contains(&inode) {
            self.found.insert(inode, (socket, peer));
        }
        Some(())
    }

    pub(super) fn finish(self) -> FxHashMap<u64, Socket> {
        let Self { found, names } = self;
        let named = |(inode, (socket, peer)): (u64, (Socket, Option<u64>))| {
            let remote = peer.and_then(|peer| names.get(&peer)).cloned();
            (inode, Socket { remote, ..socket })
        };
        found.into_iter().map(named).collect()
    }
}

/// `sun_path`: a path, or an abstract name after a NUL.
fn name(bytes: &[u8]) -> Option<SocketName> {
    let text = match bytes.split_first()? {
        (0, rest) => format!("@{}", String::from_utf8_lossy(rest).replace('\0', "@")),
        _ => {
            let path = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(path).into_owned()
        }
    };
    Some(SocketName::Unix(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message of one socket with these attributes.
    fn message(kind: u8, state: u8, inode: u32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![1, kind, state, 0];
        body.extend(inode.to_ne_bytes());
        body.extend([0; 8]);
        for (number, value) in attributes {
            body.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
            body.extend(number.to_ne_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        whole(20, &body)
    }

    fn whole(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut out = u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes().to_vec();
        out.extend(kind.to_ne_bytes());
        out.extend([0; 10]);
        out.extend(body);
        out
    }

    #[test]
    fn peers_have_the_names_of_their_own_entries() {
        let queues = |a: u32, b: u32| [a.to_ne_bytes(), b.to_ne_bytes()].concat();
        let parts = [
            message(1, 1, 5, &[(2, &6_u32.to_ne_bytes()), (4, &queues(3, 4)), (99, b"new")]),
            message(1, 1, 6, &[(0, b"/run/a.sock\0"), (2, &5_u32.to_ne_bytes())]),
            message(5, 10, 7, &[(0, b"\0x\0\n"), (4, &queues(1, 128))]),
        ];
        let wanted = FxHashSet::from_iter([5, 7, 9]);
        let mut dump = Dump::default();
        assert!(matches!(dump.add(&parts.concat(), &wanted), Some(Progress::More)));
        assert!(matches!(dump.add(&whole(3, &[0; 4]), &wanted), Some(Progress::Done)));
        let found = dump.finish();
        assert_eq!(found.len(), 2);
        let unix = |inode, kind, state| Socket {
            protocol: Some(Protocol::Unix(kind)),
            state: Some(state),
            ..Socket::unknown(inode)
        };
        let name = |text: &str| Some(SocketName::Unix(text.to_owned()));
        let client = unix(5, UnixKind::Stream, SocketState::Established);
        let (receive_queue, send_queue) = (Some(3), Some(4));
        assert_eq!(found[&5], Socket { remote: name("/run/a.sock"), receive_queue, send_queue, ..client });
        let listener = unix(7, UnixKind::SeqPacket, SocketState::Listen);
        let (accept_queue, backlog) = (Some(1), Some(128));
        assert_eq!(found[&7], Socket { local: name("@x@\n"), accept_queue, backlog, ..listener });
    }

    #[test]
    fn errors_and_malformed_answers_are_no_answers() {
        let wanted = FxHashSet::from_iter([5]);
        let add = |bytes: &[u8]| Dump::default().add(bytes, &wanted).is_some();
        let good = message(1, 1, 5, &[(0, b"/a")]);
        assert!(add(&good) && add(&[]));
        assert!(!add(&whole(2, &[0; 4])));
        for len in 1..good.len() {
            assert!(!add(&good[..len]), "{len}");
        }
        // A message and an attribute that are longer than they can be, or shorter.
        for (at, value) in [(0, 0), (0, 8), (0, 200), (32, 0), (32, 3), (32, 200)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(!add(&bad), "{at} {value}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_answers_do_not_panic(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut dump = Dump::default();
            dump.add(&body, &FxHashSet::default());
            dump.add(&whole(20, &body), &FxHashSet::default());
        }
    }
}
