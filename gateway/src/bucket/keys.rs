//! Keys for a bucket: from a file, from variables, or from the machine's role.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::{AmazonS3Builder, AwsCredential};
use zeroize::Zeroizing;

use super::{BucketError, BucketOptions, Place};
use crate::upstream;

/// Variables each of which says where keys come from, if no key is in the variables themselves. A machine's own role is asked for only
/// where somebody says so.
const ROLES: [&str; 4] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_METADATA_ENDPOINT",
];

/// Gives keys to a builder that has read the variables. Refuses to go on without any.
pub(super) fn given(
    builder: AmazonS3Builder,
    options: &BucketOptions,
    place: &Place,
) -> Result<AmazonS3Builder, BucketError> {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let shared = || std::env::var_os("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    let in_variables = set("AWS_ACCESS_KEY_ID") && set("AWS_SECRET_ACCESS_KEY");
    let file = options.keys.clone().or_else(|| if in_variables { None } else { shared() });
    if let Some(path) = file {
        let profile = std::env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty());
        let file = KeyFile { path, profile: profile.unwrap_or_else(|| "default".to_owned()) };
        file.read()?;
        return Ok(builder.with_credentials(Arc::new(file)));
    }
    // A role is exchanged for keys there.
    let exchange = std::env::var("AWS_ENDPOINT_URL_STS").ok().filter(|url| !url.is_empty());
    if exchange.is_some_and(|url| !upstream::is_private(&url)) {
        return Err(BucketError::InTheClear { host: "of AWS_ENDPOINT_URL_STS".to_owned() });
    }
    match in_variables || ROLES.into_iter().any(set) {
        true => Ok(builder),
        false => Err(BucketError::NoKeys { place: place.to_string() }),
    }
}

/// A file of keys, read whenever they are needed: new ones count from the next request on.
#[derive(Debug)]
pub(super) struct KeyFile {
    pub(super) path: PathBuf,
    pub(super) profile: String,
}

impl KeyFile {
    /// The keys. Refuses a file that others may read.
    pub(super) fn read(&self) -> Result<AwsCredential, BucketError> {
        let unusable = |reason: String| BucketError::Keys { file: self.path.display().to_string(), reason };
        let text = contents(&self.path).map_err(|error| unusable(error.to_string()))?;
        parse(&text, &self.profile).map_err(unusable)
    }
}

#[async_trait]
impl CredentialProvider for KeyFile {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let read = self.read().map(Arc::new);
        read.map_err(|error| object_store::Error::Generic { store: "S3", source: Box::new(error) })
    }
}

fn contents(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        let open = format!("other users may use it (mode {:04o})", mode & 0o7777);
        return Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, open));
    }
    std::fs::read_to_string(path).map(Zeroizing::new)
}

/// The keys of a profile: `[name]`, then `key = value` lines; `#` and `;` begin comments.
fn parse(text: &str, profile: &str) -> Result<AwsCredential, String> {
    let mut section = None;
    let (mut key_id, mut secret_key, mut token) = (None, None, None);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = Some(name.trim());
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| section == Some(profile)) else { continue };
        let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        match name.trim().to_ascii_lowercase().as_str() {
            "aws_access_key_id" => key_id = value,
            "aws_secret_access_key" => secret_key = value,
            "aws_session_token" => token = value,
            _ => {}
        }
    }
    let missing = |name: &str| format!("there is no {name} in its section [{profile}]");
    Ok(AwsCredential {
        key_id: key_id.ok_or_else(|| missing("aws_access_key_id"))?,
        secret_key: secret_key.ok_or_else(|| missing("aws_secret_access_key"))?,
        token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_profile() {
        let text = "# ours\naws_access_key_id = none\n[ default ]\naws_access_key_id=AK1\nAWS_SECRET_ACCESS_KEY = a=b \n\n\
                    [ci]\naws_access_key_id = AK2\naws_secret_access_key = c\naws_session_token = t\n[half]\naws_access_key_id = AK3\n";
        let check = |profile: &str, expected: &str| {
            let found = match parse(text, profile) {
                Ok(keys) => format!("{} {} {}", keys.key_id, keys.secret_key, keys.token.unwrap_or_default()),
                Err(error) => error,
            };
            assert_eq!(found, expected, "{profile}");
        };
        check("default", "AK1 a=b ");
        check("ci", "AK2 c t");
        check("half", "there is no aws_secret_access_key in its section [half]");
        check("other", "there is no aws_access_key_id in its section [other]");
    }

    #[test]
    fn a_file_for_all_is_refused_and_a_changed_one_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let write = |key: &str, mode: u32| {
            let text = format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = hidden\n");
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let file = KeyFile { path: path.clone(), profile: "default".to_owned() };
        assert!(matches!(file.read(), Err(BucketError::Keys { .. })), "there is none");
        write("AK1", 0o640);
        let error = file.read().unwrap_err().to_string();
        assert!(error.contains("0640") && !error.contains("hidden"), "{error}");
        for key in ["AK1", "AK2"] {
            write(key, 0o600);
            assert_eq!(file.read().unwrap().key_id, key);
        }
    }
}
