//! The settings that CreateFunction and UpdateFunctionConfiguration share: what they may be, and
//! which of them are not offered yet.
//!
//! Nothing is accepted and then ignored. A member whose value says what happens anyway is let
//! through; any other value of a setting that is not built yet answers 501 with its name.

use lambic_front::Cx;
use lambic_model_lambda as model;
use lambic_wire::{Error, Pairs};

use super::destination::{self, Destination};
use crate::Lambda;
use crate::invoke::vpcs::Member;
use crate::limits::{
    ENVIRONMENT_BYTES_MAX, MEMORY_MB_MAX, TAGS_MAX, TIMEOUT_S_MAX, TMP_MB_MAX,
    environment_too_large, invalid, out_of_range, too_many_tags,
};
use crate::names::Target;
use crate::state::function::Variables;
use crate::state::vpc::VpcUse;

/// Names that the execution environment sets by itself.
const RESERVED: [&str; 21] = [
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_MAX_CONCURRENCY",
    "AWS_LAMBDA_METADATA_API",
    "AWS_LAMBDA_METADATA_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

/// The members of both requests that are not offered beyond their neutral value.
#[derive(Default)]
pub(crate) struct Unoffered<'a> {
    pub(crate) accelerator_config: Option<&'a model::AcceleratorConfig>,
    pub(crate) capacity_provider_config: Option<&'a model::CapacityProviderConfig>,
    pub(crate) durable_config: Option<&'a model::DurableConfig>,
    pub(crate) image_config: Option<&'a model::ImageConfig>,
    pub(crate) runtime_config: Option<&'a model::FunctionRuntimeConfig>,
}

impl Unoffered<'_> {
    /// Lets neutral values through.
    ///
    /// # Errors
    /// 501 naming the first member that says anything else.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let members = [
            ("AcceleratorConfig", self.accelerator_config.is_some()),
            ("CapacityProviderConfig", self.capacity_provider_config.is_some()),
            ("DurableConfig", self.durable_config.is_some()),
            ("ImageConfig", self.image_config.is_some_and(changes_image)),
            ("RuntimeConfig", self.runtime_config.is_some()),
        ];
        for (member, is_set) in members {
            refuse_if(is_set, member)?;
        }
        Ok(())
    }
}

/// 501 naming `member` when it is set.
pub(crate) fn refuse_if(is_set: bool, member: &str) -> Result<(), Error> {
    if is_set { Err(Error::not_offered(member)) } else { Ok(()) }
}

fn changes_image(config: &model::ImageConfig) -> bool {
    config.entry_point.as_ref().is_some_and(|all| !all.is_empty())
        || config.command.as_ref().is_some_and(|all| !all.is_empty())
        || config.working_directory.as_ref().is_some_and(|folder| !folder.is_empty())
}

/// The VPC that is asked for, if the function may be in it.
///
/// # Errors
/// See [`crate::invoke::vpcs::Vpcs`].
pub(crate) fn vpc(
    cx: &Cx<'_, Lambda>,
    target: &Target,
    given: model::VpcConfig,
) -> Result<Box<VpcUse>, Error> {
    let member = Member { account: &target.account, function_name: &target.name };
    let config = &cx.service.config;
    config.vpcs.check(&config.networks, member, given).map(Box::new)
}

/// Seconds, 1 to 900.
pub(crate) fn timeout_s(given: i32) -> Result<u32, Error> {
    in_range("timeout", given, 1, TIMEOUT_S_MAX)
}

/// MB, 128 to 10,240.
pub(crate) fn memory_mb(given: i32) -> Result<u32, Error> {
    in_range("memorySize", given, 128, MEMORY_MB_MAX)
}

/// MB, 512 to 10,240.
pub(crate) fn tmp_mb(given: &model::EphemeralStorage) -> Result<u32, Error> {
    in_range("ephemeralStorage.size", given.size, 512, TMP_MB_MAX)
}

