//! Every way to change a file and to open one.

use std::env;
use std::ffi::c_long;
use std::fs::{self, File};
use std::io;
use std::mem;

use mcpwatch_tests::kernel_version;

use crate::system::{
    HERE, Text, call, early, fd, folder, in_child, left_out, open, opened, refused,
};

/// Each call that changes a file, once, in a folder that does not exist yet.
pub fn change(path: &str) -> io::Result<String> {
    fs::create_dir(path)?;
    env::set_current_dir(path)?;
    let here = folder(path)?;
    let text = |name: &str| Text::new(name);
    let at = |name: &str| Text::new(format!("{path}/{name}"));
    for name in ["a", "b", "c"] {
        fs::write(name, "some text")?;
    }

    let (a, a2, a3, a4) = (text("a"), at("sub/../a2"), text("a3"), text("a4"));
    // `sub` is not there yet, which the kernel looks for all the same.
    let failed = early!(SYS_rename(a.at(), a2.at()), SYS_renameat(HERE, a.at(), HERE, a2.at()));
    assert!(failed.is_err(), "there is no folder to go through");
    let a2 = at("a2");
    early!(SYS_rename(a.at(), a2.at()), SYS_renameat(HERE, a.at(), HERE, a2.at()))?;
    let a2 = text("a2");
    call(libc::SYS_renameat, &[fd(&here), a2.at(), fd(&here), a3.at()])?;
    let without_replacing = libc::RENAME_NOREPLACE as usize;
    call(libc::SYS_renameat2, &[HERE, a3.at(), fd(&here), a4.at(), without_replacing])?;

    let (b, hard, hard2) = (text("b"), at("hard"), text("hard2"));
    early!(SYS_link(b.at(), hard.at()), SYS_linkat(HERE, b.at(), HERE, hard.at()))?;
    call(libc::SYS_linkat, &[fd(&here), b.at(), HERE, hard2.at(), 0])?;
    let (meant, soft, soft2) = (text("../secret"), text("soft"), text("soft2"));
    early!(SYS_symlink(meant.at(), soft.at()), SYS_symlinkat(meant.at(), HERE, soft.at()))?;
    call(libc::SYS_symlinkat, &[meant.at(), fd(&here), soft2.at()])?;

    let (sub, sub2) = (text("sub"), text("sub2"));
    early!(SYS_mkdir(sub.at(), 0o750), SYS_mkdirat(HERE, sub.at(), 0o750))?;
    call(libc::SYS_mkdirat, &[fd(&here), sub2.at(), 0o711])?;
    let (pipe, pipe2) = (text("pipe"), text("pipe2"));
    let mode = (libc::S_IFIFO | 0o600) as usize;
    early!(SYS_mknod(pipe.at(), mode, 0), SYS_mknodat(HERE, pipe.at(), mode, 0))?;
    call(libc::SYS_mknodat, &[fd(&here), pipe2.at(), mode, 0])?;

    let c = text("c");
    let file = File::options().write(true).open("c")?;
    early!(SYS_chmod(c.at(), 0o4755), SYS_fchmodat(HERE, c.at(), 0o4755))?;
    call(libc::SYS_fchmod, &[fd(&file), 0o640])?;
    call(libc::SYS_fchmodat, &[fd(&here), c.at(), 0o600])?;
    let (same, link) = (usize::MAX, libc::AT_SYMLINK_NOFOLLOW as usize);
    early!(SYS_chown(c.at(), 12, same), SYS_fchownat(HERE, c.at(), 12, same))?;
    early!(SYS_lchown(soft.at(), same, 13), SYS_fchownat(HERE, soft.at(), same, 13, link))?;
    call(libc::SYS_fchown, &[fd(&file), 1, 2])?;
    let (empty, itself) = (text(""), libc::AT_EMPTY_PATH as usize);
    call(libc::SYS_fchownat, &[fd(&file), empty.at(), 5, 6, itself])?;
    call(libc::SYS_fchownat, &[fd(&here), soft2.at(), 3, 4, link])?;
    call(libc::SYS_truncate, &[c.at(), 5_000_000_000])?;
    call(libc::SYS_ftruncate, &[fd(&file), 3])?;

    early!(SYS_unlink(hard.at()), SYS_unlinkat(HERE, hard.at(), 0))?;
    call(libc::SYS_unlinkat, &[fd(&here), hard2.at(), 0])?;
    let directory = libc::AT_REMOVEDIR as usize;
    early!(SYS_rmdir(sub.at()), SYS_unlinkat(HERE, sub.at(), directory))?;
    call(libc::SYS_unlinkat, &[fd(&here), sub2.at(), directory])?;
    open(libc::SYS_memfd_create, &[text("scratch").at(), 0])?;
    env::set_current_dir("..")?;
    Ok("changed".into())
}

