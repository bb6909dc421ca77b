//! `FileSystemConfigs`: access points are folders that the operator has named in the configuration.
//!
//! AWS wants a function with one to be in a VPC, because its file systems are behind a network. A
//! folder of this machine is not, so that is not asked here.

use lambic_front::Cx;
use lambic_model_lambda as model;
use lambic_wire::Error;

use super::settings::refuse_if;
use crate::Lambda;
use crate::limits::invalid;
use crate::names::Target;
use crate::state::file_system::FileSystemUse;

/// The file system that is asked for, if there is such an access point for functions of that account
/// and region; `None` for none.
///
/// # Errors
/// AWS's for an access point that does not exist; 501 for what is of S3's file systems.
pub(super) fn used(
    cx: &Cx<'_, Lambda>,
    target: &Target,
    given: &[model::FileSystemConfig],
) -> Result<Option<Box<FileSystemUse>>, Error> {
    // AWS's model has room for one.
    let Some(given) = given.first() else { return Ok(None) };
    let is_of_s3 = given.arn.split(':').nth(2) == Some("s3files");
    refuse_if(is_of_s3 || given.s3_files_config.is_some(), "FileSystemConfigs of S3 Files")?;
    let parts: Vec<&str> = given.arn.splitn(6, ':').collect();
    let is_theirs = parts.get(3) == Some(&target.region.as_str())
        && parts.get(4) == Some(&target.account.as_str());
    if !is_theirs || !cx.service.config.access_points.contains(&given.arn) {
        let id = given.arn.rsplit('/').next().unwrap_or_default();
        return Err(invalid(format!(
            "Error occurred while DescribeAccessPoints. EFS Error Code: AccessPointNotFound. EFS \
             Error Message: Access point '{id}' does not exist."
        )));
    }
    // AWS's pattern lets these through; they are other folders.
    if matches!(given.local_mount_path.as_str(), "/mnt/." | "/mnt/..") {
        return Err(invalid(format!(
            "The local mount path {} is not a folder of /mnt.",
            given.local_mount_path
        )));
    }
    let (arn, local_mount_path) = (given.arn.clone(), given.local_mount_path.clone());
    Ok(Some(Box::new(FileSystemUse { arn, local_mount_path })))
}

/// As callers see it; absent without one, as on AWS.
pub(super) fn shown(used: Option<&FileSystemUse>) -> Option<Vec<model::FileSystemConfig>> {
    used.map(|used| {
        vec![model::FileSystemConfig {
            arn: used.arn.clone(),
            local_mount_path: used.local_mount_path.clone(),
            ..model::FileSystemConfig::default()
        }]
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::ops::testing::Harness;

    const ARN: &str =
        "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0";
    const PATH: &str = "/2015-03-31/functions/f/configuration";

    async fn harness() -> Harness {
        Harness::with(|config| config.access_points = [ARN.to_owned()].into()).await
    }

    fn creation(arn: &str, path: &str) -> Value {
        let mut body = Harness::creation("f");
        body["FileSystemConfigs"] = json!([{"Arn": arn, "LocalMountPath": path}]);
        body
    }

    #[tokio::test]
    async fn a_file_system_comes_changes_and_goes() {
        let harness = harness().await;
        let body = creation(ARN, "/mnt/data");
        let reply = harness.post("/2015-03-31/functions", &body).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        assert_eq!(reply.json()["FileSystemConfigs"], body["FileSystemConfigs"]);
        harness.settle().await;
        let function = harness.lambda.catalog.find("000000000000", "us-east-1", "f").unwrap();
        let version = &function.latest;
        let mounted = version.file_system.as_ref().unwrap();
        assert_eq!((mounted.arn.as_str(), mounted.local_mount_path.as_str()), (ARN, "/mnt/data"));
        let update = async |change: Value| {
            let reply = harness.put(PATH, &change).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            harness.settle().await;
            harness.get(PATH).await.json()["FileSystemConfigs"].clone()
        };
        assert_eq!(update(json!({"Timeout": 9})).await, body["FileSystemConfigs"]);
        let moved = json!([{"Arn": ARN, "LocalMountPath": "/mnt/other"}]);
        assert_eq!(update(json!({"FileSystemConfigs": moved})).await, moved);
        assert_eq!(update(json!({"FileSystemConfigs": []})).await, Value::Null);
    }

    #[tokio::test]
    async fn what_is_refused() {
        let harness = harness().await;
        let refused = async |body: &Value| {
            let reply = harness.post("/2015-03-31/functions", body).await;
            format!("{} {}: {}", reply.status, reply.code(), reply.message())
        };
        let unknown = "Error occurred while DescribeAccessPoints. EFS Error Code: \
                       AccessPointNotFound. EFS Error Message: Access point ";
        for arn in [
            ARN.replace("def0", "def1"),
            ARN.replace("us-east-1", "eu-west-1"),
            ARN.replace("000000000000", "111122223333"),
        ] {
            let id = arn.rsplit('/').next().unwrap();
            assert_eq!(
                refused(&creation(&arn, "/mnt/data")).await,
                format!("400 InvalidParameterValueException: {unknown}'{id}' does not exist.")
            );
        }
        let s3 = "arn:aws:s3files:us-east-1:000000000000:file-system/fs-0123456789abcdef0\
                  /access-point/fsap-0123456789abcdef0";
        assert!(refused(&creation(s3, "/mnt/data")).await.starts_with("501 "));
        for path in ["/data", "/mnt", "/mnt/a/b", "/mnt/a b"] {
            let text = refused(&creation(ARN, path)).await;
            assert!(text.starts_with("400 ValidationException: "), "{path}: {text}");
        }
        let mut two = creation(ARN, "/mnt/data");
        let one = two["FileSystemConfigs"][0].clone();
        two["FileSystemConfigs"] = json!([one, one]);
        assert!(refused(&two).await.contains("length less than or equal to 1"));
        let dots = refused(&creation(ARN, "/mnt/..")).await;
        let text = "The local mount path /mnt/.. is not a folder of /mnt.";
        assert_eq!(dots, format!("400 InvalidParameterValueException: {text}"));
    }
}
