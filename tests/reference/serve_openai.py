"""The `openai` client against `potstill serve`.

    pip install openai
    potstill serve MODEL --port 8099 &
    python tests/reference/serve_openai.py http://127.0.0.1:8099/v1

MODEL is a chat model with reasoning or without, SmolLM2-135M-Instruct for instance.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import openai


def expect(kind, code, call) -> None:
    try:
        call()
    except kind as error:
        body = error.body or {}
        assert code in (None, body.get("code")), body
        assert body.get("message") and body.get("type"), body
        return
    raise AssertionError(f"{kind.__name__} was expected")


def main(base_url: str) -> None:
    client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
    model = client.models.list().data[0].id
    assert client.models.retrieve(model).id == model
    messages = [{"role": "user", "content": "Name three colours."}]
    ask = lambda **more: client.chat.completions.create(**({"model": model, "messages": messages, "max_tokens": 24, "temperature": 0} | more))

    whole = ask()
    assert whole.object == "chat.completion" and whole.choices[0].message.role == "assistant"
    assert whole.usage.completion_tokens <= 24 and whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert whole.choices[0].finish_reason in ("stop", "length")
    text = whole.choices[0].message.content
    print("whole:", repr(text))

    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed.strip() == text, (streamed, text)
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    print("streamed in", len(chunks), "chunks")

    several = ask(n=3, temperature=1.0, seed=7)
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    again = ask(n=3, temperature=1.0, seed=7)
    assert [c.message.content for c in several.choices] == [c.message.content for c in again.choices]
    assert len({choice.message.content for choice in several.choices}) > 1
    parts = {}
    for chunk in ask(n=3, temperature=1.0, seed=7, stream=True):
        for choice in chunk.choices:
            parts[choice.index] = parts.get(choice.index, "") + (choice.delta.content or "")
    assert [parts[i].strip() for i in range(3)] == [c.message.content for c in several.choices]

    scored = ask(logprobs=True, top_logprobs=3).choices[0].logprobs.content
    assert all(len(place.top_logprobs) == 3 and place.logprob <= 0 for place in scored)
    assert all(abs(place.logprob - place.top_logprobs[0].logprob) < 1e-5 for place in scored), "greedy takes the best"
    assert len(scored) == whole.usage.completion_tokens

    first = text.split()[0]
    assert first not in (ask(stop=[first]).choices[0].message.content or "")
    assert ask(extra_body={"top_k": 1}, temperature=1.0).choices[0].message.content == text
    with ThreadPoolExecutor(8) as pool:
        assert {reply.choices[0].message.content for reply in pool.map(lambda _: ask(), range(8))} == {text}

    expect(openai.BadRequestError, None, lambda: ask(temperature=9))
    expect(openai.BadRequestError, None, lambda: ask(messages=[]))
    expect(openai.BadRequestError, None, lambda: ask(tools=[{"type": "function", "function": {"name": "f"}}]))
    expect(openai.BadRequestError, "unknown_parameter", lambda: ask(extra_body={"temprature": 1}))
    expect(openai.BadRequestError, "context_length_exceeded", lambda: ask(max_tokens=10_000_000))
    expect(openai.NotFoundError, "model_not_found", lambda: ask(model="gpt-9"))
    expect(openai.NotFoundError, None, lambda: client.embeddings.create(model=model, input="x"))
    print("all is as the client expects")


if __name__ == "__main__":
    main(sys.argv[1])
