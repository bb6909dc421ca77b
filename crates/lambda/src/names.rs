//! What a caller may write where a function's name is asked for.
//!
//! A plain name, a partial ARN (`123456789012:function:hello`) or a full ARN, each with or without
//! a qualifier, and the qualifier once more in the query. It is resolved here, once; further inward
//! only [`Target`] travels.

use lambic_wire::{Arn, Error, Fault, MessageKey};

use crate::limits::{NAME_CHARACTERS_MAX, invalid};

/// The version that is worked on.
pub const LATEST: &str = "$LATEST";

/// Which function, and which version or alias of it, a caller means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Twelve digits; the caller's own unless an ARN says otherwise.
    pub account: String,
    /// The caller's own unless an ARN says otherwise.
    pub region: String,
    /// The plain name.
    pub name: String,
    /// From the name or from the query; never empty.
    pub qualifier: Option<String>,
}

/// The parts of a function name as written. Anything the pattern of the API's model lets through
/// can be split.
#[derive(Debug, PartialEq, Eq)]
struct Written<'a> {
    region: Option<&'a str>,
    account: Option<&'a str>,
    name: &'a str,
    qualifier: Option<&'a str>,
}

fn split(text: &str) -> Written<'_> {
    let mut rest = text;
    if rest.starts_with("arn:")
        && let Some(at) = rest.find(":lambda:")
    {
        rest = &rest[at + ":lambda:".len()..];
    }
    let mut region = None;
    if let Some((first, after)) = rest.split_once(':')
        && is_region(first)
    {
        (region, rest) = (Some(first), after);
    }
    let mut account = None;
    if let Some((first, after)) = rest.split_once(':')
        && first.len() == 12
        && first.bytes().all(|byte| byte.is_ascii_digit())
    {
        (account, rest) = (Some(first), after);
    }
    let rest = rest.strip_prefix("function:").unwrap_or(rest);
    match rest.split_once(':') {
        Some((name, qualifier)) => Written { region, account, name, qualifier: Some(qualifier) },
        None => Written { region, account, name: rest, qualifier: None },
    }
}

