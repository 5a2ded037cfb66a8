//! Who has the other end of a TCP connection on this machine, by the kernel's socket diagnostics (sock_diag(7),
//! linux/inet_diag.h): one question about one socket, where `/proc/net/tcp` walks the whole hash of connections, which
//! takes milliseconds on an idle machine and longer the larger it is.
//!
//! It answers only for our own network namespace. Where the kernel has no such diagnostics, [`Owner::Unknown`] says so.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::sock_diag::{self, HEADER, NLMSG_ERROR};
use crate::bytes::FieldsExt as _;

/// Room for the answer to one question, bytes: a socket with all its attributes.
const ANSWER: usize = 8 << 10;
/// Most answers to earlier questions, which came too late.
const MOST_LATE: usize = 8;

/// Whose a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This user's.
    Uid(u32),
    /// There is none, or no process holds it any more: then the kernel says 0, as if it were root's.
    Nobody,
    /// The kernel does not say.
    Unknown,
}

/// A place to ask. It is opened before a server gives up opening sockets.
#[derive(Debug)]
pub(crate) struct SocketOwners {
    /// And the number of the last question.
    socket: Mutex<(OwnedFd, u32)>,
    /// Whether it has answered once: that there is no such socket is also what a kernel without the module says.
    answers: AtomicBool,
}

impl SocketOwners {
    /// Opens it; `None` where the kernel refuses.
    pub(crate) fn open() -> Option<Self> {
        Some(Self { socket: Mutex::new((sock_diag::open()?, 0)), answers: AtomicBool::new(false) })
    }

    /// Whose the TCP socket is that has these addresses, its own and that of its other end.
    pub(crate) fn of(&self, local: SocketAddr, remote: SocketAddr) -> Owner {
        let found = self.ask(local, remote);
        if matches!(found, Some(Owner::Uid(_))) {
            self.answers.store(true, Ordering::Relaxed);
        }
        match found {
            Some(Owner::Nobody) if !self.answers.load(Ordering::Relaxed) => Owner::Unknown,
            found => found.unwrap_or(Owner::Unknown),
        }
    }

    fn ask(&self, local: SocketAddr, remote: SocketAddr) -> Option<Owner> {
        let mut socket = self.socket.lock().ok()?;
        let (socket, number) = &mut *socket;
        *number = number.wrapping_add(1);
        sock_diag::send(socket, &request(local, remote, *number)?)?;
        let mut answer = vec![0; ANSWER];
        for _ in 0..MOST_LATE {
            // It is there when the question has been sent: the kernel answers while it takes it (net/netlink/af_netlink.c).
            let got = sock_diag::receive_at_once(socket, &mut answer)?;
            if let Some(owner) = owner(answer.get(..got)?, *number, local, remote) {
                return Some(owner);
            }
        }
        None
    }
}

/// `struct inet_diag_req_v2`: one TCP socket in whatever state, by its addresses.
fn request(local: SocketAddr, remote: SocketAddr, number: u32) -> Option<Vec<u8>> {
    const NLM_F_REQUEST: u16 = 1;
    const IPPROTO_TCP: u8 = 6;
    let mut body = vec![family(local), IPPROTO_TCP, 0, 0];
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(addresses(local, remote)?);
    // Any interface; no cookie.
    body.extend([0, u32::MAX, u32::MAX].into_iter().flat_map(u32::to_ne_bytes));
    Some(sock_diag::request(NLM_F_REQUEST, number, &body))
}

/// The first part of `struct inet_diag_sockid`: both ports, and both addresses. `None` for addresses of two families.
fn addresses(local: SocketAddr, remote: SocketAddr) -> Option<Vec<u8>> {
    let address = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => {
            let mut out = [0; 16];
            out.iter_mut().zip(ip.octets()).for_each(|(to, byte)| *to = byte);
            out
        }
        IpAddr::V6(ip) => ip.octets(),
    };
    (local.is_ipv4() == remote.is_ipv4()).then(|| {
        let ports = [local.port(), remote.port()].into_iter().flat_map(u16::to_be_bytes);
        ports.chain(address(local.ip())).chain(address(remote.ip())).collect()
    })
}

