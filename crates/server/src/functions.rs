//! The lambda service, started from the configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use lambic_front::CredentialTable;
use lambic_lambda::invoke::InvokeConfig;
use lambic_lambda::invoke::networks::Networks;
use lambic_lambda::invoke::place::Budget;
use lambic_lambda::invoke::strain::Strain;
use lambic_lambda::invoke::vpcs::{Subnet, Vpcs};
use lambic_lambda::keys::Keys;
use lambic_lambda::state::runtime_id::AllowRetired;
use lambic_lambda::urls::UrlBase;
use lambic_lambda::{ControlConfig, Lambda, LambdaConfig, StartError};
use lambic_rt::Rt;
use lambic_sandbox::Sandboxes;
use lambic_store::Store;

use crate::config::{Config, Functions};
use crate::failure::{Failure, Kind};
use crate::machine_runtimes;

/// What the service gets of the machine.
pub(crate) struct Machine {
    pub(crate) sandboxes: Sandboxes,
    /// Whether the thread that serves everything, if one does, has more to do than it can.
    pub(crate) strain: Strain,
}

/// Starts the service.
pub(crate) async fn start(
    config: &Config,
    address: SocketAddr,
    rt: &Rt,
    store: &Store,
    machine: Machine,
    credentials: &Arc<CredentialTable>,
) -> Result<Arc<Lambda>, Failure> {
    let mut config = lambda_config(config, address);
    config.invoke.strain = machine.strain;
    let (store, sandboxes) = (store.clone(), machine.sandboxes);
    let started = Lambda::start(config, rt.clone(), store, sandboxes, credentials.clone()).await;
    started.map_err(|error| {
        let kind = match error {
            StartError::Catalog(_) | StartError::Secret(_) | StartError::Clients(_) => {
                Kind::DataDirectory
            }
        };
        Failure::new(kind, error.to_string())
    })
}

fn lambda_config(config: &Config, address: SocketAddr) -> LambdaConfig {
    let functions = &config.functions;
    let usual = InvokeConfig::default();
    LambdaConfig {
        control: ControlConfig {
            settle_after: functions.transition,
            access_points: config.file_systems.iter().map(|one| one.name.clone()).collect(),
            allow_retired: AllowRetired::new(config.runtimes.allow_retired.clone()),
            url_base: url_base(functions, address),
            rollback: functions.rollback,
            ..ControlConfig::default()
        },
        invoke: InvokeConfig {
            concurrency_max: functions.concurrency_max,
            scale_out_max: functions.scale_out_max,
            budget: budget(usual.budget, functions),
            idle_max: functions.idle,
            idle_policy: functions.idle_policy,
            spares: functions.spares,
            zygotes: functions.zygotes,
            spare_memory_mb_max: functions.spare_memory_mb_max,
            networks: networks(config),
            vpcs: Arc::new(vpcs(config)),
            keys: Arc::new(keys(config)),
            lifetime_max: functions.lifetime,
            ..usual
        },
        packs: machine_runtimes::packs_config(config),
    }
}

/// The keys, after a word about those that cannot be used now.
fn keys(config: &Config) -> Keys {
    let keys = Keys::new(config.keys.clone());
    for problem in keys.problems() {
        tracing::warn!("a key of kms.keys cannot be used: {problem}");
    }
    keys
}

/// Which subnet is which network, and what the groups allow.
fn vpcs(config: &Config) -> Vpcs {
    let mut subnets = BTreeMap::new();
    for network in &config.networks {
        for id in &network.subnet_ids {
            let subnet = Subnet {
                account: network.account.clone(),
                vpc_id: network.vpc_id.clone(),
                network: network.private.name.clone(),
            };
            subnets.insert(id.clone(), subnet);
        }
    }
    Vpcs { subnets, security_groups: config.security_groups.clone() }
}

/// Where the URLs of functions are, at the port that is really listened on unless the configuration
/// knows better.
fn url_base(functions: &Functions, address: SocketAddr) -> UrlBase {
    functions.url_base.clone().unwrap_or_else(|| UrlBase::local(address.port()))
}

/// Which network has which functions.
fn networks(config: &Config) -> Networks {
    let networks = config.networks.iter();
    Networks::new(networks.map(|n| (n.private.name.clone(), n.functions.clone())).collect())
}

/// Room for as many environments as one account may use at the same time, so that the concurrency
/// that GetAccountSettings tells can be had as long as there is memory.
fn budget(usual: Budget, functions: &Functions) -> Budget {
    let wanted = usize::try_from(functions.concurrency_max).unwrap_or(usize::MAX);
    Budget {
        memory_mb_max: functions.memory_mb_max,
        environments_max: usual.environments_max.max(wanted),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lambic_lambda::invoke::worth::Policy;
    use lambic_lambda::rollback::RollbackConfig;

    use super::*;

    #[test]
    fn the_machine_holds_what_an_account_may_use() {
        let usual = InvokeConfig::default().budget;
        let of = |concurrency_max| {
            let functions = Functions {
                concurrency_max,
                scale_out_max: 1_000,
                rollback: RollbackConfig::default(),
                memory_mb_max: 512,
                idle: Duration::ZERO,
                idle_policy: Policy::Fixed,
                spares: 0,
                zygotes: false,
                spare_memory_mb_max: 0,
                lifetime: Duration::ZERO,
                transition: Duration::ZERO,
                url_base: None,
            };
            budget(usual, &functions)
        };
        assert_eq!(of(1), Budget { memory_mb_max: 512, environments_max: 2_048 });
        assert_eq!(of(20_000).environments_max, 20_000);
    }
}
