//! A Responses request as a Chat Completions request.

use crate::document::{Document, Json};
use crate::translate::fields::{Fields, empty};
use crate::translate::{Target, Untranslatable};

/// Translates; `model` takes the place of the one asked for.
pub fn to_chat(document: &Document, model: &str, target: Target) -> Result<Json, Untranslatable> {
    let mut from = Fields::new(document.entries(), "");
    let mut out = Json::object([("model", model.into())]);
    from.take("model");

    let mut turns = Turns::default();
    if let Some(instructions) = from.text("instructions")? {
        turns.say("system", instructions.into());
    }
    match from.take("input") {
        Some(Json::Text(text)) => turns.say("user", text.as_str().into()),
        Some(Json::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                turns.item(Fields::of(item, format!("input[{index}]"))?)?;
            }
        }
        _ => return from.refuse("input"),
    }
    out.set("messages", turns.end());

    let limit = if target.completion_limit { "max_completion_tokens" } else { "max_tokens" };
    from.copy("max_output_tokens", &mut out, limit);
    for same in ["temperature", "top_p", "user", "safety_identifier", "service_tier"] {
        from.copy(same, &mut out, same);
    }
    if let Some(stream) = from.take("stream") {
        out.set("stream", stream.clone());
        if stream.is_true() {
            // Responses always says what was used.
            out.set("stream_options", Json::object([("include_usage", true.into())]));
        }
    }
    tools(&mut from, &mut out)?;
    text(&mut from, &mut out)?;
    if let Some(reasoning) = from.take("reasoning") {
        let mut reasoning = Fields::of(reasoning, "reasoning")?;
        reasoning.copy("effort", &mut out, "reasoning_effort");
        reasoning.end()?;
    }
    from.default("store", |v| !v.is_true())?;
    from.default("background", |v| !v.is_true())?;
    from.default("truncation", |v| v.text() == Some("disabled"))?;
    from.default("top_logprobs", |v| v.number() == Some(0))?;
    // A thought comes back in the open, so there is no sealed one to include.
    from.default("include", |v| v.items().iter().all(|i| i.text() == Some("reasoning.encrypted_content")))?;
    if let Some(options) = from.take("stream_options") {
        let mut options = Fields::of(options, "stream_options")?;
        options.default("include_obfuscation", |v| !v.is_true())?;
        options.end()?;
    }
    // The answer repeats them.
    from.take("metadata");
    from.take("prompt_cache_key");
    from.take("prompt_cache_retention");
    from.end()?;
    Ok(out)
}

/// The conversation as it grows: what an assistant says, thinks and calls between two other turns is one message.
#[derive(Default)]
struct Turns {
    messages: Vec<Json>,
    text: Vec<Json>,
    thought: String,
    refusal: String,
    calls: Vec<Json>,
}

impl Turns {
    fn say(&mut self, role: &str, content: Json) {
        self.close();
        self.messages.push(Json::object([("role", role.into()), ("content", content)]));
    }

    fn close(&mut self) {
        let text = std::mem::take(&mut self.text);
        let (thought, refusal) = (std::mem::take(&mut self.thought), std::mem::take(&mut self.refusal));
        let calls = std::mem::take(&mut self.calls);
        if text.is_empty() && thought.is_empty() && refusal.is_empty() && calls.is_empty() {
            return;
        }
        let content = if text.is_empty() { Json::NULL } else { text.into() };
        let mut message = Json::object([("role", "assistant".into()), ("content", content)]);
        if !thought.is_empty() {
            message.set("reasoning_content", thought);
        }
        if !refusal.is_empty() {
            message.set("refusal", refusal);
        }
        if !calls.is_empty() {
            message.set("tool_calls", calls);
        }
        self.messages.push(message);
    }

    fn end(mut self) -> Vec<Json> {
        self.close();
        self.messages
    }

    fn item(&mut self, mut item: Fields<'_>) -> Result<(), Untranslatable> {
        let kind = item.text("type")?.unwrap_or("message");
        // The service's own bookkeeping.
        item.take("id");
        item.take("status");
        match kind {
            "message" => match item.need("role")? {
                "assistant" => self.assistant(&mut item)?,
                role @ ("user" | "system" | "developer") => {
                    let content = content(&mut item)?;
                    self.say(role, content);
                }
                _ => return item.refuse("role"),
            },
            "function_call" => {
                let (id, name) = (item.need("call_id")?, item.need("name")?);
                let function = Json::object([("name", name.into()), ("arguments", item.need("arguments")?.into())]);
                self.calls.push(Json::object([("id", id.into()), ("type", "function".into()), ("function", function)]));
            }
            "function_call_output" => {
                let id = item.need("call_id")?;
                let output = match item.take("output") {
                    Some(Json::Text(text)) => Json::from(text.as_str()),
                    _ => return item.refuse("output"),
                };
                self.close();
                self.messages.push(Json::object([
                    ("role", "tool".into()),
                    ("tool_call_id", id.into()),
                    ("content", output),
                ]));
            }
            "reasoning" => {
                item.default("encrypted_content", empty)?;
                let thoughts = [item.take("content"), item.take("summary")];
                for part in thoughts.into_iter().flatten().flat_map(Json::items) {
                    let Some(text) = part.get("text").and_then(Json::text) else { return item.refuse("content") };
                    self.thought.push_str(text);
                }
            }
            other => return item.refuse(other),
        }
        item.end()
    }

