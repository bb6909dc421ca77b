//! Handing descriptors to a copy that is held.
//!
//! They come through a socket, and the copy is made to take them. A function's template has none of its own
//! for that: it is held all the while, so what is sent on the socket on which it is told to fork comes to
//! its copy; what came is compared with what was sent. A zygote waits for the next word meanwhile and would
//! take it itself. So its copy makes a pair of sockets, which nobody else has, and one end of it is taken
//! from the copy.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use super::TEMPLATE_FD;
use super::block::Block;
use super::trace::Held;
use crate::channel::Channel;
use crate::sys;

/// Longest message with descriptors that a copy takes.
const BODY_BYTES: u64 = 64;
/// Where in the memory that a copy is given for it is what: the head of the message, where its text
/// goes, its descriptors.
const HEAD_AT: u64 = 1_024;
const TEXT_AT: u64 = 1_200;
const RIGHTS_AT: u64 = 2_048;
const RIGHTS_BYTES: u64 = 1_024;

/// Through which a copy gets descriptors.
pub(super) enum Door<'a> {
    /// The socket that it has from its template.
    Template(&'a Channel),
    /// One of its own, and the numbers that both ends have in the copy.
    Own(Channel, [u64; 2]),
}

impl<'a> Door<'a> {
    /// Has a copy make one of its own, by a list of calls for which there is room at `list`.
    pub(super) fn made_by(
        copy: &mut Held<'_>,
        room: u64,
        (list, list_bytes): (u64, u64),
    ) -> Result<Door<'a>, String> {
        let kind = (libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC) as u64;
        let mut block = Block::default();
        let pair = [libc::AF_UNIX as u64, kind, 0, room];
        block.must("a pair of sockets", libc::SYS_socketpair, &pair);
        block.run(copy, list, list_bytes)?;
        let mut made = [0; 8];
        copy.read(room, &mut made)?;
        let number = |at: usize| {
            let bytes = made[at..][..4].try_into().map_err(|_| "no number")?;
            Ok::<_, String>(i32::from_ne_bytes(bytes))
        };
        let (ours, theirs) = (number(0)?, number(4)?);
        let told = |error: std::io::Error| format!("its socket: {error}");
        let process = sys::process_descriptor(copy.pid.as_raw() as u32).map_err(told)?;
        let end: OwnedFd =
            sys::descriptor_of(std::os::fd::AsFd::as_fd(&process), ours).map_err(told)?;
        Ok(Door::Own(Channel::from_fd(end), [ours as u64, theirs as u64]))
    }

    /// What the copy has to close of it.
    pub(super) fn numbers(&self) -> &[u64] {
        match self {
            Door::Template(_) => &[],
            Door::Own(_, numbers) => numbers,
        }
    }

    /// Hands descriptors over. Their numbers in the copy.
    pub(super) fn hand_over(
        &self,
        copy: &mut Held<'_>,
        room: u64,
        handed: &[BorrowedFd<'_>],
    ) -> Result<Vec<u64>, String> {
        let (channel, number) = match self {
            Door::Template(word) => (*word, TEMPLATE_FD as u64),
            Door::Own(channel, [_, theirs]) => (channel, *theirs),
        };
        channel.send(&(), handed).map_err(|error| format!("handing over: {error}"))?;
        // `struct msghdr`, and after it the one `struct iovec`.
        let (head, text, rights_at) = (room + HEAD_AT, room + TEXT_AT, room + RIGHTS_AT);
        let vector = head + 56;
        let words = [0, 0, vector, 1, rights_at, RIGHTS_BYTES, 0, text, BODY_BYTES];
        let bytes: Vec<u8> = words.iter().flat_map(|word: &u64| word.to_ne_bytes()).collect();
        copy.write(head, &bytes)?;
        let flags = (libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT) as u64;
        copy.must("taking descriptors", libc::SYS_recvmsg, &[number, head, flags])?;
        // `struct cmsghdr`: its length, level and type; the numbers follow.
        let mut rights = vec![0; 16 + 4 * handed.len()];
        copy.read(rights_at, &mut rights)?;
        let length = u64::from_ne_bytes(rights[..8].try_into().map_err(|_| "no length")?);
        if length != rights.len() as u64 {
            return Err("not all descriptors came".to_owned());
        }
        let numbers: Vec<u64> = rights[16..]
            .chunks_exact(4)
            .filter_map(|number| number.try_into().ok())
            .map(|number| u64::from(u32::from_ne_bytes(number)))
            .collect();
        if matches!(self, Door::Template(_)) {
            are_the_same(copy, &numbers, handed)?;
        }
        Ok(numbers)
    }
}

/// Makes sure that what came is what was sent.
fn are_the_same(copy: &Held<'_>, numbers: &[u64], handed: &[BorrowedFd<'_>]) -> Result<(), String> {
    for (number, ours) in numbers.iter().zip(handed) {
        let ours = format!("/proc/self/fd/{}", ours.as_raw_fd());
        if identity(&format!("/proc/{}/fd/{number}", copy.pid))? != identity(&ours)? {
            return Err("it got other descriptors".to_owned());
        }
    }
    Ok(())
}

/// What a descriptor refers to.
pub(super) fn identity(path: &str) -> Result<(u64, u64), String> {
    let found = fs::metadata(path).map_err(|error| format!("{path}: {error}"))?;
    Ok((found.dev(), found.ino()))
}
