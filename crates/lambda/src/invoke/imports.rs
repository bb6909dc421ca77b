//! What functions have been seen to import while they were initialized, of the modules that a spare can
//! have imported already: AWS's SDK for Python, which takes longer than all else of most starts.
//!
//! The client tells it after an initialization, and only if it was the interpreter's own. From then on
//! that code is started from spares that have it, which are kept as those of any other kind.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lambic_rt::TaskKind;

use super::Common;
use super::shell::Shell;
use crate::runtimes::packs::Pack;
use crate::runtimes::plan;
use crate::state::version::Version;

/// The module that spares can have.
pub(crate) const SDK: &str = "boto3";
/// Versions of one function that are remembered.
const VERSIONS_MAX: usize = 8;

/// What decides on what is imported. Other code is another matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Code {
    package: PathBuf,
    layers: Option<PathBuf>,
    handler: Option<String>,
    runtime: String,
}

impl Code {
    fn of(version: &Version) -> Code {
        Code {
            package: version.bundle_path.clone(),
            layers: version.layers_path.clone(),
            handler: version.handler.clone(),
            runtime: version.runtime.clone(),
        }
    }
}

/// Of one function: what of its versions has imported the SDK, the last one last.
#[derive(Debug, Default)]
pub(crate) struct Imports(Mutex<Vec<(String, Code)>>);

impl Imports {
    /// The version has imported it. Whether that is news.
    pub(crate) fn note(&self, version: &Version) -> bool {
        if self.has(version) {
            return false;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(number, _)| *number != version.version);
        if known.len() >= VERSIONS_MAX {
            known.remove(0);
        }
        known.push((version.version.clone(), Code::of(version)));
        true
    }

    /// Whether the version, with the code that it has, was seen to import it.
    pub(crate) fn has(&self, version: &Version) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let code = known.iter().find(|(number, _)| *number == version.version);
        code.is_some_and(|(_, code)| *code == Code::of(version))
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
            if let Some(prepared) = plan::spare_with_sdk(&common, &version).await {
                common.spare_kind(&prepared, false);
            }
        };
        self.common.rt.spawn("spares with the SDK", TaskKind::Request, expected).detach();
    }
}

impl Common {
    /// Finds out what the import of the SDK comes to with this interpreter, for the next time.
    pub(crate) fn learn_sdk(self: &Arc<Common>, pack: Arc<Pack>) {
        let common = self.clone();
        let learn = async move {
            common.packs.learn_sdk(&pack).await;
        };
        self.rt.spawn("what an import comes to", TaskKind::Request, learn).detach();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invoke::InvokeConfig;
    use crate::invoke::fake::{Machine, exited, script};

    #[tokio::test]
    async fn other_code_of_the_same_version_is_a_stranger() {
        let machine =
            Machine::with_spares(InvokeConfig::default(), script(async |_| exited(0)));
        let version = |number: &str, package: &str| {
            let (version, bundle_path) = (number.into(), package.into());
            Version { version, bundle_path, ..machine.version(1) }
        };
        let imports = Imports::default();
        let latest = version("$LATEST", "/a");
        assert!(!imports.has(&latest));
        assert!(imports.note(&latest) && !imports.note(&latest) && imports.has(&latest));
        let changed = version("$LATEST", "/b");
        assert!(!imports.has(&changed) && !imports.has(&version("1", "/a")));
        assert!(imports.note(&changed));
        assert!(imports.has(&changed) && !imports.has(&latest));
        for number in 0..VERSIONS_MAX {
            assert!(imports.note(&version(&number.to_string(), "/a")));
        }
        assert!(!imports.has(&changed) && imports.has(&version("0", "/a")));
    }
}
