//! What `ptrace` tells and sets of a thread that is held, and nix does not offer.

#![allow(unsafe_code, reason = "part of `sys`")]

use std::io;

use super::check;

/// From linux/elf.h: all that the processor keeps for a thread beside its plain registers.
const EXTENDED_STATE: usize = 0x202;
/// More than any processor keeps.
const EXTENDED_BYTES_MAX: usize = 16 << 10;
/// From linux/ptrace.h.
const GET_REGISTERS: libc::c_long = 0x4204;
const SET_REGISTERS: libc::c_long = 0x4205;
const GET_MASK: libc::c_long = 0x420a;
const SET_MASK: libc::c_long = 0x420b;
/// Bytes of a set of signals, as the kernel has it.
const MASK_BYTES: usize = 8;

/// The state of the processor's extensions.
pub(crate) fn extended_state(thread: i32) -> io::Result<Vec<u8>> {
    let mut state = vec![0_u8; EXTENDED_BYTES_MAX];
    let mut vector = libc::iovec { iov_base: state.as_mut_ptr().cast(), iov_len: state.len() };
    let into = &raw mut vector;
    // SAFETY: the kernel writes at most `iov_len` bytes to the buffer, which lives until it has, and
    // how many these were to the vector.
    check(unsafe { libc::syscall(libc::SYS_ptrace, GET_REGISTERS, thread, EXTENDED_STATE, into) })?;
    state.truncate(vector.iov_len);
    Ok(state)
}

/// Sets what [`extended_state`] has told.
pub(crate) fn set_extended_state(thread: i32, state: &[u8]) -> io::Result<()> {
    let mut vector =
        libc::iovec { iov_base: state.as_ptr().cast_mut().cast(), iov_len: state.len() };
    let from = &raw mut vector;
    // SAFETY: the kernel reads `iov_len` bytes of the buffer, which lives until it has.
    check(unsafe { libc::syscall(libc::SYS_ptrace, SET_REGISTERS, thread, EXTENDED_STATE, from) })?;
    Ok(())
}

/// The signals that a thread blocks.
pub(crate) fn signal_mask(thread: i32) -> io::Result<u64> {
    let mut mask = 0_u64;
    let into = &raw mut mask;
    // SAFETY: the kernel writes 8 bytes, which is what it is told that there are.
    check(unsafe { libc::syscall(libc::SYS_ptrace, GET_MASK, thread, MASK_BYTES, into) })?;
    Ok(mask)
}

/// Sets them.
pub(crate) fn set_signal_mask(thread: i32, mask: u64) -> io::Result<()> {
    let from = &raw const mask;
    // SAFETY: the kernel reads 8 bytes, which is what it is told that there are.
    check(unsafe { libc::syscall(libc::SYS_ptrace, SET_MASK, thread, MASK_BYTES, from) })?;
    Ok(())
}

/// Where a thread keeps the list of locks that are given free when it ends, and its length.
pub(crate) fn robust_list(thread: i32) -> io::Result<(u64, u64)> {
    let (mut head, mut length) = (0_u64, 0_u64);
    let (head_at, length_at) = (&raw mut head, &raw mut length);
    // SAFETY: the kernel writes one word to each of the two places.
    check(unsafe { libc::syscall(libc::SYS_get_robust_list, thread, head_at, length_at) })?;
    Ok((head, length))
}
