"""The official Python clients, unchanged, inside a sandbox. Each check is a line of output: `ok NAME` or `FAILED NAME: why`."""
import os
import sys
import traceback

import anthropic
import openai
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

BACKEND = os.environ["BACKEND"]
HELLO = f"hello from {BACKEND}"
TOOL = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

# The keys are what a user might have in the environment: they must reach nobody.
gpt = openai.OpenAI(base_url="https://inference.local/v1", api_key="callers-own", max_retries=0)
claude = anthropic.Anthropic(base_url="https://inference.local", api_key="callers-own", max_retries=0)
SAY = [{"role": "user", "content": "Say hello."}]


def chat():
    answer = gpt.chat.completions.create(model="small", messages=SAY)
    assert answer.choices[0].message.content == HELLO, answer
    assert answer.choices[0].finish_reason == "stop" and answer.usage.completion_tokens == 4, answer


def chat_stream():
    text, usage = "", None
    stream = gpt.chat.completions.create(model="small", messages=SAY, stream=True, stream_options={"include_usage": True})
    for chunk in stream:
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        usage = chunk.usage or usage
    assert text == HELLO and usage.completion_tokens == 4, (text, usage)


def chat_tools():
    tools = [{"type": "function", "function": {"name": "weather", "parameters": TOOL}}]
    answer = gpt.chat.completions.create(model="small", messages=SAY, tools=tools)
    call = answer.choices[0].message.tool_calls[0]
    assert (call.function.name, call.function.arguments.replace(" ", "")) == ("weather", '{"city":"Paris"}'), answer
    assert answer.choices[0].finish_reason == "tool_calls", answer
    turn = SAY + [answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    assert gpt.chat.completions.create(model="small", messages=turn).choices[0].message.content == HELLO
    arguments = ""
    for chunk in gpt.chat.completions.create(model="small", messages=SAY, tools=tools, stream=True):
        for choice in chunk.choices:
            arguments += "".join(c.function.arguments or "" for c in choice.delta.tool_calls or [])
    assert arguments.replace(" ", "") == '{"city":"Paris"}', arguments


def messages():
    answer = claude.messages.create(model="small", max_tokens=64, system="Be brief.", messages=SAY)
    assert answer.content[0].text == HELLO and answer.stop_reason == "end_turn", answer
    assert answer.usage.output_tokens == 4 and answer.usage.input_tokens > 0, answer


def messages_stream():
    with claude.messages.stream(model="small", max_tokens=64, messages=SAY) as stream:
        assert "".join(stream.text_stream) == HELLO
        final = stream.get_final_message()
    assert final.stop_reason == "end_turn" and final.usage.output_tokens == 4, final


def messages_tools():
    tools = [{"name": "weather", "description": "Weather.", "input_schema": TOOL}]
    answer = claude.messages.create(model="small", max_tokens=64, messages=SAY, tools=tools)
    use = answer.content[-1]
    assert (use.type, use.name, use.input, answer.stop_reason) == ("tool_use", "weather", {"city": "Paris"}, "tool_use"), answer
    turn = SAY + [
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}]},
    ]
    assert claude.messages.create(model="small", max_tokens=64, messages=turn).content[0].text == HELLO
    with claude.messages.stream(model="small", max_tokens=64, messages=SAY, tools=tools) as stream:
        final = stream.get_final_message()
    assert final.content[-1].input == {"city": "Paris"}, final


def models():
    assert [model.id for model in gpt.models.list()] == ["house"], gpt.models.list()
    assert gpt.models.retrieve("house").id == "house"
    assert [model.id for model in claude.models.list()] == ["house"], claude.models.list()


def embeddings():
    assert gpt.embeddings.create(model="small", input="hello").data[0].embedding == [0.5, 0.25]


def completions():
    assert gpt.completions.create(model="small", prompt="Say hello.").choices[0].text == HELLO


def responses():
    assert gpt.responses.create(model="small", input="Say hello.").output_text == HELLO


