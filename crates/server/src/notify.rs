//! Tells systemd how we are: sd_notify(3), which is one datagram.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where the service manager listens, taken from the environment once at start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notify {
    socket: Option<OsString>,
}

impl Notify {
    /// Reads `NOTIFY_SOCKET`.
    pub(crate) fn from_environment() -> Notify {
        Notify { socket: std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) }
    }

    /// The server answers requests.
    pub(crate) fn ready(&self) {
        self.send("READY=1");
    }

    /// The server is finishing what it has.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, state: &str) {
        let Some(path) = &self.socket else { return };
        // A path that begins with @ is an abstract address.
        let address = match path.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(path),
        };
        let sent = address
            .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
        if let Err(error) = sent {
            tracing::warn!(%error, "cannot tell the service manager {state}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_one_datagram() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let notify = Notify { socket: Some(path.into_os_string()) };
        notify.ready();
        notify.stopping();
        let mut buffer = [0; 64];
        for expected in ["READY=1", "STOPPING=1"] {
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected.as_bytes());
        }
        Notify::default().ready();
    }
}
