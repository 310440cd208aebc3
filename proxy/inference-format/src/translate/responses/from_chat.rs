//! A Chat Completions request as a Responses request.

use crate::document::{Document, Json};
use crate::translate::Untranslatable;
use crate::translate::fields::{Fields, empty};

/// Translates; `model` takes the place of the one asked for. The service is told to keep nothing, as Chat Completions does.
pub fn to_responses(document: &Document, model: &str) -> Result<Json, Untranslatable> {
    let mut from = Fields::new(document.entries(), "");
    let mut out = Json::object([("model", model.into())]);
    from.take("model");
    let Some(Json::Array(turns)) = from.take("messages") else { return from.refuse("messages") };
    let mut input = Vec::new();
    for (index, turn) in turns.iter().enumerate() {
        let mut turn = Fields::of(turn, format!("messages[{index}]"))?;
        match turn.need("role")? {
            role @ ("system" | "developer" | "user") => {
                let content = parts(&mut turn, &said)?;
                input.push(Json::object([("role", role.into()), ("content", content.into())]));
            }
            "assistant" => assistant(&mut turn, &mut input)?,
            "tool" => {
                let id = turn.need("tool_call_id")?;
                turn.take("name");
                let content = parts(&mut turn, &said)?;
                let texts: Option<Vec<&str>> = content.iter().map(|p| p.get("text").and_then(Json::text)).collect();
                let Some(texts) = texts else { return turn.refuse("content") };
                input.push(Json::object([
                    ("type", "function_call_output".into()),
                    ("call_id", id.into()),
                    ("output", texts.join("\n").into()),
                ]));
            }
            _ => return turn.refuse("role"),
        }
        turn.end()?;
    }
    out.set("input", input);
    out.set("store", false);
    let limit = [from.take("max_completion_tokens"), from.take("max_tokens")].into_iter().flatten().next();
    if let Some(limit) = limit {
        out.set("max_output_tokens", limit.clone());
    }
    for same in ["temperature", "top_p", "user", "safety_identifier", "service_tier", "prompt_cache_key", "stream"] {
        from.copy(same, &mut out, same);
    }
    // Whether the caller's stream ends with figures is the stream translator's concern.
    if let Some(options) = from.take("stream_options") {
        let mut options = Fields::of(options, "stream_options")?;
        options.take("include_usage");
        options.default("include_obfuscation", |v| !v.is_true())?;
        options.end()?;
    }
    tools(&mut from, &mut out)?;
    text(&mut from, &mut out)?;
    if let Some(effort) = from.take("reasoning_effort") {
        out.set("reasoning", Json::object([("effort", effort.clone())]));
    }
    from.default("n", |n| n.number() == Some(1))?;
    from.default("logprobs", |v| !v.is_true())?;
    for penalty in ["frequency_penalty", "presence_penalty", "top_logprobs"] {
        from.default(penalty, |v| v.float() == Some(0.0))?;
    }
    for list in ["logit_bias", "metadata", "functions", "stop"] {
        from.default(list, empty)?;
    }
    from.default("store", |v| !v.is_true())?;
    from.default("modalities", |v| v.items().len() == 1 && v.items()[0].text() == Some("text"))?;
    from.end()?;
    Ok(out)
}

fn part(kind: &str, text: &str) -> Json {
    Json::object([("type", kind.into()), ("text", text.into())])
}

type Each<'e, 'a> = &'e dyn Fn(&str, &mut Fields<'a>) -> Result<Json, Untranslatable>;

fn parts<'a>(turn: &mut Fields<'a>, each: Each<'_, 'a>) -> Result<Vec<Json>, Untranslatable> {
    match turn.take("content") {
        None => Ok(Vec::new()),
        Some(Json::Text(text)) => Ok(vec![part("input_text", text)]),
        Some(Json::Array(given)) => {
            let mut made = Vec::new();
            for (index, given) in given.iter().enumerate() {
                let mut given = Fields::of(given, format!("{}[{index}]", turn.place("content")))?;
                let kind = given.need("type")?;
                made.push(each(kind, &mut given)?);
                given.end()?;
            }
            Ok(made)
        }
        Some(_) => turn.refuse("content"),
    }
}

fn said(kind: &str, from: &mut Fields<'_>) -> Result<Json, Untranslatable> {
    match kind {
        "text" => Ok(part("input_text", from.need("text")?)),
        "image_url" => {
            let Some(image) = from.take("image_url") else { return from.refuse("image_url") };
            let mut image = Fields::of(image, from.place("image_url"))?;
            let mut made = Json::object([("type", "input_image".into()), ("image_url", image.need("url")?.into())]);
            made.set("detail", image.text("detail")?.unwrap_or("auto"));
            image.end()?;
            Ok(made)
        }
        "file" => {
            let Some(file) = from.take("file") else { return from.refuse("file") };
            let mut file = Fields::of(file, from.place("file"))?;
            let mut made = Json::object([("type", "input_file".into()), ("file_data", file.need("file_data")?.into())]);
            file.copy("filename", &mut made, "filename");
            file.end()?;
            Ok(made)
        }
        other => from.refuse(other),
    }
}

