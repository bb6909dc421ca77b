//! May this principal do this to that? One question, asked in one place.
//!
//! Today the answer is made of the account boundary and of what the resource's own policy says, which
//! its service knows. IAM policies (identity, session and boundary policies) will be evaluated here,
//! behind the same function; until then a principal may do in its account whatever no resource's policy
//! denies.

use std::sync::Arc;

use lambic_rt::Timestamp;
use lambic_wire::{Arn, Error, MessageKey};

use crate::credentials::Principal;
use crate::cx::{Cx, Origin};

/// What the policy of a resource says to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicySays {
    /// The policy allows it.
    Allow,
    /// The policy denies it, to whomever.
    Deny,
    /// There is no policy, or it is not about this request.
    Nothing,
}

/// One request, as a resource's policy is asked about it.
#[derive(Clone, Copy, Debug)]
pub struct PolicyQuestion<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// The IAM action without the service prefix.
    pub action: &'a str,
    /// What it is to be done to.
    pub resource: &'a Arn,
    /// Where the request came from.
    pub origin: &'a Origin,
    /// When.
    pub now: Timestamp,
}

/// A service whose resources may have policies. What it says is obeyed: it lets principals of other
/// accounts in, and it denies those of the resource's own account.
pub trait ResourcePolicies {
    /// What the policy of the resource says. A resource that is not there says nothing.
    fn policy_says(&self, _question: &PolicyQuestion<'_>) -> PolicySays {
        PolicySays::Nothing
    }
}

impl<T: ResourcePolicies> ResourcePolicies for Arc<T> {
    fn policy_says(&self, question: &PolicyQuestion<'_>) -> PolicySays {
        T::policy_says(self, question)
    }
}

/// Whether the caller may do `action` to `resource`.
///
/// # Errors
/// `AccessDeniedException` in AWS's words.
pub(crate) fn authorize<S: ResourcePolicies>(
    cx: &Cx<'_, S>,
    action: &str,
    resource: &Arn,
) -> Result<(), Error> {
    let now = cx.rt.now();
    let question =
        PolicyQuestion { principal: cx.principal, action, resource, origin: cx.origin, now };
    let says = cx.service.policy_says(&question);
    decide(cx.principal, resource, says)
        .map_err(|reason| forbidden(cx.principal, cx.call.service, action, resource, reason))
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// Nothing lets another account in. What else its policy says, and whether the resource is there at
    /// all, is nothing that other accounts are told.
    NotAllowed,
    /// The resource's policy says no.
    Denied,
}

/// An ARN without an account (an S3 bucket's) is open to all principals as far as the account boundary
/// goes.
fn decide(principal: &Principal, resource: &Arn, says: PolicySays) -> Result<(), Reason> {
    let is_own = resource.account.is_empty() || resource.account == principal.account;
    match says {
        PolicySays::Deny if is_own => Err(Reason::Denied),
        PolicySays::Allow => Ok(()),
        PolicySays::Nothing if is_own => Ok(()),
        PolicySays::Deny | PolicySays::Nothing => Err(Reason::NotAllowed),
    }
}

/// `AccessDeniedException` 403.
fn forbidden(
    principal: &Principal,
    service: &str,
    action: &str,
    resource: &Arn,
    reason: Reason,
) -> Error {
    let arn = &principal.arn;
    let action = format!("{service}:{action}");
    let why = match reason {
        Reason::NotAllowed => {
            format!("because no resource-based policy allows the {action} action")
        }
        Reason::Denied => "with an explicit deny in a resource-based policy".to_owned(),
    };
    let text =
        format!("User: {arn} is not authorized to perform: {action} on resource: {resource} {why}");
    Error::new("AccessDeniedException", 403, text).with_message_key(MessageKey::Upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_boundary_and_what_a_policy_says() {
        use PolicySays::{Allow, Deny, Nothing};
        let principal = Principal::role_session("111111111111", "role", "session");
        for (account, says, expect) in [
            ("111111111111", Nothing, Ok(())),
            ("111111111111", Allow, Ok(())),
            ("111111111111", Deny, Err(Reason::Denied)),
            ("222222222222", Nothing, Err(Reason::NotAllowed)),
            ("222222222222", Allow, Ok(())),
            ("222222222222", Deny, Err(Reason::NotAllowed)),
            ("", Nothing, Ok(())),
            ("", Deny, Err(Reason::Denied)),
        ] {
            let resource = Arn::new("lambda", "us-east-1", account, "function:f");
            assert_eq!(decide(&principal, &resource, says), expect, "{account} {says:?}");
        }
    }

    #[test]
    fn the_text_is_aws_s() {
        let principal = Principal::root("111111111111");
        let resource = Arn::new("lambda", "eu-west-1", "222222222222", "function:f");
        let text = |reason| {
            let error = forbidden(&principal, "lambda", "GetFunction", &resource, reason);
            assert_eq!((error.status, &*error.code), (403, "AccessDeniedException"));
            error.message
        };
        let begin = "User: arn:aws:iam::111111111111:root is not authorized to perform: \
                     lambda:GetFunction on resource: arn:aws:lambda:eu-west-1:222222222222:function:f";
        assert_eq!(
            text(Reason::NotAllowed),
            format!(
                "{begin} because no resource-based policy allows the lambda:GetFunction action"
            )
        );
        assert_eq!(
            text(Reason::Denied),
            format!("{begin} with an explicit deny in a resource-based policy")
        );
    }
}
