//! The way out: what an environment may reach beyond its own loopback, and who sees to it.
//!
//! Each environment has a network namespace of its own. With root ([`nat`]) it has one link to the
//! host, which translates addresses and filters; without root ([`usermode`]) a program of the
//! calling user carries its connections, and what must not be reached is closed inside. Either way
//! nothing inside can be reached from outside, and the host itself, its loopback and the addresses
//! where clouds keep instance metadata cannot be reached from inside.
//!
//! What an environment may reach beyond that is said by its network: the default one
//! (`outbound`: everything or nothing), or one of the private networks, a closed set that the
//! spawner was given at its start. Environments wait in no network; they join theirs when they are
//! told what to become. This module refuses what it cannot hold: a network that this machine cannot
//! make ends the start.

pub(crate) mod egress;
mod nat;
mod netlink;
mod range;
mod routes;
mod rules;
mod usermode;
mod watch;

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

use crate::SpawnerConfig;
use crate::channel::Channel;
use crate::protocol::Mode;

pub use egress::{EGRESS_MAX, Egress};
pub use range::AddressRange;

/// Private networks that there can be.
pub const PRIVATE_NETWORKS_MAX: usize = 31;

/// Where clouds keep instance metadata and credentials: never reachable, whatever is configured.
const METADATA_ADDRESSES: [AddressRange; 4] = [
    AddressRange::of([169, 254, 0, 0], 16),
    AddressRange::of([168, 63, 129, 16], 32),
    AddressRange::of([100, 100, 100, 200], 32),
    AddressRange::of([192, 0, 0, 192], 32),
];

/// RFC 2544's range for tests of network devices: reserved, so nobody's real network. Links and
/// their ends get addresses from it.
const LINK_ADDRESSES: AddressRange = AddressRange::of([198, 18, 0, 0], 15);

/// Addresses with a meaning of their own on every host: itself, and many at once.
const SPECIAL_ADDRESSES: [AddressRange; 4] = [
    AddressRange::of([0, 0, 0, 0], 8),
    AddressRange::of([127, 0, 0, 0], 8),
    AddressRange::of([224, 0, 0, 0], 4),
    AddressRange::of([255, 255, 255, 255], 32),
];

/// Whether none of these addresses is ever reached, whatever a network says.
pub fn is_never_reached(range: AddressRange) -> bool {
    let mut never = METADATA_ADDRESSES.iter().chain(&SPECIAL_ADDRESSES).chain([&LINK_ADDRESSES]);
    never.any(|known| known.contains(range))
}

/// The interface of an environment beside its loopback.
const INTERFACE: &str = "eth0";

/// A network that some environments have to themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateNetwork {
    /// What [`crate::Spec::network`] says.
    pub name: String,
    /// What can be reached through the host.
    pub reach: Reach,
    /// Whether its environments can reach one another.
    pub members_reach_each_other: bool,
}

/// What can be reached through the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everything that the host can reach.
    Everything,
    /// These addresses; none at all when empty.
    Only(Vec<AddressRange>),
}

impl Reach {
    fn is_nothing(&self) -> bool {
        matches!(self, Reach::Only(ranges) if ranges.is_empty())
    }
}

/// The number of the network without a name.
const DEFAULT: usize = 0;

/// All networks of a spawner, by number: what the default network reaches, then the private ones.
#[derive(Clone, Debug)]
pub(crate) struct Networks {
    list: Vec<PrivateNetwork>,
}

impl Networks {
    fn new(outbound: bool, private: &[PrivateNetwork]) -> Result<Networks, String> {
        if private.len() > PRIVATE_NETWORKS_MAX {
            return Err(format!("there are more than {PRIVATE_NETWORKS_MAX} private networks"));
        }
        let reach = if outbound { Reach::Everything } else { Reach::Only(Vec::new()) };
        let default =
            PrivateNetwork { name: String::new(), reach, members_reach_each_other: false };
        Ok(Networks { list: [&[default], private].concat() })
    }

