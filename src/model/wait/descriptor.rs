//! What the kernel says of a descriptor, as strings: what a document has of it, and what is made of that again.

use serde::{Deserialize, Serialize};

use crate::process::descriptor::{
    Descriptor, FileKind, OpenFile, Pipe, Protocol, Socket, SocketName, SocketState, UnixKind,
};

/// What the kernel knows of a descriptor, where that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescriptorDetails {
    /// What it is: `TCP`, `unix`, `pipe` and such.
    pub what: String,
    /// The state of a connection (`ESTABLISHED`).
    pub state: Option<String>,
    /// The own address of a socket.
    pub local: Option<String>,
    /// The peer's address.
    pub remote: Option<String>,
    /// Bytes that were received and not read.
    pub receive_queue: Option<u64>,
    /// Bytes that were written and not acknowledged.
    pub send_queue: Option<u64>,
    /// Path of a file.
    pub path: Option<String>,
}

impl DescriptorDetails {
    /// Of a descriptor; `None` where nothing is known of it, or it is closed.
    #[must_use]
    pub fn of(descriptor: &Descriptor) -> Option<Self> {
        let named = |what: &str| Self { what: what.to_owned(), ..Self::default() };
        Some(match descriptor {
            Descriptor::Closed | Descriptor::Unknown { .. } => return None,
            Descriptor::Socket(socket) => Self::of_socket(socket),
            Descriptor::File(OpenFile { path, kind, .. }) => {
                let what = match kind {
                    Some(FileKind::Fifo) => "pipe",
                    Some(FileKind::Terminal) => "terminal",
                    Some(FileKind::CharacterDevice | FileKind::BlockDevice) => "device",
                    Some(FileKind::Directory) => "directory",
                    _ => "file",
                };
                Self { path: Some(path.clone()), ..named(what) }
            }
            Descriptor::Pipe(_) => named("pipe"),
            Descriptor::Eventfd { .. } => named("eventfd"),
            Descriptor::Epoll => named("epoll"),
            Descriptor::Timerfd { .. } => named("timerfd"),
            Descriptor::Inotify => named("inotify"),
            Descriptor::Signalfd => named("signalfd"),
            Descriptor::Pidfd { .. } => named("pidfd"),
            Descriptor::IoUring => named("io_uring"),
            Descriptor::Other { name } => named(name),
        })
    }

    fn of_socket(socket: &Socket) -> Self {
        let name = |name: &SocketName| match name {
            SocketName::Ip(address) => address.to_string(),
            SocketName::Unix(path) => path.clone(),
        };
        let is_unix = matches!(socket.protocol, Some(Protocol::Unix(_)));
        // Of others, whether they are connected is plain from their addresses.
        let says = |state: &SocketState| socket.protocol == Some(Protocol::Tcp) || *state == SocketState::Listen;
        let local = socket.local.as_ref().map(name);
        Self {
            what: socket.protocol.as_ref().map_or("socket", Protocol::name).to_owned(),
            state: socket.state.filter(says).map(|state| state.name().to_owned()),
            path: local.clone().filter(|_| is_unix),
            local,
            remote: socket.remote.as_ref().map(name),
            receive_queue: socket.receive_queue,
            send_queue: socket.send_queue,
        }
    }

