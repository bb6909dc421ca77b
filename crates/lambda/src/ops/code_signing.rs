//! What the operations on code signing configurations share: names, look-ups, how one is shown, and the
//! record of which functions use it.

use lambic_front::Cx;
use lambic_model_lambda::{
    AllowedPublishers, CodeSigningConfig, CodeSigningPolicies, CodeSigningPolicy, errors,
};
use lambic_rt::Timestamp;
use lambic_store::{Stored, Transaction};
use lambic_wire::{Arn, Error, MessageKey};

use super::change::{read_failed, write};
use crate::Lambda;
use crate::limits::too_many_changes;
use crate::state::code_signing::{CodeSigningRecord, CodeSigningUse};
use crate::state::function::FunctionRecord;

/// Attempts before a caller is told to try again. Each one that fails is another caller's success.
pub(super) const ATTEMPTS_MAX: usize = 64;

/// Which configuration a caller means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConfigName {
    account: String,
    region: String,
    id: String,
}

impl ConfigName {
    /// From its ARN.
    pub(super) fn resolve(cx: &Cx<'_, Lambda>, arn: &str) -> ConfigName {
        let parsed = resource(cx, arn);
        let id = parsed.resource.rsplit(':').next().unwrap_or_default().to_owned();
        ConfigName { account: parsed.account, region: parsed.region, id }
    }

    fn key(&self) -> [&str; 3] {
        [&self.account, &self.region, &self.id]
    }

    /// The segments of the key of a function's use of it.
    fn use_key<'a>(&'a self, function: &'a str) -> [&'a str; 4] {
        [&self.account, &self.region, &self.id, function]
    }
}

/// The configuration for authorization.
pub(super) fn resource(cx: &Cx<'_, Lambda>, arn: &str) -> Arn {
    // The model's pattern lets only ARNs through.
    arn.parse().unwrap_or_else(|_| Arn::new("lambda", cx.region, cx.account, arn))
}

/// 404 of the operations on configurations.
pub(super) fn not_found(arn: &str) -> Error {
    let text = format!("The Lambda code signing configuration {arn} can not be found.");
    Error::new("ResourceNotFoundException", 404, text).with_message_key(MessageKey::Upper)
}

/// 404 of the operations on functions.
fn not_found_for_function(arn: &str) -> Error {
    errors::code_signing_config_not_found(format!(
        "The code signing configuration cannot be found. Check that the provided configuration is \
         not deleted: {arn}."
    ))
}

/// The configuration, if there is one; those of other regions cannot be reached.
async fn find(
    cx: &Cx<'_, Lambda>,
    name: &ConfigName,
) -> Result<Option<Stored<CodeSigningRecord>>, Error> {
    if name.region != cx.region {
        return Ok(None);
    }
    cx.service.store.table::<CodeSigningRecord>().get(&name.key()).await.map_err(read_failed)
}

/// The configuration for an operation on it.
pub(super) async fn read(
    cx: &Cx<'_, Lambda>,
    arn: &str,
) -> Result<Stored<CodeSigningRecord>, Error> {
    find(cx, &ConfigName::resolve(cx, arn)).await?.ok_or_else(|| not_found(arn))
}

/// The configuration for a function of this account.
pub(super) async fn read_for_function(
    cx: &Cx<'_, Lambda>,
    account: &str,
    arn: &str,
) -> Result<Stored<CodeSigningRecord>, Error> {
    let name = ConfigName::resolve(cx, arn);
    let found = if name.account == account { find(cx, &name).await? } else { None };
    found.ok_or_else(|| not_found_for_function(arn))
}

/// Makes `change` to the configuration and answers it as it was committed.
pub(super) async fn edit(
    cx: &Cx<'_, Lambda>,
    arn: &str,
    change: impl Fn(&mut CodeSigningRecord) -> Result<(), Error>,
) -> Result<CodeSigningRecord, Error> {
    for _ in 0..ATTEMPTS_MAX {
        let stored = read(cx, arn).await?;
        let mut next = stored.value.clone();
        change(&mut next)?;
        let mut transaction = Transaction::new();
        transaction.replace(&stored, &next);
        if write(cx, transaction).await?.is_some() {
            return Ok(next);
        }
    }
    Err(too_many_changes())
}

/// Adds to `transaction` that the function begins to use the configuration, and that this is still there.
pub(super) fn begin_use(
    transaction: &mut Transaction,
    config: &Stored<CodeSigningRecord>,
    function: &str,
) {
    transaction.replace(config, &config.value);
    let [account, region, id] = config.value.key();
    transaction.put(&[account, region, id, function], &CodeSigningUse {});
}

/// Adds to `transaction` that the function does not use its configuration any more.
pub(super) fn end_use(
    cx: &Cx<'_, Lambda>,
    transaction: &mut Transaction,
    function: &FunctionRecord,
) {
    if let Some(arn) = &function.code_signing_config {
        let name = ConfigName::resolve(cx, arn);
        transaction.delete::<CodeSigningUse>(&name.use_key(&function.name));
    }
}

/// The names of up to `limit` functions that use the configuration, those after `after`.
pub(super) async fn users(
    cx: &Cx<'_, Lambda>,
    config: &CodeSigningRecord,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<String>, Error> {
    let [account, region, id] = config.key();
    let after = after.map(|function| [account, region, id, function]);
    let after = after.as_ref().map(|key| &key[..]);
    let table = cx.service.store.table::<CodeSigningUse>();
    let found = table.list(&[account, region, id], after, limit).await.map_err(read_failed)?;
    Ok(found.into_iter().filter_map(|stored| stored.key.into_iter().last()).collect())
}

/// Whether these policies refuse what is not signed as it should be; they do not unless they say so.
pub(super) fn enforced(policies: &CodeSigningPolicies) -> bool {
    policies.untrusted_artifact_on_deployment == Some(CodeSigningPolicy::Enforce)
}

/// As callers see it.
pub(super) fn show(record: &CodeSigningRecord) -> CodeSigningConfig {
    let policy = if record.enforced { CodeSigningPolicy::Enforce } else { CodeSigningPolicy::Warn };
    CodeSigningConfig {
        code_signing_config_id: record.id.clone(),
        code_signing_config_arn: record.arn(),
        description: record.description.clone(),
        allowed_publishers: AllowedPublishers {
            signing_profile_version_arns: record.publishers.clone(),
        },
        code_signing_policies: CodeSigningPolicies {
            untrusted_artifact_on_deployment: Some(policy),
        },
        last_modified: Timestamp::from_micros(record.last_modified_micros).lambda_text(),
    }
}
