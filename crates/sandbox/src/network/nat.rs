//! The way out with root: one point-to-point link for each environment, and a table of nftables that
//! translates addresses and filters.
//!
//! From inside, what the environment's network reaches can be reached, except the host itself (any
//! of its addresses, before they are translated, so that what listens on it or is published by it
//! stays private), environments outside of the network, and instance metadata. From outside, the
//! host's own programs included, nothing inside can be reached. A link is made ahead of time, in a
//! group that nothing passes. As long as nothing runs at its other end but init, it waits in the group
//! of the default network; what becomes a spare waits where nothing passes. It moves to the group of its
//! network, if that is another, when its environment is assigned. It ends with its namespace; the table ends with the spawner, and is put back when
//! somebody removes it.

use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lambic_rt::{Instant, Rt};
use nix::net::if_::if_nametoindex;

use super::netlink::{CREATE_EXCLUSIVE, Message, Netlink, attribute};
use super::watch::Watch;
use super::{INTERFACE, LINK_ADDRESSES, Link, Networks, routes, rules};

/// Links that can exist at a time: two addresses each in a range of 131,072.
const LINKS_MAX: u32 = 65_536;
const TRIES_MAX: u32 = 4_096;
const TABLE_PREFIX: &str = "lambic_";
const INSTALL: [&str; 2] = ["-f", "-"];
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
/// Between two times that the table is put back, so that whoever insists on removing it does not
/// keep the spawner from its work.
const RESTORE_AGAIN_MS: u16 = 250;

/// The host's side of all links.
pub(super) struct Nat {
    /// Whose links these are, whoever makes them.
    spawner: u32,
    table: String,
    /// What the table has to be.
    script: String,
    netlink: Netlink,
    watch: Watch,
    rt: Rt,
    /// What it is still waited for.
    opening: Option<Opening>,
    /// Somebody has changed the table since it was last put there.
    changed: bool,
    restored_at: Option<Instant>,
    /// The last attempt to put it back failed, which has been told.
    failing: bool,
    /// Whether forwarding was off before, and is to be off again.
    turned_forwarding_on: bool,
    /// The number to try next; links of other spawners and of namespaces that the kernel has not
    /// let go of yet keep theirs.
    next: u32,
}

/// The tables that there are, and ours, which is being installed.
struct Opening {
    tables: Nft,
    own: Nft,
}

impl Nat {
    /// Begins to install the filter and address translation, see [`Nat::wait_until_open`].
    pub(super) fn open(networks: &Networks) -> Result<Nat, String> {
        // It takes as long to list them as to install ours.
        let tables = Nft::start(&["list", "tables", "inet"], "")?;
        let spawner = std::process::id();
        let table = format!("{TABLE_PREFIX}{spawner}");
        let script = rules::script(&table, spawner, networks);
        let netlink = Netlink::route().map_err(|error| format!("netlink: {error}"))?;
        // Before the first change.
        let watch = Watch::open().map_err(|error| format!("watching nftables: {error}"))?;
        let own = Nft::start(&INSTALL, &script)?;
        Ok(Nat {
            spawner,
            table,
            script,
            netlink,
            watch,
            rt: Rt::real(),
            opening: Some(Opening { tables, own }),
            changed: false,
            restored_at: None,
            failing: false,
            turned_forwarding_on: false,
            next: spawner % LINKS_MAX,
        })
    }

    /// Waits until all of it is there; sweeps that of spawners that are gone.
    pub(super) fn wait_until_open(&mut self) -> Result<(), String> {
        let Some(Opening { tables, own }) = self.opening.take() else { return Ok(()) };
        self.installed(own)?;
        sweep(&tables.ended()?.0);
        self.turned_forwarding_on = fs::read_to_string(FORWARDING).is_ok_and(|on| on.trim() == "0");
        if self.turned_forwarding_on {
            fs::write(FORWARDING, "1").map_err(|error| format!("{FORWARDING}: {error}"))?;
        }
        Ok(())
    }

    /// Puts the table there, in place of whatever there is by its name.
    fn install(&mut self) -> Result<(), String> {
        self.installed(Nft::start(&INSTALL, &self.script)?)
    }

    fn installed(&mut self, own: Nft) -> Result<(), String> {
        let (_, own) = own.ended()?;
        self.changed = self.watch.changed(&self.table, Some(own));
        Ok(())
    }