fn assistant(turn: &mut Fields<'_>, input: &mut Vec<Json>) -> Result<(), Untranslatable> {
    let mut content = match turn.take("content") {
        None => Vec::new(),
        Some(Json::Text(text)) if text.is_empty() => Vec::new(),
        Some(Json::Text(text)) => vec![part("output_text", text)],
        Some(given) => {
            let mut made = Vec::new();
            for (index, given) in given.items().iter().enumerate() {
                let mut given = Fields::of(given, format!("{}[{index}]", turn.place("content")))?;
                made.push(match given.need("type")? {
                    "text" => part("output_text", given.need("text")?),
                    "refusal" => super::refusal(given.need("refusal")?),
                    other => return given.refuse(other),
                });
                given.end()?;
            }
            made
        }
    };
    content.extend(turn.text("refusal")?.map(super::refusal));
    turn.default("annotations", empty)?;
    if !content.is_empty() {
        input.push(Json::object([("role", "assistant".into()), ("content", content.into())]));
    }
    for (index, call) in turn.take("tool_calls").map_or(&[][..], Json::items).iter().enumerate() {
        let mut call = Fields::of(call, format!("{}[{index}]", turn.place("tool_calls")))?;
        let id = call.need("id")?;
        call.default("type", |t| t.text() == Some("function"))?;
        call.take("index");
        let Some(function) = call.take("function") else { return call.refuse("function") };
        let mut function = Fields::of(function, call.place("function"))?;
        input.push(Json::object([
            ("type", "function_call".into()),
            ("call_id", id.into()),
            ("name", function.need("name")?.into()),
            ("arguments", function.text("arguments")?.unwrap_or("{}").into()),
        ]));
        function.end()?;
        call.end()?;
    }
    Ok(())
}

fn tools(from: &mut Fields<'_>, out: &mut Json) -> Result<(), Untranslatable> {
    let mut tools = Vec::new();
    for (index, tool) in from.take("tools").map_or(&[][..], Json::items).iter().enumerate() {
        let mut tool = Fields::of(tool, format!("tools[{index}]"))?;
        match tool.need("type")? {
            "function" => {}
            other => return tool.refuse(other),
        }
        let Some(function) = tool.take("function") else { return tool.refuse("function") };
        let mut function = Fields::of(function, tool.place("function"))?;
        let mut made = Json::object([("type", "function".into()), ("name", function.need("name")?.into())]);
        function.copy("description", &mut made, "description");
        let nothing = || Json::object([("type", "object".into()), ("properties", Json::Object(Vec::new()))]);
        made.set("parameters", function.take("parameters").cloned().unwrap_or_else(nothing));
        // Responses is strict unless told otherwise, Chat Completions is not.
        made.set("strict", function.take("strict").is_some_and(Json::is_true));
        function.end()?;
        tool.end()?;
        tools.push(made);
    }
    let choice = match from.take("tool_choice") {
        None => None,
        Some(word @ Json::Text(_)) => Some(word.clone()),
        Some(named) => match named.get("function").and_then(|f| f.get("name")).and_then(Json::text) {
            Some(name) => Some(Json::object([("type", "function".into()), ("name", name.into())])),
            None => return from.refuse("tool_choice"),
        },
    };
    let parallel = from.take("parallel_tool_calls");
    if tools.is_empty() {
        return Ok(());
    }
    out.set("tools", tools);
    if let Some(choice) = choice {
        out.set("tool_choice", choice);
    }
    if let Some(parallel) = parallel {
        out.set("parallel_tool_calls", parallel.clone());
    }
    Ok(())
}

fn text(from: &mut Fields<'_>, out: &mut Json) -> Result<(), Untranslatable> {
    let mut text = Json::Object(Vec::new());
    if let Some(format) = from.take("response_format") {
        let mut format = Fields::of(format, "response_format")?;
        match format.need("type")? {
            "text" => {}
            "json_object" => text.set("format", Json::object([("type", "json_object".into())])),
            "json_schema" => {
                let Some(named) = format.take("json_schema") else { return format.refuse("json_schema") };
                let mut named = Fields::of(named, "response_format.json_schema")?;
                let mut made = Json::object([("type", "json_schema".into()), ("name", named.need("name")?.into())]);
                for same in ["description", "schema"] {
                    named.copy(same, &mut made, same);
                }
                made.set("strict", named.take("strict").is_some_and(Json::is_true));
                named.end()?;
                text.set("format", made);
            }
            other => return format.refuse(other),
        }
        format.end()?;
    }
    from.copy("verbosity", &mut text, "verbosity");
    if !empty(&text) {
        out.set("text", text);
    }
    Ok(())
}