    /// The number of a network; the default one has no name.
    pub(crate) fn find(&self, name: Option<&str>) -> Result<usize, String> {
        match name {
            None => Ok(DEFAULT),
            Some(name) => {
                let found = self.private().iter().position(|network| network.name == name);
                found.map(|at| at + 1).ok_or_else(|| format!("there is no network {name:?}"))
            }
        }
    }

    fn private(&self) -> &[PrivateNetwork] {
        &self.list[1..]
    }

    /// Whether nothing leads out of it, so that there is nothing to do for its environments.
    fn is_closed(&self, number: usize) -> bool {
        let network = &self.list[number];
        network.reach.is_nothing() && !network.members_reach_each_other
    }

    fn all_closed(&self) -> bool {
        (0..self.list.len()).all(|number| self.is_closed(number))
    }
}

/// The host's side of all ways out.
pub(crate) struct Network {
    networks: Networks,
    kind: Kind,
}

enum Kind {
    Nat(nat::Nat),
    Usermode(usermode::Usermode),
    /// There is none, and why.
    None(String),
}

/// The host's side of one environment's way out; for some kinds it ends when this is dropped.
pub(crate) enum Way {
    /// A link, by its number.
    Link(u32),
    /// A process that carries its connections.
    Carrier(usermode::Carrier),
    /// There is none.
    None,
}

/// What an init process has to do for its way out before it is ready.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Arrival {
    /// Configure its end of a link.
    Link(Link),
    /// Wait until the carrier has made and configured the interface, then close these.
    Carrier { closed: Vec<AddressRange> },
}

/// Both ends of an environment's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    pub(crate) inside: Ipv4Addr,
    pub(crate) gateway: Ipv4Addr,
}

/// What an init process has to close when it learns what it becomes; the rest is the host's work.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Confinement {
    /// Nothing leads out.
    Closed,
    /// Only these can be reached.
    Only(Vec<AddressRange>),
}

impl Network {
    /// Prepares what this machine can. A private network that it cannot make is an error.
    pub(crate) fn open(config: &SpawnerConfig) -> Result<Network, String> {
        let networks = Networks::new(config.outbound, &config.networks)?;
        if config.limits_egress {
            egress::check().map_err(|why| format!("security groups cannot be kept: {why}"))?;
        }
        let kind = match config.mode {
            Mode::None if networks.private().is_empty() => {
                Kind::None("isolation is off".to_owned())
            }
            Mode::None => return Err("private networks need isolation".to_owned()),
            _ if networks.all_closed() => Kind::None("turned off".to_owned()),
            Mode::Privileged => match nat::Nat::open(&networks) {
                Ok(nat) => Kind::Nat(nat),
                Err(reason) => Kind::None(reason),
            },
            Mode::Rootless => match usermode::Usermode::find() {
                Ok(usermode) => Kind::Usermode(usermode),
                Err(reason) => Kind::None(reason),
            },
        };
        Ok(Network { networks, kind })
    }

    /// Waits until the way out is open.
    pub(crate) fn wait_until_open(&mut self) -> Result<(), String> {
        if let Kind::Nat(nat) = &mut self.kind
            && let Err(reason) = nat.wait_until_open()
        {
            // Some of it may be there.
            nat.close();
            self.kind = Kind::None(reason);
        }
        self.refuse_unless_possible()
    }

    /// The default network may have no way out, which start-up tells; a private one that was asked
    /// for by name must be as it was configured.
    fn refuse_unless_possible(&self) -> Result<(), String> {
        let mut private = self.networks.private().iter();
        let wanted = match &self.kind {
            Kind::Nat(_) => return Ok(()),
            Kind::Usermode(_) => private.find(|network| network.members_reach_each_other),
            Kind::None(_) => private.find(|n| !n.reach.is_nothing() || n.members_reach_each_other),
        };
        let Some(wanted) = wanted else { return Ok(()) };
        let why = match &self.kind {
            Kind::None(reason) => reason,
            _ => "members that reach each other need root",
        };
        Err(format!("the private network '{}' cannot be made: {why}", wanted.name))
    }

