//! Resource policies: looked at for their form, and kept.

use access::Permit;
use serde::Serialize;
use wire::aws::{AwsError, Empty};

use crate::{
    body::{Body, Status},
    error, input,
    service::DataStreams,
};

/// Bytes of a resource policy (IAM's limit for Kinesis).
const POLICY: usize = 20 * 1024;

/// API_GetResourcePolicy
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetResourcePolicyOutput {
    policy: String,
}

impl DataStreams {
    /// API_PutResourcePolicy
    pub async fn put_resource_policy(
        &self,
        permit: Permit,
        i: input::PutResourcePolicy,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        self.account_call("PutResourcePolicy", 5.0)?;
        let text = i.policy.unwrap_or_default();
        check_policy(&text)?;
        self.set_policy(i.resource_arn, Some(text)).await
    }

    /// API_DeleteResourcePolicy
    pub async fn delete_resource_policy(
        &self,
        permit: Permit,
        i: input::DeleteResourcePolicy,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        self.account_call("DeleteResourcePolicy", 5.0)?;
        let arn = i.resource_arn.as_deref().unwrap_or_default();
        let there = match self.resource(arn)? {
            (stream, None) => stream.read().body.policy.is_some(),
            (_, Some(c)) => c.policy.is_some(),
        };
        if !there {
            return Err(error::not_found(format!("No resource policy found for resource ARN {arn}")));
        }
        self.set_policy(i.resource_arn, None).await
    }

    async fn set_policy(&self, arn: Option<String>, policy: Option<String>) -> Result<Empty, AwsError> {
        match self.resource(arn.as_deref().unwrap_or_default())? {
            (stream, None) => {
                let home = &self.inner.home;
                let change = |b: &mut Body, _: &crate::map::ShardMap| {
                    if b.status != Status::Active {
                        return Err(error::not_active(home, &stream.name, b.status));
                    }
                    b.policy = policy;
                    Ok(Empty {})
                };
                stream.change(&self.inner.tools, change).await
            }
            (stream, Some(mut c)) => {
                c.policy = policy;
                self.inner.consumers.put(&self.inner.tools, stream.uid, c).await.map(|()| Empty {})
            }
        }
    }

    /// API_GetResourcePolicy
    pub async fn get_resource_policy(
        &self,
        permit: Permit,
        i: input::GetResourcePolicy,
    ) -> Result<GetResourcePolicyOutput, AwsError> {
        drop(permit);
        self.account_call("GetResourcePolicy", 5.0)?;
        let arn = i.resource_arn.unwrap_or_default();
        let policy = match self.resource(&arn)? {
            (stream, None) => stream.read().body.policy.clone(),
            (_, Some(c)) => c.policy,
        };
        let policy = policy
            .ok_or_else(|| error::not_found(format!("No resource policy found for resource ARN {arn}")))?;
        Ok(GetResourcePolicyOutput { policy })
    }
}

/// Whether a text can be a resource's policy; what it allows is enforced by the gate, once that knows policies.
fn check_policy(text: &str) -> Result<(), AwsError> {
    let bad = |why: String| error::validation(format!("The resource policy is not valid: {why}."));
    if text.len() > POLICY {
        return Err(bad(format!("it is larger than {POLICY} bytes")));
    }
    let v: serde_json::Value = serde_json::from_str(text).map_err(|e| bad(format!("it is not JSON: {e}")))?;
    let statements = match v.get("Statement") {
        Some(serde_json::Value::Array(a)) if !a.is_empty() => a.clone(),
        Some(s @ serde_json::Value::Object(_)) => vec![s.clone()],
        _ => return Err(bad("it has no Statement".into())),
    };
    if !matches!(v.get("Version").and_then(|v| v.as_str()), None | Some("2012-10-17" | "2008-10-17")) {
        return Err(bad("its Version is neither 2012-10-17 nor 2008-10-17".into()));
    }
    for s in statements {
        if !matches!(s.get("Effect").and_then(|e| e.as_str()), Some("Allow" | "Deny")) {
            return Err(bad("a statement has no Effect of Allow or Deny".into()));
        }
        for need in [["Principal", "NotPrincipal"], ["Action", "NotAction"]] {
            if need.iter().all(|n| s.get(*n).is_none()) {
                return Err(bad(format!("a statement has no {}", need[0])));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_looked_at() {
        let good = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"kinesis:*","Resource":"*"}]}"#;
        assert!(check_policy(good).is_ok());
        for bad in [
            "",
            "{}",
            r#"{"Statement":[]}"#,
            &good.replace("Allow", "Maybe"),
            &good.replace("Principal", "P"),
        ] {
            assert_eq!(check_policy(bad).unwrap_err().code, "ValidationException", "{bad}");
        }
    }
}
