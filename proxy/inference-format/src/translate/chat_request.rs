//! A Chat Completions request as a Messages request.

use super::fields::{Fields, empty};
use super::{Untranslatable, chat};
use crate::document::{Document, Json};

/// Messages needs a limit, Chat Completions does not: this many output tokens, which every model of that API can give.
const DEFAULT_LIMIT: u64 = 4096;

/// Translates; `model` takes the place of the one asked for.
pub fn to_messages(document: &Document, model: &str) -> Result<Json, Untranslatable> {
    let mut from = Fields::new(document.entries(), "");
    let mut out = Json::object([("model", model.into())]);
    from.take("model");
    out.set("max_tokens", chat::limit(&mut from).cloned().unwrap_or_else(|| DEFAULT_LIMIT.into()));

    let Some(Json::Array(turns)) = from.take("messages") else { return from.refuse("messages") };
    let (system, messages) = conversation(turns)?;
    if !system.is_empty() {
        out.set("system", system);
    }
    out.set("messages", messages);

    match from.take("temperature") {
        Some(t) if t.float().is_some_and(|t| (0.0..=1.0).contains(&t)) => out.set("temperature", t.clone()),
        Some(_) => return Err(Untranslatable::new("a temperature above 1")),
        None => {}
    }
    from.copy("top_p", &mut out, "top_p");
    match from.take("stop") {
        Some(Json::Text(stop)) => out.set("stop_sequences", vec![stop.as_str().into()]),
        Some(stops @ Json::Array(_)) => out.set("stop_sequences", stops.clone()),
        Some(_) => return from.refuse("stop"),
        None => {}
    }
    from.copy("stream", &mut out, "stream");
    if let Some(user) = from.text("user")? {
        out.set("metadata", Json::object([("user_id", user.into())]));
    }
    tools(&mut from, &mut out)?;
    format(&mut from, &mut out)?;

    chat::defaults(&mut from)?;
    from.default("service_tier", |v| matches!(v.text(), Some("auto" | "default")))?;
    from.take("prompt_cache_key");
    from.end()?;
    Ok(out)
}

/// System prompt and turns. Results of tools belong into the turn after the calls, so they are gathered.
fn conversation(turns: &[Json]) -> Result<(Vec<Json>, Vec<Json>), Untranslatable> {
    let (mut system, mut messages): (Vec<Json>, Vec<(&str, Vec<Json>)>) = (Vec::new(), Vec::new());
    for (index, turn) in turns.iter().enumerate() {
        let path = format!("messages[{index}]");
        let mut from = Fields::of(turn, path.as_str())?;
        let (role, mut blocks) = match from.need("role")? {
            "system" | "developer" if messages.is_empty() => {
                system.extend(texts(&mut from)?);
                from.end()?;
                continue;
            }
            "system" | "developer" => {
                return Err(Untranslatable::new(format!("{path}: a system prompt after the first turn")));
            }
            "user" => ("user", user(&mut from)?),
            "assistant" => ("assistant", assistant(&mut from)?),
            "tool" => ("user", vec![tool_result(&mut from)?]),
            _ => return from.refuse("role"),
        };
        from.end()?;
        match messages.last_mut() {
            Some((last, held)) if *last == role => held.append(&mut blocks),
            _ => messages.push((role, blocks)),
        }
    }
    let turn = |(role, blocks): (&str, Vec<Json>)| Json::object([("role", role.into()), ("content", blocks.into())]);
    Ok((system, messages.into_iter().map(turn).collect()))
}

fn text(text: &str) -> Json {
    Json::object([("type", "text".into()), ("text", text.into())])
}

/// Content that is text alone.
fn texts(from: &mut Fields<'_>) -> Result<Vec<Json>, Untranslatable> {
    parts(from, &|kind, part| match kind {
        "text" => Ok(text(part.need("text")?)),
        _ => part.refuse("type"),
    })
}

/// An empty text is no block: Messages refuses those.
fn parts<'a>(from: &mut Fields<'a>, each: chat::Each<'_, 'a>) -> Result<Vec<Json>, Untranslatable> {
    chat::content(from, |content| if content.is_empty() { Vec::new() } else { vec![text(content)] }, each)
}