    /// The first environment could not be made with this way out: goes on without, if it may.
    pub(crate) fn give_up(&mut self, reason: &str) -> Result<(), String> {
        self.kind = Kind::None(reason.to_owned());
        self.refuse_unless_possible()
    }

    /// Whether the way out is a program of the user, which may turn out not to work.
    pub(crate) fn is_unproven(&self) -> bool {
        matches!(self.kind, Kind::Usermode(_))
    }

    /// See [`Networks::find`].
    pub(crate) fn find(&self, name: Option<&str>) -> Result<usize, String> {
        self.networks.find(name)
    }

    /// Gives the new network namespace of process `pid`, in which nothing runs yet, its way out. It is
    /// that of the default network, because that is where most will be; what init has to do for it, and
    /// whether anything can pass yet.
    pub(crate) fn connect(&mut self, pid: i32) -> Result<(Way, Option<Arrival>, bool), String> {
        let ahead = (!self.networks.is_closed(DEFAULT)).then_some(DEFAULT);
        match &mut self.kind {
            Kind::Nat(nat) => {
                let (number, link) = nat.connect(pid, ahead)?;
                Ok((Way::Link(number), Some(Arrival::Link(link)), ahead.is_some()))
            }
            Kind::Usermode(usermode) => {
                let carrier = usermode.start(pid)?;
                let closed = usermode::closed()?;
                Ok((Way::Carrier(carrier), Some(Arrival::Carrier { closed }), false))
            }
            Kind::None(_) => Ok((Way::None, None, false)),
        }
    }

    /// For a process that was forked from the one that opened this, and makes links beside it.
    pub(crate) fn go_apart(&mut self, part: u32, parts: u32) -> Result<(), String> {
        match &mut self.kind {
            Kind::Nat(nat) => {
                nat.go_apart(part, parts).map_err(|error| format!("netlink: {error}"))
            }
            _ => Ok(()),
        }
    }

    /// Lets nothing pass any more, as far as that is the host's work.
    pub(crate) fn close_way(&self, way: &Way) -> Result<(), String> {
        match (&self.kind, way) {
            (Kind::Nat(nat), Way::Link(link)) => nat.wait(*link),
            _ => Ok(()),
        }
    }

