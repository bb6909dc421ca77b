//! Creates a function. It answers `Pending` and becomes `Active` a moment later.
//!
//! ```text
//! POST /2015-03-31/functions
//! {"FunctionName": "new", "Runtime": "python3.13", "Handler": "main.handler",
//!  "Role": "arn:aws:iam::000000000000:role/r", "Code": {"ZipFile": "<zip>"}}
//!
//! 201
//! {"FunctionName": "new", "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:new",
//!  "Runtime": "python3.13", "Role": "arn:aws:iam::000000000000:role/r",
//!  "Handler": "main.handler", "CodeSize": "<any>", "Description": "", "Timeout": 3,
//!  "MemorySize": 128, "LastModified": "<any>", "CodeSha256": "<any>", "Version": "$LATEST",
//!  "TracingConfig": {"Mode": "PassThrough"}, "RevisionId": "<any>", "State": "Pending",
//!  "StateReason": "The function is being created.", "StateReasonCode": "Creating",
//!  "PackageType": "Zip", "Architectures": ["x86_64"], "EphemeralStorage": {"Size": 512},
//!  "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
//!  "RuntimeVersionConfig": {"RuntimeVersionArn": "<any>"},
//!  "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/new"}}
//! ```

use std::collections::BTreeMap;

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{CreateFunctionRequest, FunctionConfiguration, errors};
use lambic_store::{Stored, Transaction};
use lambic_wire::{Arn, Error};

use super::change::{EDIT_ATTEMPTS_MAX, commit, read, settle_at, today};
use super::code_signing::{begin_use, read_for_function};
use super::file_systems;
use super::layers;
use super::logging;
use super::publish::{check_publish_to, publish};
use super::secrets;
use super::settings::{self, Unoffered, refuse_if};
use super::show::show;
use super::signatures::{admit, admit_layers, examine};
use super::snap_start;
use crate::Lambda;
use crate::limits::{
    CODE_STORAGE_BYTES_MAX, MEMORY_MB_DEFAULT, TIMEOUT_S_DEFAULT, TMP_MB_DEFAULT,
    code_storage_exceeded, invalid, too_many_changes,
};
use crate::names::{self, Target};
use crate::state::code_signing::CodeSigningRecord;
use crate::state::file_system::FileSystemUse;
use crate::state::function::{
    Code, Configuration, FunctionRecord, State, UpdateStatus, new_generation,
};
use crate::state::logging::Logging;
use crate::state::numbers::Numbers;
use crate::state::runtime_id;
use crate::state::vpc::VpcUse;

/// The operation.
pub struct CreateFunction;

impl Serve for CreateFunction {
    type Service = Lambda;
    type Operation = model::ops::CreateFunction;

