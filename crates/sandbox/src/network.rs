//! The way out: each environment has a network namespace of its own and, where outbound access is
//! on, one point-to-point link to the host, which translates addresses (NAT) and filters.
//!
//! From inside, everything the host can reach can be reached, except the host itself (any of its
//! addresses, before they are translated, so that what listens on it or is published by it stays
//! private), other environments, and the addresses where clouds keep instance metadata. From outside, nothing inside can be reached.
//! The link ends with the namespace; the filter table ends with the spawner.

use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use serde::{Deserialize, Serialize};

use crate::sys;

/// RFC 2544's range for tests of network devices: reserved, so nobody's real network.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// Links that can exist at a time: two addresses each in a range of 131,072.
const LINKS_MAX: u32 = 65_536;
/// Connections that one environment may have through the host at a time (AWS: 1,024 descriptors);
/// the kernel's table of them is everybody's.
const FLOWS_MAX: u32 = 1_024;
const TRIES_MAX: u32 = 4_096;
const TABLE_PREFIX: &str = "lambic_";
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Both ends of an environment's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    pub(crate) inside: Ipv4Addr,
    pub(crate) gateway: Ipv4Addr,
}

/// The host's side of all links.
pub(crate) struct Network {
    table: String,
    netlink: OwnedFd,
    /// Whether forwarding was off before, and is to be off again.
    turned_forwarding_on: bool,
    /// The number to try next; links of other spawners and of namespaces that the kernel has not
    /// let go of yet keep theirs.
    next: u32,
}

impl Network {
    /// Installs the filter and address translation; sweeps those of spawners that are gone.
    pub(crate) fn open() -> Result<Network, String> {
        let tables = nft(&["list", "tables", "inet"], "")?;
        for table in tables.lines().filter_map(|line| line.strip_prefix("table inet ")) {
            let pid = table.strip_prefix(TABLE_PREFIX).and_then(|pid| pid.parse::<u32>().ok());
            if pid.is_some_and(|pid| !crate::cgroup::is_running_spawner(pid)) {
                let _ = nft(&["delete", "table", "inet", table], "");
            }
        }
        let table = format!("{TABLE_PREFIX}{}", std::process::id());
        nft(&["-f", "-"], &rules(&table))?;
        let turned_forwarding_on = fs::read_to_string(FORWARDING).is_ok_and(|on| on.trim() == "0");
        if turned_forwarding_on {
            fs::write(FORWARDING, "1").map_err(|error| format!("{FORWARDING}: {error}"))?;
        }
        let netlink = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )
        .map_err(|error| format!("netlink: {error}"))?;
        Ok(Network { table, netlink, turned_forwarding_on, next: std::process::id() % LINKS_MAX })
    }

    /// Links the network namespace of process `pid` with the host.
    pub(crate) fn connect(&mut self, pid: i32) -> Result<Link, String> {
        for _ in 0..TRIES_MAX {
            let number = self.next;
            self.next = (number + 1) % LINKS_MAX;
            let name = format!("lmb{number}");
            match self.request(&veth_request(&name, pid)) {
                Ok(()) => {
                    let link = addresses(number);
                    sys::configure_interface(&name, link.gateway, None)
                        .map_err(|error| format!("address of {name}: {error}"))?;
                    return Ok(link);
                }
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
                Err(error) => return Err(format!("link {name}: {error}")),
            }
        }
        Err("no number for another link is free".to_owned())
    }

    /// Sends one netlink request and waits for its acknowledgement.
    fn request(&self, message: &[u8]) -> io::Result<()> {
        send(self.netlink.as_raw_fd(), message, MsgFlags::empty())?;
        let mut answer = [0; 4096];
        let length = recv(self.netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        let code = answer.get(16..20).filter(|_| length >= 20);
        let code = code.and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
        match code {
            Some(0) => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(-errno)),
            None => Err(io::Error::from(io::ErrorKind::InvalidData)),
        }
    }

    /// Removes the filter; the links are gone with their namespaces.
    pub(crate) fn close(&self) {
        let _ = nft(&["delete", "table", "inet", &self.table], "");
        let others = nft(&["list", "tables", "inet"], "").unwrap_or_default();
        if self.turned_forwarding_on && !others.contains(TABLE_PREFIX) {
            let _ = fs::write(FORWARDING, "0");
        }
    }
}

