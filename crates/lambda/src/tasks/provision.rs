//! Keeps as many environments of each version as its provisioned concurrency and that of the aliases
//! that lead to it want.
//!
//! An operation only stores what is wanted; this task reads all of it after every change, and after a
//! start, and tells the invoke path, which makes the environments and replaces those that end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lambic_rt::Rt;

use crate::catalog::{Catalog, Function};
use crate::service::Runner;
use crate::state::alias::Alias;
use crate::state::function::FunctionRecord;
use crate::state::version::Version;

/// Looked at least so often, in seconds, whatever was missed.
const CLOCK_S: u64 = 30;

/// Runs until shutdown.
pub(crate) async fn run(catalog: Catalog, runner: Arc<dyn Runner>, rt: Rt) {
    let mut shutdown = rt.shutdown();
    let mut changes = catalog.changes();
    let mut applied = Applied::default();
    loop {
        applied.apply(&catalog, &*runner).await;
        tokio::select! {
            () = shutdown.requested() => return,
            () = rt.sleep(Duration::from_secs(CLOCK_S)) => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// What the invoke path was told last, by generation of the snapshot.
#[derive(Default)]
pub(crate) struct Applied {
    told: HashMap<u64, (Arc<Version>, u32)>,
}

impl Applied {
    /// Tells the invoke path what has changed since.
    pub(crate) async fn apply(&mut self, catalog: &Catalog, runner: &dyn Runner) {
        let functions = catalog.provisioned();
        let mut wanted: HashMap<u64, (Arc<Version>, u32)> = HashMap::new();
        for function in &functions {
            add(catalog, function, &mut wanted).await;
        }
        for (generation, (version, _)) in &self.told {
            if !wanted.contains_key(generation) {
                runner.provision(version, 0);
            }
        }
        for (generation, (version, count)) in &wanted {
            if self.told.get(generation).is_none_or(|(_, told)| told != count) {
                runner.provision(version, *count);
            }
        }
        self.told = wanted;
    }
}

async fn add(
    catalog: &Catalog,
    function: &Function,
    wanted: &mut HashMap<u64, (Arc<Version>, u32)>,
) {
    for (number, count) in by_version(&function.stored.value) {
        match catalog.published(function, number).await {
            Ok(Some(version)) => {
                let entry = wanted.entry(version.generation).or_insert((version, 0));
                entry.1 += count;
            }
            // Deleted meanwhile; the next change tells.
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "a version to be provisioned cannot be read"),
        }
    }
}

/// How many environments each published version is to have.
pub(crate) fn by_version(record: &FunctionRecord) -> Vec<(u64, u32)> {
    let mut all = Vec::new();
    for (qualifier, settings) in &record.qualified {
        let Some(provisioned) = settings.provisioned else { continue };
        all.extend(shares(record, qualifier, provisioned.requested));
    }
    all
}

/// What a qualifier's environments are of: an alias of two versions divides them by its weight.
pub(crate) fn shares(
    record: &FunctionRecord,
    qualifier: &str,
    requested: u32,
) -> impl Iterator<Item = (u64, u32)> {
    let alias: Option<&Alias> = record.aliases.get(qualifier);
    let first = alias.map_or(qualifier, |alias| &alias.version);
    let second = alias.and_then(|alias| alias.second.as_ref());
    let share = second.map_or(0, |second| {
        // At least one for a version that is asked at all.
        (f64::from(requested) * second.weight.0).ceil() as u32
    });
    let second = second.and_then(|second| record.number(&second.version));
    let first = record.number(first).map(|number| (number, requested.saturating_sub(share)));
    let both = first.into_iter().chain(second.map(|number| (number, share)));
    both.filter(|(_, count)| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::alias::{Second, Weight};
    use crate::state::function::tests::record;

    #[test]
    fn an_alias_of_two_versions_divides_what_it_has() {
        let mut record = record("f");
        (1..=2).for_each(|number| record.versions.push(number));
        let alias = |weight: Option<f64>| Alias {
            version: "1".into(),
            description: String::new(),
            second: weight.map(|weight| Second { version: "2".into(), weight: Weight(weight) }),
            revision_id: "r".into(),
        };
        let mut of = |weight: Option<f64>, requested: u32| -> Vec<_> {
            record.aliases.insert("live".into(), alias(weight));
            shares(&record, "live", requested).collect()
        };
        assert_eq!(of(None, 5), [(1, 5)]);
        assert_eq!(of(Some(0.1), 5), [(1, 4), (2, 1)]);
        assert_eq!(of(Some(0.0), 5), [(1, 5)]);
        assert_eq!(of(Some(1.0), 5), [(2, 5)]);
        assert_eq!(shares(&record, "2", 3).collect::<Vec<_>>(), [(2, 3)]);
        assert_eq!(shares(&record, "3", 3).count(), 0);
    }
}
