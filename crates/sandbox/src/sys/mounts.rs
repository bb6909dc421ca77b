//! Mounts that are at no place: nobody has to agree on one.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use super::{check, path_text};

const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const SET_FLAG: u32 = 0;
const SET_STRING: u32 = 1;
const CREATE: u32 = 6;

/// Mounts what is on a device, detached, with these options that have no value and these attributes
/// (`MOUNT_ATTR_*`).
pub(crate) fn mount_device(
    kind: &CStr,
    device: &Path,
    options: &[&CStr],
    attributes: u64,
) -> io::Result<OwnedFd> {
    // SAFETY: `kind` is a valid C string; the result is a new descriptor or an error.
    let context = own(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
    let device = path_text(device)?;
    configure(&context, SET_STRING, Some(c"source"), Some(&device))?;
    for option in options {
        configure(&context, SET_FLAG, Some(option), None)?;
    }
    configure(&context, CREATE, None, None)?;
    // SAFETY: plain numbers; the result is a new descriptor or an error.
    own(unsafe {
        libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes)
    })
}

/// A detached copy of the mount tree at an open folder or file, with everything mounted below it.
pub(crate) fn copy_tree(place: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE
        | libc::OPEN_TREE_CLOEXEC
        | (libc::AT_RECURSIVE | libc::AT_EMPTY_PATH) as u32;
    // SAFETY: an open descriptor and an empty C string; the result is a new descriptor or an error.
    own(unsafe { libc::syscall(libc::SYS_open_tree, place.as_raw_fd(), c"".as_ptr(), flags) })
}

fn configure(
    context: &OwnedFd,
    command: u32,
    key: Option<&CStr>,
    value: Option<&CString>,
) -> io::Result<()> {
    let key = key.map_or(std::ptr::null(), CStr::as_ptr);
    let value = value.map_or(std::ptr::null(), |value| value.as_ptr());
    // SAFETY: key and value are valid C strings, or null where the command takes none.
    check(unsafe {
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key, value, 0)
    })?;
    Ok(())
}

fn own(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