    fn resource(cx: &Cx<'_, Lambda>, input: &CreateFunctionRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        mut input: CreateFunctionRequest,
    ) -> Result<FunctionConfiguration, Error> {
        let target = names::resolve_unqualified(cx.account, cx.region, &input.function_name)?;
        refuse_unoffered(&input)?;
        check_publish_to(input.publish_to.as_ref())?;
        let settings = Settings::check(cx, &input, &target.name)?;
        let tags = settings::tags(input.tags.take().unwrap_or_default())?;
        let of_machine = OfMachine::check(cx, &target, &mut input)?;
        if cx.service.catalog.find(&target.account, &target.region, &target.name).is_some() {
            return Err(already_exists(&target));
        }
        let config = match input.code_signing_config_arn.as_ref().filter(|arn| !arn.is_empty()) {
            Some(arn) => Some(read_for_function(cx, &target.account, arn).await?),
            None => None,
        };
        let demanded = config.as_ref().map(|config| &config.value);
        let layers = layers::used(cx, input.layers.as_deref().unwrap_or_default()).await?;
        Box::pin(admit_layers(cx, demanded, &layers)).await?;
        let zip = input.code.zip_file.take().ok_or_else(no_code)?;
        let publishes = input.publish == Some(true);
        check_storage(cx, cx.account, zip.0.len() as u64 * if publishes { 2 } else { 1 }).await?;
        let package = cx.service.packages.take(zip.0.clone()).await?;
        let signature = admit(cx, demanded, examine(cx, &zip.0).await, &target.name)?;
        let code = Code { signature, ..package.code.clone() };
        layers::check_size(&package.code, &layers)?;
        let _merged = cx.service.packages.merge(&layers).await?;
        let mut configuration = Configuration {
            layers,
            description: input.description.take().unwrap_or_default(),
            ..settings.into_configuration(cx, input.role, input.handler, code)
        };
        of_machine.apply(cx, &target, &mut configuration)?;
        snap_start::check(cx, &configuration)?;
        let record = FunctionRecord {
            account: target.account.clone(),
            region: target.region.clone(),
            name: target.name.clone(),
            tags,
            running: configuration,
            updating: None,
            state: State::Pending,
            update: UpdateStatus::None,
            revision_id: cx.rt.uuid(),
            settle_at_micros: Some(settle_at(cx).micros()),
            last_version: 0,
            versions: Numbers::default(),
            snapshots: BTreeMap::new(),
            version_bytes: 0,
            aliases: BTreeMap::new(),
            qualified: BTreeMap::new(),
            reserved_concurrency: None,
            recursion_allowed: false,
            code_signing_config: config.as_ref().map(|config| config.value.arn()),
        };
        let inserted = Box::pin(insert(cx, &target, record, publishes, config));
        let (record, version) = inserted.await?;
        // AWS's answer names the version, and not in the ARN.
        let shown = show(cx, &record, None);
        Ok(FunctionConfiguration { version: version.or(shown.version), ..shown })
    }
}

/// Commits a new function, with a first version if it is to be published, under its code signing
/// configuration. Answers the record and the number of the version.
async fn insert(
    cx: &Cx<'_, Lambda>,
    target: &Target,
    record: FunctionRecord,
    publishes: bool,
    mut config: Option<Stored<CodeSigningRecord>>,
) -> Result<(FunctionRecord, Option<String>), Error> {
    for _ in 0..EDIT_ATTEMPTS_MAX {
        let mut record = record.clone();
        let mut transaction = Transaction::new();
        let mut version = None;
        if publishes {
            let latest = record.running.clone();
            let at = settle_at(cx);
            let published = publish(cx, &mut record, &mut transaction, &latest, None, at);
            version = Some(published.number.to_string());
        }
        if let Some(config) = &config {
            begin_use(&mut transaction, config, &record.name);
        }
        transaction.insert(&record.key(), &record);
        if commit(cx, transaction).await?.is_some() {
            return Ok((record, version));
        }
        // The function is there by now, or its configuration was written meanwhile, for which another
        // function that begins to use it is enough.
        let checked = config.take().ok_or_else(|| already_exists(target))?;
        if read(cx, target).await.is_ok() {
            return Err(already_exists(target));
        }
        let present = read_for_function(cx, &target.account, &checked.value.arn()).await?;
        if present.value != checked.value {
            return Err(too_many_changes());
        }
        config = Some(present);
    }
    Err(too_many_changes())
}

/// What of this machine the function asks for: keys, folders, networks.
struct OfMachine {
    secrets: secrets::Change,
    file_system: Option<Box<FileSystemUse>>,
    vpc: Option<Box<VpcUse>>,
}

impl OfMachine {
    fn check(
        cx: &Cx<'_, Lambda>,
        target: &Target,
        input: &mut CreateFunctionRequest,
    ) -> Result<OfMachine, Error> {
        let file_systems = input.file_system_configs.take().unwrap_or_default();
        let vpc = input.vpc_config.take().map(|given| settings::vpc(cx, target, given));
        Ok(OfMachine {
            secrets: secrets::Change {
                variables: input.environment.take().map(settings::environment).transpose()?,
                key_arn: input.kms_key_arn.take(),
            },
            file_system: file_systems::used(cx, target, &file_systems)?,
            vpc: vpc.transpose()?.filter(|used| !used.is_none()),
        })
    }

    fn apply(
        self,
        cx: &Cx<'_, Lambda>,
        target: &Target,
        to: &mut Configuration,
    ) -> Result<(), Error> {
        to.file_system = self.file_system;
        to.vpc = self.vpc;
        self.secrets.apply(cx, target, to)
    }
}

