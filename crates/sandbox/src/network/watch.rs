//! Notices when somebody else changes our table: `nft flush ruleset`, which the reload of a
//! distribution's firewall does, removes it silently.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::SockProtocol;

use super::netlink::{Event, Netlink, find_attribute};

/// `NFNLGRP_NFTABLES` is group 7.
const CHANGES_OF_TABLES: u32 = 1 << 6;
/// `NFNL_SUBSYS_NFTABLES`, the upper half of a message's kind.
const SUBSYSTEM: u16 = 10;
/// `NFT_MSG_NEWSETELEM` to `NFT_MSG_DELSETELEM` (the set of flows may lose its elements), and
/// `NFT_MSG_NEWGEN` and what follows, which is not about tables.
const HARMLESS: [std::ops::RangeInclusive<u16>; 2] = [12..=14, 15..=16];
/// The name of the table in messages about tables, chains, rules and sets alike.
const NFTA_TABLE: u16 = 1;
/// `nfgenmsg`
const FIXED_BYTES: usize = 4;

/// A subscription to changes of this network namespace's tables.
pub(super) struct Watch {
    netlink: Netlink,
}

impl Watch {
    pub(super) fn open() -> std::io::Result<Watch> {
        let protocol = SockProtocol::NetlinkNetFilter;
        Ok(Watch { netlink: Netlink::subscribed(protocol, CHANGES_OF_TABLES)? })
    }

    /// Reads everything that was told since the last call: whether anybody but process `own` has
    /// changed `table`. What was lost, because too much was told at once, counts as a change.
    pub(super) fn changed(&self, table: &str, own: Option<u32>) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        let mut changed = false;
        loop {
            match self.netlink.told(&mut buffer) {
                Ok(Some(mut events)) => {
                    changed |= events.any(|event| concerns(&event, table, own));
                }
                Ok(None) => return changed,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(_) => return true,
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }
}

fn concerns(event: &Event<'_>, table: &str, own: Option<u32>) -> bool {
    let (subsystem, kind) = (event.kind >> 8, event.kind & 0xff);
    if subsystem != SUBSYSTEM || HARMLESS.iter().any(|range| range.contains(&kind)) {
        return false;
    }
    let name = event.body.get(FIXED_BYTES..).and_then(|rest| find_attribute(rest, NFTA_TABLE));
    let named = name.and_then(|name| name.strip_suffix(b"\0")) == Some(table.as_bytes());
    named && own != Some(event.port)
}

#[cfg(test)]
mod tests {
    use super::super::netlink::attribute;
    use super::*;

    #[test]
    fn only_changes_of_our_table_by_others_matter() {
        let check = |kind: u16, name: &str, port: u32| {
            let body = [vec![1, 0, 0, 0], attribute(NFTA_TABLE, name.as_bytes())].concat();
            concerns(&Event { kind, port, body: &body }, "lambic_7", Some(70))
        };
        let (table_gone, rule_new, element_gone) = (10 << 8 | 2, 10 << 8 | 6, 10 << 8 | 14);
        assert!(check(table_gone, "lambic_7\0", 71) && check(rule_new, "lambic_7\0", 71));
        assert!(!check(table_gone, "lambic_7\0", 70), "our own change");
        assert!(!check(table_gone, "lambic_70\0", 71), "another table");
        assert!(!check(element_gone, "lambic_7\0", 71));
        assert!(!check(2, "lambic_7\0", 71), "another subsystem");
    }
}
