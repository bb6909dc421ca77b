//! Deletes a function with all of its versions and aliases, or one published version that no alias
//! leads to. Invokes that run already finish.
//!
//! ```text
//! DELETE /2015-03-31/functions/hello
//!
//! 204
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{DeleteFunctionRequest, DeleteFunctionResponse, errors};
use lambic_store::Transaction;
use lambic_wire::{Arn, Error};

use super::change::{EDIT_ATTEMPTS_MAX, commit, in_progress, read, read_version};
use super::code_signing::end_use;
use crate::Lambda;
use crate::limits::invalid;
use crate::names::{self, LATEST, Target};
use crate::state::alias::Alias;
use crate::state::function::FunctionRecord;
use crate::state::imports::ImportsRecord;
use crate::state::published::{VersionRecord, number_key};

/// Versions that go in one commit, which the store limits; few in tests.
const VERSIONS_AT_ONCE: usize = if cfg!(test) { 3 } else { 5_000 };
/// More than any function has versions for.
const ROUNDS_MAX: usize = 10_000;

/// The operation.
pub struct DeleteFunction;

impl Serve for DeleteFunction {
    type Service = Lambda;
    type Operation = model::ops::DeleteFunction;

    fn resource(cx: &Cx<'_, Lambda>, input: &DeleteFunctionRequest) -> Arn {
        let qualifier = input.qualifier.as_deref();
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: DeleteFunctionRequest,
    ) -> Result<DeleteFunctionResponse, Error> {
        let qualifier = input.qualifier.as_deref();
        let target = names::resolve(cx.account, cx.region, &input.function_name, qualifier)?;
        let number = target.qualifier.as_deref().map(number).transpose()?;
        if number.is_none() {
            thin_out(cx, &target).await?;
        }
        for _ in 0..EDIT_ATTEMPTS_MAX {
            let stored = read(cx, &target).await?;
            let mut transaction = Transaction::new();
            match number {
                Some(number) => {
                    let mut record = stored.value.clone();
                    if !delete_version(cx, &mut record, number, &mut transaction).await? {
                        // AWS says nothing about one that is not there.
                        return Ok(DeleteFunctionResponse { status_code: 204 });
                    }
                    transaction.replace(&stored, &record);
                }
                None => {
                    for number in stored.value.versions.after(0) {
                        delete_record(&stored.value, number, &mut transaction);
                    }
                    end_use(cx, &mut transaction, &stored.value);
                    let FunctionRecord { account, region, name, .. } = &stored.value;
                    transaction.delete::<ImportsRecord>(&[account, region, name]);
                    transaction.remove(&stored);
                }
            }
            if commit(cx, transaction).await?.is_some() {
                return Ok(DeleteFunctionResponse { status_code: 204 });
            }
        }
        Err(in_progress(&target))
    }
}

/// Takes out so many versions, with all aliases, that the others fit into one commit with the function.
async fn thin_out(cx: &Cx<'_, Lambda>, target: &Target) -> Result<(), Error> {
    // A conflict costs a round, and each other round takes some thousand versions.
    for _ in 0..ROUNDS_MAX {
        let stored = read(cx, target).await?;
        let mut record = stored.value.clone();
        let numbers: Vec<u64> = record.versions.after(0).take(VERSIONS_AT_ONCE + 1).collect();
        if numbers.len() <= VERSIONS_AT_ONCE {
            return Ok(());
        }
        record.aliases.clear();
        record.qualified.clear();
        let mut transaction = Transaction::new();
        for number in numbers {
            record.remove_version(number);
            delete_record(&record, number, &mut transaction);
        }
        transaction.replace(&stored, &record);
        commit(cx, transaction).await?;
    }
    Err(in_progress(target))
}

/// Takes a published version out of `record`, with what was set for it. Whether it was there.
async fn delete_version(
    cx: &Cx<'_, Lambda>,
    record: &mut FunctionRecord,
    number: u64,
    transaction: &mut Transaction,
) -> Result<bool, Error> {
    let qualifier = number.to_string();
    let leads = |alias: &Alias| {
        alias.version == qualifier
            || alias.second.as_ref().is_some_and(|second| second.version == qualifier)
    };
    let aliases = record.aliases.iter().filter(|(_, alias)| leads(alias));
    let aliases: Vec<&str> = aliases.map(|(name, _)| name.as_str()).collect();
    if !aliases.is_empty() {
        return Err(errors::resource_conflict(format!(
            "Unable to delete version because the following aliases reference it: [{}]",
            aliases.join(", ")
        )));
    }
    let version = read_version(cx, record, number).await?;
    if !record.remove_version(number) {
        return Ok(false);
    }
    let bytes = version.map_or(0, |version| version.configuration.code.zip_bytes);
    record.version_bytes = record.version_bytes.saturating_sub(bytes);
    record.qualified.remove(&qualifier);
    delete_record(record, number, transaction);
    Ok(true)
}

