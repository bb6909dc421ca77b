//! The blocks `[[sandbox.network]]`: which functions have a network to themselves, and what it
//! reaches.
//!
//! What could not be meant as it is written is refused here, so that nobody believes in a wall that
//! is not there: addresses that are never reached, a function in two networks, no functions at all.

use lambic_sandbox::{AddressRange, PRIVATE_NETWORKS_MAX, PrivateNetwork, Reach, is_never_reached};

use super::raw::RawNetwork;
use super::resolve::Origins;
use super::{Isolation, Network};
use crate::failure::Failure;

const SETTING: &str = "sandbox.network";
/// Instead of addresses: everything that the machine can reach.
const INTERNET: &str = "internet";

pub(super) fn resolve(
    origins: &Origins<'_>,
    raw: Vec<RawNetwork>,
    isolation: Isolation,
) -> Result<Vec<Network>, Failure> {
    if !raw.is_empty() && isolation == Isolation::None {
        return Err(origins.refuse(SETTING, "cannot be kept with --isolation none"));
    }
    if raw.len() > PRIVATE_NETWORKS_MAX {
        let what = format!("is there {} times; it can be {PRIVATE_NETWORKS_MAX}", raw.len());
        return Err(origins.refuse(SETTING, &what));
    }
    let mut networks: Vec<Network> = Vec::new();
    for raw in raw {
        let name = raw.name.clone();
        let network =
            network(raw).map_err(|what| origins.refuse(SETTING, &format!("'{name}' {what}")))?;
        if networks.iter().any(|other| other.private.name == name) {
            return Err(origins.refuse(SETTING, &format!("'{name}' is there twice")));
        }
        for pattern in &network.functions {
            let other = networks.iter().find(|other| other.functions.contains(pattern));
            if let Some(other) = other {
                let what = format!("'{name}' and '{}' both have '{pattern}'", other.private.name);
                return Err(origins.refuse(SETTING, &what));
            }
        }
        networks.push(network);
    }
    Ok(networks)
}

fn network(raw: RawNetwork) -> Result<Network, String> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if raw.name.is_empty() || raw.name.len() > 64 || !raw.name.bytes().all(fits) {
        return Err("is no name; use 1 to 64 of a-z, 0-9 and -".to_owned());
    }
    if raw.functions.is_empty() {
        return Err("has no functions".to_owned());
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_*".contains(&b);
    for pattern in &raw.functions {
        if pattern.is_empty() || pattern.len() > 64 || !pattern.bytes().all(fits) {
            return Err(format!(
                "has '{pattern}', which is neither a function's name nor one with *"
            ));
        }
    }
    let reach = reach(&raw.reach)?;
    let members_reach_each_other = raw.members_reach_each_other;
    let private = PrivateNetwork { name: raw.name, reach, members_reach_each_other };
    Ok(Network { private, functions: raw.functions })
}

fn reach(texts: &[String]) -> Result<Reach, String> {
    if texts == [INTERNET] {
        return Ok(Reach::Everything);
    }
    let mut ranges = Vec::new();
    for text in texts {
        if text == INTERNET {
            return Err(format!("reaches \"{INTERNET}\" and more; there is no more"));
        }
        let range: AddressRange = text.parse().map_err(|error| format!("reaches {error}"))?;
        if is_never_reached(range) {
            return Err(format!("reaches '{text}', which no function ever reaches"));
        }
        ranges.push(range);
    }
    Ok(Reach::Only(ranges))
}
