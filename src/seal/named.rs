//! Keys as users name them, in AWS's forms.

/// Why a key that a user named cannot be used now: the errors that AWS's APIs have for it. The text is for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Who asks may not use it.
    #[error("{0}")]
    AccessDenied(String),
    /// It is switched off.
    #[error("{0}")]
    Disabled(String),
    /// It is not in a state to be used, such as when its deletion is scheduled.
    #[error("{0}")]
    InvalidState(String),
    /// There is none of this name.
    #[error("{0}")]
    NotFound(String),
    /// The account has no key service.
    #[error("{0}")]
    OptInRequired(String),
    /// It was asked for too often.
    #[error("{0}")]
    Throttling(String),
    /// Whoever holds it cannot be asked.
    #[error("{0}")]
    Unavailable(String),
}

/// Whether a text names a key as AWS's KMS has it (KMS Developer Guide, "Key identifiers"): a key id, `alias/NAME`, or the
/// ARN of either.
pub fn is_key_name(text: &str) -> bool {
    match text.split_once(':') {
        None => id_or_alias(text, "alias/", ""),
        Some(_) => {
            let parts: Vec<&str> = text.splitn(6, ':').collect();
            let [arn, partition, service, region, account, resource] = parts[..] else { return false };
            let word = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            arn == "arn"
                && partition.starts_with("aws")
                && word(partition)
                && service == "kms"
                && word(region)
                && account.len() == 12
                && account.bytes().all(|b| b.is_ascii_digit())
                && id_or_alias(resource, "alias/", "key/")
        }
    }
}

fn id_or_alias(text: &str, alias: &str, key: &str) -> bool {
    if let Some(name) = text.strip_prefix(alias) {
        return (1..=250).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_-".contains(&b));
    }
    let Some(id) = text.strip_prefix(key) else { return false };
    let hex = |s: &str, len: usize| s.len() == len && s.bytes().all(|b| b.is_ascii_hexdigit());
    match id.strip_prefix("mrk-") {
        Some(rest) => hex(rest, 32),
        None => {
            let mut groups = id.split('-');
            [8, 4, 4, 4, 12].iter().all(|len| groups.next().is_some_and(|g| hex(g, *len)))
                && groups.next().is_none()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_key_name;

    #[test]
    fn names_are_known_by_their_form() {
        let id = "12345678-1234-1234-1234-123456789012";
        let arn = "arn:aws:kms:us-east-1:123456789012:";
        for good in [
            id.to_owned(),
            "mrk-1234abcd12ab34cd56ef1234567890ab".into(),
            "alias/aws/kinesis".into(),
            "alias/MyAliasName".into(),
            format!("{arn}key/{id}"),
            format!("{arn}alias/MyAliasName"),
            format!("{arn}alias/aws/kinesis").replace("arn:aws:", "arn:aws-cn:"),
        ] {
            assert!(is_key_name(&good), "{good}");
        }
        for bad in [
            String::new(),
            "x".into(),
            "aws/kinesis".into(),
            "alias/".into(),
            "alias/a b".into(),
            format!("key/{id}"),
            format!("{id}-1"),
            id.replace('1', "g"),
            format!("{arn}{id}"),
            format!("{arn}key/x"),
            format!("{arn}key/{id}").replace(":kms:", ":s3:"),
            format!("{arn}key/{id}").replace("123456789012:", "1:"),
        ] {
            assert!(!is_key_name(&bad), "{bad}");
        }
    }
}
