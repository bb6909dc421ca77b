//! Every function of this server, in memory.
//!
//! The invoke path never reads the engine: it asks the catalog, which is fed by a watch. What the
//! catalog gives are immutable snapshots behind `Arc`, so that a reader holds no lock while it works.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::state::version::Version;

/// A function as the catalog knows it at one store revision.
#[derive(Clone, Debug)]
pub struct Function {
    /// What `$LATEST` runs at the moment: during an update still the old snapshot.
    pub latest: Arc<Version>,
}

/// All functions, keyed by account, region and name.
#[derive(Clone, Default)]
pub struct Catalog {
    functions: Arc<RwLock<HashMap<(String, String, String), Arc<Function>>>>,
}

impl Catalog {
    /// The function of that plain name, if there is one.
    pub fn find(&self, account: &str, region: &str, name: &str) -> Option<Arc<Function>> {
        let key = (account.to_owned(), region.to_owned(), name.to_owned());
        self.functions.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }
}
