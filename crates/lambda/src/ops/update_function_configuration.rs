//! Changes a function's settings; members that are not given stay as they are.
//!
//! ```text
//! PUT /2015-03-31/functions/hello/configuration
//! {"Timeout": 30, "Environment": {"Variables": {"MODE": "test"}}}
//!
//! 200
//! {"FunctionName": "hello", "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello",
//!  "Runtime": "python3.13", "Role": "arn:aws:iam::000000000000:role/r",
//!  "Handler": "main.handler", "CodeSize": "<any>", "Description": "", "Timeout": 30,
//!  "MemorySize": 128, "LastModified": "<any>", "CodeSha256": "<any>", "Version": "$LATEST",
//!  "Environment": {"Variables": {"MODE": "test"}},
//!  "TracingConfig": {"Mode": "PassThrough"}, "RevisionId": "<any>", "State": "Active",
//!  "LastUpdateStatus": "InProgress", "LastUpdateStatusReason": "The function is being created.",
//!  "LastUpdateStatusReasonCode": "Creating",
//!  "PackageType": "Zip", "Architectures": ["x86_64"], "EphemeralStorage": {"Size": 512},
//!  "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
//!  "RuntimeVersionConfig": {"RuntimeVersionArn": "<any>"},
//!  "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/hello"}}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{FunctionConfiguration, UpdateFunctionConfigurationRequest};
use lambic_wire::{Arn, Error};

use super::change::{By, check, read, today, update};
use super::file_systems;
use super::layers;
use super::logging;
use super::put_runtime_management_config::check_change;
use super::secrets;
use super::settings::{self, Unoffered};
use super::show::show;
use super::signatures::{admit_layers, check_config, config_of};
use super::snap_start;
use crate::Lambda;
use crate::limits::invalid;
use crate::names::{self, Target};
use crate::state::file_system::FileSystemUse;
use crate::state::function::{Configuration, new_generation};
use crate::state::layer::LayerUse;
use crate::state::runtime_id;
use crate::state::vpc::VpcUse;

/// The operation.
pub struct UpdateFunctionConfiguration;

impl Serve for UpdateFunctionConfiguration {
    type Service = Lambda;
    type Operation = model::ops::UpdateFunctionConfiguration;

    fn resource(cx: &Cx<'_, Lambda>, input: &UpdateFunctionConfigurationRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        mut input: UpdateFunctionConfigurationRequest,
    ) -> Result<FunctionConfiguration, Error> {
        let target = names::resolve_unqualified(cx.account, cx.region, &input.function_name)?;
        refuse_unoffered(&input)?;
        let revision_id = input.revision_id.take();
        let arns = input.layers.take();
        let mut changes = Changes::check(cx, &target, input)?;
        let mut config = None;
        let brings_layers = arns.is_some();
        let _merged = match arns {
            Some(arns) => {
                // Asked before the layers are made one, which is the dear part, and once more
                // afterwards.
                let stored = read(cx, &target).await?;
                check(&stored.value, revision_id.as_deref())?;
                let layers = layers::used(cx, &arns).await?;
                layers::check_size(&stored.value.shown().code, &layers)?;
                config = config_of(cx, &stored.value).await?;
                let demanded = config.as_ref().map(|config| &config.value);
                Box::pin(admit_layers(cx, demanded, &layers)).await?;
                let merged = cx.service.packages.merge(&layers).await?;
                changes.layers = Some(layers);
                merged
            }
            None => Vec::new(),
        };
        let by =
            By { revision_id: revision_id.as_deref(), publishes: false, config: config.as_ref() };
        let updated = update(cx, &target, by, |record| {
            let mut next = record.shown().clone();
            check_runtime(cx, &next.runtime, changes.runtime.as_deref())?;
            changes.apply(&mut next, &target.name)?;
            changes.secrets.apply(cx, &target, &mut next)?;
            snap_start::check(cx, &next)?;
            check_change(record, &next.runtime)?;
            if brings_layers {
                check_config(&target, record, config.as_ref())?;
            }
            next.generation = new_generation(cx.rt);
            Ok(next)
        });
        Ok(show(cx, &Box::pin(updated).await?.0, None))
    }
}