    /// Lets an environment join its network, as far as that is the host's work. `is_ahead` says whether
    /// it is in the default network already.
    pub(crate) fn open_way(&self, way: &Way, number: usize, is_ahead: bool) -> Result<(), String> {
        match (&self.kind, way) {
            (Kind::Nat(_), Way::Link(_)) if is_ahead && number == DEFAULT => Ok(()),
            // Links that are in no network are where nothing passes.
            (Kind::Nat(nat), Way::Link(link)) => match self.networks.is_closed(number) {
                false => nat.join(*link, number),
                true if is_ahead => nat.wait(*link),
                true => Ok(()),
            },
            (Kind::Usermode(_), Way::Carrier(carrier)) if self.networks.is_closed(number) => {
                carrier.end();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What is left to do inside of an environment of that network.
    pub(crate) fn confinement(&self, way: &Way, number: usize) -> Option<Confinement> {
        match (&self.kind, way) {
            (Kind::Nat(_), Way::Link(_)) | (_, Way::None) => None,
            (Kind::Usermode(_), Way::Carrier(_)) => match &self.networks.list[number].reach {
                Reach::Everything => None,
                Reach::Only(ranges) if ranges.is_empty() => Some(Confinement::Closed),
                Reach::Only(ranges) => Some(Confinement::Only(ranges.clone())),
            },
            // Made before the way out was given up.
            _ => Some(Confinement::Closed),
        }
    }

    /// Becomes readable when somebody has changed what the host's side consists of.
    pub(crate) fn changes(&self) -> Option<BorrowedFd<'_>> {
        match &self.kind {
            Kind::Nat(nat) => Some(nat.changes()),
            _ => None,
        }
    }

    /// Puts back what was changed, and says so; when to look again if it has to wait a moment.
    pub(crate) fn restore(&mut self) -> (Option<String>, Option<u16>) {
        match &mut self.kind {
            Kind::Nat(nat) => nat.restore(),
            _ => (None, None),
        }
    }

    /// How it is, in a few words, or why there is no way out.
    pub(crate) fn describe(&self) -> String {
        let how = match &self.kind {
            Kind::Nat(_) => "private; outbound, but not to the host itself".to_owned(),
            Kind::Usermode(usermode) => {
                format!("private; outbound by {}, but not to the host itself", usermode.name())
            }
            Kind::None(reason) => format!("private; no way out ({reason})"),
        };
        match self.networks.private().len() {
            0 => how,
            count => format!("{how}; {count} networks by name"),
        }
    }

    /// Ends what would outlive the spawner.
    pub(crate) fn close(&self) {
        if let Kind::Nat(nat) = &self.kind {
            nat.close();
        }
    }
}

impl Way {
    /// Ends it now, where there is something to end.
    pub(crate) fn end(&self) {
        if let Way::Carrier(carrier) = self {
            carrier.end();
        }
    }

    /// Whether this process was what it consists of, and has ended by itself.
    pub(crate) fn was_lost_with(&self, pid: i32) -> bool {
        matches!(self, Way::Carrier(carrier) if carrier.was(pid))
    }

    /// Waits until something arrives on `control`; an error if the carrier ends before.
    pub(crate) fn wait_for(&self, control: &Channel, limit_ms: u16) -> Result<(), String> {
        match self {
            Way::Carrier(carrier) => carrier.wait_for(control, limit_ms),
            _ => Ok(()),
        }
    }
}

/// In a new init process: makes its end of the way out ready.
pub(crate) fn arrive(arrival: &Arrival) -> Result<(), String> {
    match arrival {
        Arrival::Link(link) => {
            nat::arrive(link).map_err(|error| format!("outbound interface: {error}"))
        }
        Arrival::Carrier { closed } => {
            routes::wait_for_default().map_err(|error| format!("outbound interface: {error}"))?;
            routes::close(closed).map_err(|error| format!("closing addresses: {error}"))
        }
    }
}

/// In an init process that has learnt what it becomes: closes what its network does not reach. It
/// still has the rights for it, which the function will not have.
pub(crate) fn confine(confinement: &Confinement) -> Result<(), String> {
    match confinement {
        Confinement::Closed => {
            routes::remove_interface().map_err(|error| format!("closing the way out: {error}"))
        }
        Confinement::Only(ranges) => {
            routes::open_only(ranges).map_err(|error| format!("private network: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str, reach: Reach, members_reach_each_other: bool) -> PrivateNetwork {
        PrivateNetwork { name: name.to_owned(), reach, members_reach_each_other }
    }

    #[test]
    fn names_are_a_closed_set_and_the_default_has_none() {
        let private = [
            network("a", Reach::Everything, false),
            network("b", Reach::Only(vec![]), false),
            network("c", Reach::Only(vec![]), true),
        ];
        let networks = Networks::new(false, &private).unwrap();
        assert_eq!(networks.find(None), Ok(0));
        assert_eq!(networks.find(Some("b")), Ok(2));
        assert!(networks.find(Some("")).is_err() && networks.find(Some("d")).is_err());
        let closed: Vec<bool> = (0..4).map(|number| networks.is_closed(number)).collect();
        assert_eq!(closed, [true, false, true, false]);
        assert!(Networks::new(true, &vec![private[0].clone(); 32]).is_err());
    }

    #[test]
    fn a_network_that_cannot_be_made_is_refused_by_name() {
        let check = |kind: Kind, private: PrivateNetwork| {
            let networks = Networks::new(true, &[private]).unwrap();
            Network { networks, kind }.refuse_unless_possible().err()
        };
        let none = || Kind::None("needs nft".to_owned());
        assert_eq!(check(none(), network("n", Reach::Only(vec![]), false)), None);
        let refused = check(none(), network("n", Reach::Everything, false)).unwrap();
        assert_eq!(refused, "the private network 'n' cannot be made: needs nft");
        assert!(check(none(), network("n", Reach::Only(vec![]), true)).is_some());
    }
}
