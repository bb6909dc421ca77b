//! Messages between the daemon, the spawner and the init process of an environment: one JSON value
//! and some file descriptors in one packet of a `SOCK_SEQPACKET` pair.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv,
    recvmsg, sendmsg, setsockopt, socketpair, sockopt,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::barrier::BarrierKind;
use crate::sys;
use crate::trial::stands;

/// Longest message; a launch with 4 KB of environment variables needs a tenth of it.
const MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// Most descriptors in one message.
const DESCRIPTORS_MAX: usize = 24;

/// One end of a packet socket pair.
#[derive(Debug)]
pub(crate) struct Channel {
    fd: OwnedFd,
}

/// What one packet held.
pub(crate) struct Packet {
    pub(crate) body: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Packet {
    /// Reads the packet's JSON.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> io::Result<T> {
        serde_json::from_slice(&self.body).map_err(io::Error::from)
    }
}

impl Channel {
    /// Two connected ends, both closed on exec.
    pub(crate) fn pair() -> io::Result<(Channel, Channel)> {
        let (a, b) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        for fd in [&a, &b] {
            setsockopt(fd, sockopt::SndBuf, &(2 * MESSAGE_BYTES_MAX))?;
        }
        Ok((Channel { fd: a }, Channel { fd: b }))
    }

    pub(crate) fn from_fd(fd: OwnedFd) -> Channel {
        Channel { fd }
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// For a process that was just forked: closes every descriptor but this channel's and
    /// standard input, output and error.
    pub(crate) fn keep_only(self) -> io::Result<Channel> {
        if !stands(BarrierKind::ClosedDescriptors) {
            return Ok(self);
        }
        let kept = sys::keep_only([self.fd.as_fd()]);
        // Its number is closed, or belongs to the copy.
        sys::leak(self.fd);
        let [fd] = kept?;
        Ok(Channel { fd })
    }

    /// Sends one message.
    pub(crate) fn send<T: Serialize>(
        &self,
        message: &T,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        send_on(self.fd.as_fd(), message, descriptors)
    }

    /// Receives one packet; `None` at the end of the stream.
    pub(crate) fn receive(&self) -> io::Result<Option<Packet>> {
        receive_on(self.fd.as_fd())
    }

    /// Receives one packet, waiting for it at most `limit_ms`.
    pub(crate) fn receive_within(&self, limit_ms: u16) -> io::Result<Option<Packet>> {
        let mut polled = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        if poll(&mut polled, PollTimeout::from(limit_ms))? == 0 {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        self.receive()
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Sends one message on a packet socket.
pub(crate) fn send_on<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    if body.len() > MESSAGE_BYTES_MAX || descriptors.len() > DESCRIPTORS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "message too large"));
    }
    let raw: Vec<RawFd> = descriptors.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(&body)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// Receives one packet from a packet socket; `None` at the end of the stream.
pub(crate) fn receive_on(socket: BorrowedFd<'_>) -> io::Result<Option<Packet>> {
    // Its length first: most are a hundredth of the longest, and memory that was never used is slow
    // in a process that has just been forked.
    let look = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
    let length = recv(socket.as_raw_fd(), &mut [], look)?;
    let mut body = vec![0; length.clamp(1, MESSAGE_BYTES_MAX)];
    let mut control = cmsg_space!([RawFd; DESCRIPTORS_MAX]);
    let mut slices = [IoSliceMut::new(&mut body)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut control),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut descriptors = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = part {
            descriptors.extend(sys::own(&fds));
        }
    }
    let (length, flags) = (message.bytes, message.flags);
    if flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message cut off"));
    }
    if length == 0 && descriptors.is_empty() {
        return Ok(None);
    }
    body.truncate(length);
    Ok(Some(Packet { body, descriptors }))
}

/// Whether something can be read there at this moment.
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_carries_json_and_descriptors_and_ends_with_none() {
        let (a, b) = Channel::pair().unwrap();
        let (c, d) = Channel::pair().unwrap();
        a.send(&vec!["x".repeat(60_000)], &[c.as_fd()]).unwrap();
        let mut packet = b.receive().unwrap().unwrap();
        assert_eq!(packet.parse::<Vec<String>>().unwrap()[0].len(), 60_000);
        let copy = Channel::from_fd(packet.descriptors.pop().unwrap());
        copy.send(&1, &[]).unwrap();
        assert_eq!(d.receive().unwrap().unwrap().parse::<i32>().unwrap(), 1);
        drop(a);
        assert!(b.receive().unwrap().is_none());
        assert!(b.parse_failure());
    }

    impl Channel {
        fn parse_failure(&self) -> bool {
            let packet = Packet { body: b"{".to_vec(), descriptors: vec![] };
            packet.parse::<i32>().is_err()
        }
    }

    #[test]
    fn too_large_a_message_is_refused_before_it_is_sent() {
        let (a, _b) = Channel::pair().unwrap();
        let error = a.send(&"x".repeat(MESSAGE_BYTES_MAX), &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn waiting_for_a_message_has_a_limit() {
        let (a, _b) = Channel::pair().unwrap();
        assert_eq!(a.receive_within(1).err().unwrap().kind(), io::ErrorKind::TimedOut);
    }
}
