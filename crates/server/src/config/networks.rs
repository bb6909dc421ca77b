//! The blocks `[[sandbox.network]]`: which functions have a network to themselves, and what it
//! reaches.
//!
//! What could not be meant as it is written is refused here, so that nobody believes in a wall that
//! is not there: addresses that are never reached, a function in two networks, no functions at all.

use std::collections::BTreeMap;

use lambic_lambda::invoke::vpcs::SecurityGroup;
use lambic_sandbox::{
    AddressRange, Egress, PRIVATE_NETWORKS_MAX, PrivateNetwork, Reach, is_never_reached,
};

use super::raw::{RawNetwork, RawSecurityGroup};
use super::resolve::Origins;
use super::{Isolation, Network};
use crate::failure::Failure;

const SETTING: &str = "sandbox.network";
const GROUP_SETTING: &str = "sandbox.security_group";
/// AWS's limit of rules of one group.
const ALLOW_MAX: usize = 60;
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
        for id in &network.subnet_ids {
            if networks.iter().any(|other| other.subnet_ids.contains(id)) {
                return Err(
                    origins.refuse(SETTING, &format!("'{name}' has '{id}', as another has"))
                );
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
    if raw.functions.is_empty() && raw.subnet_ids.is_empty() {
        return Err("has no functions and no subnet_ids".to_owned());
    }
    check_subnets(&raw)?;
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
    let RawNetwork { functions, subnet_ids, vpc_id, account, .. } = raw;
    Ok(Network { private, functions, subnet_ids, vpc_id, account })
}

fn check_subnets(raw: &RawNetwork) -> Result<(), String> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    for id in &raw.subnet_ids {
        if !is_id(id, "subnet-", fits) {
            return Err(format!("has the subnet '{id}'; use one like subnet-0a1b2c"));
        }
    }
    if !raw.subnet_ids.is_empty() && !is_id(&raw.vpc_id, "vpc-", fits) {
        return Err(format!("has the vpc_id '{}'; use one like vpc-0a1b2c", raw.vpc_id));
    }
    check_account(&raw.account)
}

fn is_id(text: &str, prefix: &str, fits: impl Fn(u8) -> bool) -> bool {
    let rest = text.strip_prefix(prefix).unwrap_or_default();
    !rest.is_empty() && rest.len() <= 1_000 && rest.bytes().all(fits)
}

fn check_account(account: &str) -> Result<(), String> {
    match account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()) {
        true => Ok(()),
        false => Err(format!("has the account '{account}'; it has to be 12 digits")),
    }
}

/// The blocks `[[sandbox.security_group]]`.
pub(super) fn security_groups(
    origins: &Origins<'_>,
    raw: Vec<RawSecurityGroup>,
    networks: &[Network],
) -> Result<BTreeMap<String, SecurityGroup>, Failure> {
    let mut groups = BTreeMap::new();
    for raw in raw {
        let id = raw.id.clone();
        let refuse = |what: &str| origins.refuse(GROUP_SETTING, &format!("'{id}' {what}"));
        let group = security_group(raw, networks).map_err(|what| refuse(&what))?;
        if groups.insert(id.clone(), group).is_some() {
            return Err(refuse("is there twice"));
        }
    }
    Ok(groups)
}

fn security_group(raw: RawSecurityGroup, networks: &[Network]) -> Result<SecurityGroup, String> {
    if !is_id(&raw.id, "sg-", |b| b.is_ascii_alphanumeric()) {
        return Err("is no id; use one like sg-0a1b2c".to_owned());
    }
    check_account(&raw.account)?;
    let is_of = |network: &Network| network.vpc_id == raw.vpc_id && network.account == raw.account;
    if !networks.iter().any(is_of) {
        return Err(format!("is of {}, which no network of its account is in", raw.vpc_id));
    }
    if raw.allow.len() > ALLOW_MAX {
        return Err(format!("allows more than {ALLOW_MAX} things"));
    }
    let allow = raw.allow.iter().map(|text| text.parse::<Egress>()).collect::<Result<_, _>>();
    let allow = allow.map_err(|error| format!("allows what cannot be read: {error}"))?;
    Ok(SecurityGroup { account: raw.account, vpc_id: raw.vpc_id, allow })
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