fn user(from: &mut Fields<'_>) -> Result<Vec<Json>, Untranslatable> {
    parts(from, &|kind, part| match kind {
        "text" => Ok(text(part.need("text")?)),
        "image_url" => {
            let Some(image) = part.take("image_url") else { return part.refuse("image_url") };
            let mut image = Fields::of(image, part.place("image_url"))?;
            let url = image.need("url")?;
            image.default("detail", |d| d.text() == Some("auto"))?;
            let Some(source) = source(url) else { return image.refuse("url") };
            image.end()?;
            Ok(Json::object([("type", "image".into()), ("source", source)]))
        }
        "file" => {
            let Some(file) = part.take("file") else { return part.refuse("file") };
            let mut file = Fields::of(file, part.place("file"))?;
            let source = file.text("file_data")?.filter(|d| d.starts_with("data:application/pdf;")).and_then(source);
            let Some(source) = source else { return file.refuse("file_data") };
            let mut block = Json::object([("type", "document".into()), ("source", source)]);
            file.copy("filename", &mut block, "title");
            file.end()?;
            Ok(block)
        }
        _ => part.refuse(kind),
    })
}

/// Where an image or a document comes from: a data URL, or one to be fetched by the backend.
fn source(url: &str) -> Option<Json> {
    match url.strip_prefix("data:") {
        Some(rest) => {
            let (media, data) = rest.split_once(";base64,")?;
            Some(Json::object([("type", "base64".into()), ("media_type", media.into()), ("data", data.into())]))
        }
        None => {
            let fetched = url.starts_with("https://") || url.starts_with("http://");
            fetched.then(|| Json::object([("type", "url".into()), ("url", url.into())]))
        }
    }
}

fn assistant(from: &mut Fields<'_>) -> Result<Vec<Json>, Untranslatable> {
    let mut blocks = texts(from)?;
    from.default("annotations", empty)?;
    for chat::Call { id, name, arguments, place } in chat::calls(from)? {
        let input = match arguments.unwrap_or_default() {
            none if none.trim().is_empty() => Some(Json::Object(Vec::new())),
            given => Json::parse(given.as_bytes()),
        };
        let Some(input @ Json::Object(_)) = input else { return Err(Untranslatable::new(place)) };
        blocks.push(Json::object([
            ("type", "tool_use".into()),
            ("id", id.into()),
            ("name", name.into()),
            ("input", input),
        ]));
    }
    Ok(blocks)
}

fn tool_result(from: &mut Fields<'_>) -> Result<Json, Untranslatable> {
    let id = from.need("tool_call_id")?;
    from.take("name");
    let content = texts(from)?;
    Ok(Json::object([("type", "tool_result".into()), ("tool_use_id", id.into()), ("content", content.into())]))
}

fn tools(from: &mut Fields<'_>, out: &mut Json) -> Result<(), Untranslatable> {
    let tools: Vec<Json> = chat::functions(from)?
        .into_iter()
        .map(|chat::Function { name, description, parameters, strict }| {
            let mut made = Json::object([("name", name.into())]);
            if let Some(description) = description {
                made.set("description", description.clone());
            }
            made.set("input_schema", parameters);
            if strict {
                made.set("strict", true);
            }
            made
        })
        .collect();
    let alone = from.take("parallel_tool_calls").is_some_and(|p| !p.is_true());
    let mut choice = match chat::choice(from)? {
        None => None,
        Some(chat::Choice::Word(word)) => {
            let kind = match word {
                "auto" => "auto",
                "none" => "none",
                "required" => "any",
                _ => return from.refuse("tool_choice"),
            };
            Some(Json::object([("type", kind.into())]))
        }
        Some(chat::Choice::Function(name)) => Some(Json::object([("type", "tool".into()), ("name", name.into())])),
    };
    if tools.is_empty() {
        return Ok(());
    }
    if alone {
        choice.get_or_insert_with(|| Json::object([("type", "auto".into())])).set("disable_parallel_tool_use", true);
    }
    out.set("tools", tools);
    if let Some(choice) = choice {
        out.set("tool_choice", choice);
    }
    Ok(())
}

fn format(from: &mut Fields<'_>, out: &mut Json) -> Result<(), Untranslatable> {
    let Some(format) = from.take("response_format") else { return Ok(()) };
    let mut format = Fields::of(format, "response_format")?;
    match format.need("type")? {
        "text" => {}
        "json_schema" => {
            let Some(named) = format.take("json_schema") else { return format.refuse("json_schema") };
            let mut named = Fields::of(named, "response_format.json_schema")?;
            let Some(schema) = named.take("schema") else { return named.refuse("schema") };
            // Its name, its description and whether it is strict change nothing: a schema always holds there.
            for key in ["name", "description", "strict"] {
                named.take(key);
            }
            named.end()?;
            let form = Json::object([("type", "json_schema".into()), ("schema", schema.clone())]);
            out.set("output_config", Json::object([("format", form)]));
        }
        other => return format.refuse(other),
    }
    format.end()
}