/// The settings with defaults, checked.
struct Settings {
    runtime: String,
    timeout_s: u32,
    memory_mb: u32,
    tmp_mb: u32,
    active_tracing: bool,
    isolates_tenants: bool,
    snap_start: bool,
    architecture: &'static str,
    logging: Logging,
    dead_letter_arn: Option<String>,
}

impl Settings {
    fn check(
        cx: &Cx<'_, Lambda>,
        input: &CreateFunctionRequest,
        name: &str,
    ) -> Result<Settings, Error> {
        let runtime = input.runtime.as_ref().map(|runtime| runtime.as_str().to_owned());
        let runtime = runtime.ok_or_else(runtime_and_handler)?;
        runtime_id::check_new(&runtime, &cx.service.config.allow_retired, &today(cx))?;
        let has_handler = input.handler.as_ref().is_some_and(|handler| !handler.is_empty());
        if !has_handler && !runtime_id::is_provided(&runtime) {
            return Err(runtime_and_handler());
        }
        let storage = input.ephemeral_storage.clone();
        let storage = storage.unwrap_or(model::EphemeralStorage { size: TMP_MB_DEFAULT as i32 });
        Ok(Settings {
            runtime,
            timeout_s: settings::timeout_s(input.timeout.unwrap_or(TIMEOUT_S_DEFAULT as i32))?,
            memory_mb: settings::memory_mb(input.memory_size.unwrap_or(MEMORY_MB_DEFAULT as i32))?,
            tmp_mb: settings::tmp_mb(&storage)?,
            active_tracing: settings::active_tracing(input.tracing_config.as_ref())
                .unwrap_or(false),
            isolates_tenants: input.tenancy_config.is_some(),
            snap_start: snap_start::given(input.snap_start.as_ref()).unwrap_or(false),
            architecture: settings::architecture(input.architectures.as_deref().unwrap_or(&[]))?,
            logging: logging::changed(&Logging::default(), input.logging_config.as_ref(), name)?,
            dead_letter_arn: settings::dead_letter_arn(input.dead_letter_config.as_ref())?
                .flatten(),
        })
    }

    fn into_configuration(
        self,
        cx: &Cx<'_, Lambda>,
        role: String,
        handler: Option<String>,
        code: Code,
    ) -> Configuration {
        Configuration {
            runtime: self.runtime,
            handler: handler.filter(|handler| !handler.is_empty()),
            role,
            description: String::new(),
            timeout_s: self.timeout_s,
            memory_mb: self.memory_mb,
            tmp_mb: self.tmp_mb,
            environment: None,
            kms_key_arn: None,
            sealed_environment: None,
            active_tracing: self.active_tracing,
            isolates_tenants: self.isolates_tenants,
            snap_start: self.snap_start,
            architecture: self.architecture.to_owned(),
            logging: self.logging,
            dead_letter_arn: self.dead_letter_arn,
            code,
            layers: Vec::new(),
            file_system: None,
            vpc: None,
            last_modified_micros: cx.rt.now().micros(),
            generation: new_generation(cx.rt),
        }
    }
}

fn refuse_unoffered(input: &CreateFunctionRequest) -> Result<(), Error> {
    let code = &input.code;
    let has_source_key = code.source_kms_key_arn.as_ref().is_some_and(|arn| !arn.is_empty());
    let is_image = input.package_type.as_ref().is_some_and(|kind| *kind != model::PackageType::Zip);
    refuse_if(is_image, "PackageType Image")?;
    refuse_if(code.image_uri.is_some(), "Code.ImageUri")?;
    refuse_if(code.s3_bucket.is_some(), "Code.S3Bucket")?;
    refuse_if(code.s3_key.is_some(), "Code.S3Key")?;
    refuse_if(code.s3_object_version.is_some(), "Code.S3ObjectVersion")?;
    refuse_if(code.s3_object_storage_mode.is_some(), "Code.S3ObjectStorageMode")?;
    refuse_if(has_source_key, "Code.SourceKMSKeyArn")?;
    let unoffered = Unoffered {
        accelerator_config: input.accelerator_config.as_ref(),
        capacity_provider_config: input.capacity_provider_config.as_ref(),
        durable_config: input.durable_config.as_ref(),
        image_config: input.image_config.as_ref(),
        runtime_config: input.runtime_config.as_ref(),
    };
    unoffered.check()
}

