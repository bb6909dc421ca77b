//! Two processes that share memory without locks and therefore take turns.
//!
//! Starting a program needs a process for it. One that shares the memory of its maker is cheap: nothing
//! has to be copied for it, and nothing is thrown away when it becomes its program.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::check;

/// A process that shares the memory of the caller, its descriptors copied, that runs `life` with `stage`
/// on a stack of its own. Returns its process id when it gives its first word on the other end of `status`.
///
/// The two take turns from then on: see [`give_word`]. The caller must be single-threaded.
pub(crate) fn clone_sharing_memory<T: Sync + 'static>(
    stack_bytes: usize,
    life: fn(&'static T) -> !,
    stage: &'static T,
    status: BorrowedFd<'_>,
    theirs: OwnedFd,
) -> io::Result<i32> {
    struct Start<T: 'static> {
        life: fn(&'static T) -> !,
        stage: &'static T,
    }
    extern "C" fn begin<T: 'static>(start: *mut libc::c_void) -> libc::c_int {
        // SAFETY: it is the pointer below, whose target lives until the new process gives its word.
        let Start { life, stage } = unsafe { start.cast::<Start<T>>().read() };
        life(stage)
    }
    let mut start = Start { life, stage };
    let (access, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, which nobody else knows of. It is not from the heap, which would write to all
    // of it.
    let stack = unsafe { libc::mmap(std::ptr::null_mut(), stack_bytes, access, kind, -1, 0) };
    if stack == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // The end of the stack, aligned as calls want it.
    let top = stack.wrapping_byte_add(stack_bytes);
    let top = top.wrapping_byte_sub(top as usize % 16);
    // SAFETY: the stack is nobody else's for ever. The two processes share memory, and no lock guards
    // what single-threaded programs keep (the heap above all), but they never run at the same time:
    // this one does nothing but wait until the other has given its word, which itself does nothing but
    // wait after it. Panics of the other one end it at the border of this C function.
    let pid = check(
        unsafe {
            libc::clone(begin::<T>, top, libc::CLONE_VM | libc::SIGCHLD, (&raw mut start).cast())
        }
        .into(),
    )?;
    // Their end of `status`, of which they have a copy: if they end without a word, it is the last one.
    drop(theirs);
    hear_word::<0>(status);
    Ok(pid as i32)
}

/// Room for the control part of a message with three descriptors, aligned as the kernel wants it.
#[repr(align(8))]
struct Rights([u8; 64]);

/// Gives the word to the process at the other end, with some descriptors. Where that shares the memory
/// of the caller, it runs from now on, and the caller has to wait for its word at once: neither this
/// nor [`hear_word`] touches memory but its own stack.
pub(crate) fn give_word<const MOST: usize>(
    socket: BorrowedFd<'_>,
    descriptors: [Option<BorrowedFd<'_>>; MOST],
) {
    const { assert!(MOST <= 3) };
    let mut numbers = [0 as RawFd; MOST];
    let mut count = 0;
    for fd in descriptors.into_iter().flatten() {
        numbers[count] = fd.as_raw_fd();
        count += 1;
    }
    let (mut word, mut rights) = ([0_u8], Rights([0; 64]));
    let mut part = libc::iovec { iov_base: (&raw mut word).cast(), iov_len: 1 };
    // SAFETY: msghdr is plain data; all zeroes is a valid value of it.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    if count > 0 {
        let bytes = (count * std::mem::size_of::<RawFd>()) as u32;
        message.msg_control = rights.0.as_mut_ptr().cast();
        // SAFETY: CMSG_SPACE only computes.
        message.msg_controllen = unsafe { libc::CMSG_SPACE(bytes) } as usize;
        // SAFETY: the control buffer is there, aligned, and longer than a header with three descriptors.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(bytes) as usize;
            std::ptr::copy_nonoverlapping(
                numbers.as_ptr().cast(),
                libc::CMSG_DATA(header),
                bytes as usize,
            );
        }
    }
    // SAFETY: the message points to what lives until the call is over. If nobody is there any more, the
    // word that is waited for next does not come, which is what the caller is told.
    unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
}

/// Waits for the word, and takes at most `MOST` descriptors; `None` if the other end is closed.
pub(crate) fn hear_word<const MOST: usize>(
    socket: BorrowedFd<'_>,
) -> Option<[Option<OwnedFd>; MOST]> {
    const { assert!(MOST <= 3) };
    let (mut word, mut rights) = ([0_u8], Rights([0; 64]));
    let mut part = libc::iovec { iov_base: (&raw mut word).cast(), iov_len: 1 };
    // SAFETY: msghdr is plain data; all zeroes is a valid value of it.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    if MOST > 0 {
        let bytes = (MOST * std::mem::size_of::<RawFd>()) as u32;
        message.msg_control = rights.0.as_mut_ptr().cast();
        // SAFETY: CMSG_SPACE only computes.
        message.msg_controllen = unsafe { libc::CMSG_SPACE(bytes) } as usize;
    }
    loop {
        // SAFETY: the message points to buffers of the lengths that it says.
        let length =
            unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
        match length {
            1.. => break,
            0 => return None,
            _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            _ => return None,
        }
    }
    let mut taken = [const { None }; MOST];
    // SAFETY: the kernel has filled the control buffer; a header of rights is followed by as many
    // descriptors as its length says, which it has installed for this message only.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if !header.is_null() && (*header).cmsg_type == libc::SCM_RIGHTS {
            let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
            let first = libc::CMSG_DATA(header).cast::<RawFd>();
            for (at, place) in taken.iter_mut().enumerate().take(bytes / 4) {
                *place = Some(OwnedFd::from_raw_fd(first.add(at).read_unaligned()));
            }
        }
    }
    Some(taken)
}
