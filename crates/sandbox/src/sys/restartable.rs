//! Which area of memory a held process has given to the kernel for restartable sequences.
#![allow(unsafe_code, reason = "part of `sys`")]

use std::io;

/// From linux/ptrace.h.
const GET_RSEQ_CONFIGURATION: libc::c_uint = 0x420f;

/// As the process has registered it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RestartableArea {
    pub(crate) at: u64,
    pub(crate) bytes: u32,
    pub(crate) signature: u32,
    flags: u32,
    _reserved: u32,
}

/// Of a process that the caller holds; `None` when it has none.
pub(crate) fn restartable_area(pid: i32) -> io::Result<Option<RestartableArea>> {
    let mut area = RestartableArea::default();
    let bytes = std::mem::size_of::<RestartableArea>();
    // SAFETY: the kernel writes at most `bytes` bytes to `area`, which is as long and outlives the call.
    super::check(unsafe { libc::ptrace(GET_RSEQ_CONFIGURATION, pid, bytes, &raw mut area) })?;
    Ok((area.at != 0).then_some(area))
}
