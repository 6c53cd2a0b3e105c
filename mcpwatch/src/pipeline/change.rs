//! What records show of a change of a file.

use crate::event::{Change, Place, Via};
use crate::record::{FileDetail, FileTarget};

use super::effects::result_name;

pub(super) fn change_detail(change: &Change) -> FileDetail {
    let target = |place: &Place| FileTarget {
        path: place.path.clone(),
        argument: place.argument.clone(),
        inner_path: place.inner_path.clone(),
        host_path: place.host_path.clone(),
    };
    FileDetail {
        path: change.file.path.clone(),
        argument: change.file.argument.clone(),
        inner_path: change.file.inner_path.clone(),
        host_path: change.file.host_path.clone(),
        access: None,
        flags: Vec::new(),
        result: result_name(change.result, change.result_unknown),
        inode: None,
        unlinked: change.file.unlinked,
        via: change.via.map(Via::name),
        operation: Some(change.operation.name()),
        target: change.target.as_ref().map(target),
        exchanged: change.exchange,
        mode: change.mode.map(|mode| format!("{mode:04o}")),
        owner_uid: change.owner.0,
        owner_gid: change.owner.1,
        size: change.size,
    }
}