    /// See [`super::Network::changes`].
    pub(super) fn changes(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    /// See [`super::Network::restore`].
    pub(super) fn restore(&mut self) -> (Option<String>, Option<u16>) {
        self.changed |= self.watch.changed(&self.table, None);
        if !self.changed {
            return (None, None);
        }
        let now = self.rt.instant();
        let pause = Duration::from_millis(RESTORE_AGAIN_MS.into());
        if self.restored_at.is_some_and(|at| now < at + pause) {
            return (None, Some(RESTORE_AGAIN_MS));
        }
        self.restored_at = Some(now);
        let notice = match self.install() {
            Ok(()) => {
                self.failing = false;
                let table = &self.table;
                Some(format!("the network filter {table} was changed by somebody and is back"))
            }
            Err(_) if self.failing => None,
            Err(error) => {
                self.failing = true;
                let table = &self.table;
                let what = "was changed by somebody and cannot be put back";
                Some(format!(
                    "the network filter {table} {what}, functions may reach the host: {error}"
                ))
            }
        };
        (notice, self.changed.then_some(RESTORE_AGAIN_MS))
    }

    /// Links the network namespace of process `pid` with the host, in the group of a network or in the
    /// one that waits.
    pub(super) fn connect(
        &mut self,
        pid: i32,
        network: Option<usize>,
    ) -> Result<(u32, Link), String> {
        let group = match network {
            Some(network) => rules::group(self.spawner, network),
            None => rules::waiting_group(self.spawner),
        };
        for _ in 0..TRIES_MAX {
            let number = self.next;
            self.next = (number + 1) % LINKS_MAX;
            let name = name_of(number);
            match self.netlink.request(new_link(&name, group, pid)) {
                Ok(()) => {
                    // The name is the number and the number is the addresses, so whoever has the
                    // name on this host, of all servers, has the addresses.
                    let link = addresses(number);
                    add_address(&self.netlink, &name, link.gateway)
                        .map_err(|error| format!("address of {name}: {error}"))?;
                    return Ok((number, link));
                }
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
                Err(error) => return Err(format!("link {name}: {error}")),
            }
        }
        Err("no number for another link is free".to_owned())
    }

    /// For a process that was forked from the one that opened this, and makes links beside it: with its
    /// own connection to the kernel, and the numbers from the `part`th of `parts` on.
    pub(super) fn go_apart(&mut self, part: u32, parts: u32) -> io::Result<()> {
        self.netlink = Netlink::route()?;
        self.next = (self.next + LINKS_MAX / parts * part) % LINKS_MAX;
        Ok(())
    }

    /// Moves a link to the group of its network.
    pub(super) fn join(&self, number: u32, network: usize) -> Result<(), String> {
        self.move_to(number, rules::group(self.spawner, network))
    }

    /// Moves a link back to the group that nothing passes.
    pub(super) fn wait(&self, number: u32) -> Result<(), String> {
        self.move_to(number, rules::waiting_group(self.spawner))
    }

    fn move_to(&self, number: u32, group: u32) -> Result<(), String> {
        let name = name_of(number);
        let moved = self.netlink.request(move_link(&name, group));
        moved.map_err(|error| format!("network of {name}: {error}"))
    }

    /// Removes the filter; the links are gone with their namespaces.
    pub(super) fn close(&self) {
        let _ = nft(&["delete", "table", "inet", &self.table], "");
        let others = nft(&["list", "tables", "inet"], "").map(|(list, _)| list);
        if self.turned_forwarding_on && !others.unwrap_or_default().contains(TABLE_PREFIX) {
            let _ = fs::write(FORWARDING, "0");
        }
    }
}

fn name_of(number: u32) -> String {
    format!("lmb{number}")
}

fn addresses(number: u32) -> Link {
    let gateway = u32::from(LINK_ADDRESSES.first()) + 2 * number;
    Link { gateway: Ipv4Addr::from(gateway), inside: Ipv4Addr::from(gateway + 1) }
}

/// Removes the tables of this list that belong to spawners that are gone.
fn sweep(tables: &str) {
    for table in tables.lines().filter_map(|line| line.strip_prefix("table inet ")) {
        let pid = table.strip_prefix(TABLE_PREFIX).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !crate::cgroup::is_running_spawner(pid)) {
            let _ = nft(&["delete", "table", "inet", table], "");
        }
    }
}

/// Runs `nft`; what it printed and its process id.
pub(super) fn nft(arguments: &[&str], input: &str) -> Result<(String, u32), String> {
    Nft::start(arguments, input)?.ended()
}

