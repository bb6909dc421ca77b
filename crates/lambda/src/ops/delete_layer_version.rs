//! Deletes a version of a layer. Functions that use it go on as they are; deleting what is not there
//! is no error, as on AWS.
//!
//! ```text
//! DELETE /2018-10-31/layers/shared/versions/1
//!
//! 204
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::DeleteLayerVersionRequest;
use lambic_store::Transaction;
use lambic_wire::{Arn, Error};

use super::change::write;
use super::layers::{ATTEMPTS_MAX, LayerName, check_number, denied, find, find_layer};
use crate::Lambda;
use crate::limits::too_many_changes;
use crate::state::layer::LayerRecord;
use crate::state::layer_policy::LayerPolicyRecord;

/// The operation.
pub struct DeleteLayerVersion;

impl Serve for DeleteLayerVersion {
    type Service = Lambda;
    type Operation = model::ops::DeleteLayerVersion;

    fn resource(cx: &Cx<'_, Lambda>, input: &DeleteLayerVersionRequest) -> Arn {
        LayerName::resolve(cx, &input.layer_name).version_resource(input.version_number)
    }

    async fn run(cx: &Cx<'_, Lambda>, input: DeleteLayerVersionRequest) -> Result<(), Error> {
        let layer = LayerName::resolve(cx, &input.layer_name);
        if !layer.is_of(cx) {
            return Err(denied(cx, "lambda:DeleteLayerVersion", &layer.arn()));
        }
        check_number(input.version_number)?;
        for _ in 0..ATTEMPTS_MAX {
            let Some(stored) = find(cx, &layer, input.version_number).await? else {
                return Ok(());
            };
            let mut transaction = Transaction::new();
            transaction.remove(&stored);
            // Whether it has one or not: nobody adds one to a version that is not there.
            transaction.delete::<LayerPolicyRecord>(&stored.segments());
            if let Some(record) = find_layer(cx, &layer).await? {
                let left = record.value.code_bytes.saturating_sub(stored.value.code.zip_bytes);
                let next = LayerRecord { code_bytes: left, ..record.value.clone() };
                transaction.replace(&record, &next);
            }
            if write(cx, transaction).await?.is_some() {
                return Ok(());
            }
        }
        Err(too_many_changes())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::layers::used;
    use crate::ops::testing::{Harness, documented};
    use crate::state::layer_policy::LayerPolicyRecord;

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_layer().await;
        harness.check(&documented(include_str!("delete_layer_version.rs"))).await;
        assert_eq!(harness.get("/2018-10-31/layers/shared/versions/1").await.status, 404);
        assert_eq!(harness.delete("/2018-10-31/layers/shared/versions/1").await.status, 204);
    }

    #[tokio::test]
    async fn what_was_found_for_a_function_may_go_until_it_is_merged() {
        let harness = Harness::with_layer().await;
        let call = harness.call();
        let cx = call.cx(&*harness.lambda);
        let arn = "arn:aws:lambda:us-east-1:000000000000:layer:shared:1".to_owned();
        let found = used(&cx, &[arn]).await.unwrap();
        let merged = harness.lambda.packages.merge(&found).await.unwrap();
        assert_eq!(harness.delete("/2018-10-31/layers/shared/versions/1").await.status, 204);
        assert_eq!(harness.lambda.sweep().await.unwrap().bundles, 0);
        drop(merged);
        assert_eq!(harness.lambda.sweep().await.unwrap().bundles, 1);
        let error = harness.lambda.packages.merge(&found).await.err().unwrap();
        assert!(error.message.ends_with("layer:shared:1 does not exist."), "{}", error.message);
    }

    #[tokio::test]
    async fn its_policy_goes_too() {
        let harness = Harness::with_layer().await;
        let path = "/2018-10-31/layers/shared/versions/1";
        let body = json!({
            "StatementId": "s", "Action": "lambda:GetLayerVersion", "Principal": "*",
        });
        assert_eq!(harness.post(&format!("{path}/policy"), &body).await.status, 201);
        assert_eq!(harness.delete(path).await.status, 204);
        let table = harness.lambda.store.table::<LayerPolicyRecord>();
        assert_eq!(table.list(&[], None, 10).await.unwrap().len(), 0);
    }
}
