//! Every quota: unit, default, AWS's code and message.

use lambic_model_lambda::errors;
use lambic_wire::{Error, Fault};

/// A zip given inline, in bytes.
pub const ZIPPED_BYTES_MAX: u64 = 52_428_800;
/// The document of a resource's policy, in bytes.
pub const POLICY_BYTES_MAX: usize = 20_480;
/// The documents of all policies of a function, its versions and its aliases, in bytes. AWS has no such
/// limit; here they are in one record, which is read and written whole.
pub const POLICIES_BYTES_MAX: usize = 1_024 * 1_024;
/// Layers of one function.
pub const LAYERS_MAX: usize = 5;
/// Concurrency that stays for the functions that reserve none.
pub const UNRESERVED_CONCURRENCY_MIN: u64 = 100;
/// Aliases of one function. AWS has a limit and does not tell it.
pub const ALIASES_MAX: usize = 1_000;
/// Everything that comes out of a zip, or of a function's package and those of its layers together,
/// in bytes; exactly so many are too many.
pub const UNZIPPED_BYTES_MAX: u64 = 262_144_000;
/// All packages of one account in one region, zipped, in bytes (75 GB).
pub const CODE_STORAGE_BYTES_MAX: u64 = 80_530_636_800;
/// Environment variables of one function, measured as compact JSON text, in bytes.
pub const ENVIRONMENT_BYTES_MAX: usize = 4_096;
/// The event and the answer of a synchronous invoke, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 6_291_456;
/// `X-Amz-Client-Context` as sent, in bytes of base64.
pub const CLIENT_CONTEXT_BYTES_MAX: usize = 3_583;
/// A plain function name, in characters.
pub const NAME_CHARACTERS_MAX: usize = 64;
/// Filters of one event source mapping.
pub const FILTERS_MAX: usize = 5;
/// Event source mappings on one page of a list, whatever is asked for.
pub const MAPPINGS_PAGE_ITEMS_MAX: usize = 100;
/// Event source mappings that are looked at for one page; with a filter, a page may end before it is
/// full.
pub const MAPPINGS_PAGE_SCAN_MAX: usize = 2_000;
/// Invocations of one function that one chain of requests may set off, unless the function is part of
/// loops on purpose (PutFunctionRecursionConfig).
pub const RECURSIVE_INVOCATIONS_MAX: u32 = 16;
/// Tags of one function.
pub const TAGS_MAX: usize = 50;
/// Seconds that one invoke may take.
pub const TIMEOUT_S_MAX: i64 = 900;
/// Seconds that one invoke may take when nothing is said.
pub const TIMEOUT_S_DEFAULT: i64 = 3;
/// Memory, in MB.
pub const MEMORY_MB_MAX: i64 = 10_240;
/// Memory when nothing is said, in MB.
pub const MEMORY_MB_DEFAULT: i64 = 128;
/// `/tmp`, in MB.
pub const TMP_MB_MAX: i64 = 10_240;
/// `/tmp` when nothing is said, in MB.
pub const TMP_MB_DEFAULT: i64 = 512;
/// Functions on one page of ListFunctions, whatever is asked for.
pub const PAGE_ITEMS_MAX: usize = 50;
/// A request that may carry a package: 50 MB as base64 and the rest of the document, in bytes.
pub const PACKAGE_REQUEST_BYTES_MAX: usize = 70_167_211;
/// What the front reads of an invoke's payload, in bytes. More than [`PAYLOAD_BYTES_MAX`], so that
/// a payload that is a little too large gets the answer that tells its size.
pub const INVOKE_REQUEST_BYTES_MAX: usize = 8 * 1_024 * 1_024;
/// Any other request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 1_024 * 1_024;
/// Validity of the link that GetFunction gives, in seconds.
pub const CODE_LINK_S: i64 = 600;
/// Packages that are unpacked at the same time; the others wait for their turn.
pub const UNPACKING_MAX: usize = 4;

/// Environments of a function that isolates tenants, at work or idle: so many for each so many of its
/// concurrency.
pub const TENANT_ENVIRONMENTS_MAX: (u64, u64) = (2_500, 1_000);

/// The zip is larger than [`ZIPPED_BYTES_MAX`].
pub(crate) fn zipped_too_large() -> Error {
    let text = format!("Zipped size must be smaller than {ZIPPED_BYTES_MAX} bytes");
    Error::new("RequestEntityTooLargeException", 413, text)
}

/// More than [`UNZIPPED_BYTES_MAX`] come out.
pub(crate) fn unzipped_too_large() -> Error {
    invalid(format!("Unzipped size must be smaller than {UNZIPPED_BYTES_MAX} bytes"))
}