fn delete_record(record: &FunctionRecord, number: u64, transaction: &mut Transaction) {
    let key = number_key(number);
    transaction.delete::<VersionRecord>(&[&record.account, &record.region, &record.name, &key]);
}

/// The number of the version that is to be deleted.
fn number(qualifier: &str) -> Result<u64, Error> {
    if qualifier == LATEST {
        return Err(invalid("$LATEST version cannot be deleted without deleting the function."));
    }
    if !qualifier.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid("Deletion of aliases is not currently supported."));
    }
    // A number that is too large, or written with zeros in front, is one that is not there.
    let number = qualifier.parse().ok().filter(|number: &u64| number.to_string() == qualifier);
    Ok(number.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("delete_function.rs"))).await;
        let reply = harness.delete("/2015-03-31/functions/hello").await;
        assert_eq!(reply.status, 404);
        assert!(reply.message().ends_with("function:hello"));
        assert_eq!(harness.get("/2015-03-31/functions/hello").await.status, 404);
    }

    #[tokio::test]
    async fn qualifiers() {
        let harness = Harness::with_hello().await;
        let delete = async |qualifier: &str| {
            harness.delete(&format!("/2015-03-31/functions/hello?Qualifier={qualifier}")).await
        };
        assert_eq!(
            delete("$LATEST").await.message(),
            "$LATEST version cannot be deleted without deleting the function."
        );
        assert_eq!(delete("live").await.status, 400);
        assert_eq!(delete("7").await.status, 204);
        assert_eq!(harness.get("/2015-03-31/functions/hello").await.status, 200);
    }

    #[tokio::test]
    async fn versions_go_one_by_one_or_with_their_function() {
        let harness = Harness::with_versions().await;
        let path = "/2015-03-31/functions/two";
        let used = harness.delete(&format!("{path}?Qualifier=1")).await;
        assert_eq!((used.status, used.code().as_str()), (409, "ResourceConflictException"));
        assert_eq!(
            used.message(),
            "Unable to delete version because the following aliases reference it: [stable]"
        );
        assert_eq!(harness.delete(&format!("{path}/aliases/stable")).await.status, 204);
        for _ in 0..2 {
            assert_eq!(harness.delete(&format!("{path}:1")).await.status, 204);
        }
        assert_eq!(harness.get(&format!("{path}:1")).await.status, 404);
        assert_eq!(harness.get(&format!("{path}:2")).await.status, 200);
        let used = async || harness.lambda.catalog.usage("000000000000", "us-east-1");
        assert_eq!(used().await.code_bytes, 2 * crate::ops::testing::zip().len() as u64);
        assert_eq!(harness.delete(path).await.status, 204);
        assert_eq!(used().await.code_bytes, 0);
        let table = harness.lambda.store.table::<super::VersionRecord>();
        assert!(table.list(&[], None, 9).await.unwrap().is_empty());
        // The name is free, and begins with version 1 again.
        harness.create("two").await;
        let version = harness.post(&format!("{path}/versions"), &serde_json::json!({})).await;
        assert_eq!(version.json()["Version"], "1");
    }

    #[tokio::test]
    async fn more_versions_than_one_commit_takes() {
        let harness = Harness::with_versions().await;
        let path = "/2015-03-31/functions/two";
        for timeout in 10..18 {
            let change = serde_json::json!({"Timeout": timeout});
            harness.put(&format!("{path}/configuration"), &change).await;
            harness.settle().await;
            harness.post(&format!("{path}/versions"), &serde_json::json!({})).await;
        }
        // Zeros in front are no other way to write a number.
        assert_eq!(harness.delete(&format!("{path}?Qualifier=02")).await.status, 204);
        assert_eq!(harness.get(&format!("{path}?Qualifier=2")).await.status, 200);
        assert_eq!(harness.delete(path).await.status, 204);
        assert_eq!(harness.get(path).await.status, 404);
        let table = harness.lambda.store.table::<super::VersionRecord>();
        assert!(table.list(&[], None, 99).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_deleted_name_is_free_and_unused_code_goes() {
        let harness = Harness::with_hello().await;
        harness.delete("/2015-03-31/functions/hello").await;
        assert_eq!(harness.lambda.sweep().await.unwrap().bundles, 1);
        harness.create("hello").await;
        assert_eq!(harness.lambda.sweep().await.unwrap().bundles, 0);
    }
}
