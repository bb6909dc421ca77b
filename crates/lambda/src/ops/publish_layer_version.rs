//! Publishes a version of a layer, the first or another: a zip whose contents functions find in `/opt`.
//!
//! ```text
//! POST /2018-10-31/layers/tools/versions
//! {"Description": "tools", "Content": {"ZipFile": "<zip>"},
//!  "CompatibleRuntimes": ["python3.13"], "CompatibleArchitectures": ["x86_64"],
//!  "LicenseInfo": "MIT"}
//!
//! 201
//! {"Content": {"Location": "<any>", "CodeSha256": "<any>", "CodeSize": "<any>"},
//!  "LayerArn": "arn:aws:lambda:us-east-1:000000000000:layer:tools",
//!  "LayerVersionArn": "arn:aws:lambda:us-east-1:000000000000:layer:tools:1",
//!  "Description": "tools", "CreatedDate": "<any>", "Version": 1,
//!  "CompatibleArchitectures": ["x86_64"], "CompatibleRuntimes": ["python3.13"],
//!  "LicenseInfo": "MIT"}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{
    Architecture, LayerVersionContentInput, PublishLayerVersionRequest,
    PublishLayerVersionResponse, Runtime,
};
use lambic_store::Transaction;
use lambic_wire::{Arn, Error};

use super::change::write;
use super::create_function::check_storage;
use super::layers::{ATTEMPTS_MAX, LayerName, denied, find_layer, show};
use super::settings::refuse_if;
use super::signatures::examine;
use crate::Lambda;
use crate::limits::{invalid, too_many_changes};
use crate::state::function::Code;
use crate::state::layer::{LayerRecord, LayerVersionRecord, version_key};

/// The operation.
pub struct PublishLayerVersion;

impl Serve for PublishLayerVersion {
    type Service = Lambda;
    type Operation = model::ops::PublishLayerVersion;

    fn resource(cx: &Cx<'_, Lambda>, input: &PublishLayerVersionRequest) -> Arn {
        LayerName::resolve(cx, &input.layer_name).resource()
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        mut input: PublishLayerVersionRequest,
    ) -> Result<PublishLayerVersionResponse, Error> {
        let layer = LayerName::resolve(cx, &input.layer_name);
        if !layer.is_of(cx) {
            return Err(denied(cx, "lambda:PublishLayerVersion", &layer.arn()));
        }
        refuse_unoffered(&input.content)?;
        let zip = input.content.zip_file.take();
        let zip = zip.ok_or_else(|| invalid("Please provide a source for layer content."))?;
        check_storage(cx, cx.account, zip.0.len() as u64).await?;
        let package = cx.service.packages.take(zip.0.clone()).await?;
        let signature = examine(cx, &zip.0).await.ok();
        let runtimes = input.compatible_runtimes.unwrap_or_default();
        let architectures = input.compatible_architectures.unwrap_or_default();
        let mut record = LayerVersionRecord {
            account: layer.account.clone(),
            region: layer.region.clone(),
            name: layer.name.clone(),
            version: 0,
            description: input.description.unwrap_or_default(),
            runtimes: runtimes.iter().map(Runtime::as_str).map(str::to_owned).collect(),
            architectures: architectures
                .iter()
                .map(Architecture::as_str)
                .map(str::to_owned)
                .collect(),
            license: input.license_info.filter(|license| !license.is_empty()),
            code: Code { signature, ..package.code.clone() },
            created_micros: cx.rt.now().micros(),
        };
        for _ in 0..ATTEMPTS_MAX {
            if number(cx, &layer, &mut record).await? {
                return Ok(answer(cx, &record));
            }
        }
        Err(too_many_changes())
    }
}