/// An `nft` that runs.
struct Nft(Child);

impl Nft {
    fn start(arguments: &[&str], input: &str) -> Result<Nft, String> {
        let run = || -> io::Result<Child> {
            let mut child = Command::new("nft")
                .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin")
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(input.as_bytes())?;
            }
            Ok(child)
        };
        run().map(Nft).map_err(|error| no_nft(&error))
    }

    /// See [`nft`].
    fn ended(self) -> Result<(String, u32), String> {
        let pid = self.0.id();
        let output = self.0.wait_with_output().map_err(|error| no_nft(&error))?;
        if output.status.success() {
            return Ok((String::from_utf8_lossy(&output.stdout).into_owned(), pid));
        }
        let error = String::from_utf8_lossy(&output.stderr);
        Err(format!("nft: {}", error.lines().next().unwrap_or("failed")))
    }
}

fn no_nft(error: &io::Error) -> String {
    format!("nft (package nftables): {error}")
}

/// In a new init process: makes its end of the link ready.
pub(super) fn arrive(link: &Link) -> io::Result<()> {
    let netlink = Netlink::route()?;
    let interface = add_address(&netlink, INTERFACE, link.inside)?;
    let mut up = interface_up();
    up[4..8].copy_from_slice(&interface.to_ne_bytes());
    netlink.request(Message::new(RTM_SETLINK, 0, &up))?;
    netlink.request(routes::default_route(link.gateway, interface))
}

/// Gives an interface one end of a two-address network. (The older calls give it one of a network of
/// 256 first, and with each change of it the kernel goes through its whole table of connections.)
fn add_address(netlink: &Netlink, name: &str, address: Ipv4Addr) -> io::Result<u32> {
    let interface = if_nametoindex(name)?;
    // An `ifaddrmsg`: family, bits of the network, flags, scope, interface.
    let mut fixed = vec![libc::AF_INET as u8, 31, 0, 0];
    fixed.extend(interface.to_ne_bytes());
    let message = Message::new(RTM_NEWADDR, CREATE_EXCLUSIVE, &fixed)
        .with(IFA_LOCAL, &address.octets())
        .with(IFA_ADDRESS, &address.octets());
    netlink.request(message)?;
    Ok(interface)
}

const RTM_NEWLINK: u16 = 16;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_GROUP: u16 = 27;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
/// An `ifinfomsg` that says nothing.
const NO_INTERFACE: [u8; 16] = [0; 16];

/// An `ifinfomsg` that says that the interface is up, and nothing else.
fn interface_up() -> [u8; 16] {
    let mut fixed = NO_INTERFACE;
    for at in [8, 12] {
        fixed[at..at + 4].copy_from_slice(&(libc::IFF_UP as u32).to_ne_bytes());
    }
    fixed
}

/// A pair of virtual interfaces: `name` here in this group and up, `eth0` in the namespace of `pid`,
/// which the kernel lets be up only later. One queue each: it is all that is used of them, and more cost.
fn new_link(name: &str, group: u32, pid: i32) -> Message {
    let one = 1_u32.to_ne_bytes();
    let mut peer = NO_INTERFACE.to_vec();
    peer.extend(attribute(IFLA_IFNAME, format!("{INTERFACE}\0").as_bytes()));
    peer.extend(attribute(IFLA_NET_NS_PID, &pid.to_ne_bytes()));
    peer.extend(attribute(IFLA_NUM_TX_QUEUES, &one));
    peer.extend(attribute(IFLA_NUM_RX_QUEUES, &one));
    let mut info = attribute(IFLA_INFO_KIND, b"veth");
    info.extend(attribute(IFLA_INFO_DATA, &attribute(VETH_INFO_PEER, &peer)));
    Message::new(RTM_NEWLINK, CREATE_EXCLUSIVE, &interface_up())
        .with(IFLA_IFNAME, format!("{name}\0").as_bytes())
        .with(IFLA_GROUP, &group.to_ne_bytes())
        .with(IFLA_NUM_TX_QUEUES, &one)
        .with(IFLA_NUM_RX_QUEUES, &one)
        .with(IFLA_LINKINFO, &info)
}

fn move_link(name: &str, group: u32) -> Message {
    Message::new(RTM_SETLINK, 0, &NO_INTERFACE)
        .with(IFLA_IFNAME, format!("{name}\0").as_bytes())
        .with(IFLA_GROUP, &group.to_ne_bytes())
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
}