fn in_range(member: &str, given: i32, min: i64, max: i64) -> Result<u32, Error> {
    let value = i64::from(given);
    if !(min..=max).contains(&value) {
        return Err(out_of_range(member, value, min, max));
    }
    Ok(given.unsigned_abs())
}

/// Whether the function traces actively; `None` when nothing is said.
pub(crate) fn active_tracing(given: Option<&model::TracingConfig>) -> Option<bool> {
    let mode = given?.mode.as_ref()?;
    Some(*mode == model::TracingMode::Active)
}

/// Where events of asynchronous invokes go that fail: `None` when nothing is said, `Some(None)` when
/// nowhere is.
pub(crate) fn dead_letter_arn(
    given: Option<&model::DeadLetterConfig>,
) -> Result<Option<Option<String>>, Error> {
    let Some(config) = given else { return Ok(None) };
    let Some(arn) = destination::given(config.target_arn.as_ref()) else { return Ok(Some(None)) };
    if !arn.starts_with("arn:") {
        return Err(invalid("Invalid dead letter ARN: ARNs must start with 'arn:'"));
    }
    match destination::kind(arn) {
        Some(Destination::Queue | Destination::Topic) if destination::is_whole(arn) => {
            Ok(Some(Some(arn.to_owned())))
        }
        _ => Err(invalid(format!(
            "Invalid dead letter ARN: {arn} is neither a standard SQS queue nor a standard SNS topic"
        ))),
    }
}

/// The variables, if they are few enough and none is reserved.
pub(crate) fn environment(given: model::Environment) -> Result<Variables, Error> {
    let variables = given.variables.unwrap_or_default();
    let reserved: Vec<&str> = variables
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| RESERVED.contains(name))
        .collect();
    if !reserved.is_empty() {
        return Err(invalid(format!(
            "Lambda was unable to configure your environment variables because the environment \
             variables you have provided contains reserved keys that are currently not supported \
             for modification. Reserved keys used in this request: {}",
            reserved.join(", ")
        )));
    }
    let measured = serde_json::to_string(&variables)
        .map_err(|error| Error::internal(format!("variables cannot be measured: {error}")))?;
    if measured.len() > ENVIRONMENT_BYTES_MAX {
        return Err(environment_too_large(&measured));
    }
    Ok(Variables(variables))
}

/// The machine's own architecture, if that is what was asked for; `x86_64` when nothing was.
pub(crate) fn architecture(given: &[model::Architecture]) -> Result<&'static str, Error> {
    architecture_on(std::env::consts::ARCH, given)
}

/// Code runs as it is, without emulation. So a host that is not x86_64 refuses AWS's default too,
/// rather than to show one architecture and run another.
fn architecture_on(host: &str, given: &[model::Architecture]) -> Result<&'static str, Error> {
    let (asked, needed, why) = match given {
        [] => ("x86_64", "x86_64", "the default of Architectures"),
        [model::Architecture::X86_64] => ("x86_64", "x86_64", "in Architectures"),
        [model::Architecture::Arm64] => ("arm64", "aarch64", "in Architectures"),
        _ => return Err(invalid("Architectures must hold one value.")),
    };
    if host == needed {
        return Ok(asked);
    }
    Err(Error::not_offered(&format!("{asked} ({why}) on a host whose architecture is {host}")))
}

