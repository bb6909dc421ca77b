//! What one environment may send to, within what its network reaches: a list of what is allowed, kept
//! by nftables inside the environment's own network namespace.
//!
//! The network itself is the wall around all of its environments, kept on the host's side; this list is
//! that of one function, and nobody inside has the right to change it. What is not allowed is dropped
//! without a word, as security groups do on AWS. Answers to what came in pass.

use std::fmt::{self, Write};
use std::os::fd::AsFd;
use std::str::FromStr;

use nix::sched::{CloneFlags, setns};
use nix::sys::wait::waitpid;
use serde::{Deserialize, Serialize};

use super::{AddressRange, nat};
use crate::barrier::BarrierKind;
use crate::channel::Channel;
use crate::sys;
use crate::trial::stands;

/// Entries of one list: AWS's 60 rules of each of 5 groups.
pub const EGRESS_MAX: usize = 300;

const TABLE: &str = "lambic_egress";

/// One entry: `10.1.0.0/16` is everything there, `10.1.0.0/16:5432` one port of TCP,
/// `10.1.0.2:53/udp` one of UDP, `0.0.0.0/0:8000-8999` several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Egress {
    range: AddressRange,
    ports: Option<Ports>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ports {
    protocol: Protocol,
    first: u16,
    last: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

impl FromStr for Egress {
    type Err = String;

    fn from_str(text: &str) -> Result<Egress, String> {
        let Some((range, rest)) = text.split_once(':') else {
            return Ok(Egress { range: text.parse()?, ports: None });
        };
        let wrong = || format!("'{text}' has no ports such as 443, 8000-8999 or 53/udp");
        let (numbers, protocol) = match rest.split_once('/') {
            None => (rest, Protocol::Tcp),
            Some((numbers, "tcp")) => (numbers, Protocol::Tcp),
            Some((numbers, "udp")) => (numbers, Protocol::Udp),
            Some(_) => return Err(wrong()),
        };
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if 0 < first && first <= last => {
                Ok(Egress { range: range.parse()?, ports: Some(Ports { protocol, first, last }) })
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Egress {
    /// As a rule of nftables.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.range.prefix_bits() {
            0 => out.write_str("meta nfproto ipv4")?,
            _ => write!(out, "ip daddr {}", self.range)?,
        }
        if let Some(Ports { protocol, first, last }) = self.ports {
            write!(out, " {} dport {first}-{last}", protocol.name())?;
        }
        out.write_str(" accept")
    }
}

fn script(allowed: &[Egress]) -> String {
    let mut rules = String::new();
    for one in allowed {
        writeln!(rules, "    {one}").expect("writing to a string does not fail");
    }
    format!(
        "table inet {TABLE} {{
  chain outwards {{
    type filter hook output priority filter; policy drop;
    oifname \"lo\" accept
    ct state established,related accept
{rules}  }}
}}
"
    )
}

/// Whether this machine can keep such lists.
pub(super) fn check() -> Result<(), String> {
    nat::nft(&["--version"], "").map(drop)
}

/// Puts the list into the network namespace of process `pid`.
pub(crate) fn restrict(pid: i32, allowed: &[Egress]) -> Result<(), String> {
    if !stands(BarrierKind::NetworkFilter) {
        return Ok(());
    }
    let (status, theirs) = Channel::pair().map_err(|error| format!("socket pair: {error}"))?;
    match sys::fork().map_err(|error| format!("fork: {error}"))? {
        None => {
            drop(status);
            let done = inside(pid, allowed);
            let _ = theirs.send(&done, &[]);
            sys::exit_now(0)
        }
        Some(child) => {
            drop(theirs);
            let word = status.receive();
            let _ = waitpid(nix::unistd::Pid::from_raw(child), None);
            match word.ok().flatten().map(|packet| packet.parse::<Result<(), String>>()) {
                Some(Ok(done)) => done,
                _ => Err("the process that limits what is reached ended without a word".to_owned()),
            }
        }
    }
}

/// In a process of its own, which stays in that namespace.
fn inside(pid: i32, allowed: &[Egress]) -> Result<(), String> {
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net"))
        .map_err(|error| format!("network namespace: {error}"))?;
    setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)
        .map_err(|error| format!("network namespace: {error}"))?;
    nat::nft(&["-f", "-"], &script(allowed)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_rules() {
        for (text, rule) in [
            ("10.1.0.0/16", "ip daddr 10.1.0.0/16 accept"),
            ("0.0.0.0/0", "meta nfproto ipv4 accept"),
            ("10.1.0.0/16:5432", "ip daddr 10.1.0.0/16 tcp dport 5432-5432 accept"),
            ("192.0.2.7:443/tcp", "ip daddr 192.0.2.7/32 tcp dport 443-443 accept"),
            ("192.0.2.7:53/udp", "ip daddr 192.0.2.7/32 udp dport 53-53 accept"),
            ("0.0.0.0/0:8000-8999", "meta nfproto ipv4 tcp dport 8000-8999 accept"),
        ] {
            assert_eq!(text.parse::<Egress>().unwrap().to_string(), rule, "{text}");
        }
        for text in [
            "",
            "x",
            "10.1.0.0/33",
            "10.1.0.0/16:",
            "10.1.0.0/16:0",
            "10.1.0.0/16:2-1",
            ":443",
            "10.1.0.0/16:443/icmp",
            "10.1.0.0/16:65536",
            "10.1.0.1/16",
            "10.1.0.0/16:1;drop",
        ] {
            assert!(text.parse::<Egress>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_allowed_is_dropped() {
        let none = script(&[]);
        assert!(none.contains("policy drop;") && !none.contains("daddr"), "{none}");
        let one = script(&["10.0.0.0/8:1".parse().unwrap()]);
        assert!(one.contains("    ip daddr 10.0.0.0/8 tcp dport 1-1 accept\n  }"), "{one}");
    }
}