/// Letters, dashes and one digit at the end, such as `eu-west-1` or `us-gov-east-1`.
fn is_region(text: &str) -> bool {
    let Some((zone, number)) = text.rsplit_once('-') else { return false };
    let dashes = zone.bytes().filter(|byte| *byte == b'-').count();
    number.len() == 1
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && dashes >= 1
        && zone.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

/// The ARN of what is named, in the account and region that the name says, for authorization: the
/// function, or with a qualifier in the name its version or alias. `$LATEST` in the name is the function
/// itself, as it is for the operations that ask so. A caller may name another account's function;
/// whether they may use it is not decided here.
pub fn resource(account: &str, region: &str, text: &str) -> Arn {
    let text = text.strip_suffix(":$LATEST").unwrap_or(text);
    qualified_resource(account, region, text, None)
}

/// The same where the qualifier may also stand beside the name. Whether both are the same is not
/// decided here.
pub fn qualified_resource(account: &str, region: &str, text: &str, qualifier: Option<&str>) -> Arn {
    let written = split(text);
    let (account, region) = (written.account.unwrap_or(account), written.region.unwrap_or(region));
    let asked = qualifier.filter(|qualifier| !qualifier.is_empty());
    let resource = match written.qualifier.or(asked) {
        Some(qualifier) => format!("function:{}:{qualifier}", written.name),
        None => format!("function:{}", written.name),
    };
    Arn::new("lambda", region, account, resource)
}

/// Resolves what was written as name and as qualifier.
///
/// # Errors
/// A name that is too long, a function of another region, or two qualifiers that differ.
pub fn resolve(
    account: &str,
    region: &str,
    text: &str,
    qualifier: Option<&str>,
) -> Result<Target, Error> {
    let written = split(text);
    if written.name.chars().count() > NAME_CHARACTERS_MAX {
        return Err(invalid(format!(
            "1 validation error detected: Value '{}' at 'functionName' failed to satisfy \
             constraint: Member must have length less than or equal to {NAME_CHARACTERS_MAX}",
            written.name
        )));
    }
    if let Some(wanted) = written.region
        && wanted != region
    {
        return Err(not_found(format!(
            "Functions from '{wanted}' are not reachable in this region ('{region}')"
        )));
    }
    let asked = qualifier.filter(|qualifier| !qualifier.is_empty());
    if let (Some(derived), Some(asked)) = (written.qualifier, asked)
        && derived != asked
    {
        return Err(invalid(
            "The derived qualifier from the function name does not match the specified qualifier.",
        ));
    }
    Ok(Target {
        account: written.account.unwrap_or(account).to_owned(),
        region: region.to_owned(),
        name: written.name.to_owned(),
        qualifier: written.qualifier.or(asked).map(str::to_owned),
    })
}

/// Resolves a name where a version or an alias makes no sense: changing a function is changing
/// `$LATEST`.
///
/// # Errors
/// As [`resolve`], and for any qualifier but `$LATEST`.
pub fn resolve_unqualified(account: &str, region: &str, text: &str) -> Result<Target, Error> {
    let target = resolve(account, region, text, None)?;
    match target.qualifier.as_deref() {
        None | Some(LATEST) => Ok(target),
        Some(_) => Err(invalid(
            "This operation is permitted on Lambda functions only. Aliases and versions do not \
             support this operation. Please specify either a function name or an unqualified \
             function ARN.",
        )),
    }
}

impl Target {
    /// Without the qualifier.
    pub fn arn(&self) -> String {
        function_arn(&self.account, &self.region, &self.name)
    }

    /// With the qualifier, if there is one.
    pub fn qualified_arn(&self) -> String {
        match &self.qualifier {
            Some(qualifier) => format!("{}:{qualifier}", self.arn()),
            None => self.arn(),
        }
    }

    /// 404: there is no such function, or no such version or alias of it.
    pub fn not_found(&self) -> Error {
        not_found(format!("Function not found: {}", self.qualified_arn()))
    }
}

/// ARN of a function without a qualifier.
pub fn function_arn(account: &str, region: &str, name: &str) -> String {
    format!("arn:aws:lambda:{region}:{account}:function:{name}")
}

/// `ResourceNotFoundException`, in AWS's form.
pub(crate) fn not_found(message: String) -> Error {
    Error::new("ResourceNotFoundException", 404, message)
        .with_message_key(MessageKey::Upper)
        .with_fault(Fault::User)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "000000000000";

    fn check(text: &str, qualifier: Option<&str>, expect: &str) {
        let got = match resolve(ACCOUNT, "us-east-1", text, qualifier) {
            Ok(target) => target.qualified_arn(),
            Err(error) => format!("{} {}: {}", error.status, error.code, error.message),
        };
        assert_eq!(got, expect, "{text} {qualifier:?}");
    }

    #[test]
    fn every_way_to_write_a_name() {
        let plain = "arn:aws:lambda:us-east-1:000000000000:function:hello";
        for text in [
            "hello",
            "function:hello",
            "000000000000:hello",
            "000000000000:function:hello",
            "us-east-1:000000000000:function:hello",
            "us-east-1:hello",
            plain,
        ] {
            check(text, None, plain);
            check(text, Some(""), plain);
            check(text, Some("live"), &format!("{plain}:live"));
            check(&format!("{text}:$LATEST"), None, &format!("{plain}:$LATEST"));
            check(&format!("{text}:7"), Some("7"), &format!("{plain}:7"));
        }
        let odd = "arn:aws:lambda:us-east-1:000000000000:function";
        check("us-east-1", None, &format!("{odd}:us-east-1"));
        check("123456789012", None, &format!("{odd}:123456789012"));
        check("function", None, &format!("{odd}:function"));
        check(
            "arn:aws:lambda:us-east-1:111111111111:function:f",
            None,
            "arn:aws:lambda:us-east-1:111111111111:function:f",
        );
    }

    #[test]
    fn what_is_refused() {
        check(
            "hello:1",
            Some("2"),
            "400 InvalidParameterValueException: The derived qualifier from the function name does \
             not match the specified qualifier.",
        );
        check(
            "arn:aws:lambda:eu-west-1:000000000000:function:f",
            None,
            "404 ResourceNotFoundException: Functions from 'eu-west-1' are not reachable in this \
             region ('us-east-1')",
        );
        let long = "a".repeat(65);
        check(
            &long,
            None,
            &format!(
                "400 InvalidParameterValueException: 1 validation error detected: Value '{long}' \
                 at 'functionName' failed to satisfy constraint: Member must have length less \
                 than or equal to 64"
            ),
        );
        assert!(resolve_unqualified(ACCOUNT, "us-east-1", "f:$LATEST").is_ok());
        assert_eq!(resolve_unqualified(ACCOUNT, "us-east-1", "f:1").unwrap_err().status, 400);
    }

    #[test]
    fn authorization_sees_the_account_that_is_named() {
        let arn =
            resource(ACCOUNT, "us-east-1", "arn:aws:lambda:eu-west-1:111111111111:function:f:1");
        assert_eq!(arn.to_string(), "arn:aws:lambda:eu-west-1:111111111111:function:f:1");
        let arn = resource(ACCOUNT, "us-east-1", "f:$LATEST");
        assert_eq!(arn.to_string(), "arn:aws:lambda:us-east-1:000000000000:function:f");
        let arn = resource(ACCOUNT, "us-east-1", "f");
        assert_eq!(arn.to_string(), "arn:aws:lambda:us-east-1:000000000000:function:f");
        for (text, qualifier, expect) in [
            ("f", Some("live"), "f:live"),
            ("f:live", None, "f:live"),
            ("f:live", Some("1"), "f:live"),
            ("f", Some(""), "f"),
            ("f", Some("$LATEST"), "f:$LATEST"),
        ] {
            let arn = qualified_resource(ACCOUNT, "us-east-1", text, qualifier);
            assert_eq!(arn.resource, format!("function:{expect}"), "{text} {qualifier:?}");
        }
    }
}
