//! What the kernel says of the descriptors that goroutines wait for.

use std::collections::BTreeSet;

use crate::model::WaitObject;
use crate::model::wait::{DescriptorDetails, ObjectState};
use crate::process::Descriptors;
use crate::process::descriptor::{Descriptor, FileKind, OpenFile, Protocol, Socket, SocketName, SocketState};

/// The numbers of the descriptors among `objects`.
pub(super) fn numbers(objects: &[WaitObject]) -> BTreeSet<i32> {
    let number = |object: &WaitObject| match object.state {
        ObjectState::Descriptor { fd, .. } => i32::try_from(fd).ok(),
        _ => None,
    };
    objects.iter().filter_map(number).collect()
}

/// Adds to `objects` what is known of their descriptors.
pub(in crate::capture) fn describe(objects: &mut [WaitObject], known: &Descriptors) {
    for object in objects {
        if let ObjectState::Descriptor { fd, details, .. } = &mut object.state {
            let found = i32::try_from(*fd).ok().and_then(|fd| known.get(fd));
            *details = found.and_then(details_of).map(Box::new);
        }
    }
}

/// `None` where it says nothing: a goroutine that waits for a descriptor that is closed has gone on.
fn details_of(descriptor: &Descriptor) -> Option<DescriptorDetails> {
    let named = |what: &str| DescriptorDetails { what: what.to_owned(), ..DescriptorDetails::default() };
    Some(match descriptor {
        Descriptor::Closed | Descriptor::Unknown { .. } => return None,
        Descriptor::Socket(socket) => of_socket(socket),
        Descriptor::File(OpenFile { path, kind, .. }) => {
            let what = match kind {
                Some(FileKind::Fifo) => "pipe",
                Some(FileKind::Terminal) => "terminal",
                Some(FileKind::CharacterDevice | FileKind::BlockDevice) => "device",
                Some(FileKind::Directory) => "directory",
                _ => "file",
            };
            DescriptorDetails { path: Some(path.clone()), ..named(what) }
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

fn of_socket(socket: &Socket) -> DescriptorDetails {
    let name = |name: &SocketName| match name {
        SocketName::Ip(address) => address.to_string(),
        SocketName::Unix(path) => path.clone(),
    };
    let is_unix = matches!(socket.protocol, Some(Protocol::Unix(_)));
    // Of others, whether they are connected is plain from their addresses.
    let says = |state: &SocketState| socket.protocol == Some(Protocol::Tcp) || *state == SocketState::Listen;
    let local = socket.local.as_ref().map(name);
    DescriptorDetails {
        what: socket.protocol.as_ref().map_or("socket", Protocol::name).to_owned(),
        state: socket.state.filter(says).map(|state| state.name().to_owned()),
        path: local.clone().filter(|_| is_unix),
        local,
        remote: socket.remote.as_ref().map(name),
        receive_queue: socket.receive_queue,
        send_queue: socket.send_queue,
    }
}
