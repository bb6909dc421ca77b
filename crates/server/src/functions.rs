//! The lambda service, started from the configuration.

use std::sync::Arc;

use lambic_front::CredentialTable;
use lambic_lambda::invoke::InvokeConfig;
use lambic_lambda::invoke::place::Budget;
use lambic_lambda::{ControlConfig, Lambda, LambdaConfig, StartError};
use lambic_rt::Rt;
use lambic_sandbox::Sandboxes;
use lambic_store::Store;

use crate::config::Config;
use crate::failure::{Failure, Kind};
use crate::machine_runtimes;

/// Starts the service.
pub(crate) async fn start(
    config: &Config,
    rt: &Rt,
    store: &Store,
    sandboxes: Sandboxes,
    credentials: &Arc<CredentialTable>,
) -> Result<Arc<Lambda>, Failure> {
    let config = lambda_config(config);
    let started =
        Lambda::start(config, rt.clone(), store.clone(), sandboxes, credentials.clone()).await;
    started.map_err(|error| {
        let kind = match error {
            StartError::Catalog(_) | StartError::Secret(_) | StartError::Clients(_) => {
                Kind::DataDirectory
            }
        };
        Failure::new(kind, error.to_string())
    })
}

fn lambda_config(config: &Config) -> LambdaConfig {
    let functions = &config.functions;
    let usual = InvokeConfig::default();
    LambdaConfig {
        control: ControlConfig { settle_after: functions.transition, ..ControlConfig::default() },
        invoke: InvokeConfig {
            concurrency_max: functions.concurrency_max,
            budget: Budget { memory_mb_max: functions.memory_mb_max, ..usual.budget },
            idle_max: functions.idle,
            ..usual
        },
        packs: machine_runtimes::packs_config(config),
    }
}
