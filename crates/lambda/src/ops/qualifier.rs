//! What a qualifier leads to: `$LATEST` or a published version, an alias to one of the two or, for
//! invokes, now to one version and now to another.

use std::sync::Arc;

use lambic_front::Cx;
use lambic_model_lambda::FunctionConfiguration;
use lambic_rt::Rt;
use lambic_wire::Error;

use super::change::{read_failed, read_version};
use super::find;
use super::show::{show, show_version};
use crate::Lambda;
use crate::catalog::Function;
use crate::names::{LATEST, Target};
use crate::state::function::{Code, FunctionRecord};
use crate::state::version::Version;

/// Which of the two there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meant {
    Latest,
    Published(u64),
}

/// What this qualifier stands for; an alias stands for its first version. `None`: it is not there.
pub(super) fn meant(record: &FunctionRecord, qualifier: Option<&str>) -> Option<Meant> {
    let qualifier = qualifier.unwrap_or(LATEST);
    let version = match record.aliases.get(qualifier) {
        Some(alias) => &alias.version,
        None => qualifier,
    };
    match version == LATEST {
        true => Some(Meant::Latest),
        false => record.number(version).map(Meant::Published),
    }
}

/// What an invoke by this qualifier runs: as [`meant`], and with an alias of two versions sometimes
/// the second.
fn chosen(record: &FunctionRecord, qualifier: Option<&str>, rt: &Rt) -> Option<Meant> {
    let alias = qualifier.and_then(|qualifier| record.aliases.get(qualifier));
    match alias.and_then(|alias| alias.second.as_ref()) {
        Some(second) if draw(rt) < second.weight.0 => {
            record.number(&second.version).map(Meant::Published)
        }
        _ => meant(record, qualifier),
    }
}

/// At least 0 and less than 1.
fn draw(rt: &Rt) -> f64 {
    let mut bytes = [0; 8];
    rt.fill_random(&mut bytes);
    // As many bits as a double holds exactly.
    (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64
}

/// The snapshot that an invoke of `target` runs.
pub(super) async fn snapshot(
    cx: &Cx<'_, Lambda>,
    function: &Function,
    target: &Target,
) -> Result<Arc<Version>, Error> {
    let chosen = chosen(&function.stored.value, target.qualifier.as_deref(), cx.rt);
    match chosen.ok_or_else(|| target.not_found())? {
        Meant::Latest => Ok(function.latest.clone()),
        Meant::Published(number) => {
            let version = cx.service.catalog.published(function, number).await;
            version.map_err(read_failed)?.ok_or_else(|| target.not_found())
        }
    }
}

/// The configuration that `target` names, as it is shown, and its code.
pub(super) async fn shown(
    cx: &Cx<'_, Lambda>,
    target: &Target,
) -> Result<(Arc<Function>, FunctionConfiguration, Code), Error> {
    let function = find(cx, target)?;
    let record = &function.stored.value;
    let qualifier = target.qualifier.as_deref();
    let (shown, code) = match meant(record, qualifier).ok_or_else(|| target.not_found())? {
        Meant::Latest => (show(cx, record, qualifier), record.shown().code.clone()),
        Meant::Published(number) => {
            let version = read_version(cx, record, number).await?;
            let version = version.ok_or_else(|| target.not_found())?;
            let shown =
                show_version(cx, record, &version, qualifier.unwrap_or(LATEST), cx.rt.now());
            (shown, version.configuration.code)
        }
    };
    Ok((function, shown, code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::alias::{Alias, Second, Weight};
    use crate::state::function::tests::record;

    fn record_with(weight: Option<f64>) -> FunctionRecord {
        let mut record = record("f");
        record.versions.push(1);
        record.versions.push(2);
        let second = weight.map(|weight| Second { version: "2".into(), weight: Weight(weight) });
        let alias = Alias {
            version: "1".into(),
            description: String::new(),
            second,
            revision_id: "r".into(),
        };
        record.aliases.insert("live".into(), alias);
        record
    }

    #[test]
    fn every_kind_of_qualifier() {
        let record = record_with(Some(1.0));
        assert_eq!(meant(&record, None), Some(Meant::Latest));
        assert_eq!(meant(&record, Some(LATEST)), Some(Meant::Latest));
        assert_eq!(meant(&record, Some("2")), Some(Meant::Published(2)));
        assert_eq!(meant(&record, Some("live")), Some(Meant::Published(1)));
        for unknown in ["3", "0", "+1", "01", "dead", "$LATEST.PUBLISHED"] {
            assert_eq!(meant(&record, Some(unknown)), None, "{unknown}");
        }
    }

    #[test]
    fn weights_are_kept_and_a_seed_gives_the_same_choices() {
        let choices = |weight: Option<f64>, seed: u64| -> Vec<Meant> {
            let (record, rt) = (record_with(weight), Rt::simulated(seed));
            (0..4_000).map(|_| chosen(&record, Some("live"), &rt).unwrap()).collect()
        };
        let seconds = |weight: Option<f64>| {
            let all = choices(weight, 7);
            all.iter().filter(|choice| **choice == Meant::Published(2)).count()
        };
        assert_eq!((seconds(None), seconds(Some(0.0)), seconds(Some(1.0))), (0, 0, 4_000));
        // Four standard deviations.
        assert!(seconds(Some(0.2)).abs_diff(800) < 102, "{}", seconds(Some(0.2)));
        assert_eq!(choices(Some(0.5), 3), choices(Some(0.5), 3));
        assert_ne!(choices(Some(0.5), 3), choices(Some(0.5), 4));
    }
}
