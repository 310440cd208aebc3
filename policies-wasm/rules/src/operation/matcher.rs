//! Which operations a rule speaks of.

use super::{Kind, Language, Operation, rpc};
use crate::fault::Fault;
use crate::glob::Glob;
use crate::reader::{At, Fields};
use crate::rule::{Parameter, Repeated, parse_parameters};
use crate::yaml::Node;

/// Keys of rules about operations.
pub(crate) const OPERATION_KEYS: &[&str] = &["operation_type", "operation_name", "fields", "tool", "params"];

/// What is absent is any.
#[derive(Debug, Clone)]
pub(crate) enum OperationMatcher {
    GraphQl { kind: Option<Kind>, name: Option<Glob>, fields: Vec<Glob> },
    Call { method: Option<Glob>, tool: Option<Glob>, params: Vec<Parameter> },
}

impl OperationMatcher {
    pub(crate) fn parse(language: Language, node: &Node, what: &'static str) -> Result<Self, Fault> {
        let keys: &[&str] = match language {
            Language::GraphQl => &["operation_type", "operation_name", "fields"],
            Language::JsonRpc => &["method", "params"],
            Language::Mcp => &["method", "tool", "params"],
        };
        let fields = Fields::of(node, what, keys)?;
        if keys.iter().all(|key| fields.get(key).is_none()) {
            let fault = Fault::at(fields.place, format!("{what} says nothing: it would match every operation"));
            let any = if language == Language::GraphQl { "operation_type: \"*\"" } else { "method: \"**\"" };
            return Err(fault.hint(format!("if that is meant, write `{any}`")));
        }
        let glob = |key: &str| fields.string(key)?.map(|text| Glob::parse(&text)).transpose();
        if language == Language::GraphQl {
            let mut words = vec![("*", None)];
            words.extend(Kind::WORDS.map(|(word, kind)| (word, Some(kind))));
            let kind = fields.choice("operation_type", &words)?.and_then(|at| at.value);
            let named = fields.strings("fields")?;
            if let Some(place) = fields.key_place("fields").filter(|_| named.is_empty()) {
                return Err(Fault::at(place, "`fields` is empty, so this can never match").hint("leave it out"));
            }
            let named = named.iter().map(Glob::parse).collect::<Result<_, _>>()?;
            return Ok(Self::GraphQl { kind, name: glob("operation_name")?, fields: named });
        }
        let (method, tool) = (glob("method")?, glob("tool")?);
        if let (Some(_), Some(At { value, place })) = (&tool, fields.string("method")?)
            && value != rpc::CALL
        {
            let fault = Fault::at(place, format!("a tool is called with `{}`, so this can never match", rpc::CALL));
            return Err(fault.hint("leave out `method`"));
        }
        Ok(Self::Call { method, tool, params: fields.get("params").map_or(Ok(Vec::new()), parse_parameters)? })
    }

    /// With [`Repeated::Each`] everything it asks for must be what the rule speaks of; with [`Repeated::One`] one thing
    /// is enough.
    pub(crate) fn matches(&self, operation: &Operation, repeated: Repeated) -> bool {
        match (self, operation) {
            (Self::GraphQl { kind, name, fields }, Operation::GraphQl { kind: k, name: n, fields: asked }) => {
                let spoken = |field: &String| fields.iter().any(|glob| glob.matches(field));
                kind.is_none_or(|kind| kind == *k)
                    && name.as_ref().is_none_or(|glob| n.as_deref().is_some_and(|name| glob.matches(name)))
                    && (fields.is_empty()
                        || match repeated {
                            Repeated::Each => asked.iter().all(spoken),
                            Repeated::One => asked.iter().any(spoken),
                        })
            }
            (Self::Call { method, tool, params }, Operation::Call { method: m, tool: t, params: given }) => {
                method.as_ref().is_none_or(|glob| glob.matches(m))
                    && tool.as_ref().is_none_or(|glob| t.as_deref().is_some_and(|tool| glob.matches(tool)))
                    && params.iter().all(|parameter| {
                        let mut leaves = Vec::new();
                        if let Some(value) = given.get(parameter.name()) {
                            value.leaves(&mut leaves);
                        }
                        parameter.accepts(leaves.into_iter(), repeated)
                    })
            }
            _ => false,
        }
    }
}
