//! What the operations on aliases have in common: which versions an alias may lead to, and how it is
//! shown.

use lambic_front::Cx;
use lambic_model_lambda::{AliasConfiguration, AliasRoutingConfiguration};
use lambic_wire::{Error, Pairs};

use super::change::read_version;
use crate::Lambda;
use crate::limits::{invalid, invalid_of_nobody};
use crate::names::{LATEST, Target, not_found};
use crate::state::alias::{Alias, Second, Weight};
use crate::state::function::FunctionRecord;

/// The second version that a request names, if it names one.
pub(super) fn second(config: Option<&AliasRoutingConfiguration>) -> Result<Option<Second>, Error> {
    let Some(weights) = config.and_then(|config| config.additional_version_weights.as_ref()) else {
        return Ok(None);
    };
    if weights.len() > 1 {
        return Err(invalid(
            "Number of items in AdditionalVersionWeights cannot be greater than 1",
        ));
    }
    let first = weights.iter().next();
    Ok(first.map(|(version, weight)| Second { version: version.clone(), weight: Weight(*weight) }))
}

/// Whether the function has what the alias leads to, and whether that goes together.
pub(super) fn check(record: &FunctionRecord, target: &Target, alias: &Alias) -> Result<(), Error> {
    let second = alias.second.as_ref().map(|second| second.version.as_str());
    if second == Some(alias.version.as_str()) {
        return Err(invalid(format!(
            "Invalid function version {0}. Function version {0} is already included in routing \
             configuration.",
            alias.version
        )));
    }
    if alias.version == LATEST {
        return match second {
            Some(_) => Err(invalid_of_nobody(
                "$LATEST is not supported for an alias pointing to more than 1 version",
            )),
            None => Ok(()),
        };
    }
    for version in std::iter::once(alias.version.as_str()).chain(second) {
        if record.number(version).is_none() {
            let qualifier = Some(version.to_owned());
            return Err(Target { qualifier, ..target.clone() }.not_found());
        }
    }
    Ok(())
}

/// Whether both versions of an alias run as the same role, which AWS asks of them.
pub(super) async fn check_roles(
    cx: &Cx<'_, Lambda>,
    record: &FunctionRecord,
    alias: &Alias,
) -> Result<(), Error> {
    let Some(second) = &alias.second else { return Ok(()) };
    let mut roles = Vec::new();
    for version in [&alias.version, &second.version] {
        let Some(number) = record.number(version) else { return Ok(()) };
        let version = read_version(cx, record, number).await?;
        roles.extend(version.map(|version| version.configuration.role));
    }
    match &roles[..] {
        [first, second] if first != second => {
            Err(invalid("Both versions that an alias points to must have the same execution role."))
        }
        _ => Ok(()),
    }
}

/// The answer of all operations.
pub(super) fn show(record: &FunctionRecord, name: &str, alias: &Alias) -> AliasConfiguration {
    let routing_config = alias.second.as_ref().map(|second| AliasRoutingConfiguration {
        additional_version_weights: Some(Pairs(vec![(second.version.clone(), second.weight.0)])),
    });
    AliasConfiguration {
        alias_arn: Some(format!("{}:{name}", record.arn())),
        name: Some(name.to_owned()),
        function_version: Some(alias.version.clone()),
        description: Some(alias.description.clone()),
        routing_config,
        revision_id: Some(alias.revision_id.clone()),
    }
}

/// 404 in the words of GetAlias.
pub(super) fn cannot_find(target: &Target, name: &str) -> Error {
    not_found(format!("Cannot find alias arn: {}:{name}", target.arn()))
}