    /// A descriptor of which these are the details. What they do not have, such as an inode, is 0 or unknown.
    #[must_use]
    pub fn to_descriptor(&self) -> Descriptor {
        let named =
            |path: &String, kind| Descriptor::File(OpenFile { path: path.clone(), deleted: false, kind: Some(kind) });
        let protocol = match (self.what.as_str(), &self.path) {
            ("pipe", Some(path)) => return named(path, FileKind::Fifo),
            ("terminal", Some(path)) => return named(path, FileKind::Terminal),
            ("device", Some(path)) => return named(path, FileKind::CharacterDevice),
            ("directory", Some(path)) => return named(path, FileKind::Directory),
            ("file", Some(path)) => return named(path, FileKind::Regular),
            ("pipe", None) => return Descriptor::Pipe(Pipe { inode: 0, end: None }),
            ("eventfd", _) => return Descriptor::Eventfd { count: None },
            ("epoll", _) => return Descriptor::Epoll,
            ("timerfd", _) => return Descriptor::Timerfd { remaining_ns: None },
            ("inotify", _) => return Descriptor::Inotify,
            ("signalfd", _) => return Descriptor::Signalfd,
            ("io_uring", _) => return Descriptor::IoUring,
            ("TCP", _) => Some(Protocol::Tcp),
            ("UDP", _) => Some(Protocol::Udp),
            ("UDP-Lite", _) => Some(Protocol::UdpLite),
            ("ICMP", _) => Some(Protocol::Icmp),
            ("packet", _) => Some(Protocol::Packet),
            ("unix", _) => Some(Protocol::Unix(UnixKind::Unknown)),
            ("socket", _) => None,
            // Of a raw or netlink socket the number of its protocol is missing.
            (other @ ("raw IP" | "netlink"), _) => Some(Protocol::Other(other.to_owned())),
            (other, _) if self.local.is_some() || self.remote.is_some() => Some(Protocol::Other(other.to_owned())),
            // That of a process too, whose pid is missing.
            (other, _) => return Descriptor::Other { name: other.to_owned() },
        };
        let name = |text: &String| match text.parse() {
            Ok(address) => SocketName::Ip(address),
            Err(_) => SocketName::Unix(text.clone()),
        };
        Descriptor::Socket(Socket {
            protocol,
            local: self.local.as_ref().map(name),
            remote: self.remote.as_ref().map(name),
            state: self.state.as_deref().and_then(SocketState::of_name),
            receive_queue: self.receive_queue,
            send_queue: self.send_queue,
            ..Socket::unknown(0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_come_back_from_their_details() {
        let socket = |protocol, local: &str, remote: Option<&str>, state| {
            let name = |text: &str| text.parse().map_or_else(|_| SocketName::Unix(text.into()), SocketName::Ip);
            Descriptor::Socket(Socket {
                protocol,
                local: Some(name(local)),
                remote: remote.map(name),
                state,
                receive_queue: Some(3),
                ..Socket::unknown(0)
            })
        };
        let file = |kind| Descriptor::File(OpenFile { path: "/a".to_owned(), deleted: false, kind: Some(kind) });
        let exact = [
            socket(Some(Protocol::Tcp), "10.0.0.1:80", Some("[::1]:9"), Some(SocketState::CloseWait)),
            socket(Some(Protocol::Udp), "10.0.0.1:80", None, None),
            socket(Some(Protocol::Unix(UnixKind::Unknown)), "@name", None, Some(SocketState::Listen)),
            socket(Some(Protocol::Other("AF_VSOCK".to_owned())), "7", None, None),
            file(FileKind::Regular),
            file(FileKind::Fifo),
            file(FileKind::Terminal),
            file(FileKind::Directory),
            Descriptor::Pipe(Pipe { inode: 0, end: None }),
            Descriptor::Epoll,
            Descriptor::Other { name: "anon_inode:bpf-map".to_owned() },
        ];
        for descriptor in exact {
            let details = DescriptorDetails::of(&descriptor).unwrap();
            assert_eq!(details.to_descriptor(), descriptor);
        }
        // Of others something is missing, but never made up; and what was made of them has the same details.
        for descriptor in [
            Descriptor::Socket(Socket { protocol: Some(Protocol::Netlink(4)), ..Socket::unknown(7) }),
            Descriptor::Socket(Socket { protocol: Some(Protocol::Raw(1)), ..Socket::unknown(7) }),
            Descriptor::Socket(Socket::unknown(7)),
            Descriptor::Pidfd { pid: Some(5) },
            Descriptor::Eventfd { count: Some(5) },
            Descriptor::Timerfd { remaining_ns: Some(5) },
            file(FileKind::BlockDevice),
        ] {
            let details = DescriptorDetails::of(&descriptor).unwrap();
            assert_eq!(DescriptorDetails::of(&details.to_descriptor()), Some(details));
        }
        assert_eq!(DescriptorDetails::of(&Descriptor::Closed), None);
    }
}
