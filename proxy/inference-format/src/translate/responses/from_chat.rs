//! A Chat Completions request as a Responses request.

use crate::document::{Document, Json};
use crate::translate::fields::{Fields, empty};
use crate::translate::{Untranslatable, chat};

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
    if let Some(limit) = chat::limit(&mut from) {
        out.set("max_output_tokens", limit.clone());
    }
    for same in ["temperature", "top_p", "user", "safety_identifier", "service_tier", "prompt_cache_key", "stream"] {
        from.copy(same, &mut out, same);
    }
    tools(&mut from, &mut out)?;
    text(&mut from, &mut out)?;
    if let Some(effort) = from.take("reasoning_effort") {
        out.set("reasoning", Json::object([("effort", effort.clone())]));
    }
    chat::defaults(&mut from)?;
    from.default("stop", empty)?;
    from.end()?;
    Ok(out)
}

fn part(kind: &str, text: &str) -> Json {
    Json::object([("type", kind.into()), ("text", text.into())])
}

fn parts<'a>(turn: &mut Fields<'a>, each: chat::Each<'_, 'a>) -> Result<Vec<Json>, Untranslatable> {
    chat::content(turn, |text| vec![part("input_text", text)], each)
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
    let whole = |text: &str| if text.is_empty() { Vec::new() } else { vec![part("output_text", text)] };
    let mut content = chat::content(turn, whole, &|kind, given| match kind {
        "text" => Ok(part("output_text", given.need("text")?)),
        "refusal" => Ok(super::refusal(given.need("refusal")?)),
        other => given.refuse(other),
    })?;
    content.extend(turn.text("refusal")?.map(super::refusal));
    turn.default("annotations", empty)?;
    if !content.is_empty() {
        input.push(Json::object([("role", "assistant".into()), ("content", content.into())]));
    }
    for chat::Call { id, name, arguments, .. } in chat::calls(turn)? {
        input.push(Json::object([
            ("type", "function_call".into()),
            ("call_id", id.into()),
            ("name", name.into()),
            ("arguments", arguments.unwrap_or("{}").into()),
        ]));
    }
    Ok(())
}

fn tools(from: &mut Fields<'_>, out: &mut Json) -> Result<(), Untranslatable> {
    let tools: Vec<Json> = chat::functions(from)?
        .into_iter()
        .map(|chat::Function { name, description, parameters, strict }| {
            let mut made = Json::object([("type", "function".into()), ("name", name.into())]);
            if let Some(description) = description {
                made.set("description", description.clone());
            }
            made.set("parameters", parameters);
            // Responses is strict unless told otherwise, Chat Completions is not.
            made.set("strict", strict);
            made
        })
        .collect();
    let choice = chat::choice(from)?.map(|choice| match choice {
        chat::Choice::Word(word) => word.into(),
        chat::Choice::Function(name) => Json::object([("type", "function".into()), ("name", name.into())]),
    });
    super::offer(tools, choice, from.take("parallel_tool_calls"), out);
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
