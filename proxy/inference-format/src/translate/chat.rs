//! What Chat Completions requests say, read the same way whichever API they are for.

use super::Untranslatable;
use super::fields::{Fields, empty};
use crate::document::Json;

/// Makes something of one part of a message, by its kind.
pub type Each<'e, 'a> = &'e dyn Fn(&str, &mut Fields<'a>) -> Result<Json, Untranslatable>;

/// A function that is offered as a tool.
pub struct Function<'a> {
    pub name: &'a str,
    pub description: Option<&'a Json>,
    /// The schema of its arguments; of no arguments, where none is given.
    pub parameters: Json,
    pub strict: bool,
}

/// Which tool is to be called.
pub enum Choice<'a> {
    /// `auto`, `none`, `required`.
    Word(&'a str),
    /// This function.
    Function(&'a str),
}

/// A call of a tool.
pub struct Call<'a> {
    pub id: &'a str,
    pub name: &'a str,
    /// As the model wrote them, if it did.
    pub arguments: Option<&'a str>,
    /// Where they stand.
    pub place: String,
}

/// The most output tokens that are wanted.
pub fn limit<'a>(from: &mut Fields<'a>) -> Option<&'a Json> {
    [from.take("max_completion_tokens"), from.take("max_tokens")].into_iter().flatten().next()
}

/// Takes a message's content apart; `text` is made of content that is one text.
pub fn content<'a>(
    from: &mut Fields<'a>,
    text: impl FnOnce(&'a str) -> Vec<Json>,
    each: Each<'_, 'a>,
) -> Result<Vec<Json>, Untranslatable> {
    match from.take("content") {
        None => Ok(Vec::new()),
        Some(Json::Text(content)) => Ok(text(content)),
        Some(Json::Array(parts)) => {
            let mut made = Vec::new();
            for (index, part) in parts.iter().enumerate() {
                let mut part = Fields::of(part, format!("{}[{index}]", from.place("content")))?;
                let kind = part.need("type")?;
                made.push(each(kind, &mut part)?);
                part.end()?;
            }
            Ok(made)
        }
        Some(_) => from.refuse("content"),
    }
}

/// The calls that an assistant's message makes.
pub fn calls<'a>(from: &mut Fields<'a>) -> Result<Vec<Call<'a>>, Untranslatable> {
    let mut calls = Vec::new();
    for (index, call) in from.take("tool_calls").map_or(&[][..], Json::items).iter().enumerate() {
        let mut call = Fields::of(call, format!("{}[{index}]", from.place("tool_calls")))?;
        let id = call.need("id")?;
        call.default("type", |t| t.text() == Some("function"))?;
        call.take("index");
        let Some(function) = call.take("function") else { return call.refuse("function") };
        let mut function = Fields::of(function, call.place("function"))?;
        let (name, arguments) = (function.need("name")?, function.text("arguments")?);
        calls.push(Call { id, name, arguments, place: function.place("arguments") });
        function.end()?;
        call.end()?;
    }
    Ok(calls)
}

/// The tools that are offered. Refuses those that are no functions.
pub fn functions<'a>(from: &mut Fields<'a>) -> Result<Vec<Function<'a>>, Untranslatable> {
    let mut functions = Vec::new();
    for (index, tool) in from.take("tools").map_or(&[][..], Json::items).iter().enumerate() {
        let mut tool = Fields::of(tool, format!("tools[{index}]"))?;
        match tool.need("type")? {
            "function" => {}
            other => return tool.refuse(other),
        }
        let Some(function) = tool.take("function") else { return tool.refuse("function") };
        let mut function = Fields::of(function, tool.place("function"))?;
        let nothing = || Json::object([("type", "object".into()), ("properties", Json::Object(Vec::new()))]);
        functions.push(Function {
            name: function.need("name")?,
            description: function.take("description"),
            parameters: function.take("parameters").cloned().unwrap_or_else(nothing),
            strict: function.take("strict").is_some_and(Json::is_true),
        });
        function.end()?;
        tool.end()?;
    }
    Ok(functions)
}

/// Which tool is to be called, if the request says so.
pub fn choice<'a>(from: &mut Fields<'a>) -> Result<Option<Choice<'a>>, Untranslatable> {
    match from.take("tool_choice") {
        None => Ok(None),
        Some(Json::Text(word)) => Ok(Some(Choice::Word(word))),
        Some(named) => match named.get("function").and_then(|f| f.get("name")).and_then(Json::text) {
            Some(name) => Ok(Some(Choice::Function(name))),
            None => from.refuse("tool_choice"),
        },
    }
}

/// Takes what no other API has a form for, where it says what holds anyway; refuses it where it does not.
pub fn defaults(from: &mut Fields<'_>) -> Result<(), Untranslatable> {
    // Whether the caller's stream ends with figures is the stream translator's concern.
    if let Some(options) = from.take("stream_options") {
        let mut options = Fields::of(options, "stream_options")?;
        options.take("include_usage");
        options.default("include_obfuscation", |v| !v.is_true())?;
        options.end()?;
    }
    from.default("n", |n| n.number() == Some(1))?;
    from.default("logprobs", |v| !v.is_true())?;
    for penalty in ["frequency_penalty", "presence_penalty", "top_logprobs"] {
        from.default(penalty, |v| v.float() == Some(0.0))?;
    }
    for list in ["logit_bias", "metadata", "functions"] {
        from.default(list, empty)?;
    }
    from.default("store", |v| !v.is_true())?;
    from.default("modalities", |v| v.items().len() == 1 && v.items()[0].text() == Some("text"))
}
