//! What the members of a group wait on together, in the document.

use super::waiting::{WaitingOn, of_object, waiting_on};
use crate::analysis::waits::shared::connection;
use crate::analysis::waits::{Shared, SharedWait};
use crate::model::{Direction, Snapshot};

/// What nearly all members of a group wait on. What differs between them is null: of connections with one peer,
/// the descriptor and the own address.
pub(crate) fn shared_wait<'a>(snapshot: &'a Snapshot, shared: &Shared) -> Option<WaitingOn<'a>> {
    let object = shared.object(snapshot);
    let on_connection = || WaitingOn { kind: object.map_or("", |object| object.kind().name()), ..WaitingOn::default() };
    let connection = object.and_then(connection);
    Some(match shared.on {
        SharedWait::Own => return waiting_on(snapshot, snapshot.goroutines.get(shared.example)?),
        SharedWait::Object(_) => {
            let direction = shared.direction(snapshot).map(Direction::name);
            WaitingOn { direction, ..of_object(snapshot, object?) }
        }
        SharedWait::Peer(_) => WaitingOn { remote: connection.map(|(_, remote)| remote.into()), ..on_connection() },
        SharedWait::Accepted(_) => {
            WaitingOn { local: connection.and_then(|(local, _)| local).map(Into::into), ..on_connection() }
        }
    })
}