/// The policies of a function, its versions and its aliases are larger than
/// [`POLICIES_BYTES_MAX`] together.
pub(crate) fn policies_too_large(bytes: usize) -> Error {
    let text = format!(
        "The policies of the function, its versions and its aliases have {bytes} bytes together, \
         which is more than the limit of this server ({POLICIES_BYTES_MAX})."
    );
    Error::new("PolicyLengthExceededException", 400, text).with_fault(Fault::User)
}

/// A policy is larger than [`POLICY_BYTES_MAX`].
pub(crate) fn policy_too_large(bytes: usize) -> Error {
    let text =
        format!("The final policy size ({bytes}) is bigger than the limit ({POLICY_BYTES_MAX}).");
    Error::new("PolicyLengthExceededException", 400, text).with_fault(Fault::User)
}

/// More than [`ALIASES_MAX`].
pub(crate) fn too_many_aliases() -> Error {
    let text = format!("A function cannot have more than {ALIASES_MAX} aliases.");
    Error::new("AliasLimitExceededException", 400, text).with_fault(Fault::User)
}

/// Too many callers change the same thing at the same time; clients try again by themselves.
pub(crate) fn too_many_changes() -> Error {
    Error::new("TooManyRequestsException", 429, "Rate exceeded")
        .with_fault(Fault::User)
        .with_member("Reason", "CallerRateLimitExceeded")
        .with_header("retry-after", "1")
}

/// Layers alone are more than [`UNZIPPED_BYTES_MAX`].
pub(crate) fn layers_too_large() -> Error {
    invalid(format!("Layers consume more than the available size of {UNZIPPED_BYTES_MAX} bytes"))
}

/// Package and layers are more than [`UNZIPPED_BYTES_MAX`].
pub(crate) fn code_and_layers_too_large(bytes: u64) -> Error {
    invalid(format!(
        "Function code combined with layers exceeds the maximum allowed size of \
         {UNZIPPED_BYTES_MAX} bytes. The actual size is {bytes} bytes."
    ))
}

/// The account has no room for another package.
pub(crate) fn code_storage_exceeded() -> Error {
    Error::new("CodeStorageExceededException", 400, "Code storage limit exceeded.")
        .with_fault(Fault::User)
}

/// Memory that brings one processor with it, in MB (AWS: "Configure Lambda function memory").
pub(crate) const MB_PER_PROCESSOR: u32 = 1_769;

/// The processors that this memory size brings, in thousandths of one.
pub(crate) fn cpu_millis(memory_mb: u32) -> u32 {
    memory_mb.saturating_mul(1_000).div_ceil(MB_PER_PROCESSOR)
}

/// `measured` is the JSON text that is too long.
pub(crate) fn environment_too_large(measured: &str) -> Error {
    invalid(format!(
        "Lambda was unable to configure your environment variables because the environment \
         variables you have provided exceeded the 4KB limit. String measured: {measured}"
    ))
}

/// The event of a synchronous invoke is larger than [`PAYLOAD_BYTES_MAX`].
pub(crate) fn payload_too_large(bytes: usize) -> Error {
    let text = format!(
        "{bytes} byte payload is too large for the RequestResponse invocation type \
         (limit {PAYLOAD_BYTES_MAX} bytes)"
    );
    Error::new("RequestTooLargeException", 413, text).with_fault(Fault::User)
}

/// More than [`FILTERS_MAX`] filters.
pub(crate) fn too_many_filters() -> Error {
    invalid(format!(
        "Number of filters exceeds the limit of {FILTERS_MAX} for an event source mapping."
    ))
}

/// A chain of requests has passed the function [`RECURSIVE_INVOCATIONS_MAX`] times.
pub(crate) fn recursive_invocation() -> Error {
    let text = "Lambda has detected your function being invoked in a recursive loop with other AWS \
                resources and stopped your function's invocation.";
    errors::recursive_invocation(text)
}

/// More than [`TAGS_MAX`] tags.
pub(crate) fn too_many_tags() -> Error {
    invalid("Number of tags exceeds resource tag limit.")
}

/// A number outside of what a function may have, in the words of a violated constraint.
pub(crate) fn out_of_range(member: &str, value: i64, min: i64, max: i64) -> Error {
    let (side, bound) = if value > max { ("less", max) } else { ("greater", min) };
    let text = format!(
        "Value '{value}' at '{member}' failed to satisfy constraint: Member must have value {side} \
         than or equal to {bound}"
    );
    Error::validation(vec![text])
}

/// The same without saying whose fault it is, as AWS answers where a configuration does not go
/// together with what there is already.
pub(crate) fn invalid_of_nobody(message: impl Into<String>) -> Error {
    Error::new("InvalidParameterValueException", 400, message.into())
}

/// `InvalidParameterValueException`: a business rule said no.
pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new("InvalidParameterValueException", 400, message.into()).with_fault(Fault::User)
}