/// Commits the version under the layer's next number. `false`: somebody else was faster.
async fn number(
    cx: &Cx<'_, Lambda>,
    layer: &LayerName,
    record: &mut LayerVersionRecord,
) -> Result<bool, Error> {
    let stored = find_layer(cx, layer).await?;
    let present = stored.as_ref().map(|stored| &stored.value);
    record.version = present.map_or(0, |present| present.last_version) + 1;
    let next = LayerRecord {
        account: layer.account.clone(),
        region: layer.region.clone(),
        name: layer.name.clone(),
        last_version: record.version,
        code_bytes: present.map_or(0, |present| present.code_bytes) + record.code.zip_bytes,
    };
    let mut transaction = Transaction::new();
    match &stored {
        Some(stored) => transaction.replace(stored, &next),
        None => transaction.insert(&next.key(), &next),
    }
    let number = version_key(record.version);
    transaction.insert(&[&layer.account, &layer.region, &layer.name, &number], record);
    Ok(write(cx, transaction).await?.is_some())
}

fn answer(cx: &Cx<'_, Lambda>, record: &LayerVersionRecord) -> PublishLayerVersionResponse {
    let shown = show(cx, record);
    PublishLayerVersionResponse {
        content: shown.content,
        layer_arn: shown.layer_arn,
        layer_version_arn: shown.layer_version_arn,
        description: shown.description,
        created_date: shown.created_date,
        version: shown.version,
        compatible_architectures: shown.compatible_architectures,
        compatible_runtimes: shown.compatible_runtimes,
        license_info: shown.license_info,
    }
}

fn refuse_unoffered(content: &LayerVersionContentInput) -> Result<(), Error> {
    refuse_if(content.s3_bucket.is_some(), "Content.S3Bucket")?;
    refuse_if(content.s3_key.is_some(), "Content.S3Key")?;
    refuse_if(content.s3_object_version.is_some(), "Content.S3ObjectVersion")?;
    refuse_if(content.s3_object_storage_mode.is_some(), "Content.S3ObjectStorageMode")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented, other_zip, zip, zip_base64};

    const PATH: &str = "/2018-10-31/layers/tools/versions";

    #[tokio::test]
    async fn as_documented() {
        Harness::new().await.check(&documented(include_str!("publish_layer_version.rs"))).await;
    }

    #[tokio::test]
    async fn numbers_go_on_also_after_a_deletion_and_for_many_at_once() {
        let harness = Harness::new().await;
        let body = json!({"Content": {"ZipFile": zip_base64()}});
        assert_eq!(harness.post(PATH, &body).await.json()["Version"], 1);
        assert_eq!(harness.delete(&format!("{PATH}/1")).await.status, 204);
        assert_eq!(harness.post(PATH, &body).await.json()["Version"], 2);
        let attempts = (0..32).map(|_| harness.post(PATH, &body));
        let replies = futures_util::future::join_all(attempts).await;
        let mut numbers: Vec<_> =
            replies.iter().filter_map(|reply| reply.json()["Version"].as_i64()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (3..35).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn the_link_gives_the_zip_that_was_sent() {
        let harness = Harness::new().await;
        let body = json!({"Content": {"ZipFile": zip_base64()}});
        let reply = harness.post(PATH, &body).await.json();
        let link = reply["Content"]["Location"].as_str().unwrap();
        assert_eq!(harness.download(link).await, zip());
    }

    #[tokio::test]
    async fn what_is_refused() {
        let harness = Harness::new().await;
        let cases = [
            (json!({"Content": {}}), 400, "Please provide a source for layer content."),
            (
                json!({"Content": {"ZipFile": "bm8gemlw"}}),
                400,
                "Could not unzip uploaded file. Please check your file, then try to upload again.",
            ),
        ];
        for (body, status, text) in cases {
            let reply = harness.post(PATH, &body).await;
            assert_eq!((reply.status, reply.message().as_str()), (status, text));
        }
        let s3 = json!({"Content": {"S3Bucket": "bucket", "S3Key": "key"}});
        let reply = harness.post(PATH, &s3).await;
        assert_eq!(reply.status, 501);
        assert!(reply.message().contains("Content.S3Bucket"), "{}", reply.message());
        let theirs = "/2018-10-31/layers/arn:aws:lambda:us-east-1:111111111111:layer:x/versions";
        let body = json!({"Content": {"ZipFile": other_zip()}});
        assert_eq!(harness.post(theirs, &body).await.code(), "AccessDeniedException");
    }
}
