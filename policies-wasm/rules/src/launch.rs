//! The static sections: `filesystem_policy`, `landlock`, `process`.

use openshell_policy_sdk::Constraints;

use crate::fault::Fault;
use crate::reader::{At, Fields};

/// What the `launch` hook answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct LaunchRules {
    include_workdir: bool,
    read_only: Vec<String>,
    read_write: Vec<String>,
    strict: bool,
    user: Option<String>,
    group: Option<String>,
}

impl LaunchRules {
    pub(crate) fn parse(document: &Fields<'_>) -> Result<Self, Fault> {
        let mut rules = Self::default();
        if let Some(node) = document.get("filesystem_policy") {
            let fields = Fields::of(node, "`filesystem_policy`", &["include_workdir", "read_only", "read_write"])?;
            rules.include_workdir = fields.bool("include_workdir")?.unwrap_or(false);
            rules.read_only = paths(fields.strings("read_only")?)?;
            let writable = fields.strings("read_write")?;
            if let Some(root) = writable.iter().find(|path| path.value.trim_end_matches('/').is_empty()) {
                return Err(root
                    .fault("the whole file system can't be writable")
                    .hint("list the directories to write to"));
            }
            rules.read_write = paths(writable)?;
        }
        if let Some(node) = document.get("landlock") {
            let fields = Fields::of(node, "`landlock`", &["compatibility"])?;
            let strict = fields.choice("compatibility", &[("best_effort", false), ("hard_requirement", true)])?;
            rules.strict = strict.is_some_and(|strict| strict.value);
        }
        if let Some(node) = document.get("process") {
            let fields = Fields::of(node, "`process`", &["run_as_user", "run_as_group"])?;
            rules.user = account(fields.string("run_as_user")?)?;
            rules.group = account(fields.string("run_as_group")?)?;
        }
        Ok(rules)
    }

    /// The working directory is written `.`; a user and a group are written `user:group`.
    pub(crate) fn constraints(&self) -> Constraints {
        let mut read_write = self.read_write.clone();
        if self.include_workdir {
            read_write.push(".".to_owned());
        }
        let user = match (&self.user, &self.group) {
            (user, None) => user.clone(),
            (user, Some(group)) => Some(format!("{}:{group}", user.as_deref().unwrap_or_default())),
        };
        Constraints { read_only: self.read_only.clone(), read_write, user, strict: self.strict }
    }
}

fn paths(paths: Vec<At<String>>) -> Result<Vec<String>, Fault> {
    let check = |path: At<String>| {
        if !path.value.starts_with('/') {
            return Err(path.fault("a path here is absolute").hint(format!("write `/{}`", path.value)));
        }
        if path.value.split('/').any(|segment| segment == "..") {
            return Err(path.fault("a path here has no `..`"));
        }
        if path.value.contains('*') {
            return Err(path
                .fault("a path here is no pattern")
                .hint("name the directory: what is below it is included"));
        }
        Ok(path.value)
    };
    paths.into_iter().map(check).collect()
}

fn account(name: Option<At<String>>) -> Result<Option<String>, Fault> {
    match name {
        Some(name) if name.value.is_empty() || name.value.contains([':', ' ', '/']) => {
            Err(name.fault(format!("`{}` is no account name or number", name.value)))
        }
        name => Ok(name.map(|name| name.value)),
    }
}
