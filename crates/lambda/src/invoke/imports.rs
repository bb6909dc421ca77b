//! What functions have been seen to import while they were initialized, of the modules that a spare can
//! have imported already: AWS's SDK for Python, which takes longer than all else of most starts.
//!
//! The client tells it after an initialization, and only if it was the interpreter's own. From then on
//! that code is started from spares that have it, which are kept as those of any other kind.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lambic_rt::TaskKind;
use lambic_store::Transaction;

use super::Common;
use super::shell::Shell;
use crate::runtimes::packs::Pack;
use crate::runtimes::sdk;
use crate::state::imports::{Code, ImportsRecord};
use crate::state::version::Version;

/// The module that spares can have.
pub(crate) const SDK: &str = "boto3";
/// Versions of one function that are remembered.
const VERSIONS_MAX: usize = 8;

/// What is known of one function; nothing as long as it has not been looked for on the disk.
#[derive(Debug, Default)]
pub(crate) struct Imports(Mutex<Option<ImportsRecord>>);

impl Imports {
    /// The version has imported it. Whether that is news.
    fn note(&self, version: &Version) -> bool {
        if self.has(version) {
            return false;
        }
        let mut known = self.lock();
        let sdk = &mut known.get_or_insert_default().sdk;
        sdk.retain(|(number, _)| *number != version.version);
        if sdk.len() >= VERSIONS_MAX {
            sdk.remove(0);
        }
        sdk.push((version.version.clone(), Code::of(version)));
        true
    }

    /// Whether the version, with the code that it has, was seen to import it.
    pub(crate) fn has(&self, version: &Version) -> bool {
        let known = self.lock();
        let mut sdk = known.iter().flat_map(|record| &record.sdk);
        let code = sdk.find(|(number, _)| *number == version.version);
        code.is_some_and(|(_, code)| *code == Code::of(version))
    }

    fn lock(&self) -> MutexGuard<'_, Option<ImportsRecord>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shell {
    /// An environment of it says what it has imported. The next one shall find it imported, so that is
    /// seen to at once.
    pub(super) fn imported(self: &Arc<Shell>, modules: &str) {
        let is_sdk = modules.split(',').any(|module| module == SDK);
        if !is_sdk || !self.common.spares.are_kept() || !self.imports().note(self.version()) {
            return;
        }
        let (common, version) = (self.common.clone(), self.version().clone());
        let expected = async move {
            common.keep_imports(&version).await;
            if let Some(prepared) = sdk::spare_with_sdk(&common, &version).await {
                common.spare_kind(&prepared, false);
            }
        };
        self.common.rt.spawn("spares with the SDK", TaskKind::Request, expected).detach();
    }
}

impl Common {
    /// Whether this version was seen to import the SDK, by this server or by one before it.
    pub(crate) async fn has_imported_sdk(&self, version: &Version) -> bool {
        let imports = &self.function(version).imports;
        let is_known = imports.lock().is_some();
        if !is_known && let Some(store) = self.store.get() {
            let found = store.table::<ImportsRecord>().get(&key(version)).await;
            let found =
                found.inspect_err(|error| tracing::warn!(%error, "what a function imports"));
            let record = found.ok().flatten().map(|stored| stored.value);
            imports.lock().get_or_insert_with(|| record.unwrap_or_default());
        }
        imports.has(version)
    }

    async fn keep_imports(&self, version: &Version) {
        let record = self.function(version).imports.lock().clone();
        let (Some(store), Some(record)) = (self.store.get(), record) else { return };
        let mut transaction = Transaction::new();
        transaction.put(&key(version), &record);
        if let Err(error) = store.commit(transaction).await {
            tracing::warn!(%error, "what a function imports was not kept");
        }
    }

    /// Finds out what the import of the SDK comes to with this interpreter, for the next time.
    pub(crate) fn learn_sdk(self: &Arc<Common>, pack: Arc<Pack>) {
        let common = self.clone();
        let learn = async move {
            common.packs.learn_sdk(&pack).await;
        };
        self.rt.spawn("what an import comes to", TaskKind::Request, learn).detach();
    }
}

fn key(version: &Version) -> [&str; 3] {
    [&version.account, &version.region, &version.function_name]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invoke::InvokeConfig;
    use crate::invoke::fake::{Machine, exited, script};

    #[tokio::test]
    async fn other_code_of_the_same_version_is_a_stranger() {
        let machine = Machine::with_spares(InvokeConfig::default(), script(async |_| exited(0)));
        let version = |number: &str, package: &str| {
            let (version, bundle) = (number.into(), package.into());
            Version { version, bundle, ..machine.version(1) }
        };
        let imports = Imports::default();
        let latest = version("$LATEST", "a");
        assert!(!imports.has(&latest));
        assert!(imports.note(&latest) && !imports.note(&latest) && imports.has(&latest));
        let changed = version("$LATEST", "b");
        assert!(!imports.has(&changed) && !imports.has(&version("1", "a")));
        assert!(imports.note(&changed));
        assert!(imports.has(&changed) && !imports.has(&latest));
        for number in 0..VERSIONS_MAX {
            assert!(imports.note(&version(&number.to_string(), "a")));
        }
        assert!(!imports.has(&changed) && imports.has(&version("0", "a")));
    }
}