/// Tags given at creation.
pub(crate) fn tags(given: Pairs<String>) -> Result<Pairs<String>, Error> {
    if given.len() > TAGS_MAX {
        return Err(too_many_tags());
    }
    if given.iter().any(|(key, _)| key.to_ascii_lowercase().starts_with("aws:")) {
        return Err(invalid("aws: prefixed tag key names are not allowed for external use."));
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_environment(pairs: &[(&str, &str)]) -> Result<(), String> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        environment(model::Environment { variables: Some(pairs) })
            .map(|_| ())
            .map_err(|error| error.message)
    }

    #[test]
    fn the_environment_is_measured_as_awss_does() {
        assert_eq!(check_environment(&[("LARGE_VAR", &"x".repeat(4_080))]), Ok(()));
        let value = "x".repeat(4_064);
        let error = check_environment(&[("SMALL_VAR", "ok"), ("LARGE_VAR", &value)]).unwrap_err();
        assert_eq!(
            error,
            format!(
                "Lambda was unable to configure your environment variables because the environment \
                 variables you have provided exceeded the 4KB limit. String measured: \
                 {{\"SMALL_VAR\":\"ok\",\"LARGE_VAR\":\"{value}\"}}"
            )
        );
        assert!(check_environment(&[("LARGE_VAR", &"x".repeat(4_081))]).is_err());
    }

    #[test]
    fn reserved_names() {
        let error = check_environment(&[("A", "1"), ("AWS_REGION", "x"), ("LAMBDA_TASK_ROOT", "")]);
        assert!(error.unwrap_err().ends_with("request: AWS_REGION, LAMBDA_TASK_ROOT"));
    }

    #[test]
    fn neutral_values_pass() {
        let unoffered = Unoffered {
            image_config: Some(&model::ImageConfig::default()),
            ..Unoffered::default()
        };
        assert_eq!(unoffered.check(), Ok(()));
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        let durable = model::DurableConfig::default();
        let error = Unoffered { durable_config: Some(&durable), ..Default::default() }.check();
        let error = error.unwrap_err();
        assert_eq!((error.status, error.message.contains("DurableConfig")), (501, true));
    }

    #[test]
    fn architectures_are_the_host_s_own() {
        use model::Architecture::{Arm64, X86_64};
        assert_eq!(architecture_on("x86_64", &[]), Ok("x86_64"));
        assert_eq!(architecture_on("x86_64", &[X86_64]), Ok("x86_64"));
        assert_eq!(architecture_on("aarch64", &[Arm64]), Ok("arm64"));
        for (host, given) in [("x86_64", &[Arm64][..]), ("aarch64", &[X86_64]), ("aarch64", &[])] {
            let error = architecture_on(host, given).unwrap_err();
            assert_eq!((error.status, error.message.contains(host)), (501, true), "{error:?}");
        }
        assert_eq!(architecture_on("x86_64", &[X86_64, X86_64]).unwrap_err().status, 400);
    }

    #[test]
    fn dead_letters_go_to_a_queue_or_a_topic() {
        let check = |arn: Option<&str>| {
            let config = model::DeadLetterConfig { target_arn: arn.map(str::to_owned) };
            dead_letter_arn(Some(&config)).map_err(|error| error.message)
        };
        assert_eq!(dead_letter_arn(None), Ok(None));
        assert_eq!((check(None), check(Some(""))), (Ok(Some(None)), Ok(Some(None))));
        for arn in ["arn:aws:sqs:us-east-1:000000000000:q", "arn:aws:sns:us-east-1:000000000000:t"]
        {
            assert_eq!(check(Some(arn)), Ok(Some(Some(arn.to_owned()))));
        }
        for arn in [
            "arn:aws:sqs:us-east-1:000000000000:q.fifo",
            "arn:aws:sqs:us-east-1:000000000000:",
            "arn:aws:s3:::bucket",
            "arn:aws:lambda:us-east-1:000000000000:function:f",
        ] {
            let text = check(Some(arn)).unwrap_err();
            assert!(text.starts_with("Invalid dead letter ARN: ") && text.contains(arn), "{text}");
        }
        assert_eq!(
            check(Some("queue")).unwrap_err(),
            "Invalid dead letter ARN: ARNs must start with 'arn:'"
        );
    }

    #[test]
    fn numbers_out_of_range() {
        assert_eq!(timeout_s(900), Ok(900));
        assert_eq!(
            timeout_s(901).unwrap_err().message,
            "1 validation error detected: Value '901' at 'timeout' failed to satisfy constraint: \
             Member must have value less than or equal to 900"
        );
        assert!(memory_mb(127).is_err() && memory_mb(10_241).is_err());
        assert!(tmp_mb(&model::EphemeralStorage { size: 10_241 }).is_err());
    }
}
