//! What descriptors of another process have in common.
#![allow(unsafe_code, reason = "part of `sys`")]

use std::io;

/// From linux/kcmp.h.
const KCMP_FILE: libc::c_long = 0;

/// Whether two descriptors of a process that the caller holds are of one opened file: where one goes in it,
/// the other is.
pub(crate) fn have_opened_the_same(pid: i32, one: i32, other: i32) -> io::Result<bool> {
    // SAFETY: the call has no pointers.
    let order =
        super::check(unsafe { libc::syscall(libc::SYS_kcmp, pid, pid, KCMP_FILE, one, other) })?;
    Ok(order == 0)
}
