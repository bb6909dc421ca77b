//! Requests to the kernel's routing tables and interfaces (rtnetlink), as far as they are needed
//! here, in the kernel's own format; `ip` is not needed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    socket,
};

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
/// Fails with `EEXIST` where there is one already.
pub(super) const CREATE_EXCLUSIVE: u16 = 0x400 | 0x200;
/// Beside others of the same destination.
pub(super) const CREATE_APPEND: u16 = 0x400 | 0x800;
const HEADER_BYTES: usize = 16;

/// A netlink socket.
pub(super) struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    /// A socket for requests about interfaces and routes of this network namespace.
    pub(super) fn route() -> io::Result<Netlink> {
        Netlink::open(SockProtocol::NetlinkRoute)
    }

    /// A socket that is told about changes to the groups in `mask` (the first has bit 0).
    pub(super) fn subscribed(protocol: SockProtocol, mask: u32) -> io::Result<Netlink> {
        let netlink = Netlink::open(protocol)?;
        bind(netlink.socket.as_raw_fd(), &NetlinkAddr::new(0, mask))?;
        Ok(netlink)
    }

    fn open(protocol: SockProtocol) -> io::Result<Netlink> {
        let (family, flags) = (AddressFamily::Netlink, SockFlag::SOCK_CLOEXEC);
        Ok(Netlink { socket: socket(family, SockType::Raw, flags, protocol)? })
    }

    /// Sends one request and waits for its acknowledgement.
    pub(super) fn request(&self, message: Message) -> io::Result<()> {
        send(self.socket.as_raw_fd(), &message.finish(), MsgFlags::empty())?;
        let mut answer = [0; 4096];
        let length = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        let code = answer.get(HEADER_BYTES..HEADER_BYTES + 4).filter(|_| length >= 20);
        let code = code.and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
        match code {
            Some(0) => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(-errno)),
            None => Err(io::Error::from(io::ErrorKind::InvalidData)),
        }
    }

    /// Reads what was told, without waiting; `None` when there is nothing.
    pub(super) fn told<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<Told<'a>>> {
        match recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => Ok(Some(Told { rest: &buffer[..length] })),
            Err(nix::errno::Errno::EAGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The messages of one datagram.
pub(super) struct Told<'a> {
    rest: &'a [u8],
}

/// One message of the kernel.
pub(super) struct Event<'a> {
    pub(super) kind: u16,
    /// The port of the socket whose request it is about: of a program's first one, its process id.
    pub(super) port: u32,
    pub(super) body: &'a [u8],
}

impl<'a> Iterator for Told<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        let word = |at: usize| {
            let bytes = self.rest.get(at..at + 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        };
        let (length, port) = (word(0)? as usize, word(12)?);
        let kind = u16::from_ne_bytes(self.rest.get(4..6)?.try_into().ok()?);
        let body = self.rest.get(HEADER_BYTES..length)?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Event { kind, port, body })
    }
}

/// The value of the first attribute of this kind.
pub(super) fn find_attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let number = |at: usize| {
            let bytes = attributes.get(at..at + 2)?;
            Some(u16::from_ne_bytes(bytes.try_into().ok()?))
        };
        let (length, kind) = (usize::from(number(0)?), number(2)?);
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

/// A request that is being written.
pub(super) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A request of this kind with its fixed part.
    pub(super) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Message {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(fixed);
        Message { bytes }
    }

    /// Adds an attribute.
    pub(super) fn with(mut self, kind: u16, value: &[u8]) -> Message {
        self.bytes.extend(attribute(kind, value));
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes
    }
}

/// One netlink attribute, padded to four bytes.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (value.len() as u16 + 4).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_its_length_is_aligned_and_can_be_read_again() {
        let bytes = Message::new(7, 0, &[1; 4]).with(9, b"odd").with(3, b"lmb1\0").finish();
        assert_eq!(u32::from_ne_bytes(bytes[..4].try_into().unwrap()) as usize, bytes.len());
        assert_eq!(bytes.len() % 4, 0);
        let two = [bytes.clone(), bytes].concat();
        let events: Vec<Event<'_>> = Told { rest: &two }.collect();
        assert_eq!(events.len(), 2);
        assert_eq!((events[1].kind, events[1].port), (7, 0));
        assert_eq!(find_attribute(&events[1].body[4..], 3), Some(&b"lmb1\0"[..]));
        assert_eq!(find_attribute(&events[1].body[4..], 4), None);
    }

    #[test]
    fn what_is_cut_off_ends_the_reading() {
        let bytes = Message::new(7, 0, &[1; 4]).with(9, b"value").finish();
        for length in 0..bytes.len() {
            assert_eq!(Told { rest: &bytes[..length] }.count(), 0);
            let _ = find_attribute(&bytes[..length], 1);
        }
    }
}
