//! What a file descriptor refers to, as the kernel describes it: pure data.
//!
//! Names are the target's own strings: they may contain anything, and are cleaned before a terminal gets
//! them. The encoding of these types is part of the capture format: fields and variants are only ever added.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// An open descriptor, or what is known of a number that is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Descriptor {
    /// The process has no such descriptor: it was closed, or never open.
    Closed,
    /// Something with a name in a file system.
    File(OpenFile),
    /// A pipe without a name.
    Pipe(Pipe),
    /// A socket.
    Socket(Socket),
    /// An eventfd, with its counter where the kernel shows it.
    Eventfd {
        /// The counter.
        count: Option<u64>,
    },
    /// An epoll instance.
    Epoll,
    /// A timerfd.
    Timerfd {
        /// Until it expires next, ns; 0 when it is disarmed or has expired.
        remaining_ns: Option<u64>,
    },
    /// An inotify instance.
    Inotify,
    /// A signalfd.
    Signalfd,
    /// A process (pidfd).
    Pidfd {
        /// Its pid in the pid namespace of our `/proc`; `None` when it has ended, or is not visible there.
        pid: Option<i32>,
    },
    /// An `io_uring`.
    IoUring,
    /// Anything else, by the kernel's name for it, such as `anon_inode:bpf-map`.
    Other {
        /// That name.
        name: String,
    },
    /// It could not be read.
    Unknown {
        /// Why, as a clause.
        reason: String,
    },
}

/// An open file, directory or device, or a named pipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFile {
    /// Its path as the kernel gives it, without the suffix of deleted files; it may be that of another mount
    /// namespace. Bytes that are not UTF-8 are replaced.
    pub path: String,
    /// Whether the kernel says that it was deleted. A memfd always is.
    pub deleted: bool,
    /// What it is.
    pub kind: Option<FileKind>,
}

/// The kind of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A terminal.
    Terminal,
    /// Another character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
}

/// One end of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipe {
    /// Its inode, which both ends share.
    pub inode: u64,
    /// Which end.
    pub end: Option<PipeEnd>,
}

/// An end of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PipeEnd {
    /// The end that is read from.
    Read,
    /// The end that is written to.
    Write,
    /// Opened for both.
    Both,
}

/// A socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// Its inode.
    pub inode: u64,
    /// Its protocol; `None` when the kernel did not say.
    pub protocol: Option<Protocol>,
    /// Its own address; `None` when it is not bound, or unknown.
    pub local: Option<SocketName>,
    /// The peer's address; `None` when it is not connected, or unknown.
    pub remote: Option<SocketName>,
    /// Its state; `None` where the protocol has none, for one that is neither connected nor listening, and
    /// where it is unknown.
    pub state: Option<SocketState>,
    /// Bytes in its send queue; for TCP those that the peer has not acknowledged.
    pub send_queue: Option<u64>,
    /// Bytes in its receive queue that the program has not read.
    pub receive_queue: Option<u64>,
    /// Connections that wait to be accepted; only for listening TCP sockets.
    pub accept_queue: Option<u64>,
    /// Most connections that may wait to be accepted; only for listening sockets, where the kernel says it.
    pub backlog: Option<u64>,
}

impl Socket {
    /// One of which only the inode is known.
    #[must_use]
    pub fn unknown(inode: u64) -> Self {
        Self {
            inode,
            protocol: None,
            local: None,
            remote: None,
            state: None,
            send_queue: None,
            receive_queue: None,
            accept_queue: None,
            backlog: None,
        }
    }
}

/// The protocol of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// UDP-Lite.
    UdpLite,
    /// An ICMP socket without privileges (`ping`).
    Icmp,
    /// A raw IP socket of this protocol number.
    Raw(u8),
    /// A packet socket.
    Packet,
    /// A unix socket.
    Unix(UnixKind),
    /// A netlink socket of this family (linux/netlink.h).
    Netlink(u32),
    /// Another, by the kernel's name for it.
    Other(String),
}

impl Protocol {
    /// Its usual name: `TCP`, `unix`, `netlink`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::UdpLite => "UDP-Lite",
            Self::Icmp => "ICMP",
            Self::Raw(_) => "raw IP",
            Self::Packet => "packet",
            Self::Unix(_) => "unix",
            Self::Netlink(_) => "netlink",
            Self::Other(name) => name,
        }
    }
}

/// The kind of a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnixKind {
    /// `SOCK_STREAM`.
    Stream,
    /// `SOCK_DGRAM`.
    Datagram,
    /// `SOCK_SEQPACKET`.
    SeqPacket,
    /// Unknown.
    Unknown,
}

/// An address of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SocketName {
    /// An IP address and a port; IPv4 addresses mapped into IPv6 are IPv4 here.
    Ip(SocketAddr),
    /// The path of a unix socket; an abstract name begins with `@`, and has `@` for NUL bytes.
    Unix(String),
}

/// The state of a socket, by the names of TCP (include/net/tcp_states.h). Others use some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketState {
    /// Connected.
    Established,
    /// Connecting.
    SynSent,
    /// Being connected to.
    SynRecv,
    /// We closed it, the peer has not acknowledged that.
    FinWait1,
    /// We closed it, the peer has not closed its side.
    FinWait2,
    /// Closed; the port is held for a while.
    TimeWait,
    /// Not connected.
    Close,
    /// The peer has closed its side.
    CloseWait,
    /// Both sides have closed it; ours is not acknowledged.
    LastAck,
    /// It accepts connections.
    Listen,
    /// Both sides closed it at the same time.
    Closing,
}

impl SocketState {
    /// By the kernel's number; 12 is a request for a connection that has no socket yet.
    pub(super) fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 | 12 => Self::SynRecv,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            _ => return None,
        })
    }

    /// By its name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        (1..=11).filter_map(Self::of).find(|state| state.name() == name)
    }

    /// The name that `netstat` and the kernel's documentation use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
        }
    }
}