/// fchmodat2(2) on a file.
pub fn change_mode(path: &str) -> io::Result<String> {
    /// The same on every architecture, of which the C library's names know some.
    const FCHMODAT2: c_long = 452;

    if kernel_version()? < (6, 6) {
        return left_out(&[]);
    }
    let path = Text::new(path);
    call(FCHMODAT2, &[HERE, path.at(), 0o640, libc::AT_SYMLINK_NOFOLLOW as usize])?;
    Ok("changed".into())
}

/// Each call that opens a file, on one that is there and on one that is not; without a name; and by its handle.
pub fn open_all(path: &str) -> io::Result<String> {
    let (made, absent) = (Text::new(format!("{path}/made")), Text::new(format!("{path}/absent")));
    let (read, write) = (libc::O_RDONLY as usize, libc::O_WRONLY as usize);
    opened(early!(
        SYS_creat(made.at(), 0o600),
        SYS_openat(HERE, made.at(), libc::O_CREAT as usize | write | libc::O_TRUNC as usize, 0o600)
    ))?;
    let early = |name: &Text, flags: usize| {
        opened(early!(SYS_open(name.at(), flags, 0), SYS_openat(HERE, name.at(), flags, 0)))
    };
    early(&made, read)?;
    early(&made, write | libc::O_APPEND as usize)?;
    assert!(early(&absent, read).is_err(), "there is no such file");
    refused(libc::SYS_openat, &[HERE, Text::new("").at(), read, 0])?;
    let here = folder(path)?;
    let relative = Text::new("../workspace/readme.txt");
    open(libc::SYS_openat, &[fd(&here), relative.at(), read, 0])?;
    // `struct open_how`: flags, mode, resolve.
    let how = [u64::from(libc::O_RDWR.cast_unsigned()), 0, 0];
    open(libc::SYS_openat2, &[HERE, made.at(), how.as_ptr() as usize, mem::size_of_val(&how)])?;
    open(
        libc::SYS_openat2,
        &[fd(&here), relative.at(), how.as_ptr() as usize, mem::size_of_val(&how)],
    )?;

    let scratch = Text::new(path);
    let nameless = (libc::O_TMPFILE | libc::O_RDWR) as usize;
    let file = open(libc::SYS_openat, &[HERE, scratch.at(), nameless, 0o600])?;
    drop(File::open(format!("/proc/self/fd/{}", fd(&file)))?);

    let handle = handle_of(&made)?;
    open(libc::SYS_open_by_handle_at, &[fd(&here), handle.as_ptr() as usize, read])?;
    Ok("opened".into())
}

/// `struct file_handle`: the size of what follows, its type, and the handle.
pub fn handle_of(path: &Text) -> io::Result<[u32; 34]> {
    let mut handle = [0; 34];
    handle[0] = 128;
    let mut mount = 0_i32;
    let (handle_at, mount_at) = (handle.as_mut_ptr() as usize, &raw mut mount as usize);
    call(libc::SYS_name_to_handle_at, &[HERE, path.at(), handle_at, mount_at, 0])?;
    Ok(handle)
}

/// Goes down 64 folders, and down to a path of 4,096 bytes; no argument can name either file.
pub fn go_deep(path: &str) -> io::Result<String> {
    let components = path.split('/').filter(|name| !name.is_empty()).count();
    // The file is the last one.
    let many: Vec<String> = (components..63).map(|number| format!("folder-{number}")).collect();
    let room = 4096 - path.len() - "/bottom".len();
    let mut long = vec!["x".repeat(200); room / 201];
    let left = room % 201;
    if left > 1 {
        long.push("y".repeat(left - 1));
    }
    for names in [many, long] {
        in_child(|| {
            env::set_current_dir(path)?;
            for name in &names {
                fs::create_dir(name)?;
                env::set_current_dir(name)?;
            }
            File::create("bottom").map(drop)
        })?;
    }
    Ok("went".into())
}

/// Changes and opens files with another root directory.
pub fn jailed(root: &str) -> io::Result<String> {
    fs::create_dir(root)?;
    in_child(|| {
        let root = Text::new(root);
        call(libc::SYS_chroot, &[root.at()])?;
        env::set_current_dir("/")?;
        fs::create_dir("/inside")?;
        fs::create_dir("../../beside")?;
        drop(File::create("/inside/file")?);
        fs::rename("/inside/file", "inside/moved")?;
        File::open("/inside/absent").map_or(Ok(()), |_| Err(io::Error::other("it was there")))
    })?;
    Ok("done".into())
}