/// Whether so many more bytes of packages fit into the account.
pub(super) async fn check_storage(
    cx: &Cx<'_, Lambda>,
    account: &str,
    bytes: u64,
) -> Result<(), Error> {
    let functions = cx.service.catalog.usage(account, cx.region).code_bytes;
    let used = functions.saturating_add(layers::stored_bytes(cx, account).await?);
    if used.saturating_add(bytes) > CODE_STORAGE_BYTES_MAX {
        return Err(code_storage_exceeded());
    }
    Ok(())
}

/// Neither a zip nor anything else.
pub(super) fn no_code() -> Error {
    invalid("Please provide a source for function code.")
}

fn runtime_and_handler() -> Error {
    invalid(
        "Runtime and Handler are mandatory parameters for functions created with deployment \
         packages.",
    )
}

fn already_exists(target: &Target) -> Error {
    errors::resource_conflict(format!("Function already exist: {}", target.name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        Harness::new().await.check(&documented(include_str!("create_function.rs"))).await;
    }

    #[tokio::test]
    async fn published_at_once() {
        let harness = Harness::new().await;
        let mut body = Harness::creation("f");
        body["Publish"] = json!(true);
        let reply = harness.post("/2015-03-31/functions", &body).await.json();
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:f";
        assert_eq!((&reply["Version"], &reply["FunctionArn"]), (&json!("1"), &json!(arn)));
        assert_eq!(reply["State"], "Pending");
        harness.settle().await;
        let published = harness.post("/2015-03-31/functions/f/versions", &json!({})).await.json();
        assert_eq!((&published["Version"], &published["State"]), (&json!("1"), &json!("Active")));
    }

    async fn refusal(change: impl FnOnce(&mut serde_json::Value)) -> String {
        let harness = Harness::new().await;
        let mut body = Harness::creation("f");
        change(&mut body);
        let reply = harness.post("/2015-03-31/functions", &body).await;
        assert!(harness.lambda.catalog.find("000000000000", "us-east-1", "f").is_none());
        format!("{} {}: {}", reply.status, reply.code(), reply.message())
    }

    #[tokio::test]
    async fn what_is_refused() {
        let invalid = "400 InvalidParameterValueException: ";
        let runtime_and_handler = format!(
            "{invalid}Runtime and Handler are mandatory parameters for functions created with \
             deployment packages."
        );
        assert_eq!(refusal(|body| drop(body["Handler"].take())).await, runtime_and_handler);
        assert_eq!(refusal(|body| drop(body["Runtime"].take())).await, runtime_and_handler);
        assert_eq!(
            refusal(|body| body["Code"] = json!({})).await,
            format!("{invalid}Please provide a source for function code.")
        );
        assert_eq!(
            refusal(|body| body["Code"] = json!({"ZipFile": "bm8gemlw"})).await,
            format!(
                "{invalid}Could not unzip uploaded file. Please check your file, then try to \
                 upload again."
            )
        );
        let unknown = refusal(|body| body["Runtime"] = json!("non-existent-runtime")).await;
        assert!(
            unknown
                .starts_with(&format!("{invalid}Value non-existent-runtime at 'runtime' failed")),
            "{unknown}"
        );
        let retired = refusal(|body| body["Runtime"] = json!("python3.7")).await;
        assert!(
            retired
                .starts_with(&format!("{invalid}The runtime parameter of python3.7 is no longer")),
            "{retired}"
        );
        let long = "a".repeat(65);
        assert_eq!(
            refusal(|body| body["FunctionName"] = json!(long)).await,
            format!(
                "{invalid}1 validation error detected: Value '{long}' at 'functionName' failed to \
                 satisfy constraint: Member must have length less than or equal to 64"
            )
        );
        let tags: serde_json::Map<_, _> =
            (0..51).map(|number| (format!("t{number}"), json!("v"))).collect();
        assert_eq!(
            refusal(|body| body["Tags"] = tags.into()).await,
            format!("{invalid}Number of tags exceeds resource tag limit.")
        );
    }

    #[tokio::test]
    async fn what_is_not_offered_is_named() {
        let cases = [
            ("PackageType", json!("Image"), "PackageType"),
            ("Code", json!({"S3Bucket": "bucket", "S3Key": "key"}), "Code.S3Bucket"),
            ("DurableConfig", json!({}), "DurableConfig"),
            ("Runtime", json!("dotnet8"), "dotnet8"),
            ("Architectures", json!(["arm64"]), "arm64"),
        ];
        for (member, value, named) in cases {
            if named == "arm64" && cfg!(target_arch = "aarch64") {
                continue;
            }
            let refused = refusal(|body| body[member] = value).await;
            let expected =
                refused.starts_with("501 NotImplementedException") && refused.contains(named);
            assert!(expected, "{member}: {refused}");
        }
    }

    #[tokio::test]
    async fn layers_have_to_be_there_and_few() {
        let harness = Harness::with_layer().await;
        let arn = |name: &str| format!("arn:aws:lambda:us-east-1:000000000000:layer:{name}");
        let refused = async |layers: &[String]| {
            let mut body = Harness::creation("f");
            body["Layers"] = json!(layers);
            let reply = harness.post("/2015-03-31/functions", &body).await;
            format!("{} {}: {}", reply.status, reply.code(), reply.message())
        };
        let invalid = "400 InvalidParameterValueException: ";
        let shared = arn("shared:1");
        let six: Vec<_> = (0..6).map(|number| arn(&format!("l{number}:1"))).collect();
        let other_region = "arn:aws:lambda:eu-west-1:000000000000:layer:shared:1".to_owned();
        for (layers, text) in [
            (vec![arn("none:1")], format!("Layer version {} does not exist.", arn("none:1"))),
            (six, "Cannot reference more than 5 layers.".to_owned()),
            (
                vec![other_region],
                "Layers are not in the same region as the function. Layers are expected to be in \
                 region us-east-1."
                    .to_owned(),
            ),
            (
                vec![shared.clone(), shared.clone()],
                format!(
                    "Two different versions of the same layer are not allowed to be referenced in \
                     the same function. {shared} and {shared} are versions of the same layer."
                ),
            ),
        ] {
            assert_eq!(refused(&layers).await, format!("{invalid}{text}"));
        }
        let mut body = Harness::creation("f");
        body["Layers"] = json!([shared]);
        let created = harness.post("/2015-03-31/functions", &body).await.json();
        assert_eq!(created["Layers"][0]["Arn"], json!(shared));
        assert!(created["Layers"][0]["CodeSize"].as_i64().unwrap() > 0);
    }

    #[tokio::test]
    async fn neutral_values_are_accepted() {
        let harness = Harness::new().await;
        let mut body = Harness::creation("f");
        let neutral = json!({
            "Publish": false, "TracingConfig": {"Mode": "PassThrough"}, "VpcConfig": {},
            "SnapStart": {"ApplyOn": "None"}, "Layers": [], "FileSystemConfigs": [],
            "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/f"},
            "DeadLetterConfig": {}, "Architectures": ["x86_64"], "KMSKeyArn": "",
            "PackageType": "Zip", "Environment": {"Variables": {"BB": "2", "AA": "1"}}
        });
        for (member, value) in neutral.as_object().unwrap() {
            body[member] = value.clone();
        }
        let reply = harness.post("/2015-03-31/functions", &body).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let text = String::from_utf8_lossy(&reply.body);
        assert!(text.contains(r#""Variables":{"BB":"2","AA":"1"}"#), "{text}");
    }

    #[tokio::test]
    async fn a_name_is_given_once_even_to_many_at_a_time() {
        let harness = Harness::new().await;
        let body = Harness::creation("f");
        let attempts = (0..8).map(|_| harness.post("/2015-03-31/functions", &body));
        let replies = futures_util::future::join_all(attempts).await;
        let created = replies.iter().filter(|reply| reply.status == 201).count();
        assert_eq!(created, 1);
        for reply in replies.iter().filter(|reply| reply.status != 201) {
            assert_eq!(
                (reply.status, reply.code().as_str(), reply.message().as_str()),
                (409, "ResourceConflictException", "Function already exist: f")
            );
        }
    }
}
