//! Subnets and security groups: the networks and lists of the operator's configuration by the names that
//! AWS has for them.
//!
//! A subnet is a private network of the sandbox's, so it is a wall; a security group is a list of what
//! may be sent to within it. A function with several groups may send to what any of them allows. Both
//! belong to one account and one VPC. An operator who has put functions into a network by their names
//! means it: such a function can be in a subnet of that network only.

use std::collections::BTreeMap;

use lambic_model_lambda::{VpcConfig, errors};
use lambic_sandbox::Egress;
use lambic_wire::Error;

use super::networks::Networks;
use crate::limits::invalid;
use crate::state::version::Version;
use crate::state::vpc::VpcUse;

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Whose it is.
    pub account: String,
    /// Such as `vpc-0a1b2c`.
    pub vpc_id: String,
    /// The name of its private network.
    pub network: String,
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityGroup {
    /// Whose it is.
    pub account: String,
    /// Such as `vpc-0a1b2c`.
    pub vpc_id: String,
    /// What it allows.
    pub allow: Vec<Egress>,
}

/// All of the configuration, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vpcs {
    /// By id, such as `subnet-0a1b2c`.
    pub subnets: BTreeMap<String, Subnet>,
    /// By id, such as `sg-0a1b2c`.
    pub security_groups: BTreeMap<String, SecurityGroup>,
}

/// Where an environment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The private network; `None` is the default one.
    pub(crate) network: Option<String>,
    /// What it may send to there; `None` is all that the network reaches.
    pub(crate) egress: Option<Vec<Egress>>,
}

/// Whose function it is that wants to be there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'a> {
    pub(crate) account: &'a str,
    pub(crate) function_name: &'a str,
}

impl Vpcs {
    /// What a caller asks for, if the function may have it.
    ///
    /// # Errors
    /// AWS's for what does not exist or does not belong together; 501 for IPv6 and for subnets of
    /// several networks.
    pub(crate) fn check(
        &self,
        networks: &Networks,
        member: Member<'_>,
        given: VpcConfig,
    ) -> Result<VpcUse, Error> {
        if given.ipv6_allowed_for_dual_stack == Some(true) {
            return Err(Error::not_offered("VpcConfig.Ipv6AllowedForDualStack"));
        }
        let subnet_ids = given.subnet_ids.unwrap_or_default();
        let security_group_ids = given.security_group_ids.unwrap_or_default();
        if subnet_ids.is_empty() && security_group_ids.is_empty() {
            return Ok(VpcUse::default());
        }
        if subnet_ids.is_empty() || security_group_ids.is_empty() {
            return Err(invalid("VpcConfig has to name both SubnetIds and SecurityGroupIds."));
        }
        let mut used = VpcUse { subnet_ids, security_group_ids, vpc_id: String::new() };
        let (vpc_id, network) = self.found(member, &used).map_err(|missing| missing.refused())?;
        if networks.of(member.function_name).is_some_and(|own| own != network) {
            return Err(invalid(format!(
                "The function is in the network '{}' of this server's configuration, which the \
                 subnets are not of.",
                networks.of(member.function_name).unwrap_or_default()
            )));
        }
        used.vpc_id = vpc_id.to_owned();
        Ok(used)
    }

    /// Where an environment of this version is now.
    ///
    /// # Errors
    /// AWS's for an invoke whose subnet or security group is gone.
    pub(crate) fn place(&self, networks: &Networks, version: &Version) -> Result<Place, Error> {
        let own = networks.of(&version.function_name);
        let Some(used) = version.vpc.as_ref().filter(|used| !used.is_none()) else {
            return Ok(Place { network: own.map(str::to_owned), egress: None });
        };
        let member = Member { account: &version.account, function_name: &version.function_name };
        let (_, network) = self.found(member, used).map_err(|missing| missing.at_start())?;
        if own.is_some_and(|own| own != network) {
            let text = "The subnets of the function's VPC configuration are not of its network.";
            return Err(errors::invalid_subnet_id(text));
        }
        let groups = used.security_group_ids.iter().filter_map(|id| self.security_groups.get(id));
        let mut egress: Vec<Egress> = Vec::new();
        for one in groups.flat_map(|group| &group.allow) {
            if !egress.contains(one) {
                egress.push(*one);
            }
        }
        Ok(Place { network: Some(network.to_owned()), egress: Some(egress) })
    }

    /// The VPC and the network of what is used, which all of it shares.
    fn found<'a>(
        &'a self,
        member: Member<'_>,
        used: &VpcUse,
    ) -> Result<(&'a str, &'a str), Missing> {
        let mut place: Option<(&Subnet, &str)> = None;
        for id in &used.subnet_ids {
            let subnet = self.subnets.get(id).filter(|it| it.account == member.account);
            let subnet = subnet.ok_or_else(|| Missing::Subnet(id.clone()))?;
            match place {
                None => place = Some((subnet, id.as_str())),
                Some((first, _)) if first.vpc_id != subnet.vpc_id => return Err(Missing::OneVpc),
                Some((first, _)) if first.network != subnet.network => {
                    return Err(Missing::OneNetwork);
                }
                Some(_) => {}
            }
        }
        let Some((subnet, subnet_id)) = place else { return Err(Missing::OneVpc) };
        for id in &used.security_group_ids {
            let group = self.security_groups.get(id).filter(|it| it.account == member.account);
            let group = group.ok_or_else(|| Missing::SecurityGroup(id.clone()))?;
            if group.vpc_id != subnet.vpc_id {
                return Err(Missing::Apart(id.clone(), subnet_id.to_owned()));
            }
        }
        Ok((&subnet.vpc_id, &subnet.network))
    }
}

/// What keeps a function out of a VPC.
enum Missing {
    Subnet(String),
    SecurityGroup(String),
    /// The subnets are of several.
    OneVpc,
    /// The subnets are of several.
    OneNetwork,
    /// This group is not of that subnet's VPC.
    Apart(String, String),
}

impl Missing {
    /// To whoever asks for it.
    fn refused(self) -> Error {
        match self {
            Missing::OneNetwork => {
                Error::not_offered("VpcConfig.SubnetIds of more than one of the server's networks")
            }
            other => invalid(other.text()),
        }
    }

    /// To whoever invokes a function that had it.
    fn at_start(self) -> Error {
        match self {
            Missing::SecurityGroup(_) | Missing::Apart(..) => {
                errors::invalid_security_group_id(self.text())
            }
            _ => errors::invalid_subnet_id(self.text()),
        }
    }

    fn text(&self) -> String {
        match self {
            Missing::Subnet(id) => format!(
                "Error occurred while DescribeSubnets. EC2 Error Code: InvalidSubnetID.NotFound. \
                 EC2 Error Message: The subnet ID '{id}' does not exist"
            ),
            Missing::SecurityGroup(id) => format!(
                "Error occurred while DescribeSecurityGroups. EC2 Error Code: \
                 InvalidGroup.NotFound. EC2 Error Message: The security group '{id}' does not exist"
            ),
            Missing::OneVpc => "All subnets have to be in the same VPC.".to_owned(),
            Missing::OneNetwork => "All subnets have to be of the same network.".to_owned(),
            Missing::Apart(group, subnet) => {
                format!("Security group {group} and subnet {subnet} belong to different networks.")
            }
        }
    }
}

#[cfg(test)]
#[path = "vpcs_tests.rs"]
mod tests;
