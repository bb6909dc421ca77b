//! The filter and the translation of addresses, in the words of nftables.
//!
//! Every rule is about the links of one spawner only, told by their interface groups, so that
//! several servers on one machine do not judge each other's links. Groups have a number for each
//! network, and one for links that wait; that one has no rule that lets anything pass.

use std::fmt::Write;

use super::{METADATA_ADDRESSES, Networks, Reach};
use crate::barrier::BarrierKind;
use crate::trial::stands;

/// Groups of one spawner: its process id says where they begin.
const GROUPS: u32 = 64;
/// Connections that one environment may have through the host at a time (AWS: 1,024 descriptors);
/// the kernel's table of them is everybody's.
const FLOWS_MAX: u32 = 1_024;

/// The group of links that wait for an assignment.
pub(super) fn waiting_group(spawner: u32) -> u32 {
    // Process ids have 22 bits at most.
    spawner * GROUPS
}

/// The group of links of the environments in a network.
pub(super) fn group(spawner: u32, network: usize) -> u32 {
    waiting_group(spawner) + 1 + network as u32
}

/// Only the translation, for the trials that look whether the filter is what stops them.
fn unfiltered(table: &str) -> String {
    format!(
        "add table inet {table}
delete table inet {table}
table inet {table} {{
  chain translate {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {} oifname != \"lmb*\" masquerade
  }}
}}
",
        super::LINK_ADDRESSES
    )
}

/// One transaction: whatever there was by this name is replaced. (Added to what is there, a rule
/// would stand behind one that somebody has put before it.)
pub(super) fn script(table: &str, spawner: u32, networks: &Networks) -> String {
    if !stands(BarrierKind::NetworkFilter) {
        return unfiltered(table);
    }
    let (first, last) = (waiting_group(spawner), waiting_group(spawner) + GROUPS - 1);
    let metadata = METADATA_ADDRESSES.map(|range| range.to_string()).join(", ");
    let (mut verdicts, mut chains) = (String::new(), String::new());
    for number in (0..networks.list.len()).filter(|number| !networks.is_closed(*number)) {
        let group = group(spawner, number);
        writeln!(verdicts, "    iifgroup {group} jump network_{number}")
            .expect("writing to a string does not fail");
        chains.push_str(&network_chain(number, group, networks));
    }
    format!(
        "add table inet {table}
delete table inet {table}
table inet {table} {{
  chain early {{
    type filter hook prerouting priority -310; policy accept;
    iifgroup {first}-{last} meta nfproto ipv6 drop
    iifgroup {first}-{last} fib daddr type {{ local, broadcast, anycast, multicast }} drop
    iifgroup {first}-{last} fib saddr . iif oif missing drop
  }}
  set flows {{
    type ipv4_addr; size 65536; flags dynamic;
  }}
{chains}  chain outwards {{
    ct state new add @flows {{ ip saddr ct count over {FLOWS_MAX} }} drop
    ct state established,related accept
    ip daddr {{ {metadata} }} drop
{verdicts}    drop
  }}
  chain forward {{
    type filter hook forward priority filter - 5; policy accept;
    iifgroup {first}-{last} jump outwards
    oifgroup {first}-{last} ct state established,related accept
    oifgroup {first}-{last} drop
  }}
  chain input {{
    type filter hook input priority filter - 5; policy accept;
    iifgroup {first}-{last} drop
  }}
  chain output {{
    type filter hook output priority filter - 5; policy accept;
    oifgroup {first}-{last} ct state established,related accept
    oifgroup {first}-{last} drop
  }}
  chain translate {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {links} oifname != \"lmb*\" masquerade
  }}
}}
",
        links = super::LINK_ADDRESSES,
    )
}

fn network_chain(number: usize, group: u32, networks: &Networks) -> String {
    let network = &networks.list[number];
    let mut lines = Vec::new();
    if network.members_reach_each_other {
        lines.push(format!("oifgroup {group} accept"));
    }
    // Links of every server here.
    lines.push("oifname \"lmb*\" drop".to_owned());
    match &network.reach {
        Reach::Everything => lines.push("accept".to_owned()),
        Reach::Only(ranges) => {
            // One rule each: a set refuses ranges that overlap.
            lines.extend(ranges.iter().map(|range| format!("ip daddr {range} accept")));
        }
    }
    let lines: String = lines.iter().map(|line| format!("    {line}\n")).collect();
    format!("  chain network_{number} {{\n{lines}  }}\n")
}

#[cfg(test)]
mod tests {
    use super::super::PrivateNetwork;
    use super::*;

    fn text(outbound: bool, private: &[PrivateNetwork]) -> String {
        script("lambic_7", 7, &Networks::new(outbound, private).unwrap())
    }

    #[test]
    fn groups_of_two_spawners_never_meet() {
        let last = group(7, super::super::PRIVATE_NETWORKS_MAX);
        assert!(waiting_group(7) < group(7, 0) && last < waiting_group(8));
        // The highest process id that Linux gives.
        assert!(waiting_group(1 << 22).checked_add(GROUPS).is_some());
    }

    #[test]
    fn a_network_is_a_chain_and_a_closed_one_has_none() {
        let network = |reach: Reach, members_reach_each_other| PrivateNetwork {
            name: "n".to_owned(),
            reach,
            members_reach_each_other,
        };
        let reach = Reach::Only(vec!["10.0.0.0/8".parse().unwrap()]);
        let private = [
            network(reach, false),
            network(Reach::Only(vec![]), false),
            network(Reach::Only(vec![]), true),
        ];
        let rules = text(false, &private);
        assert!(!rules.contains("network_0") && !rules.contains("network_2"), "{rules}");
        assert!(rules.contains("iifgroup 450 jump network_1\n"), "{rules}");
        assert!(rules.contains("    ip daddr 10.0.0.0/8 accept\n  }"), "{rules}");
        assert!(
            rules.contains("    oifgroup 452 accept\n    oifname \"lmb*\" drop\n  }"),
            "{rules}"
        );
        assert!(text(true, &[]).contains("oifname \"lmb*\" drop\n    accept\n"));
    }
}