fn addresses(number: u32) -> Link {
    let gateway = FIRST_ADDRESS + 2 * number;
    Link { gateway: Ipv4Addr::from(gateway), inside: Ipv4Addr::from(gateway + 1) }
}

fn rules(table: &str) -> String {
    format!(
        "table inet {table} {{
  chain early {{
    type filter hook prerouting priority -310; policy accept;
    iifname \"lmb*\" fib daddr type {{ local, broadcast, anycast, multicast }} drop
    iifname \"lmb*\" meta nfproto ipv6 drop
  }}
  set flows {{
    type ipv4_addr; size 65536; flags dynamic;
  }}
  chain forward {{
    type filter hook forward priority filter - 5; policy accept;
    iifname \"lmb*\" ct state new add @flows {{ ip saddr ct count over {FLOWS_MAX} }} drop
    iifname \"lmb*\" oifname \"lmb*\" drop
    iifname \"lmb*\" ip daddr {{ 169.254.0.0/16, 168.63.129.16, 100.100.100.200, 192.0.0.192 }} drop
    oifname \"lmb*\" ct state established,related accept
    oifname \"lmb*\" drop
  }}
  chain input {{
    type filter hook input priority filter - 5; policy accept;
    iifname \"lmb*\" drop
  }}
  chain translate {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 198.18.0.0/15 masquerade
  }}
}}
"
    )
}

fn nft(arguments: &[&str], input: &str) -> Result<String, String> {
    let run = || -> io::Result<std::process::Output> {
        let mut child = Command::new("nft")
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(stdin) = &mut child.stdin {
            stdin.write_all(input.as_bytes())?;
        }
        child.wait_with_output()
    };
    match run() {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr);
            Err(format!("nft: {}", error.lines().next().unwrap_or("failed")))
        }
        Err(error) => Err(format!("nft (package nftables): {error}")),
    }
}

const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST_ACK_CREATE_EXCLUSIVE: u16 = 0x1 | 0x4 | 0x400 | 0x200;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
/// An `ifinfomsg` that says nothing.
const NO_INTERFACE: [u8; 16] = [0; 16];

/// `RTM_NEWLINK` for a pair of virtual interfaces: `name` here, `eth0` in the namespace of `pid`.
fn veth_request(name: &str, pid: i32) -> Vec<u8> {
    let mut peer = NO_INTERFACE.to_vec();
    peer.extend(attribute(IFLA_IFNAME, b"eth0\0"));
    peer.extend(attribute(IFLA_NET_NS_PID, &pid.to_ne_bytes()));
    let mut info = attribute(IFLA_INFO_KIND, b"veth");
    info.extend(attribute(IFLA_INFO_DATA, &attribute(VETH_INFO_PEER, &peer)));
    let mut body = NO_INTERFACE.to_vec();
    body.extend(attribute(IFLA_IFNAME, format!("{name}\0").as_bytes()));
    body.extend(attribute(IFLA_LINKINFO, &info));
    let mut message = (body.len() as u32 + 16).to_ne_bytes().to_vec();
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK_CREATE_EXCLUSIVE.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// One netlink attribute, padded to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
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
    fn every_environment_has_a_pair_of_addresses_of_its_own() {
        let link = addresses(0);
        assert_eq!((link.gateway, link.inside), ([198, 18, 0, 0].into(), [198, 18, 0, 1].into()));
        let last = addresses(LINKS_MAX - 1);
        assert!(last.inside < Ipv4Addr::new(198, 20, 0, 0));
        assert_ne!(addresses(1).gateway, link.inside);
    }

    #[test]
    fn a_request_says_its_length_and_is_aligned() {
        let request = veth_request("lmb12345", 7);
        let length = u32::from_ne_bytes(request[..4].try_into().unwrap());
        assert_eq!(length as usize, request.len());
        assert_eq!(request.len() % 4, 0);
    }
}
