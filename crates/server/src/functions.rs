//! The lambda service as the server wires it.

use std::sync::Arc;
use std::time::Duration;

use lambic_front::{CredentialTable, Front, InternalRoute, Service};
use lambic_rt::Rt;
use lambic_sandbox::Sandboxes;
use lambic_store::Store;

use crate::config::Config;
use crate::failure::Failure;

pub(crate) struct Functions;

impl Functions {
    pub(crate) async fn start(
        _config: &Config,
        _rt: &Rt,
        _store: &Store,
        _sandboxes: Sandboxes,
        _credentials: &Arc<CredentialTable>,
    ) -> Result<Functions, Failure> {
        Ok(Functions)
    }

    pub(crate) fn services(&self) -> Vec<Arc<dyn Service>> {
        Vec::new()
    }

    pub(crate) fn internal_routes(&self) -> Vec<Arc<dyn InternalRoute>> {
        Vec::new()
    }

    pub(crate) fn set_api_front(&self, _front: &Arc<Front>) {}

    pub(crate) async fn drain(&self, _limit: Duration) {}
}
