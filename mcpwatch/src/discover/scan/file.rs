//! One file at a place that belongs to a user: opened, read, and whose it is.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::discover::document::MAX_BYTES;
use crate::discover::roots;

/// Opens a regular file. The path belongs to a user: a FIFO, a device or a terminal in its place must
/// neither block nor be touched.
pub(super) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let file = roots::open(path, libc::O_NONBLOCK | libc::O_NOCTTY)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok((file, metadata))
    } else {
        Err(io::Error::other("not a regular file"))
    }
}

/// One byte more than the limit, so that the parser can tell.
pub(super) fn read(file: File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// Who answers for how much lies at a path: whoever, other than root, the first folder on the way there belongs to, or
/// the file. A link on the way may lead to what is somebody else's, and so may not decide. The ids within a container are
/// of its own making: all containers of a user are one.
pub(super) fn owner(path: &Path) -> String {
    if let Some((root, _)) = roots::split(path) {
        let user = std::fs::metadata(root).map_or(0, |root| root.uid());
        return format!("containers of {user}");
    }
    let way = path
        .ancestors()
        .flat_map(|way| roots::open(way, libc::O_PATH | libc::O_NOFOLLOW)?.metadata());
    let owners: Vec<u32> = way.map(|way| way.uid()).collect();
    owners.iter().rev().find(|owner| **owner != 0).unwrap_or(&0).to_string()
}