def responses_stream():
    text, final = "", None
    for event in gpt.responses.create(model="small", input="Say hello.", stream=True):
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type == "response.completed":
            final = event.response
    assert text == HELLO and final.output_text == HELLO and final.usage.output_tokens == 4, (text, final)
    with gpt.responses.stream(model="small", input="Say hello.") as stream:
        assert stream.get_final_response().output_text == HELLO


def responses_tools():
    tools = [{"type": "function", "name": "weather", "parameters": TOOL, "strict": False}]
    answer = gpt.responses.create(model="small", input=SAY, tools=tools)
    call = answer.output[-1]
    assert (call.type, call.name, call.arguments.replace(" ", "")) == ("function_call", "weather", '{"city":"Paris"}'), answer
    turn = SAY + [call, {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    assert gpt.responses.create(model="small", input=turn, store=False).output_text == HELLO
    arguments = ""
    for event in gpt.responses.create(model="small", input=SAY, tools=tools, stream=True):
        arguments += event.delta if event.type == "response.function_call_arguments.delta" else ""
    assert arguments.replace(" ", "") == '{"city":"Paris"}', arguments


def count_tokens():
    assert 0 < claude.messages.count_tokens(model="small", messages=SAY).input_tokens < 100


HOUSE = {"model": "small", "api_key": "callers-own", "max_retries": 0}
TURN = [SystemMessage("Be brief."), HumanMessage("Say hello.")]


def weather(city: str) -> str:
    """Weather of a city."""
    return city


def langchain(make):
    """Asks, streams, and has a tool called."""

    def check():
        model = make()
        answer = model.invoke(TURN)
        assert answer.text == HELLO and answer.usage_metadata["output_tokens"] == 4, answer
        assert "".join(chunk.text for chunk in model.stream(TURN)) == HELLO
        asked = model.bind_tools([weather]).invoke(TURN)
        assert [(c["name"], c["args"]) for c in asked.tool_calls] == [("weather", {"city": "Paris"})], asked
        result = ToolMessage("sunny", tool_call_id=asked.tool_calls[0]["id"])
        assert model.invoke(TURN + [asked, result]).text == HELLO

    check.__name__ = make.__name__
    return check


@langchain
def langchain_openai():
    return ChatOpenAI(base_url="https://inference.local/v1", stream_usage=True, use_responses_api=False, **HOUSE)


@langchain
def langchain_responses():
    return ChatOpenAI(base_url="https://inference.local/v1", use_responses_api=True, **HOUSE)


@langchain
def langchain_anthropic():
    return ChatAnthropic(base_url="https://inference.local", max_tokens=64, **HOUSE)


def langchain_embeddings():
    # Told to send text: numbers of tokens are text that nobody here can read, and so would stay home.
    model = OpenAIEmbeddings(base_url="https://inference.local/v1", check_embedding_ctx_length=False, **HOUSE)
    assert model.embed_query("hello") == [0.5, 0.25]


def refused(call, operation):
    """What the backend's API does not have is refused by its name, as an error of the client's own."""

    def check():
        try:
            call()
        except (openai.PermissionDeniedError, anthropic.PermissionDeniedError) as error:
            assert f"can serve {operation}" in str(error), error
        else:
            raise AssertionError("it was served")

    check.__name__ = f"{call.__name__}_refused"
    return check


everywhere = [
    chat, chat_stream, chat_tools, messages, messages_stream, messages_tools, responses, responses_stream, responses_tools,
    count_tokens, models, langchain_openai, langchain_responses, langchain_anthropic,
]
openai_style = [embeddings, completions, langchain_embeddings]
native = {
    "openai": openai_style,
    "compatible": openai_style,
    "anthropic": [refused(embeddings, "embeddings"), refused(completions, "completions")],
}
kind = os.environ["KIND"]
failed = False
for check in everywhere + native[kind]:
    try:
        check()
        print("ok", check.__name__, flush=True)
    except BaseException:
        failed = True
        print(f"FAILED {check.__name__}: {traceback.format_exc()}", flush=True)
print(openai.__version__, anthropic.__version__)
sys.exit(failed)