    fn assistant(&mut self, item: &mut Fields<'_>) -> Result<(), Untranslatable> {
        if !self.calls.is_empty() {
            self.close();
        }
        item.take("phase");
        let parts = match item.take("content") {
            Some(Json::Text(text)) => {
                self.text.push(text_part(text));
                return Ok(());
            }
            Some(Json::Array(parts)) => parts,
            _ => return item.refuse("content"),
        };
        for (index, part) in parts.iter().enumerate() {
            let mut part = Fields::of(part, format!("{}[{index}]", item.place("content")))?;
            match part.need("type")? {
                "output_text" | "text" => {
                    self.text.push(text_part(part.need("text")?));
                    part.default("annotations", empty)?;
                    part.take("logprobs");
                }
                "refusal" => self.refusal.push_str(part.need("refusal")?),
                other => return part.refuse(other),
            }
            part.end()?;
        }
        Ok(())
    }
}

fn text_part(text: &str) -> Json {
    Json::object([("type", "text".into()), ("text", text.into())])
}

fn content(item: &mut Fields<'_>) -> Result<Json, Untranslatable> {
    let parts = match item.take("content") {
        Some(Json::Text(text)) => return Ok(text.as_str().into()),
        Some(Json::Array(parts)) => parts,
        _ => return item.refuse("content"),
    };
    let mut made = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let mut part = Fields::of(part, format!("{}[{index}]", item.place("content")))?;
        made.push(match part.need("type")? {
            "input_text" | "text" => text_part(part.need("text")?),
            "input_image" => {
                let mut image = Json::object([("url", part.need("image_url")?.into())]);
                part.copy("detail", &mut image, "detail");
                Json::object([("type", "image_url".into()), ("image_url", image)])
            }
            "input_file" => {
                let mut file = Json::Object(Vec::new());
                file.set("file_data", part.need("file_data")?);
                part.copy("filename", &mut file, "filename");
                Json::object([("type", "file".into()), ("file", file)])
            }
            other => return part.refuse(other),
        });
        part.end()?;
    }
    Ok(made.into())
}

fn tools(from: &mut Fields<'_>, out: &mut Json) -> Result<(), Untranslatable> {
    let mut tools = Vec::new();
    for (index, tool) in from.take("tools").map_or(&[][..], Json::items).iter().enumerate() {
        let mut tool = Fields::of(tool, format!("tools[{index}]"))?;
        match tool.need("type")? {
            "function" => {}
            other => return tool.refuse(other),
        }
        let mut function = Json::object([("name", tool.need("name")?.into())]);
        for same in ["description", "parameters", "strict"] {
            tool.copy(same, &mut function, same);
        }
        tool.end()?;
        tools.push(Json::object([("type", "function".into()), ("function", function)]));
    }
    let choice = match from.take("tool_choice") {
        None => None,
        Some(word @ Json::Text(_)) if matches!(word.text(), Some("auto" | "none" | "required")) => Some(word.clone()),
        Some(named) if named.get("type").and_then(Json::text) == Some("function") => {
            let Some(name) = named.get("name").and_then(Json::text) else { return from.refuse("tool_choice") };
            let function = Json::object([("name", name.into())]);
            Some(Json::object([("type", "function".into()), ("function", function)]))
        }
        Some(_) => return from.refuse("tool_choice"),
    };
    let parallel = from.take("parallel_tool_calls");
    from.default("max_tool_calls", Json::is_null)?;
    super::offer(tools, choice, parallel, out);
    Ok(())
}

fn text(from: &mut Fields<'_>, out: &mut Json) -> Result<(), Untranslatable> {
    let Some(text) = from.take("text") else { return Ok(()) };
    let mut text = Fields::of(text, "text")?;
    text.copy("verbosity", out, "verbosity");
    if let Some(format) = text.take("format") {
        let mut format = Fields::of(format, "text.format")?;
        match format.need("type")? {
            "text" => {}
            "json_object" => out.set("response_format", Json::object([("type", "json_object".into())])),
            "json_schema" => {
                let mut named = Json::object([("name", format.need("name")?.into())]);
                for same in ["description", "schema", "strict"] {
                    format.copy(same, &mut named, same);
                }
                let form = Json::object([("type", "json_schema".into()), ("json_schema", named)]);
                out.set("response_format", form);
            }
            other => return format.refuse(other),
        }
        format.end()?;
    }
    text.end()
}