const fn family(addr: SocketAddr) -> u8 {
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    if addr.is_ipv4() { AF_INET } else { AF_INET6 }
}

/// What `answer` says; `None` where it is the answer to another question.
fn owner(answer: &[u8], number: u32, local: SocketAddr, remote: SocketAddr) -> Option<Owner> {
    const ENOENT: u32 = nix::libc::ENOENT.cast_unsigned();
    /// Where `struct inet_diag_msg` has the addresses, the user and the inode.
    const ADDRESSES: usize = HEADER + 4;
    const UID: usize = HEADER + 64;
    const INODE: usize = HEADER + 68;
    if answer.u32_at(8)? != number {
        return None;
    }
    if answer.u16_at(4)? == NLMSG_ERROR {
        let is_none = answer.u32_at(HEADER).is_some_and(|error| error == ENOENT.wrapping_neg());
        return Some(if is_none { Owner::Nobody } else { Owner::Unknown });
    }
    // Of a socket that listens there, if there is no other, the other end is not this one.
    let asked = addresses(local, remote)?;
    let found = answer.get(ADDRESSES..).and_then(|rest| rest.get(..asked.len()));
    Some(match (found == Some(&asked), answer.u32_at(UID), answer.u32_at(INODE)) {
        (true, Some(uid), Some(1..)) => Owner::Uid(uid),
        (_, Some(_), Some(_)) => Owner::Nobody,
        _ => Owner::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};

    use nix::unistd::geteuid;

    use super::*;

    fn of_connection(address: &str) {
        let owners = SocketOwners::open().unwrap();
        let Ok(listener) = TcpListener::bind(address) else {
            assert!(address.starts_with('['), "a machine without IPv6");
            return;
        };
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, theirs) = listener.accept().unwrap();
        let ours = server.local_addr().unwrap();
        let me = Owner::Uid(geteuid().as_raw());
        // Before anything was found, nothing is not known to be nothing.
        let free = SocketAddr::new(theirs.ip(), 1);
        assert_eq!(owners.of(free, ours), Owner::Unknown);
        assert_eq!(owners.of(theirs, ours), me);
        assert_eq!(owners.of(ours, theirs), me);
        assert_eq!(owners.of(free, ours), Owner::Nobody);
        // The one that listens is at the same address and port.
        assert_eq!(owners.of(ours, free), Owner::Nobody);
        drop(client);
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
        assert_eq!(owners.of(theirs, ours), Owner::Nobody, "no process holds it");
    }

    #[test]
    fn the_kernel_says_whose_a_connection_is() {
        of_connection("127.0.0.1:0");
        of_connection("[::1]:0");
    }

    #[test]
    fn other_answers_say_nothing() {
        let [local, remote] = ["127.0.0.1:5", "127.0.0.1:6"].map(|addr| addr.parse::<SocketAddr>().unwrap());
        let mut answer = vec![0; HEADER + 72];
        answer[8] = 7;
        answer[HEADER + 4..][..36].copy_from_slice(&addresses(local, remote).unwrap());
        answer[HEADER + 64] = 3;
        assert_eq!(owner(&answer, 7, local, remote), Some(Owner::Nobody), "no inode");
        answer[HEADER + 68] = 9;
        assert_eq!(owner(&answer, 7, local, remote), Some(Owner::Uid(3)));
        assert_eq!(owner(&answer, 7, remote, local), Some(Owner::Nobody));
        assert_eq!(owner(&answer, 8, local, remote), None);
        for len in 0..answer.len() {
            assert!(matches!(owner(&answer[..len], 7, local, remote), None | Some(Owner::Unknown)), "{len}");
        }
        answer[4] = 2;
        assert_eq!(owner(&answer, 7, local, remote), Some(Owner::Unknown), "another error");
        assert_eq!(addresses(local, "[::1]:6".parse().unwrap()), None);
    }
}
