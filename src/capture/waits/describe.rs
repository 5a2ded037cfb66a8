//! What the kernel says of the descriptors that goroutines wait for.

use std::collections::BTreeSet;

use crate::model::WaitObject;
use crate::model::wait::{DescriptorDetails, ObjectState};
use crate::process::Descriptors;

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
            *details = found.and_then(DescriptorDetails::of).map(Box::new);
        }
    }
}