/// What is to become different, checked.
struct Changes {
    runtime: Option<String>,
    role: Option<String>,
    handler: Option<String>,
    description: Option<String>,
    timeout_s: Option<u32>,
    memory_mb: Option<u32>,
    tmp_mb: Option<u32>,
    active_tracing: Option<bool>,
    snap_start: Option<bool>,
    secrets: secrets::Change,
    /// `Some(None)` takes it away.
    file_system: Option<Option<Box<FileSystemUse>>>,
    vpc: Option<Box<VpcUse>>,
    layers: Option<Vec<LayerUse>>,
    logging: Option<model::LoggingConfig>,
    dead_letter_arn: Option<Option<String>>,
}

impl Changes {
    fn check(
        cx: &Cx<'_, Lambda>,
        target: &Target,
        input: UpdateFunctionConfigurationRequest,
    ) -> Result<Changes, Error> {
        let file_systems = input.file_system_configs.as_deref();
        let runtime = input.runtime.map(|runtime| runtime.as_str().to_owned());
        Ok(Changes {
            runtime,
            role: input.role,
            handler: input.handler,
            description: input.description,
            timeout_s: input.timeout.map(settings::timeout_s).transpose()?,
            memory_mb: input.memory_size.map(settings::memory_mb).transpose()?,
            tmp_mb: input.ephemeral_storage.as_ref().map(settings::tmp_mb).transpose()?,
            active_tracing: settings::active_tracing(input.tracing_config.as_ref()),
            snap_start: snap_start::given(input.snap_start.as_ref()),
            secrets: secrets::Change {
                variables: input.environment.map(settings::environment).transpose()?,
                key_arn: input.kms_key_arn,
            },
            file_system: file_systems
                .map(|given| file_systems::used(cx, target, given))
                .transpose()?,
            vpc: input.vpc_config.map(|given| settings::vpc(cx, target, given)).transpose()?,
            layers: None,
            dead_letter_arn: settings::dead_letter_arn(input.dead_letter_config.as_ref())?,
            logging: input.logging_config,
        })
    }

    fn apply(&self, to: &mut Configuration, name: &str) -> Result<(), Error> {
        set(&mut to.runtime, &self.runtime);
        set(&mut to.role, &self.role);
        set(&mut to.description, &self.description);
        set(&mut to.timeout_s, &self.timeout_s);
        set(&mut to.memory_mb, &self.memory_mb);
        set(&mut to.tmp_mb, &self.tmp_mb);
        set(&mut to.active_tracing, &self.active_tracing);
        set(&mut to.snap_start, &self.snap_start);
        set(&mut to.dead_letter_arn, &self.dead_letter_arn);
        set(&mut to.file_system, &self.file_system);
        if let Some(vpc) = &self.vpc {
            // One that never had any shows none.
            if to.vpc.is_some() || !vpc.is_none() {
                to.vpc = Some(vpc.clone());
            }
        }
        if let Some(handler) = &self.handler {
            to.handler = Some(handler.clone()).filter(|handler| !handler.is_empty());
        }
        if let Some(layers) = &self.layers {
            layers::check_size(&to.code, layers)?;
            to.layers.clone_from(layers);
        }
        to.logging = logging::changed(&to.logging, self.logging.as_ref(), name)?;
        if to.handler.is_none() && !runtime_id::is_provided(&to.runtime) {
            return Err(invalid(
                "Runtime and Handler are mandatory parameters for functions created with \
                 deployment packages.",
            ));
        }
        Ok(())
    }
}

/// A function may keep a retired runtime longer than others may get it.
fn check_runtime(cx: &Cx<'_, Lambda>, kept: &str, wanted: Option<&str>) -> Result<(), Error> {
    let allowed = &cx.service.config.allow_retired;
    match wanted {
        Some(wanted) if wanted != kept => runtime_id::check_new(wanted, allowed, &today(cx)),
        _ => runtime_id::check_kept(kept, allowed, &today(cx)),
    }
}

fn set<T: Clone>(to: &mut T, given: &Option<T>) {
    if let Some(value) = given {
        to.clone_from(value);
    }
}

