//! What an init process does in its own network namespace when a carrier (see `usermode`) is its way
//! out: the carrier cannot filter, so what must not be reached is closed here, before anything of
//! the function runs. The function has no right to change it.
//!
//! An address is closed by declaring it the environment's own, on the outgoing interface: packets
//! to it then come back. An "unreachable" route would not do: a program may bind its socket to the
//! interface, and where the kernel then finds no route it assumes a neighbour and sends.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::SockProtocol;

use super::netlink::{CREATE_APPEND, CREATE_EXCLUSIVE, Message, Netlink};
use super::{AddressRange, INTERFACE};

/// `RTMGRP_IPV4_ROUTE`
const CHANGES_OF_ROUTES: u32 = 0x40;
const RTM_DELLINK: u16 = 17;
const RTM_NEWROUTE: u16 = 24;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const TABLE_LOCAL: u8 = 255;
const TABLE_MAIN: u8 = 254;
/// Where [`fixed_part`] names the table.
const TABLE_AT: usize = 4;
const PROTOCOL_STATIC: u8 = 4;
const SCOPE_EVERYWHERE: u8 = 0;
const SCOPE_HOST: u8 = 254;
const UNICAST: u8 = 1;
const LOCAL: u8 = 2;
/// The gateway is a neighbour, whatever the routes say.
const ONLINK: u32 = 4;
/// Behind the kernel's own entries, which have 0.
const PRIORITY_CLOSED: u32 = 1;
/// Behind what is closed.
const PRIORITY_OPEN: u32 = 2;
const EVERYTHING: AddressRange = AddressRange::of([0, 0, 0, 0], 0);

/// Waits until somebody has made the interface and, as the last step, the default route through it.
/// The spawner ends the wait by ending this process.
pub(super) fn wait_for_default() -> io::Result<()> {
    let changes = Netlink::subscribed(SockProtocol::NetlinkRoute, CHANGES_OF_ROUTES)?;
    let mut buffer = vec![0; 16 * 1024];
    while default_gateway()?.is_none() {
        let mut polled = [PollFd::new(changes.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::NONE)?;
        match changes.told(&mut buffer) {
            Ok(_) => {}
            // Whatever was lost, the next look sees it.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The gateway of the default route, in the kernel's byte order.
fn default_gateway() -> io::Result<Option<[u8; 4]>> {
    let table = fs::read_to_string("/proc/self/net/route")?;
    Ok(table.lines().find_map(gateway_of_default))
}

/// Fields: interface, destination, gateway, flags, and so on; addresses are hexadecimal words.
fn gateway_of_default(line: &str) -> Option<[u8; 4]> {
    let mut fields = line.split_whitespace();
    let (interface, destination) = (fields.next()?, fields.next()?);
    let gateway = u32::from_str_radix(fields.next()?, 16).ok()?;
    (interface == INTERFACE && destination == "00000000").then(|| gateway.to_ne_bytes())
}

/// Closes these.
pub(super) fn close(ranges: &[AddressRange]) -> io::Result<()> {
    let (netlink, interface) = (Netlink::route()?, if_nametoindex(INTERFACE)?);
    for range in ranges {
        netlink.request(closed_route(*range, interface))?;
    }
    Ok(())
}

/// Closes everything but these; of them, what was closed before stays so.
pub(super) fn open_only(ranges: &[AddressRange]) -> io::Result<()> {
    let (netlink, interface) = (Netlink::route()?, if_nametoindex(INTERFACE)?);
    let gateway = default_gateway()?.ok_or_else(|| io::Error::other("the gateway is gone"))?;
    netlink.request(closed_route(EVERYTHING, interface))?;
    for range in ranges {
        let fixed = fixed_part(*range, SCOPE_EVERYWHERE, UNICAST, ONLINK);
        let route = Message::new(RTM_NEWROUTE, CREATE_APPEND, &fixed);
        netlink.request(
            to_range(route, *range, interface)
                .with(RTA_GATEWAY, &gateway)
                .with(RTA_PRIORITY, &PRIORITY_OPEN.to_ne_bytes()),
        )?;
    }
    Ok(())
}

/// Removes the interface.
pub(super) fn remove_interface() -> io::Result<()> {
    let Ok(interface) = if_nametoindex(INTERFACE) else { return Ok(()) };
    // An `ifinfomsg` that names the interface.
    let mut fixed = [0; 16];
    fixed[4..8].copy_from_slice(&interface.to_ne_bytes());
    match Netlink::route()?.request(Message::new(RTM_DELLINK, 0, &fixed)) {
        // It goes with its carrier, too.
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        other => other,
    }
}

/// The way to everywhere that no other route leads to.
pub(super) fn default_route(gateway: Ipv4Addr, interface: u32) -> Message {
    let mut fixed = fixed_part(EVERYTHING, SCOPE_EVERYWHERE, UNICAST, 0);
    fixed[TABLE_AT] = TABLE_MAIN;
    Message::new(RTM_NEWROUTE, CREATE_EXCLUSIVE, &fixed)
        .with(RTA_GATEWAY, &gateway.octets())
        .with(RTA_OIF, &interface.to_ne_bytes())
}

fn closed_route(range: AddressRange, interface: u32) -> Message {
    let fixed = fixed_part(range, SCOPE_HOST, LOCAL, 0);
    let route = Message::new(RTM_NEWROUTE, CREATE_APPEND, &fixed);
    to_range(route, range, interface).with(RTA_PRIORITY, &PRIORITY_CLOSED.to_ne_bytes())
}

/// The kernel has no destination for everything.
fn to_range(route: Message, range: AddressRange, interface: u32) -> Message {
    let route = match range.prefix_bits() {
        0 => route,
        _ => route.with(RTA_DST, &range.first().octets()),
    };
    route.with(RTA_OIF, &interface.to_ne_bytes())
}

/// An `rtmsg`: family, bits of the destination and of the source, type of service, table, protocol,
/// scope, type, flags.
fn fixed_part(range: AddressRange, scope: u8, kind: u8, flags: u32) -> Vec<u8> {
    let family = libc::AF_INET as u8;
    let bits = range.prefix_bits();
    let mut fixed = vec![family, bits, 0, 0, TABLE_LOCAL, PROTOCOL_STATIC, scope, kind];
    fixed.extend(flags.to_ne_bytes());
    fixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_is_found_in_the_kernels_table() {
        let line = "eth0\t00000000\t010012C6\t0003\t0\t0\t0\t00000000\t0\t0\t0";
        let gateway = u32::from_str_radix("010012C6", 16).unwrap().to_ne_bytes();
        assert_eq!(gateway_of_default(line), Some(gateway));
        assert_eq!(gateway_of_default("Iface\tDestination\tGateway \tFlags"), None);
        assert_eq!(gateway_of_default(&line.replace("\t00000000\t0100", "\t000012C6\t0100")), None);
        assert_eq!(gateway_of_default(&line.replace("eth0", "lo")), None);
    }
}