fn refuse_unoffered(input: &UpdateFunctionConfigurationRequest) -> Result<(), Error> {
    let unoffered = Unoffered {
        accelerator_config: input.accelerator_config.as_ref(),
        capacity_provider_config: input.capacity_provider_config.as_ref(),
        durable_config: input.durable_config.as_ref(),
        image_config: input.image_config.as_ref(),
        runtime_config: input.runtime_config.as_ref(),
    };
    unoffered.check()
}

#[cfg(test)]
mod tests {
    use lambic_rt::Rt;
    use lambic_store::Store;
    use serde_json::json;

    use crate::ops::testing::{Harness, documented, zip_base64};
    use crate::state::runtime_id::AllowRetired;

    const PATH: &str = "/2015-03-31/functions/hello/configuration";

    #[tokio::test]
    async fn dead_letters_are_shown_and_published_and_taken_back() {
        let harness = Harness::new().await;
        let config = |arn: &str| json!({"TargetArn": arn});
        let queue = config("arn:aws:sqs:us-east-1:000000000000:q");
        let mut body = Harness::creation("hello");
        body["DeadLetterConfig"] = queue.clone();
        let made = harness.post("/2015-03-31/functions", &body).await;
        assert_eq!((made.status, &made.json()["DeadLetterConfig"]), (201, &queue));
        harness.settle().await;
        let published = harness.post("/2015-03-31/functions/hello/versions", &json!({})).await;
        assert_eq!(published.status, 201);
        for (given, expected) in [
            (json!({"Timeout": 9}), Some(queue.clone())),
            (json!({"DeadLetterConfig": {"TargetArn": ""}}), None),
            (
                json!({"DeadLetterConfig": config("arn:aws:sns:us-east-1:000000000000:t")}),
                Some(config("arn:aws:sns:us-east-1:000000000000:t")),
            ),
            (json!({"DeadLetterConfig": {}}), None),
        ] {
            let reply = harness.put(PATH, &given).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            assert_eq!(reply.json().get("DeadLetterConfig"), expected.as_ref(), "{given}");
            harness.settle().await;
        }
        let wrong = json!({"DeadLetterConfig": config("arn:aws:s3:::bucket")});
        let reply = harness.put(PATH, &wrong).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "InvalidParameterValueException"));
        let version = harness.get(&format!("{PATH}?Qualifier=1")).await.json();
        assert_eq!(version["DeadLetterConfig"], queue);
    }

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("update_function_configuration.rs"))).await;
    }

    #[tokio::test]
    async fn layers_are_made_one_only_for_a_function_that_may_have_them() {
        let harness = Harness::with_layer().await;
        let layers = json!({"Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:shared:1"]});
        assert_eq!(harness.put(PATH, &layers).await.status, 404);
        harness.create("hello").await;
        let mut stale = layers.clone();
        stale["RevisionId"] = json!("00000000-0000-4000-8000-000000000000");
        assert_eq!(harness.put(PATH, &stale).await.status, 412);
        let updated = harness.put(PATH, &layers).await;
        assert_eq!(
            (updated.status, &updated.json()["Layers"][0]["Arn"]),
            (200, &layers["Layers"][0])
        );
    }

    #[tokio::test]
    async fn retired_runtimes_run_on_but_do_not_change() {
        let (rt, refused) = (Rt::real(), 400);
        let store = Store::in_memory(rt.clone()).unwrap();
        let allow =
            |ids: &[&str]| AllowRetired::new(ids.iter().map(|id| (*id).to_owned()).collect());
        let before =
            Harness::on(store.clone(), rt.clone(), |it| it.allow_retired = allow(&["*"])).await;
        let mut body = Harness::creation("old");
        body["Runtime"] = json!("nodejs12.x");
        assert_eq!(before.post("/2015-03-31/functions", &body).await.status, 201);
        before.settle().await;

        let harness = Harness::on(store, rt, |it| it.allow_retired = allow(&["nodejs24.x"])).await;
        let (function, invoke) =
            ("/2015-03-31/functions/old", "/2015-03-31/functions/old/invocations");
        assert_eq!(harness.invoke(invoke, b"1", &[]).await.status, 200);
        let (settings, code) = (format!("{function}/configuration"), format!("{function}/code"));
        let text = "is no longer supported for creating or updating AWS Lambda functions. We \
                    recommend you use a supported runtime while creating or updating functions.";
        for (path, change, runtime) in [
            (&settings, json!({"Timeout": 9}), "nodejs12.x"),
            (&settings, json!({"Runtime": "nodejs12.x"}), "nodejs12.x"),
            (&settings, json!({"Runtime": "python3.7"}), "python3.7"),
            (&code, json!({"ZipFile": zip_base64()}), "nodejs12.x"),
        ] {
            let reply = harness.put(path, &change).await;
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (refused, "InvalidParameterValueException")
            );
            assert_eq!(reply.message(), format!("The runtime parameter of {runtime} {text}"));
        }
        let reply = harness.put(&settings, &json!({"Runtime": "nodejs24.x", "Timeout": 9})).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        harness.settle().await;
        assert_eq!(harness.put(&code, &json!({"ZipFile": zip_base64()})).await.status, 200);
    }

    #[tokio::test]
    async fn a_function_being_created_is_left_alone() {
        let harness = Harness::new().await;
        let body = Harness::creation("hello");
        assert_eq!(harness.post("/2015-03-31/functions", &body).await.status, 201);
        let reply = harness.put(PATH, &json!({"Timeout": 30})).await;
        assert_eq!(
            (reply.status, reply.message().as_str()),
            (
                409,
                "The operation cannot be performed at this time. The function is currently in the \
                 following state: Pending"
            )
        );
    }

    #[tokio::test]
    async fn what_is_not_given_stays() {
        let harness = Harness::with_hello().await;
        harness.put(PATH, &json!({"Environment": {"Variables": {"AA": "1"}}})).await;
        harness.settle().await;
        let reply = harness.put(PATH, &json!({"MemorySize": 256})).await.json();
        assert_eq!(reply["Environment"], json!({"Variables": {"AA": "1"}}));
        harness.settle().await;
        let reply = harness.put(PATH, &json!({"Environment": {"Variables": {}}})).await.json();
        assert_eq!(reply["Environment"], json!({"Variables": {}}));
        assert_eq!(reply["MemorySize"], 256);
    }

    #[tokio::test]
    async fn tracing_is_switched_on_and_off_and_stays() {
        let harness = Harness::with_hello().await;
        let steps = [
            (json!({"TracingConfig": {"Mode": "Active"}}), "Active"),
            (json!({"Timeout": 4}), "Active"),
            (json!({"TracingConfig": {}}), "Active"),
            (json!({"TracingConfig": {"Mode": "PassThrough"}}), "PassThrough"),
        ];
        for (change, mode) in steps {
            let reply = harness.put(PATH, &change).await.json();
            assert_eq!(reply["TracingConfig"], json!({"Mode": mode}), "{change}");
            harness.settle().await;
            assert_eq!(harness.get(PATH).await.json()["TracingConfig"], json!({"Mode": mode}));
        }
    }

    #[tokio::test]
    async fn many_writers_lose_no_update() {
        let harness = Harness::with_hello().await;
        let mut accepted = 0;
        let mut conflicts = 0;
        while accepted < 32 {
            let writers = (0..32).map(|_| async {
                let current = harness.get(PATH).await.json();
                let description = current["Description"].as_str().unwrap().to_owned() + "+";
                let body = json!({
                    "Description": description,
                    "RevisionId": current["RevisionId"],
                });
                harness.put(PATH, &body).await
            });
            for reply in futures_util::future::join_all(writers).await {
                match (reply.status, reply.code().as_str()) {
                    (200, _) => accepted += 1,
                    (409, "ResourceConflictException") | (412, "PreconditionFailedException") => {
                        conflicts += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            harness.settle().await;
        }
        let description = harness.get(PATH).await.json()["Description"].as_str().unwrap().len();
        assert_eq!(description, accepted);
        assert!(conflicts > 0);
    }
}
